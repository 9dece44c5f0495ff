//! Defaults of built-in kinds, as the API server writes them into what it stores.
//!
//! They stand in Kubernetes' Go code and in no schema, so the facts stand here. It deliberately fills in only what a client
//! reads back or an agent acts on.

use crate::object::{Object, default_at};
use serde_json::{Value, json};

/// Fills what the client left out.
pub(crate) fn fill_defaults(resource: &str, object: &mut Value) {
    match resource {
        "pods" => pod(object),
        "services" => service(object),
        "persistentvolumeclaims" => {
            default_at(object, &["spec", "volumeMode"], json!("Filesystem"));
        }
        "persistentvolumes" => {
            default_at(object, &["spec", "volumeMode"], json!("Filesystem"));
            let policy = ["spec", "persistentVolumeReclaimPolicy"];
            default_at(object, &policy, json!("Retain"));
        }
        "storageclasses.storage.k8s.io" => {
            default_at(object, &["reclaimPolicy"], json!("Delete"));
            default_at(object, &["volumeBindingMode"], json!("Immediate"));
        }
        "secrets" => default_at(object, &["type"], json!("Opaque")),
        _ => {}
    }
}

fn pod(pod: &mut Value) {
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
        ("enableServiceLinks", json!(true)),
        ("serviceAccountName", json!("default")),
        ("serviceAccount", pod["spec"]["serviceAccountName"].clone()),
        ("preemptionPolicy", json!("PreemptLowerPriority")),
        ("priority", json!(0)),
    ] {
        let value = if value.is_null() {
            json!("default")
        } else {
            value
        };
        default_at(pod, &["spec", field], value);
    }
    tolerations(pod);
    for list in ["containers", "initContainers"] {
        for container in items_mut(pod, list) {
            self::container(container);
        }
    }
}

/// Every pod stays five minutes on a node that is in trouble, unless it says otherwise.
fn tolerations(pod: &mut Value) {
    let mut all = pod.items("/spec/tolerations").to_vec();
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        let named =
            |t: &Value| t["key"] == key || t.get("key").is_none() && t["operator"] == "Exists";
        if !all.iter().any(named) {
            all.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
    pod.put(&["spec", "tolerations"], Value::Array(all));
}

fn container(container: &mut Value) {
    let image = container.text("/image").to_owned();
    let latest =
        image.ends_with(":latest") || !image.rsplit('/').next().unwrap_or("").contains(':');
    let policy = if latest { "Always" } else { "IfNotPresent" };
    default_at(container, &["imagePullPolicy"], json!(policy));
    default_at(container, &["resources"], json!({}));
    let path = json!("/dev/termination-log");
    default_at(container, &["terminationMessagePath"], path);
    default_at(container, &["terminationMessagePolicy"], json!("File"));
    if let Some(Value::Array(ports)) = container.get_mut("ports") {
        for port in ports {
            default_at(port, &["protocol"], json!("TCP"));
        }
    }
    for name in ["startupProbe", "livenessProbe", "readinessProbe"] {
        if let Some(probe) = container.get_mut(name) {
            self::probe(probe);
        }
    }
    if let Some(Value::Array(variables)) = container.get_mut("env") {
        for variable in variables {
            if variable.pointer("/valueFrom/fieldRef").is_some() {
                let version = ["valueFrom", "fieldRef", "apiVersion"];
                default_at(variable, &version, json!("v1"));
            }
        }
    }
}

fn probe(probe: &mut Value) {
    for (field, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        default_at(probe, &[field], json!(value));
    }
    if probe.get("httpGet").is_some() {
        default_at(probe, &["httpGet", "scheme"], json!("HTTP"));
        default_at(probe, &["httpGet", "path"], json!("/"));
    }
}

fn service(service: &mut Value) {
    default_at(service, &["spec", "type"], json!("ClusterIP"));
    default_at(service, &["spec", "sessionAffinity"], json!("None"));
    default_at(service, &["spec", "ipFamilies"], json!(["IPv4"]));
    default_at(service, &["spec", "ipFamilyPolicy"], json!("SingleStack"));
    default_at(
        service,
        &["spec", "internalTrafficPolicy"],
        json!("Cluster"),
    );
    for port in items_mut(service, "ports") {
        default_at(port, &["protocol"], json!("TCP"));
        let number = port["port"].clone();
        default_at(port, &["targetPort"], number);
    }
}

fn items_mut<'a>(object: &'a mut Value, list: &str) -> &'a mut [Value] {
    match object.get_mut("spec").and_then(|spec| spec.get_mut(list)) {
        Some(Value::Array(items)) => items,
        _ => &mut [],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_reads_back_complete() {
        let mut object = json!({"spec": {"containers": [
            {"name": "a", "image": "x:1", "ports": [{"containerPort": 1}], "readinessProbe": {"httpGet": {"port": 1}}}]}});
        fill_defaults("pods", &mut object);
        let container = &object["spec"]["containers"][0];
        assert_eq!(container["imagePullPolicy"], "IfNotPresent");
        assert_eq!(container["ports"][0]["protocol"], "TCP");
        assert_eq!(container["readinessProbe"]["periodSeconds"], 10);
        assert_eq!(object["spec"]["terminationGracePeriodSeconds"], 30);
        let once = object.clone();
        fill_defaults("pods", &mut object);
        assert_eq!(object, once, "defaults are stable");
    }
}
