//! Rules that no schema says: names, labels, owners, what cannot change, what a container must have.
//!
//! It deliberately checks what the operator, its users' manifests and `kubectl` can get wrong, not all that Kubernetes checks.

use crate::kinds::Kind;
use crate::object::Object;
use crate::refusal::Cause;
use crate::volumes::expansion::size_causes;
use serde_json::{Value, json};

/// What is wrong with `metadata`, whatever the kind.
pub(crate) fn metadata_causes(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    if old.is_none() && !is_subdomain(new.name()) {
        causes.push(Cause::invalid(
            "metadata.name",
            &json!(new.name()),
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
             and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ));
    }
    for (key, value) in new.entries("/metadata/labels").into_iter().flatten() {
        let text = value.as_str().unwrap_or_default();
        if !is_qualified(key) {
            let why = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                       alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                       '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
            causes.push(Cause::invalid("metadata.labels", &json!(key), why));
        }
        if !is_label_value(text) {
            let why = "a valid label must be an empty string or consist of at most 63 alphanumeric characters, '-', '_' or '.'";
            causes.push(Cause::invalid("metadata.labels", value, why));
        }
    }
    for (at, owner) in new.items("/metadata/ownerReferences").iter().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner.text(&format!("/{field}")).is_empty() {
                let place = format!("metadata.ownerReferences[{at}].{field}");
                causes.push(Cause::invalid(&place, &json!(""), "must not be empty"));
            }
        }
    }
    causes.extend(old.and_then(|old| late_finalizers(new, old)));
    causes
}

/// What is already on its way out takes no new finalizer.
fn late_finalizers(new: &Value, old: &Value) -> Option<Cause> {
    if !old.ends() {
        return None;
    }
    let before = old.finalizers();
    let mut late = new.finalizers();
    late.retain(|f| !before.contains(f));
    if late.is_empty() {
        return None;
    }
    let why = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{:?}}}",
        late.join("\", \"")
    );
    Some(Cause::forbidden("metadata.finalizers", &why))
}

/// What is wrong with an object of a built-in kind.
pub(crate) fn causes(kind: &Kind, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    match kind.resource.as_str() {
        "pods" => pod(new, old),
        "persistentvolumeclaims" => claim(new, old),
        "services" => service(new, old),
        "configmaps" | "secrets" => sealed(new, old),
        _ => Vec::new(),
    }
}

fn pod(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    if new.items("/spec/containers").is_empty() {
        causes.push(Cause::required("spec.containers", ""));
    }
    for (at, container) in new.items("/spec/containers").iter().enumerate() {
        for field in ["name", "image"] {
            if container.text(&format!("/{field}")).is_empty() {
                causes.push(Cause::required(
                    &format!("spec.containers[{at}].{field}"),
                    "",
                ));
            }
        }
        mounts(new, container, at, &mut causes);
    }
    if let Some(old) = old
        && fixed_part(old) != fixed_part(new)
    {
        causes.push(Cause::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
             `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
             `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ));
    }
    causes
}

fn mounts(pod: &Value, container: &Value, at: usize, causes: &mut Vec<Cause>) {
    let volumes = pod.items("/spec/volumes");
    for (index, mount) in container.items("/volumeMounts").iter().enumerate() {
        if !volumes.iter().any(|v| v["name"] == mount["name"]) {
            let place = format!("spec.containers[{at}].volumeMounts[{index}].name");
            let message = format!("Not found: {}", mount["name"]);
            causes.push(Cause::new("FieldValueNotFound", &place, message));
        }
    }
}

/// The part of a pod's spec that never changes once it stands; the node is set once, by the scheduler.
fn fixed_part(pod: &Value) -> Value {
    let mut spec = pod["spec"].clone();
    for field in ["activeDeadlineSeconds", "tolerations", "nodeName"] {
        spec.take_away(&[field]);
    }
    for list in ["containers", "initContainers"] {
        if let Some(Value::Array(containers)) = spec.get_mut(list) {
            for container in containers {
                container.take_away(&["image"]);
            }
        }
    }
    spec
}

fn claim(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    if new.items("/spec/accessModes").is_empty() {
        let why = "at least 1 access mode is required";
        causes.push(Cause::required("spec.accessModes", why));
    }
    if new.text("/spec/resources/requests/storage").is_empty() {
        causes.push(Cause::required("spec.resources[storage]", ""));
    }
    let fixed = |claim: &Value| {
        let mut spec = claim["spec"].clone();
        spec.take_away(&["volumeName"]);
        if new.text("/status/phase") == "Bound" {
            spec.take_away(&["resources", "requests", "storage"]);
        }
        spec
    };
    if let Some(old) = old
        && fixed(old) != fixed(new)
    {
        causes.push(Cause::forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        ));
    }
    causes.extend(old.and_then(|old| size_causes(new, old)));
    causes
}

fn service(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let headless = new.text("/spec/clusterIP") == "None";
    if new.items("/spec/ports").is_empty() && !headless {
        causes.push(Cause::required("spec.ports", ""));
    }
    if let Some(old) = old
        && old.text("/spec/clusterIP") != new.text("/spec/clusterIP")
    {
        let why = "may not change once set";
        causes.push(Cause::invalid(
            "spec.clusterIPs[0]",
            &new["spec"]["clusterIP"],
            why,
        ));
    }
    causes
}

fn sealed(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let Some(old) = old.filter(|old| old["immutable"] == true) else {
        return Vec::new();
    };
    if old.get("data") == new.get("data") {
        return Vec::new();
    }
    vec![Cause::forbidden(
        "data",
        "field is immutable when `immutable` is set",
    )]
}

fn is_subdomain(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty()
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn is_qualified(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').unwrap_or(("x", key));
    is_subdomain(prefix) && !name.is_empty() && is_label_value(name)
}

fn is_label_value(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    let inner = |c: char| edge(c) || matches!(c, '-' | '_' | '.');
    text.is_empty()
        || (text.len() <= 63
            && text.chars().all(inner)
            && text.starts_with(edge)
            && text.ends_with(edge))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_follow_the_rfc() {
        assert!(is_subdomain("kv-a1b2c.x"));
        assert!(!is_subdomain("Kv") && !is_subdomain("a..b") && !is_subdomain("-a"));
        assert!(is_qualified("quorate.io/member") && !is_qualified("a/b/c") && !is_qualified("/x"));
        assert!(is_label_value("") && is_label_value("A_b-1") && !is_label_value("-a"));
    }

    #[test]
    fn a_pods_spec_is_fixed_but_for_its_images() {
        let old = json!({"spec": {"containers": [{"name": "a", "image": "1"}], "hostname": "x"}});
        let mut new = old.clone();
        new["spec"]["containers"][0]["image"] = json!("2");
        assert!(pod(&new, Some(&old)).is_empty());
        new["spec"]["hostname"] = json!("y");
        assert_eq!(pod(&new, Some(&old))[0].field, "spec");
    }
}
