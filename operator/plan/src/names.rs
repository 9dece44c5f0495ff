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
/// The other port for that, to which they move when they change from plain HTTP to TLS, or back.
pub const SECOND_PEER_PORT: i32 = 2382;
/// Port of health and metrics, over plain HTTP.
pub const METRICS_PORT: i32 = 2381;

/// Common name of the certificate that the operator shows: where users and roles are in force, it is the user's name.
pub const ROOT: &str = "root";

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
/// Annotation on claims: the size that the operator last asked for.
pub const SIZE: &str = "quorate.io/size";
/// Annotation on claims: the storage class that the operator asked for, if it asked for one.
pub const CLASS: &str = "quorate.io/storage-class";
/// Annotation on claims: why the member left, `Scaled` or `Replaced`.
pub const LEFT: &str = "quorate.io/left";
/// Annotation on claims: since when the volume of a replaced member is kept.
pub const KEPT_SINCE: &str = "quorate.io/kept-since";
/// Annotation on claims: uid of the pod that rebuilt a lost cluster of this volume. It is part of the data directory's name and
/// of the cluster's token from then on; what lay there before stays as it was.
pub const RESTORED: &str = "quorate.io/restored";
/// Annotation on pods: the acknowledged plan by which the pod rebuilds a lost cluster of its member's data.
pub const RESTORES: &str = "quorate.io/restores";
/// Annotation on pods: hash of the user's inputs to the template.
pub const TEMPLATE_HASH: &str = "quorate.io/template-hash";
/// Annotation: the hash of the pod as this operator makes it, which another one may make in another way.
pub const RENDERING_HASH: &str = "quorate.io/rendering-hash";

/// What can have TLS, each with a CA, a Secret and flags of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Surface {
    /// Between members.
    Peer,
    /// Between clients and members.
    Client,
}

impl Surface {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Peer, Self::Client];

    /// The field below `spec.tls`.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Client => "client",
        }
    }

    /// With what etcd's flags for its certificates begin.
    #[must_use]
    pub const fn flag_prefix(self) -> &'static str {
        match self {
            Self::Peer => "peer-",
            Self::Client => "",
        }
    }

    /// Name of the volume with its certificates in the pod.
    #[must_use]
    pub const fn volume(self) -> &'static str {
        match self {
            Self::Peer => "peer-tls",
            Self::Client => "client-tls",
        }
    }

    /// Where that is mounted.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Peer => "/etc/quorate/tls/peer",
            Self::Client => "/etc/quorate/tls/client",
        }
    }
}

/// The scheme of a surface's URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With it.
    Https,
}

impl Scheme {
    /// As URLs begin.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Where members listen for their peers, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerPort {
    /// The port.
    pub port: i32,
    /// With TLS or without.
    pub scheme: Scheme,
}

impl PeerPort {
    /// That of a URL, whatever its host.
    #[must_use]
    pub fn of_url(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let scheme = [Scheme::Http, Scheme::Https]
            .into_iter()
            .find(|it| it.as_str() == scheme)?;
        let port = rest.rsplit_once(':')?.1.parse().ok()?;
        Some(Self { port, scheme })
    }

    /// Its name in pods and services.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.port {
            PEER_PORT => "peer",
            _ => "peer-second",
        }
    }
}

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

