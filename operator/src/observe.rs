//! Observe: all reads of a round, and nothing else.
//!
//! Every list is read live from the API server (but for a glance, which acts on nothing), whole, and after the cluster itself;
//! the members are asked last, so that what they say is the youngest fact of all. A round costs five lists and two small calls
//! per member, and a sixth list where there may be a NetworkPolicy; three more where it is not known that the namespace holds
//! none of what people ask for beside clusters (`absences.rs`); while volumes have to grow, one call more for each of their
//! classes, with TLS one read of each Secret that the cluster names, and of its `Certificate` where cert-manager fills it, with
//! authentication one more and a question to one member; and the node of the leader, those of the others while anything is in
//! hand, and for a member that does not answer up to three reads: where it stands (`footing.rs`).
//! Of the Secrets only what the operator shows to members outlives the reading.
//!
//! It deliberately draws no conclusion and leaves nothing out: objects of an earlier cluster of the same name are facts too.

use std::collections::{BTreeMap, BTreeSet};

use crds::{RaftCluster, RaftMember, RaftOperation};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use plan::names::{self, Scheme, Surface};
use plan::{Handshake, Keyring, Observed, Probe, Seen};

use crate::accounts;
use crate::cert_manager;
use crate::certificates;
use crate::context::Context;
use crate::footing::{footings, nodes};
use crate::kubernetes::{CallError, chain};
use crate::members::{Credentials, Door, Endpoint, Secured};
use crate::snapshots;

/// Reads all that the plan for `cluster` is made from.
///
/// # Errors
/// [`CallError`], if the API server could not be read. A member that does not answer is a fact and no error.
pub async fn observe(
    ctx: &Context,
    cluster: &RaftCluster,
) -> Result<(Observed, Option<Credentials>), CallError> {
    let namespace = cluster.namespace().unwrap_or_default();
    let labels = names::selector(&cluster.name_any());
    let (members, pods, claims, services, budgets, network_policies, operations, naming) = tokio::try_join!(
        ctx.kubernetes.list::<RaftMember>(&namespace, &labels),
        ctx.kubernetes.list::<Pod>(&namespace, &labels),
        ctx.kubernetes
            .list::<PersistentVolumeClaim>(&namespace, &labels),
        ctx.kubernetes.list::<Service>(&namespace, &labels),
        ctx.kubernetes
            .list::<PodDisruptionBudget>(&namespace, &labels),
        network_policies(ctx, cluster, &labels),
        operations(ctx, cluster, &namespace),
        accounts::naming(ctx, cluster, &namespace),
    )?;
    let classes = expandable(ctx, plan::classes_in_question(cluster, &claims)).await;
    let Secrets {
        keyrings,
        credentials,
        roots,
    } = secrets(ctx, cluster, &namespace).await?;
    let requested = cert_manager::seen(ctx, cluster).await;
    let snapshot_classes = snapshots::classes(ctx, cluster, &claims, &operations).await?;
    let snapshots = snapshots::seen(ctx, cluster).await;
    let uid = cluster.uid();
    let ours = |pod: &&Pod| pod.annotations().get(names::CLUSTER_UID) == uid.as_ref();
    let watched = plan::rotation::watched(cluster, &operations, ctx.clock.now());
    let ours_now: Vec<&Pod> = pods.iter().filter(ours).collect();
    let handshakes = shake_all(ctx, doors(&watched, &ours_now, &roots)).await;
    let probes = probe_all(ctx, pods.iter().filter(ours), credentials.as_ref()).await;
    let declarations = accounts::declarations(ctx, cluster, naming).await?;
    let place = (&ours_now[..], &probes);
    let accounts = accounts::ask(ctx, cluster, &declarations, place, credentials.as_ref()).await;
    let mut footings = footings(ctx, uid.as_deref(), (&pods, &claims), &probes).await?;
    let operation = cluster.status.as_ref().and_then(|it| it.operation.as_ref());
    let in_hand = operation.is_some() || !operations.is_empty();
    footings.extend(nodes(ctx, &pods, &probes, in_hand).await?);
    let taken_at = ctx.clock.now();
    let observed = Observed {
        taken_at,
        run_state: cluster.spec.run_state,
        recovering: cluster.status.as_ref().and_then(|it| it.recovering.clone()),
        members,
        pods,
        claims,
        services,
        budgets,
        network_policies,
        operator: ctx.own_pods.clone(),
        classes,
        keyrings,
        certificates: requested,
        snapshot_classes,
        snapshots,
        handshakes,
        declarations,
        accounts,
        operations,
        probes,
        footings,
    };
    Ok((observed, credentials))
}

