//! Recovery from quorum loss: a new cluster is made of what one member has, after a person has read what that may lose.
//!
//! ```text
//! plan in status ─► acknowledged ─► latched ─► all pods stopped ─► volumes snapshotted ─► restored beside the old data ─► claim marked
//!                                     └───────────── given up, nothing changed ────────────┘     ─► the survivor runs alone ─► the rest is as ever
//! ```
//!
//! Invariants:
//! - It never starts by itself, nor by a plan that is not the one of now: see `recover/facts.rs` for what a plan rests on.
//! - It is latched in the cluster's status before anything is done, and from then on has all rounds. Until the claim is marked,
//!   nothing was changed that starting the pods would not undo; it is given up when a majority answers after all, when the
//!   survivor's volume goes, or when the operation is deleted. After the mark it is only ever gone on with.
//! - What was restored counts by the mark alone, which names the pod that has done it. Nobody starts on anything else then.
//! - The new cluster's id, its members' ids and its token are none of the old one's. All other members are out of it: their
//!   identities go, and the status forgets their ids, before anybody else works on the cluster again. `upkeep.rs` clears away
//!   what is left of them, and `join.rs` brings new ones.
//!
//! This file deliberately deletes no volume and adds no member.

mod facts;
mod rebuild;
mod snapshots;

pub(crate) use rebuild::go_on;
pub use snapshots::{classes_to_snapshot, snapshot_class, snapshots_in_question};

use crds::OperationType::Requested;
use crds::{
    OperationPhase, OperationPlan, OperationStep, RaftOperation, RecoverQuorum, Recovering,
    RecoveryPlan,
};

use super::{Standing, tell};
use crate::{
    draft::{Draft, moving},
    report::Work,
    view::{Member, View},
};

/// Whether a cluster is being rebuilt, so that nobody else may touch its members.
pub(crate) fn is_under_way(view: &View<'_>) -> bool {
    view.memory.recovering.is_some()
}

/// The operations that ask for it and have not ended, the oldest first.
fn open<'a>(view: &View<'a>) -> Vec<&'a RaftOperation> {
    super::open(view, |it| it.recover_quorum.is_some())
}

/// Shows what a recovery would be, and latches the one that is acknowledged; no work but then.
pub(crate) fn consider(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    let open = open(view);
    let (first, others) = open.split_first()?;
    let name = first.metadata.name.clone().unwrap_or_default();
    for other in others {
        let standing = pending(format!("operation {name} comes first"), None);
        tell::tell(view, draft, other, standing);
    }
    let (standing, latch) = decide(view, first);
    tell::tell(view, draft, first, standing);
    let survivor = latch.as_ref().map(|it| it.survivor.clone())?;
    draft.memory.recovering = latch;
    Some(moving(Requested, "RecoverQuorum", &survivor))
}

fn pending(message: String, plan: Option<OperationPlan>) -> Standing {
    Standing {
        phase: OperationPhase::Pending,
        message,
        plan,
    }
}

/// How an operation stands that has not been begun, and what is to be latched if it is begun now.
fn decide(view: &View<'_>, operation: &RaftOperation) -> (Standing, Option<Recovering>) {
    let status = operation.status.clone().unwrap_or_default();
    if status.cluster_uid.is_some_and(|it| it != view.spec.uid) {
        let why = "it was meant for an earlier cluster of this name".to_owned();
        return (Standing::failed(why, status.plan), None);
    }
    let asked = operation.spec.recover_quorum.clone().unwrap_or_default();
    let found = facts::plan(view, &asked);
    let shown = status.plan.and_then(|it| it.recovery);
    match found {
        Err(why) if operation.spec.dry_run => {
            let message = format!("it would be refused: {why}");
            (planned(message, None), None)
        }
        Err(why) => (pending(format!("refused for now: {why}"), None), None),
        Ok(plan) if operation.spec.dry_run => {
            let message = format!("plan {}: {}", plan.name, plan.may_lose);
            (planned(message, Some(steps(plan))), None)
        }
        Ok(plan) if asked.acknowledge.as_ref() != Some(&plan.name) => {
            let message = wait_for_word(view, operation, &asked, &plan);
            (pending(message, Some(steps(plan))), None)
        }
        // Nobody can have read what was never shown.
        Ok(plan) if shown.as_ref().map(|it| &it.name) != Some(&plan.name) => {
            let message = format!("plan {} is acknowledged", plan.name);
            (pending(message, Some(steps(plan))), None)
        }
        Ok(plan) => begin(view, operation, plan),
    }
}

fn planned(message: String, plan: Option<OperationPlan>) -> Standing {
    Standing {
        phase: OperationPhase::Planned,
        message,
        plan,
    }
}

fn wait_for_word(
    view: &View<'_>,
    operation: &RaftOperation,
    asked: &RecoverQuorum,
    plan: &RecoveryPlan,
) -> String {
    let (namespace, name) = (&view.spec.namespace, operation.metadata.name.as_deref());
    let stale = asked.acknowledge.as_ref().map(|it| {
        format!(
            "plan {it} was acknowledged and is not the plan of now, because facts have changed; "
        )
    });
    format!(
        "{}plan {} waits to be acknowledged. {}. To have it carried out: kubectl -n {namespace} patch raftoperation {} \
         --type=merge -p '{{\"spec\":{{\"recoverQuorum\":{{\"acknowledge\":\"{}\"}}}}}}'",
        stale.unwrap_or_default(),
        plan.name,
        plan.may_lose,
        name.unwrap_or_default(),
        plan.name
    )
}

fn steps(plan: RecoveryPlan) -> OperationPlan {
    let step = |action: &str, member: Option<&String>| OperationStep {
        action: action.to_owned(),
        member: member.cloned(),
        ..OperationStep::default()
    };
    let snapshots = !snapshots::of_plan(&plan).is_empty();
    let steps = [
        Some(step("StopMembers", None)),
        snapshots.then(|| step("SnapshotVolumes", None)),
        Some(step("RestoreData", Some(&plan.survivor))),
        Some(step("StartMember", Some(&plan.survivor))),
    ];
    OperationPlan {
        steps: steps.into_iter().flatten().collect(),
        recovery: Some(plan),
        ..OperationPlan::default()
    }
}

fn begin(
    view: &View<'_>,
    operation: &RaftOperation,
    plan: RecoveryPlan,
) -> (Standing, Option<Recovering>) {
    let survivor = view.members.get(&plan.survivor);
    let claim = survivor.and_then(|it| it.claim_target());
    let latch = Recovering {
        operation: operation.metadata.name.clone().unwrap_or_default(),
        operation_uid: operation.metadata.uid.clone().unwrap_or_default(),
        plan: plan.name.clone(),
        survivor: plan.survivor.clone(),
        claim_uid: claim.map(|it| it.uid).unwrap_or_default(),
        lost_cluster_id: view.memory.cluster_id.clone().unwrap_or_default(),
        restored_before: survivor.and_then(Member::restored).map(ToOwned::to_owned),
        snapshots: snapshots::of_plan(&plan),
    };
    let standing = Standing {
        phase: OperationPhase::Running,
        message: format!("plan {} is acknowledged and begins", plan.name),
        plan: Some(steps(plan)),
    };
    (standing, Some(latch))
}
