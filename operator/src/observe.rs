//! Observe: all reads of a round, and nothing else.
//!
//! Every list is read live from the API server, whole, and after the cluster itself; the members are asked last, so that
//! what they say is the youngest fact of all. A round costs five lists and two small calls per member.
//!
//! It deliberately draws no conclusion and leaves nothing out: objects of an earlier cluster of the same name are facts too.

use std::collections::BTreeMap;

use crds::{RaftCluster, RaftMember};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use plan::{Observed, Probe, names};

use crate::context::Context;
use crate::kubernetes::{CallError, chain};
use crate::members::Endpoint;

/// Reads all that the plan for `cluster` is made from.
///
/// # Errors
/// [`CallError`], if the API server could not be read. A member that does not answer is a fact and no error.
pub async fn observe(ctx: &Context, cluster: &RaftCluster) -> Result<Observed, CallError> {
    let namespace = cluster.namespace().unwrap_or_default();
    let labels = names::selector(&cluster.name_any());
    let (members, pods, claims, services, budgets) = tokio::try_join!(
        ctx.kubernetes.list::<RaftMember>(&namespace, &labels),
        ctx.kubernetes.list::<Pod>(&namespace, &labels),
        ctx.kubernetes
            .list::<PersistentVolumeClaim>(&namespace, &labels),
        ctx.kubernetes.list::<Service>(&namespace, &labels),
        ctx.kubernetes
            .list::<PodDisruptionBudget>(&namespace, &labels),
    )?;
    let uid = cluster.uid();
    let ours = |pod: &&Pod| pod.annotations().get(names::CLUSTER_UID) == uid.as_ref();
    let probes = probe_all(ctx, pods.iter().filter(ours)).await;
    let taken_at = ctx.clock.now();
    Ok(Observed {
        taken_at,
        members,
        pods,
        claims,
        services,
        budgets,
        probes,
    })
}

/// Asks all members side by side; not those that an earlier cluster of this name has left running.
async fn probe_all(ctx: &Context, pods: impl Iterator<Item = &Pod>) -> BTreeMap<String, Probe> {
    let asked = pods.filter_map(endpoint).map(|at| async move {
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

/// Where the member in a pod is asked; nowhere if the pod has no address, or had one: an ended pod's address may be
/// somebody else's by now.
pub(crate) fn endpoint(pod: &Pod) -> Option<Endpoint> {
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
    Some(Endpoint {
        member,
        url: format!("http://{host}:{}", names::CLIENT_PORT),
    })
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
        let url = |phase, address| endpoint(&pod(phase, address)).map(|at| at.url);
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
    fn a_pod_that_is_no_members_is_not_asked() {
        let mut stranger = pod("Running", "10.0.0.1");
        stranger.metadata.labels = None;
        assert_eq!(endpoint(&stranger), None);
    }
}
