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
        "secrets" => secret(object),
        "networkpolicies.networking.k8s.io" => network_policy(object),
        super::DEFINITIONS => {
            default_at(object, &["spec", "conversion"], json!({"strategy": "None"}));
        }
        _ => {}
    }
}

/// Takes out empty maps and lists where Kubernetes writes none: in the metadata of everything, and where data stand.
pub(crate) fn drop_empty(resource: &str, object: &mut Value) {
    let own: &[&str] = match resource {
        "configmaps" => &["data", "binaryData"],
        "secrets" => &["data", "stringData"],
        _ => &[],
    };
    let metadata = ["labels", "annotations", "finalizers", "ownerReferences"];
    let paths = metadata.iter().map(|field| vec!["metadata", *field]);
    for path in paths.chain(own.iter().map(|field| vec![*field])) {
        let found = object.pointer(&format!("/{}", path.join("/")));
        let empty = found.is_some_and(|it| *it == json!({}) || *it == json!([]));
        if empty {
            object.take_away(&path);
        }
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
    ] {
        default_at(pod, &["spec", field], value);
    }
    for list in ["containers", "initContainers"] {
        for container in items_mut(pod, list) {
            self::container(container);
        }
    }
}

/// What admission adds to a new pod; nobody owns these fields.
pub(super) fn admit_pod(pod: &mut Value) {
    default_at(pod, &["spec", "serviceAccountName"], json!("default"));
    let account = pod["spec"]["serviceAccountName"].clone();
    default_at(pod, &["spec", "serviceAccount"], account);
    let policy = json!("PreemptLowerPriority");
    default_at(pod, &["spec", "preemptionPolicy"], policy);
    default_at(pod, &["spec", "priority"], json!(0));
    tolerations(pod);
    pod.put(
        &["status"],
        json!({"phase": "Pending", "qosClass": service_class(pod)}),
    );
}

/// The class of service that requests and limits make; any of them is at least `Burstable`.
fn service_class(pod: &Value) -> &'static str {
    let containers = pod.items("/spec/containers");
    let has = |c: &Value, what: &str| {
        c.entries(&format!("/resources/{what}"))
            .is_some_and(|m| !m.is_empty())
    };
    let full = |c: &Value| {
        let limits = c.pointer("/resources/limits");
        let requests = c.pointer("/resources/requests");
        let both = |name: &str| limits.and_then(|l| l.get(name)).is_some();
        both("cpu") && both("memory") && requests.is_none_or(|r| Some(r) == limits)
    };
    if containers.iter().all(full) {
        "Guaranteed"
    } else if containers
        .iter()
        .any(|c| has(c, "requests") || has(c, "limits"))
    {
        "Burstable"
    } else {
        "BestEffort"
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

/// Rules of egress are in force only where the types say so, or say nothing.
fn network_policy(policy: &mut Value) {
    let mut types = vec!["Ingress"];
    if !policy.items("/spec/egress").is_empty() {
        types.push("Egress");
    }
    default_at(policy, &["spec", "policyTypes"], json!(types));
    for list in ["ingress", "egress"] {
        for rule in items_mut(policy, list) {
            if let Some(Value::Array(ports)) = rule.get_mut("ports") {
                for port in ports {
                    default_at(port, &["protocol"], json!("TCP"));
                }
            }
        }
    }
}

/// `stringData` is only a way to write `data`.
fn secret(secret: &mut Value) {
    use base64::Engine;
    default_at(secret, &["type"], json!("Opaque"));
    let Some(Value::Object(texts)) = secret.take_away(&["stringData"]) else {
        return;
    };
    for (name, text) in &texts {
        let bytes = text.as_str().unwrap_or_default();
        let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
        secret.put(&["data", name], json!(encoded));
    }
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
    fn texts_of_a_secret_become_data() {
        let mut object = json!({"stringData": {"a": "b"}, "data": {"c": "ZA=="}});
        fill_defaults("secrets", &mut object);
        assert_eq!(
            object,
            json!({"type": "Opaque", "data": {"a": "Yg==", "c": "ZA=="}})
        );
    }

    #[test]
    fn requests_make_the_class_of_service() {
        let class = |resources: Value| {
            service_class(&json!({"spec": {"containers": [{"resources": resources}]}}))
        };
        assert_eq!(class(json!({})), "BestEffort");
        assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
        assert_eq!(
            class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})),
            "Guaranteed"
        );
    }

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
        assert!(
            object["spec"].get("tolerations").is_none(),
            "those are admission's"
        );
        let once = object.clone();
        fill_defaults("pods", &mut object);
        assert_eq!(object, once, "defaults are stable");
    }
}
