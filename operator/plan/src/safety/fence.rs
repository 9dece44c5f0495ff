//! What a member may have done to it that a person keeps stopped: nobody starts it, and the others have to do without it.
//!
//! Like the rest of the checker it shares no code with the policies.

use crds::{OperationPhase, RaftOperation};
use k8s_openapi::api::core::v1::Pod;

use super::volume::{annotation, label};
use super::{Facts, Violation, refuse};

/// The operation that keeps the member of a pod stopped.
pub(super) fn of<'a>(facts: &Facts<'a>, pod: &Pod) -> Option<&'a RaftOperation> {
    let member = label(&pod.metadata, "quorate.io/member")?;
    let cluster = annotation(&pod.metadata, "quorate.io/cluster-uid")?;
    let keeps = |it: &&RaftOperation| {
        let named = it.spec.fence.as_ref().is_some_and(|it| it.member == member);
        let goes_on = it.status.as_ref().is_some_and(|it| {
            let ours = it.cluster_uid.as_deref() == Some(cluster);
            let said = it.plan.iter().flat_map(|it| &it.steps).any(|it| it.done);
            ours && said && it.phase == OperationPhase::Running
        });
        named && goes_on && it.metadata.deletion_timestamp.is_none()
    };
    facts.observed.operations.iter().find(keeps)
}

/// Deleting the operation is the user's word that it may start again.
pub(super) fn start(facts: &Facts<'_>, pod: &Pod) -> Result<(), Violation> {
    match of(facts, pod) {
        None => Ok(()),
        Some(operation) => refuse(
            3,
            format!(
                "pod {} is to be made while operation {} keeps its member stopped",
                pod.metadata.name.as_deref().unwrap_or_default(),
                operation.metadata.name.as_deref().unwrap_or_default()
            ),
        ),
    }
}
