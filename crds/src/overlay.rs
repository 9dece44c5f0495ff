//! The overlay a user lays over the member's pod.
//!
//! The overlay is merged into the rendered pod: maps by key, lists of named things (containers, volumes, environment)
//! by name, other lists by appending. The keys on which the operator's safety rests are reserved: they are declared in
//! the schema for the one purpose of being refused there, with the way out.
//!
//! This file deliberately does not spell out the rest of a pod's fields: the schema would be ten thousand lines. The
//! planner reports what is no field of a pod.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A partial pod template, merged over the pod the operator renders.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PodOverlay {
    /// Labels and annotations to add to each member's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<OverlayMetadata>,
    /// A partial pod spec. The member's own container is the one named `member`. Maps merge by key, lists of named
    /// things by name, other lists are appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "pod_spec")]
    pub spec: Option<Map<String, Value>>,
}

/// Labels and annotations of an overlay.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OverlayMetadata {
    /// Labels to add. Those of `quorate.io/` and `app.kubernetes.io/` are the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = Rule::new("self.all(k, !k.startsWith('quorate.io/') && !k.startsWith('app.kubernetes.io/'))")
        .message("spec.podTemplate.metadata.labels: labels of quorate.io/ and app.kubernetes.io/ are set by the operator; use a prefix of your own"))]
    pub labels: BTreeMap<String, String>,
    /// Annotations to add. Those of `quorate.io/` are the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = Rule::new("self.all(k, !k.startsWith('quorate.io/'))")
        .message("spec.podTemplate.metadata.annotations: annotations of quorate.io/ are set by the operator; use a prefix of your own"))]
    pub annotations: BTreeMap<String, String>,
}

/// Keys of a pod spec that the overlay may not set, each with the way out.
pub const RESERVED: [(&str, &str); 6] = [
    (
        "hostname",
        "it is the member's name, by which its peers find it",
    ),
    (
        "subdomain",
        "it is the peer service, by which the member's peers find it",
    ),
    (
        "hostNetwork",
        "members listen on fixed ports, which would collide on a node; leave it out, and expose the client service instead",
    ),
    ("restartPolicy", "a member always restarts"),
    (
        "automountServiceAccountToken",
        "a member never talks to the API server",
    ),
    (
        "ephemeralContainers",
        "add them to the running pod with kubectl debug",
    ),
];

/// Keys of the member's own container that the overlay may not set, each with the way out.
pub const RESERVED_IN_MEMBER: [(&str, &str); 6] = [
    ("image", "set spec.image or spec.version"),
    ("command", "set spec.engine and spec.image"),
    ("args", "set spec.options"),
    ("ports", "they are those of the etcd API"),
    ("resources", "set spec.resources"),
    ("workingDir", "the member needs none"),
];

/// The name of the member's own container in its pod.
pub const MEMBER_CONTAINER: &str = "member";

/// The schema of a reserved key. It needs a type: CEL on a real API server does not see fields without one, and a rule
/// about such a field makes it refuse the whole definition.
fn shape(key: &str) -> Value {
    let whatever = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    match key {
        "automountServiceAccountToken" | "hostNetwork" => json!({"type": "boolean"}),
        "command" | "args" => json!({"type": "array", "items": {"type": "string"}}),
        "ports" | "ephemeralContainers" => json!({"type": "array", "items": whatever}),
        "resources" => whatever,
        _ => json!({"type": "string"}),
    }
}

fn refuse(keys: &[(&str, &str)], path: &str, unless: &str) -> Vec<Value> {
    keys.iter()
        .map(|(key, way_out)| {
            json!({
                "rule": format!("{unless}!has(self.{key})"),
                "message": format!("{path}.{key} cannot be overlaid: {way_out}"),
            })
        })
        .collect()
}

fn container() -> Value {
    let mut properties = Map::new();
    properties.insert("name".into(), json!({"type": "string", "maxLength": 63}));
    for (key, _) in RESERVED_IN_MEMBER {
        properties.insert(key.into(), shape(key));
    }
    json!({
        "type": "object",
        "required": ["name"],
        "properties": properties,
        "x-kubernetes-preserve-unknown-fields": true,
        "x-kubernetes-validations": refuse(
            &RESERVED_IN_MEMBER,
            "spec.podTemplate.spec.containers of the container `member`",
            &format!("self.name != '{MEMBER_CONTAINER}' || "),
        ),
    })
}

fn pod_spec(_: &mut SchemaGenerator) -> Schema {
    let mut properties = Map::new();
    for (key, _) in RESERVED {
        properties.insert(key.into(), shape(key));
    }
    properties.insert(
        "containers".into(),
        json!({"type": "array", "maxItems": 16, "items": container()}),
    );
    let schema = json!({
        "type": "object",
        "nullable": true,
        "description": "A partial pod spec. The member's own container is the one named `member`. Maps merge by key, \
            lists of named things by name, other lists are appended.",
        "properties": properties,
        "x-kubernetes-preserve-unknown-fields": true,
        "x-kubernetes-validations": refuse(&RESERVED, "spec.podTemplate.spec", ""),
    });
    Schema::try_from(schema).expect("an object is a schema")
}
