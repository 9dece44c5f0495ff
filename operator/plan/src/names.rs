//! Every name, label, annotation, port and path the operator writes, once.
//!
//! A member's name is derived from its cluster's uid and its serial, so that a planner that is run twice on the same
//! status names the same member, and a cluster that is made anew under an old name names different ones.
//!
//! This file deliberately knows nothing of the objects that carry the names: see `objects/`.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// Port of the etcd API for clients.
pub const CLIENT_PORT: i32 = 2379;
/// Port on which members talk to each other.
pub const PEER_PORT: i32 = 2380;
/// Port of health and metrics, over plain HTTP.
pub const METRICS_PORT: i32 = 2381;

/// Where the volume is mounted in the member's container.
pub const MOUNT_PATH: &str = "/var/lib/quorate";
/// The data directory: a folder inside the volume, because the root of a volume may hold `lost+found`.
pub const DATA_DIR: &str = "/var/lib/quorate/data";
/// Name of the volume in the pod.
pub const DATA_VOLUME: &str = "data";

/// The field manager of every write, but the status, that the operator makes.
pub const FIELD_MANAGER: &str = "quorate-operator";

/// Label on every object: the name of its cluster. Watches select by it.
pub const CLUSTER_LABEL: &str = "quorate.io/cluster";
/// Label on pods, claims and members: the name of the member.
pub const MEMBER_LABEL: &str = "quorate.io/member";
/// Label on pods: `voter` or `learner`. The disruption budget selects voters.
pub const ROLE_LABEL: &str = "quorate.io/role";
/// Annotation on every object: the uid of its cluster, by which objects of an earlier cluster of the same name are told.
pub const CLUSTER_UID: &str = "quorate.io/cluster-uid";
/// Annotation on claims: the serial of the member, so that serials are never reused even if the status is lost.
pub const SERIAL: &str = "quorate.io/serial";
/// Annotation on pods: hash of the user's inputs to the template.
pub const TEMPLATE_HASH: &str = "quorate.io/template-hash";

/// A member's vote, as its pod's label says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It votes, and the disruption budget counts it.
    Voter,
    /// It does not vote yet, or is on its way out.
    Learner,
}

impl Role {
    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Learner => "learner",
        }
    }
}

/// Name of the member of this serial: `<cluster>-<5 of a-z0-9>`. Also its pod's name.
#[must_use]
pub fn member(cluster: &str, cluster_uid: &str, serial: i64) -> String {
    format!("{cluster}-{}", suffix(&format!("{cluster_uid}/{serial}")))
}

/// Five characters of a-z0-9 from a hash of the text.
fn suffix(text: &str) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    Sha256::digest(text.as_bytes())
        .iter()
        .take(5)
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect()
}

/// Name of a member's claim.
#[must_use]
pub fn claim(member: &str) -> String {
    format!("data-{member}")
}

/// Name of the service for clients.
#[must_use]
pub fn client_service(cluster: &str) -> String {
    cluster.to_owned()
}

/// Name of the headless service that gives members their names.
#[must_use]
pub fn peer_service(cluster: &str) -> String {
    format!("{cluster}-peers")
}

/// Name of the disruption budget.
#[must_use]
pub fn budget(cluster: &str) -> String {
    cluster.to_owned()
}

/// URL at which a member's peers reach it. It is how a member is told in the membership before it has started.
#[must_use]
pub fn peer_url(namespace: &str, cluster: &str, member: &str) -> String {
    format!(
        "http://{member}.{}.{namespace}.svc:{PEER_PORT}",
        peer_service(cluster)
    )
}

/// URL that a member tells clients that ask for the membership.
#[must_use]
pub fn client_url(namespace: &str, cluster: &str, member: &str) -> String {
    format!(
        "http://{member}.{}.{namespace}.svc:{CLIENT_PORT}",
        peer_service(cluster)
    )
}

/// The cluster token: two clusters never take each other's messages, nor a new one those of its namesake before it.
#[must_use]
pub fn token(namespace: &str, cluster: &str, cluster_uid: &str) -> String {
    format!("{namespace}-{cluster}-{cluster_uid}")
}

/// Labels on every object of a cluster.
#[must_use]
pub fn labels(cluster: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "quorate"),
        ("app.kubernetes.io/instance", cluster),
        ("app.kubernetes.io/managed-by", "quorate-operator"),
        (CLUSTER_LABEL, cluster),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// Labels on every object of a member.
#[must_use]
pub fn member_labels(cluster: &str, member: &str) -> BTreeMap<String, String> {
    let mut labels = labels(cluster);
    labels.insert(MEMBER_LABEL.to_owned(), member.to_owned());
    labels
}

/// The selector, as text, of all objects of a cluster.
#[must_use]
pub fn selector(cluster: &str) -> String {
    format!("{CLUSTER_LABEL}={cluster}")
}

/// The selector, as text, of all member pods of a cluster.
#[must_use]
pub fn pod_selector(cluster: &str) -> String {
    format!("{CLUSTER_LABEL}={cluster},{MEMBER_LABEL}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_for_the_same_serial_and_different_for_every_other() {
        let uid = "6f1c9d2e-0000-4000-8000-000000000001";
        assert_eq!(member("kv", uid, 1), member("kv", uid, 1));
        let names: std::collections::BTreeSet<String> =
            (1..=100).map(|serial| member("kv", uid, serial)).collect();
        assert_eq!(names.len(), 100);
        assert_ne!(member("kv", uid, 1), member("kv", "another uid", 1));
    }

    #[test]
    fn a_name_is_a_dns_label() {
        for serial in 1..200 {
            let name = member("kv", "uid", serial);
            assert_eq!(name.len(), "kv-".len() + 5);
            assert!(
                name.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            );
        }
    }
}
