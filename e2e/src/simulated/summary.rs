//! What two runs of one story must have in common: the objects that stand at the end, and what was created and deleted.
//!
//! It deliberately leaves out what differs without meaning: uids, versions, times, who happens to lead, and events.

use std::collections::BTreeMap;

use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Map, Value};

use super::world::World;

/// See the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Summary {
    /// Objects by kind and name.
    pub objects: BTreeMap<String, Value>,
    /// How often the operator created and deleted what, effectively.
    pub writes: BTreeMap<String, u32>,
    /// Peer URL and vote of every member of every etcd cluster.
    pub memberships: Vec<Vec<(String, bool)>>,
    /// Users and roles of every etcd cluster.
    pub accounts: Vec<String>,
    /// What must never be done and was.
    pub violations: Vec<String>,
}

impl Summary {
    /// The differences from `expected`, a line each.
    #[must_use]
    pub fn differences(&self, expected: &Self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .violations
            .iter()
            .map(|it| format!("violation: {it}"))
            .collect();
        for key in expected.objects.keys().chain(self.objects.keys()) {
            let (is, should) = (self.objects.get(key), expected.objects.get(key));
            if is != should {
                lines.push(format!("{key} differs at {}", place(should, is)));
            }
        }
        for key in expected.writes.keys().chain(self.writes.keys()) {
            let of = |writes: &BTreeMap<String, u32>| writes.get(key).copied().unwrap_or(0);
            if of(&self.writes) != of(&expected.writes) {
                lines.push(format!(
                    "{key}: {} times instead of {}",
                    of(&self.writes),
                    of(&expected.writes)
                ));
            }
        }
        if self.memberships != expected.memberships {
            lines.push(format!(
                "memberships: {:?} instead of {:?}",
                self.memberships, expected.memberships
            ));
        }
        if self.accounts != expected.accounts {
            lines.push(format!(
                "accounts: {:?} instead of {:?}",
                self.accounts, expected.accounts
            ));
        }
        lines.sort();
        lines.dedup();
        lines
    }
}

/// Where two values begin to differ, with both.
fn place(should: Option<&Value>, is: Option<&Value>) -> String {
    match (should, is) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let key = a
                .keys()
                .chain(b.keys())
                .find(|key| a.get(*key) != b.get(*key));
            key.map_or_else(String::new, |key| {
                format!("/{key}{}", place(a.get(key), b.get(key)))
            })
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
            let at = (0..a.len()).find(|at| a[*at] != b[*at]).unwrap_or(0);
            format!("/{at}{}", place(a.get(at), b.get(at)))
        }
        (should, is) => {
            let text = |value: Option<&Value>| {
                value.map_or_else(|| "nothing".to_owned(), Value::to_string)
            };
            format!(": {} instead of {}", text(is), text(should))
        }
    }
}

const KINDS: [(&str, &str, &str); 12] = [
    ("", "v1", "Secret"),
    ("quorate.io", "v1alpha1", "RaftCluster"),
    ("quorate.io", "v1alpha1", "RaftMember"),
    ("quorate.io", "v1alpha1", "RaftOperation"),
    ("quorate.io", "v1alpha1", "RaftUser"),
    ("quorate.io", "v1alpha1", "RaftRole"),
    ("", "v1", "Pod"),
    ("", "v1", "PersistentVolumeClaim"),
    ("", "v1", "Service"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("networking.k8s.io", "v1", "NetworkPolicy"),
    ("snapshot.storage.k8s.io", "v1", "VolumeSnapshot"),
];

/// Meaningless differences, wherever they stand.
const MASKED: [&str; 30] = [
    "uid",
    "quorate.io/restored",
    "resourceVersion",
    "managedFields",
    "creationTimestamp",
    "deletionTimestamp",
    "lastTransitionTime",
    "startedAt",
    "finishedAt",
    "podUID",
    "clusterUID",
    "deadline",
    "startTime",
    "leader",
    "role",
    "term",
    "clusterIP",
    "clusterIPs",
    "claimUID",
    "disruptedPods",
    "generation",
    "observedGeneration",
    "recovery",
    "since",
    "at",
    "progressedAt",
    "firstExpiry",
    "takenAt",
    "secretVersion",
    "settled",
];

pub(super) async fn of(world: &World) -> Summary {
    let mut objects = BTreeMap::new();
    for (group, version, kind) in KINDS {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::all_with(world.user.clone(), &resource);
        let found = match api.list(&ListParams::default()).await {
            Ok(found) => found.items,
            // Not all of them are installed everywhere.
            Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
            Err(why) => panic!("smallkube cannot be read: {why}"),
        };
        for object in found {
            let name = object.metadata.name.clone().unwrap_or_default();
            let value = serde_json::to_value(object).expect("an object is JSON");
            let value = if kind == "Secret" {
                sealed(value)
            } else {
                value
            };
            objects.insert(format!("{kind} {name}"), masked(value));
        }
    }
    Summary {
        objects,
        writes: writes(world),
        memberships: world.model.memberships(),
        accounts: world.model.accounts(),
        violations: world.model.violations(),
    }
}

/// A Secret with the names of its entries: what is in them is random.
fn sealed(mut secret: Value) -> Value {
    for entry in secret["data"]
        .as_object_mut()
        .into_iter()
        .flat_map(Map::values_mut)
    {
        *entry = Value::Null;
    }
    secret
}

/// The operator's creations and deletions that took effect.
fn writes(world: &World) -> BTreeMap<String, u32> {
    let mut counted = BTreeMap::new();
    for record in world.kube.faults().writes() {
        let call = &record.call;
        let counts = matches!(call.verb.as_str(), "create" | "delete") && call.resource != "events";
        if counts && record.changed && call.client == "operator" {
            *counted
                .entry(format!("{} {} {}", call.verb, call.resource, call.name))
                .or_insert(0) += 1;
        }
    }
    counted
}

fn masked(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields
                .into_iter()
                .filter(|(key, _)| !MASKED.contains(&key.as_str()));
            Value::Object(
                kept.map(|(key, value)| (key, masked(value)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(masked).collect()),
        // Both name the pod that rebuilt the cluster by its uid.
        Value::String(text) if text.contains("/restored-") => "restored".into(),
        Value::String(text) if text.starts_with("--initial-cluster-token=") => "token".into(),
        other => other,
    }
}
