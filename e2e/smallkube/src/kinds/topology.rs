//! How the lists and maps of Kubernetes' own types are merged.
//!
//! The published OpenAPI of Kubernetes carries this as `x-kubernetes-list-type`, `-list-map-keys` and `-map-type`; the Rust
//! types do not, so the facts stand here. A list that is not named is atomic. It deliberately knows only the kinds we serve.

use crate::schema::ListKind;

/// (definition, field, keys): lists of items told apart by keys.
const KEYED: &[(&str, &str, &[&str])] = &[
    ("PodSpec", "containers", &["name"]),
    ("PodSpec", "initContainers", &["name"]),
    ("PodSpec", "ephemeralContainers", &["name"]),
    ("PodSpec", "volumes", &["name"]),
    ("PodSpec", "imagePullSecrets", &["name"]),
    ("PodSpec", "hostAliases", &["ip"]),
    ("PodSpec", "resourceClaims", &["name"]),
    ("PodSpec", "schedulingGates", &["name"]),
    (
        "PodSpec",
        "topologySpreadConstraints",
        &["topologyKey", "whenUnsatisfiable"],
    ),
    ("PodStatus", "conditions", &["type"]),
    ("PodStatus", "podIPs", &["ip"]),
    ("PodStatus", "hostIPs", &["ip"]),
    ("Container", "env", &["name"]),
    ("Container", "ports", &["containerPort", "protocol"]),
    ("Container", "volumeMounts", &["mountPath"]),
    ("Container", "volumeDevices", &["devicePath"]),
    ("ServiceSpec", "ports", &["port", "protocol"]),
    ("ServiceStatus", "conditions", &["type"]),
    ("PodDisruptionBudgetStatus", "conditions", &["type"]),
    ("NodeStatus", "conditions", &["type"]),
    ("NodeStatus", "addresses", &["type"]),
    ("NamespaceStatus", "conditions", &["type"]),
    ("PersistentVolumeClaimStatus", "conditions", &["type"]),
    ("ObjectMeta", "ownerReferences", &["uid"]),
];

/// (definition, field): lists of scalars that are sets.
const SETS: &[(&str, &str)] = &[("ObjectMeta", "finalizers"), ("NodeSpec", "podCIDRs")];

/// Definitions whose values are owned as a whole wherever they stand.
const ATOMIC: &[&str] = &[
    "ConfigMapKeySelector",
    "EndpointAddress",
    "EndpointPort",
    "LabelSelector",
    "LocalObjectReference",
    "NodeSelector",
    "NodeSelectorTerm",
    "ObjectFieldSelector",
    "ObjectReference",
    "OwnerReference",
    "ResourceFieldSelector",
    "SecretKeySelector",
    "SecretReference",
    "TypedLocalObjectReference",
];

/// (definition, field): maps owned as a whole that have no definition of their own.
const ATOMIC_MAPS: &[(&str, &str)] = &[("PodSpec", "nodeSelector"), ("ServiceSpec", "selector")];

/// How the list `field` of a definition is merged.
pub(crate) fn list_kind(definition: &str, field: &str) -> ListKind {
    let is = |name: &str, of: &str| of == field && definition_is(definition, name);
    if let Some((_, _, keys)) = KEYED.iter().find(|(name, of, _)| is(name, of)) {
        return ListKind::Map(keys.iter().map(|&k| k.to_owned()).collect());
    }
    if SETS.iter().any(|(name, of)| is(name, of)) {
        return ListKind::Set;
    }
    ListKind::Atomic
}

/// True for a map that has one owner as a whole.
pub(crate) fn is_atomic_map(definition: &str, field: &str) -> bool {
    ATOMIC_MAPS
        .iter()
        .any(|(name, of)| *of == field && definition_is(definition, name))
}

/// True for a definition whose values have one owner as a whole.
pub(crate) fn is_atomic(definition: &str) -> bool {
    ATOMIC.iter().any(|name| definition_is(definition, name))
}

fn definition_is(definition: &str, name: &str) -> bool {
    definition.rsplit('.').next() == Some(name)
}