/// Name of the `VolumeSnapshot` that a recovery by this plan has made of a claim.
#[must_use]
pub fn snapshot(claim: &str, plan: &str) -> String {
    format!("{claim}-{plan}")
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

/// Name of the NetworkPolicy over the members. People may well have one of their own that is called as the cluster is.
#[must_use]
pub fn network_policy(cluster: &str) -> String {
    format!("{cluster}-members")
}

/// Name of the Secret that members mount, with a CA that the operator has made.
#[must_use]
pub fn members_secret(cluster: &str, surface: Surface) -> String {
    match surface {
        Surface::Peer => format!("{cluster}-peer-tls"),
        Surface::Client => format!("{cluster}-server-tls"),
    }
}

/// Name of the Secret that applications mount to be believed by the members.
#[must_use]
pub fn application_secret(cluster: &str) -> String {
    format!("{cluster}-client-tls")
}

/// Name of the Secret that members mount, and of the `Certificate` by which cert-manager fills it. No Secret that cert-manager fills
/// is called as one that the operator fills, so that neither ever finds what the other has made.
#[must_use]
pub fn issued_members_secret(cluster: &str, surface: Surface) -> String {
    match surface {
        Surface::Peer => format!("{cluster}-peer-cert"),
        Surface::Client => format!("{cluster}-server-cert"),
    }
}

/// The same of the Secret with which members dial their peers. Not `-peer-client-cert`, which would be the applications' Secret of a
/// cluster whose name ends in `-peer`.
#[must_use]
pub fn issued_dialer_secret(cluster: &str) -> String {
    format!("{cluster}-dialer-cert")
}

/// The same of the Secret with what the operator shows to members.
#[must_use]
pub fn issued_operator_secret(cluster: &str) -> String {
    format!("{cluster}-operator-cert")
}

/// The same of the Secret that applications mount to be believed by the members.
#[must_use]
pub fn issued_application_secret(cluster: &str) -> String {
    format!("{cluster}-client-cert")
}

/// Annotation of cert-manager on the Secrets that it fills: the `Certificate` that it did it for.
pub const CERTIFICATE_NAME: &str = "cert-manager.io/certificate-name";
/// Annotations of cert-manager there: name, kind and group of the issuer that has signed what is in the Secret.
pub const ISSUER: [&str; 3] = [
    "cert-manager.io/issuer-name",
    "cert-manager.io/issuer-kind",
    "cert-manager.io/issuer-group",
];

/// Name of the volume with what a member dials its peers with, where that is a Secret of its own.
pub const DIALER_VOLUME: &str = "dialer-tls";
/// Where that is mounted.
pub const DIALER_FOLDER: &str = "/etc/quorate/tls/dialer";

/// Common name of the CA of a surface.
#[must_use]
pub fn authority(cluster_uid: &str, surface: Surface) -> String {
    format!("quorate-{}-{cluster_uid}", surface.field())
}

/// The host at which a member is reached.
#[must_use]
pub fn host(namespace: &str, cluster: &str, member: &str) -> String {
    format!("{member}.{}.{namespace}.svc", peer_service(cluster))
}

/// Every host that a member may be called by: through either service, by itself, and through a forwarded port.
#[must_use]
pub fn hosts(namespace: &str, cluster: &str) -> Vec<String> {
    let (client, any) = (client_service(cluster), host(namespace, cluster, "*"));
    vec![
        client.clone(),
        format!("{client}.{namespace}"),
        format!("{client}.{namespace}.svc"),
        format!("{client}.{namespace}.svc.cluster.local"),
        any.clone(),
        format!("{any}.cluster.local"),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ]
}

/// URL at which a member's peers reach it. It is how a member is told in the membership before it has started.
#[must_use]
pub fn peer_url(at: PeerPort, namespace: &str, cluster: &str, member: &str) -> String {
    let host = host(namespace, cluster, member);
    format!("{}://{host}:{}", at.scheme.as_str(), at.port)
}

/// The member that a peer URL leads to, and where it listens; none if the URL is none of this cluster's.
#[must_use]
pub fn peer_of_url(namespace: &str, cluster: &str, url: &str) -> Option<(String, PeerPort)> {
    let domain = format!(".{}.{namespace}.svc:", peer_service(cluster));
    let (host, _) = url.split_once("://")?.1.split_once(&domain)?;
    Some((host.to_owned(), PeerPort::of_url(url)?))
}

/// URL that a member tells clients that ask for the membership.
#[must_use]
pub fn client_url(scheme: Scheme, namespace: &str, cluster: &str, member: &str) -> String {
    let host = host(namespace, cluster, member);
    format!("{}://{host}:{CLIENT_PORT}", scheme.as_str())
}

/// The cluster token: two clusters never take each other's messages, nor a new one those of its namesake before it.
#[must_use]
pub fn token(namespace: &str, cluster: &str, cluster_uid: &str) -> String {
    format!("{namespace}-{cluster}-{cluster_uid}")
}

/// The data directory of a member: its first one, or that which a pod restored.
#[must_use]
pub fn data_dir(restored: Option<&str>) -> String {
    restored.map_or_else(
        || DATA_DIR.to_owned(),
        |pod| format!("{MOUNT_PATH}/restored-{pod}"),
    )
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