/// The operations that name the cluster: in their spec, where people write it.
async fn operations(
    ctx: &Context,
    cluster: &RaftCluster,
    namespace: &str,
) -> Result<Vec<RaftOperation>, CallError> {
    let in_question = plan::operations_in_question(cluster);
    let mut operations: Vec<RaftOperation> = ctx.list_rare(namespace, in_question).await?;
    operations.retain(|it| it.spec.cluster_name == cluster.name_any());
    Ok(operations)
}

/// The cluster's NetworkPolicies, where there may be any.
async fn network_policies(
    ctx: &Context,
    cluster: &RaftCluster,
    labels: &str,
) -> Result<Vec<NetworkPolicy>, CallError> {
    if !plan::network_policy::is_in_question(cluster) {
        return Ok(Vec::new());
    }
    let namespace = cluster.namespace().unwrap_or_default();
    ctx.kubernetes.list(&namespace, labels).await
}

/// What is read of the Secrets that a cluster needs.
#[derive(Default)]
struct Secrets {
    /// What is known of each.
    keyrings: Vec<Keyring>,
    /// What to show to the members.
    credentials: Option<Credentials>,
    /// Whom to believe on each surface, in PEM.
    roots: BTreeMap<Surface, String>,
}

/// The Secrets that the cluster needs, each read by its name.
async fn secrets(
    ctx: &Context,
    cluster: &RaftCluster,
    namespace: &str,
) -> Result<Secrets, CallError> {
    let shown = plan::certificates::shown_by_operator(cluster);
    let mounted = Surface::ALL.map(|it| (it, plan::certificates::mounted_now(cluster, it)));
    let mut read = Secrets::default();
    for name in plan::certificates::secrets(cluster) {
        let Some(secret) = ctx.kubernetes.find::<Secret>(namespace, &name).await? else {
            continue;
        };
        if let Some((_, stem)) = shown.as_ref().filter(|it| it.0 == name) {
            read.credentials = Credentials::of(&secret, stem);
        }
        let surfaces = mounted.iter().filter(|it| it.1.as_deref() == Some(&name));
        for (surface, _) in surfaces {
            let roots = certificates::text(&secret, "ca.crt");
            read.roots.insert(*surface, roots.unwrap_or_default());
        }
        read.keyrings.push(certificates::keyring(&secret));
    }
    Ok(read)
}

