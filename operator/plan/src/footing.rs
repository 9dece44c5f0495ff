//! Whether a member stands on a node that is dead, and whether it can go anywhere else.
//!
//! A node is dead to a member when the member does not answer *and* Kubernetes does not hear of the node: neither alone is
//! enough, for a kubelet may be silent while the members on its node serve, and a member while its node is well. Waiting for
//! Kubernetes to drive the pod out would take five minutes, and a pod that it cannot end would still not come back.
//!
//! A node is about to be emptied when it is cordoned, or carries a taint by which the tools that end nodes say so beforehand.
//! Any other taint is none of our business: it may be there for good.
//!
//! This file deliberately knows no patience: see `repair.rs`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;

use crate::{
    observed::{Footing, Seen},
    upkeep,
    view::{Member, View},
};

/// Taints by which nodes are marked before they are emptied: by `kubectl cordon` and `drain`, the cluster autoscaler, Karpenter, the
/// handler of AWS's notices, GKE, and a cloud provider that has shut a machine down.
const EMPTYING: [&str; 10] = [
    "node.kubernetes.io/unschedulable",
    "ToBeDeletedByClusterAutoscaler",
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
    "aws-node-termination-handler/spot-itn",
    "aws-node-termination-handler/scheduled-maintenance",
    "aws-node-termination-handler/asg-lifecycle-termination",
    "aws-node-termination-handler/rebalance-recommendation",
    "cloud.google.com/impending-node-termination",
    "node.cloudprovider.kubernetes.io/shutdown",
];

/// Whether a node takes no new pods because those that it has are about to be sent away.
#[must_use]
pub fn is_about_to_be_emptied(node: &Node) -> bool {
    let Some(spec) = &node.spec else {
        return false;
    };
    let mut taints = spec.taints.iter().flatten();
    spec.unschedulable == Some(true) || taints.any(|it| EMPTYING.contains(&it.key.as_str()))
}

/// Whether a member that answers may stay where it is; none if its node is not known.
pub(crate) fn stays(view: &View<'_>, member: &Member<'_>) -> Option<bool> {
    match &view.observed.footings.get(&member.name)?.node {
        Seen::There(node) => Some(!is_about_to_be_emptied(node)),
        _ => None,
    }
}

/// How a silent member's ground is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fall {
    /// No node is left on which its volume can be used.
    Gone,
    /// Kubernetes does not hear of the node, and the member can run on no other.
    Silent,
}

/// How a member's ground is lost, if it is.
pub(crate) fn fall(view: &View<'_>, member: &Member<'_>) -> Option<Fall> {
    match &of(view, member)?.within {
        Seen::There(nodes) if nodes.is_empty() => Some(Fall::Gone),
        Seen::There(nodes) if nodes.iter().all(is_silent) => Some(Fall::Silent),
        _ if is_on_dead_node(view, member) && upkeep::is_overdue(view, member) => {
            Some(Fall::Silent)
        }
        _ => None,
    }
}

/// Whether a silent member's pod is on a node that is gone or that Kubernetes does not hear of.
pub(crate) fn is_on_dead_node(view: &View<'_>, member: &Member<'_>) -> bool {
    of(view, member).is_some_and(|it| match &it.node {
        Seen::There(node) => is_silent(node),
        Seen::Absent => true,
        Seen::Nothing | Seen::Forbidden => false,
    })
}

/// Whether a member's ground was looked for in vain, for want of the right to.
pub(crate) fn is_hidden(view: &View<'_>, member: &Member<'_>) -> bool {
    let hidden = |it: &Footing| it.node == Seen::Forbidden || it.within == Seen::Forbidden;
    of(view, member).is_some_and(hidden)
}

/// When Kubernetes last heard of the silent node of a silent member.
pub(crate) fn last_heard(view: &View<'_>, member: &Member<'_>) -> Option<Timestamp> {
    let Seen::There(node) = &of(view, member)?.node else {
        return None;
    };
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let mut all = conditions.iter().filter(|_| is_silent(node));
    let ready = all.find(|it| it.type_ == "Ready")?;
    ready.last_heartbeat_time.as_ref().map(|it| it.0)
}

/// Where a member stands that does not answer.
fn of<'v>(view: &'v View<'_>, member: &Member<'_>) -> Option<&'v Footing> {
    let silent = member.answer.is_none() && !upkeep::speaks(view, member);
    let footing = view.observed.footings.get(&member.name)?;
    silent.then_some(footing)
}

/// Whether Kubernetes does not hear of a node.
fn is_silent(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|it| it.conditions.as_ref());
    let mut all = conditions.into_iter().flatten();
    all.any(|it| it.type_ == "Ready" && it.status != "True")
}
