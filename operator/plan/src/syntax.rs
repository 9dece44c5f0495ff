//! Names, labels and sidecars that every pod would be refused for, and names that every volume would be.
//!
//! The schema takes any text there. Without this, a label with a blank in it, or a sidecar without an image, would be found out
//! when the old pod is gone and the new one cannot be made.
//!
//! This file deliberately knows the syntax only: which labels are reserved, the schema says.

use crds::Resources;
use crds::overlay::MEMBER_CONTAINER;
use serde_json::Value;

use crate::report::Invalid;

/// The longest name or value of a label.
const NAME_MAX: usize = 63;
/// The longest prefix of a key.
const PREFIX_MAX: usize = 253;

/// What is wrong with the labels and annotations of an overlay and the names of resources.
pub(crate) fn faults(overlay: &Value, resources: &Resources) -> Vec<Invalid> {
    let metadata = &overlay["metadata"];
    let entries = |list: &str| metadata[list].as_object().into_iter().flatten();
    let mut faults = Vec::new();
    for list in ["labels", "annotations"] {
        let wrong = entries(list).filter(|(key, _)| !is_key(key));
        faults.extend(
            wrong.map(|(key, _)| no_key(&format!("spec.podTemplate.metadata.{list}"), key)),
        );
    }
    let texts = entries("labels").filter_map(|(key, value)| Some((key, value.as_str()?)));
    let wrong =
        texts.filter_map(|(key, text)| value_fault("spec.podTemplate.metadata.labels", key, text));
    faults.extend(wrong.map(|it| Invalid {
        message: format!("{}, or an annotation instead", it.message),
        ..it
    }));
    for (list, amounts) in [
        ("requests", &resources.requests),
        ("limits", &resources.limits),
    ] {
        let wrong = amounts.keys().filter(|key| !is_key(key));
        faults.extend(wrong.map(|key| no_key(&format!("spec.resources.{list}"), key)));
    }
    for list in ["containers", "initContainers"] {
        let containers = overlay["spec"][list].as_array().into_iter().flatten();
        faults.extend(containers.flat_map(|it| container_faults(list, it)));
    }
    faults
}

/// What is wrong with a label and its value in this list.
pub(crate) fn label_fault(list: &str, key: &str, value: &str) -> Option<Invalid> {
    if is_key(key) {
        value_fault(list, key, value)
    } else {
        Some(no_key(list, key))
    }
}

/// What is wrong with a label's value in this list.
pub(crate) fn value_fault(list: &str, key: &str, text: &str) -> Option<Invalid> {
    (!is_value(text)).then(|| Invalid {
        field: format!("{list}.{key}"),
        message: format!(
            "`{text}` is no label value; write at most 63 letters, digits, dashes, underscores and dots, a letter or digit first \
             and last"
        ),
    })
}

/// What is wrong with the name of a storage class.
pub(crate) fn class_fault(name: &str) -> Option<Invalid> {
    (!is_subdomain(name)).then(|| Invalid {
        field: "spec.storage.storageClassName".to_owned(),
        message: format!(
            "`{name}` is no name of a storage class; write one of `kubectl get storageclasses`, or leave it out for the default one"
        ),
    })
}

/// What is wrong with a container of the user's own.
fn container_faults(list: &str, container: &Value) -> Vec<Invalid> {
    let text = |key: &str| container[key].as_str().unwrap_or_default();
    let name = text("name");
    let mut faults = Vec::new();
    let mut fault = |field: &str, message: &str| {
        faults.push(Invalid {
            field: format!("spec.podTemplate.spec.{list}[{name}].{field}"),
            message: message.to_owned(),
        });
    };
    if name.len() > NAME_MAX || !is_label(name) {
        fault(
            "name",
            "is no name of a container; write one of lower-case letters, digits and dashes, such as sidecar",
        );
    }
    let ours = list == "containers" && name == MEMBER_CONTAINER;
    if !ours && text("image").trim().is_empty() {
        fault(
            "image",
            "is required: name the image that the container runs",
        );
    }
    faults
}

fn no_key(list: &str, key: &str) -> Invalid {
    Invalid {
        field: format!("{list}.{key}"),
        message: "is no name that Kubernetes takes; write one such as memory or example.com/team"
            .to_owned(),
    }
}

/// A qualified name: `name`, or `prefix/name` with a DNS subdomain before the slash.
fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_name(name),
        None => is_name(key),
    }
}

fn is_value(text: &str) -> bool {
    text.is_empty() || is_name(text)
}

fn is_name(text: &str) -> bool {
    let inner = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
    let edge = |it: char| it.is_ascii_alphanumeric();
    text.len() <= NAME_MAX
        && text.chars().all(inner)
        && text.starts_with(edge)
        && text.ends_with(edge)
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= PREFIX_MAX && text.split('.').all(is_label)
}

fn is_label(text: &str) -> bool {
    let edge = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit();
    let inner = |it: char| edge(it) || it == '-';
    text.chars().all(inner) && text.starts_with(edge) && text.ends_with(edge)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use serde_json::json;

    use super::*;

    #[test]
    fn names_and_values_follow_kubernetes_syntax() {
        for key in ["a", "A.b-c_9", "example.com/a", &"a".repeat(63)] {
            assert!(is_key(key), "{key}");
        }
        for key in [
            "",
            "/a",
            "a/",
            "-a",
            "a-",
            "a b",
            "Example.com/a",
            "a..b/c",
            "a/b/c",
            &"a".repeat(64),
        ] {
            assert!(!is_key(key), "{key}");
        }
        assert!(is_value("") && is_value("v1.2_3") && !is_value(" ") && !is_value("\u{fc}"));
    }

    #[test]
    fn a_storage_class_bears_the_name_of_an_object() {
        for name in ["standard", "gp3.csi-1", &"a".repeat(253)] {
            assert_eq!(class_fault(name), None);
        }
        for name in [" ", "Fast", "a_b", "-a", &"a".repeat(254)] {
            let fault = class_fault(name).expect(name);
            assert_eq!(fault.field, "spec.storage.storageClassName");
        }
    }

    #[test]
    fn each_fault_names_its_field() {
        let overlay = json!({
            "metadata": {
                "labels": { "team": "a b", "example.com/ok": "" },
                "annotations": { "no key!": "any text at all", "note": "any text at all" },
            },
            "spec": {
                "containers": [{ "name": "member" }, { "name": "a" }, { "name": "-b", "image": "b:1" }],
                "initContainers": [{ "name": "c", "image": "c:1" }],
            },
        });
        let amount = || BTreeMap::from([("no name!".to_owned(), Quantity("1".to_owned()))]);
        let resources = Resources {
            requests: amount(),
            limits: BTreeMap::new(),
        };
        let fields: Vec<String> = faults(&overlay, &resources)
            .into_iter()
            .map(|it| it.field)
            .collect();
        assert_eq!(
            fields,
            [
                "spec.podTemplate.metadata.annotations.no key!",
                "spec.podTemplate.metadata.labels.team",
                "spec.resources.requests.no name!",
                "spec.podTemplate.spec.containers[a].image",
                "spec.podTemplate.spec.containers[-b].name",
            ]
        );
    }
}