/// Whether volumes of these classes can grow in place. One that cannot be read is left out: the right to is a comfort, and
/// without it growing is simply tried.
async fn expandable(ctx: &Context, names: BTreeSet<String>) -> BTreeMap<String, bool> {
    let asked = names.into_iter().map(|name| async move {
        match ctx.kubernetes.see::<StorageClass>(&name).await {
            Ok(Seen::There(class)) => Some((name, class.allow_volume_expansion.unwrap_or(false))),
            Ok(Seen::Absent) => Some((name, false)),
            Ok(Seen::Forbidden | Seen::Nothing) => None,
            Err(error) => {
                tracing::debug!(error = chain(&error), "the storage class is not known");
                None
            }
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Asks all members side by side; not those that an earlier cluster of this name has left running.
async fn probe_all(
    ctx: &Context,
    pods: impl Iterator<Item = &Pod>,
    credentials: Option<&Credentials>,
) -> BTreeMap<String, Probe> {
    let places = pods.filter_map(|pod| endpoint(pod, credentials));
    let asked = places.map(|at| async move {
        let answer = ctx.members.probe(&at).await.map_err(|error| chain(&error));
        (
            at.member,
            Probe {
                taken_at: ctx.clock.now(),
                answer,
            },
        )
    });
    join_all(asked).await.into_iter().collect()
}

/// A member and a surface on which it is met.
type Place = (String, Surface);

/// Meets all members at these doors side by side.
async fn shake_all(
    ctx: &Context,
    doors: Vec<(Place, Door)>,
) -> BTreeMap<Place, Result<Handshake, String>> {
    let met = doors
        .into_iter()
        .map(|(place, door)| async move { (place, ctx.members.handshake(&door).await) });
    join_all(met).await.into_iter().collect()
}

/// Where the members in these pods are met.
fn doors(
    surfaces: &BTreeSet<Surface>,
    pods: &[&Pod],
    roots: &BTreeMap<Surface, String>,
) -> Vec<(Place, Door)> {
    let mut doors = Vec::new();
    for (surface, roots) in surfaces.iter().filter_map(|it| Some((*it, roots.get(it)?))) {
        let met = pods.iter().filter_map(|it| door(it, surface, roots));
        doors.extend(met.map(|(member, door)| ((member, surface), door)));
    }
    doors
}

/// On which port the member in a pod speaks TLS with its peers, as the pod was made.
fn secured_peer_port(pod: &Pod) -> Option<i32> {
    let mut all = plan::peers::listened_on(pod).into_iter();
    let secured = all.find(|it| it.scheme == Scheme::Https)?;
    Some(secured.port)
}

/// Where the member in a pod is met on a surface, if it has an address and TLS there.
fn door(pod: &Pod, surface: Surface, roots: &str) -> Option<(String, Door)> {
    let Endpoint { member, url, .. } = endpoint(pod, None)?;
    let (_, authority) = url.split_once("://")?;
    let (address, _) = authority.rsplit_once(':')?;
    let port = match surface {
        Surface::Peer => secured_peer_port(pod)?,
        Surface::Client => names::CLIENT_PORT,
    };
    let door = Door {
        authority: format!("{address}:{port}"),
        host: host_of(pod, &member),
        roots: roots.to_owned(),
    };
    Some((member, door))
}

/// Where the member in a pod is asked; nowhere if the pod has no address, or had one: an ended pod's address may be
/// somebody else's by now.
pub(crate) fn endpoint(pod: &Pod, credentials: Option<&Credentials>) -> Option<Endpoint> {
    let status = pod.status.as_ref()?;
    if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        return None;
    }
    let address = status
        .pod_ip
        .as_deref()
        .filter(|address| !address.is_empty())?;
    let host = if address.contains(':') {
        format!("[{address}]")
    } else {
        address.to_owned()
    };
    let member = pod.labels().get(names::MEMBER_LABEL)?.clone();
    let scheme = scheme(pod, credentials.is_some());
    Some(Endpoint {
        url: format!("{}://{host}:{}", scheme.as_str(), names::CLIENT_PORT),
        tls: credentials
            .filter(|_| scheme == Scheme::Https)
            .map(|it| Secured {
                host: host_of(pod, &member),
                credentials: it.clone(),
            }),
        member,
    })
}

/// How the member in a pod is spoken to: by what the pod was made with, whatever the spec says now. With TLS if it has that,
/// but where it serves both and there is nothing to show.
fn scheme(pod: &Pod, shows: bool) -> Scheme {
    let containers = pod.spec.iter().flat_map(|it| &it.containers);
    let mut args = containers.flat_map(|it| it.args.iter().flatten());
    let urls = args.find_map(|it| it.strip_prefix("--listen-client-urls="));
    let serves =
        |scheme: &str| urls.is_some_and(|urls| urls.split(',').any(|it| it.starts_with(scheme)));
    if serves("https:") && (shows || !serves("http:")) {
        Scheme::Https
    } else {
        Scheme::Http
    }
}

fn host_of(pod: &Pod, member: &str) -> String {
    let cluster = pod.labels().get(names::CLUSTER_LABEL);
    let cluster = cluster.map(String::as_str).unwrap_or_default();
    names::host(&pod.namespace().unwrap_or_default(), cluster, member)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodStatus;
    use kube::api::ObjectMeta;

    use super::*;

    fn pod(phase: &str, address: &str) -> Pod {
        Pod {
            metadata: ObjectMeta {
                labels: Some([(names::MEMBER_LABEL.to_owned(), "kv-a".to_owned())].into()),
                ..ObjectMeta::default()
            },
            status: Some(PodStatus {
                phase: Some(phase.into()),
                pod_ip: Some(address.into()),
                ..PodStatus::default()
            }),
            ..Pod::default()
        }
    }

    #[test]
    fn only_a_living_pod_with_an_address_is_asked() {
        let url = |phase, address| endpoint(&pod(phase, address), None).map(|at| at.url);
        assert_eq!(
            url("Running", "10.0.0.1").as_deref(),
            Some("http://10.0.0.1:2379")
        );
        assert_eq!(
            url("Running", "fd00::1").as_deref(),
            Some("http://[fd00::1]:2379")
        );
        assert_eq!(url("Pending", ""), None);
        assert_eq!(url("Failed", "10.0.0.1"), None);
        assert_eq!(url("Succeeded", "10.0.0.1"), None);
    }

    #[test]
    fn a_member_with_tls_is_never_asked_without() {
        let mut secured = pod("Running", "10.0.0.1");
        let spec = serde_json::json!({"containers": [{
            "name": "member", "args": ["--listen-client-urls=https://$(POD_IP):2379"],
        }]});
        secured.spec = Some(serde_json::from_value(spec).expect("a pod's spec"));
        let at = endpoint(&secured, None).expect("it has an address");
        assert_eq!((at.url.as_str(), at.tls), ("https://10.0.0.1:2379", None));
    }

    #[test]
    fn a_pod_that_is_no_members_is_not_asked() {
        let mut stranger = pod("Running", "10.0.0.1");
        stranger.metadata.labels = None;
        assert_eq!(endpoint(&stranger, None), None);
    }
}
