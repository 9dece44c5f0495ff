//! What a cluster has come to, whatever way it came there.
//!
//! It deliberately leaves out what a way must leave behind: names and ids of members, which are never given twice, the
//! membership at the time a pod was made, the first default image, and volumes that were kept when their members went. And what
//! the spec has no wish about: Secrets of the user's, users and roles, of which `root` stays, the class of volumes that are there where it names none, and the quota that a member was started
//! with where it follows from the size of a volume.

use std::collections::BTreeMap;

use plan::names;
use serde_json::{Map, Value};

use crate::simulated::{Summary, World};

/// Meaningless differences of two ways, besides those of two runs. On claims: why a member was about to leave that stayed after
/// all, and whether the class that a volume has was asked for or given.
const MASKED: [&str; 12] = [
    names::LEFT,
    names::CLASS,
    "serial",
    "quorate.io/serial",
    "id",
    "clusterID",
    "defaultImage",
    "notices",
    "podIP",
    "podIPs",
    "ip",
    "lag",
];
/// Arguments that say how a member began.
const BEGINNINGS: [&str; 2] = ["--initial-cluster=", "--initial-cluster-state="];
/// The argument that follows a volume's size at the next start.
const QUOTA: &str = "--quota-backend-bytes=";
/// The class of a volume.
const CLASS: &str = "storageClassName";

/// The state of the world's cluster, to be compared with that of another way.
pub(super) async fn of(world: &World) -> Summary {
    let summary = world.summary().await;
    let names = world.member_names().await;
    let uid = world.uid().await.unwrap_or_default();
    let nameless = |text: &str| {
        let text = names
            .iter()
            .fold(text.to_owned(), |text, name| text.replace(name, "MEMBER"));
        text.replace(&uid, "UID")
    };
    let of_user = |key: &str, object: &Value| {
        let label = &object["metadata"]["labels"][names::CLUSTER_LABEL];
        key.starts_with("Secret ") && label.is_null()
    };
    let kept = |key: &str| {
        let of_volume = key.starts_with("PersistentVolumeClaim");
        of_volume && !names.iter().any(|name| key.contains(name)) && !deletes(&summary)
    };
    let indifferent = indifferent(&summary);
    let mut same: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let all = summary.objects.iter();
    for (key, object) in all.filter(|(key, it)| !kept(key) && !of_user(key, it)) {
        let text = nameless(&masked(object.clone(), &indifferent).to_string());
        same.entry(nameless(key)).or_default().push(text);
    }
    let memberships = summary.memberships.iter().map(|members| {
        let mut members: Vec<(String, bool)> = members
            .iter()
            .map(|(url, votes)| (nameless(url), *votes))
            .collect();
        members.sort();
        members
    });
    Summary {
        objects: same.into_iter().flat_map(numbered).collect(),
        writes: BTreeMap::new(),
        memberships: memberships.collect(),
        accounts: Vec::new(),
        violations: summary.violations,
    }
}

fn numbered((key, mut texts): (String, Vec<String>)) -> impl Iterator<Item = (String, Value)> {
    texts.sort();
    let texts = texts.into_iter().enumerate();
    texts.map(move |(n, text)| {
        let value = serde_json::from_str(&text).expect("JSON with other names is JSON");
        (format!("{key} #{n}"), value)
    })
}

/// The spec of the cluster.
fn spec(summary: &Summary) -> Value {
    let mut objects = summary.objects.iter();
    let cluster = objects.find(|(key, _)| key.starts_with("RaftCluster "));
    cluster.map_or(Value::Null, |(_, it)| it["spec"].clone())
}

/// Whether the policies in force say that no volume outlives its member.
fn deletes(summary: &Summary) -> bool {
    let spec = spec(summary);
    ["whenScaled", "whenReplaced"].iter().all(|when| {
        let named = &spec["storage"]["retentionPolicy"][when];
        let policy = if named.is_null() {
            &spec["deletionPolicy"]
        } else {
            named
        };
        policy == "Delete"
    })
}

/// Names of fields and beginnings of arguments that the spec has no wish about.
fn indifferent(summary: &Summary) -> Vec<&'static str> {
    let spec = spec(summary);
    let mut all = BEGINNINGS.to_vec();
    if spec["storage"]["storageClassName"].is_null() {
        all.push(CLASS);
    }
    if spec["options"]["quotaBackendBytes"].is_null() {
        all.push(QUOTA);
    }
    all
}

fn masked(value: Value, indifferent: &[&str]) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(key, _)| {
                !MASKED.contains(&key.as_str()) && !indifferent.contains(&key.as_str())
            });
            Value::Object(
                kept.map(|(key, value)| (key, masked(value, indifferent)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => {
            let kept = items.into_iter().filter(|it| {
                let text = it.as_str().unwrap_or_default();
                !indifferent.iter().any(|it| text.starts_with(it))
            });
            Value::Array(kept.map(|it| masked(it, indifferent)).collect())
        }
        other => other,
    }
}
