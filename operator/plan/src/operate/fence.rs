//! Members that are kept stopped for as long as a `RaftOperation` with `fence` is there.
//!
//! ```text
//! planned ─► the others can do without it, and it does not lead ─► said in the plan ─► the pod is stopped ─► no pod is made
//!                     └──────────── taken back while the pod is there ◄────┘
//! ```
//!
//! Invariants:
//! - Whether a member is fenced follows from the operations that are there: one that runs and says that it holds. So a crash
//!   between any two writes changes nothing, and deleting the operation is all that it takes to have the member start again.
//! - It is said before the pod is stopped, and the gates are asked again before it is: nobody makes the pod again in between.
//! - The voters left are healthy, caught up and a majority of those there are and of those that are wanted.
//! - A fence that stands is nobody's work, and one that waits holds nothing else up.
//!
//! What goes on beside one: roll-outs, restarts, scaling down (it goes first), whatever the majority allows. What waits for its
//! end says so: new members, CAs that are replaced, and peers that move.
//!
//! This file deliberately makes no pod: `upkeep.rs` makes it again.

use crds::OperationType::Requested;
use crds::{Fence, OperationPhase, OperationPlan, RaftOperation};

use super::{
    step::{Turn, member_of, take_down},
    take,
};
use crate::{
    action::Action,
    draft::{Draft, hand_over, majority, moving, no_quorum, short_of, waiting},
    observed::Observed,
    report::Work,
    view::{Member, View},
};

const STEP: &str = "FenceMember";

/// The gate of what waits for the end of a fence.
pub(crate) const GATE: &str = "Fenced";

/// The operation that keeps a member of this cluster stopped, if one does.
pub(crate) fn of<'a>(observed: &'a Observed, cluster_uid: &str, member: &str) -> Option<&'a str> {
    let mut operations = observed.operations.iter();
    let found = operations.find(|it| {
        let asked = it.spec.fence.as_ref().map(|it| it.member.as_str());
        asked == Some(member) && holds(it, cluster_uid)
    });
    found?.metadata.name.as_deref()
}

/// Whether an operation keeps its member stopped.
pub(super) fn holds(operation: &RaftOperation, cluster_uid: &str) -> bool {
    let Some(status) = &operation.status else {
        return false;
    };
    let mut steps = status.plan.iter().flat_map(|it| &it.steps);
    operation.spec.fence.is_some()
        && operation.metadata.deletion_timestamp.is_none()
        && status.phase == OperationPhase::Running
        && status.cluster_uid.as_deref() == Some(cluster_uid)
        && steps.any(|it| it.done)
}

/// Who keeps a member stopped, and the way out.
pub(crate) fn sentence(member: &Member<'_>) -> Option<String> {
    let operation = member.fenced?;
    Some(format!(
        "member {} is fenced by RaftOperation {operation}; delete that to have it start again",
        member.name
    ))
}

/// The same of all that are stopped; none if nobody is.
pub(crate) fn told(view: &View<'_>) -> Option<String> {
    let members = view.members.values();
    let stopped = members.filter(|it| it.pod.is_none() || it.pod_ending());
    let sentences: Vec<String> = stopped.filter_map(sentence).collect();
    (!sentences.is_empty()).then(|| sentences.join("; "))
}

/// A voter that is kept stopped, in words, for those who need every voter.
pub(crate) fn of_a_voter(view: &View<'_>) -> Option<String> {
    let mut voters = view.members.values().filter(|it| it.is_voter());
    voters.find_map(sentence)
}

/// The operations that ask for it and have not ended, the oldest first.
fn open<'a>(view: &View<'a>) -> Vec<&'a RaftOperation> {
    super::open(view, |it| it.fence.is_some())
}

/// Takes the first fence that can be brought nearer one step further; no work where all stand or wait.
pub(crate) fn fence(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    let mut works = open(view)
        .into_iter()
        .filter_map(|it| take(view, draft, it));
    works.find(|it| it.blocked_by.is_empty())
}

/// What keeps a fence from being put up, when nothing else is in hand.
pub(crate) fn wait(view: &View<'_>) -> Option<Work> {
    let mut draft = Draft::new(view);
    let mut works = open(view)
        .into_iter()
        .filter_map(|it| take(view, &mut draft, it));
    works.find(|it| !it.blocked_by.is_empty())
}

/// One step further towards a member that is stopped, or that it is.
pub(super) fn step(
    view: &View<'_>,
    draft: &mut Draft,
    asked: &Fence,
    plan: &mut OperationPlan,
) -> Turn {
    let name = &asked.member;
    let Some(step) = plan.steps.first_mut() else {
        return Turn::Failed("its plan is gone".to_owned());
    };
    let Some(member) = member_of(view, step) else {
        return if step.done {
            Turn::Done(format!("member {name} has left the cluster"))
        } else {
            Turn::Failed(format!("member {name} is gone"))
        };
    };
    if step.done && member.pod.is_none() {
        return Turn::Rest(format!(
            "member {name} is stopped; delete this operation to have it start again"
        ));
    }
    if step.done && member.pod_ending() {
        let why = member.trouble(view);
        return Turn::Work(waiting(Requested, STEP, name, "PodGone", why));
    }
    if let Some(work) = gate(view, draft, member) {
        step.done = false;
        return Turn::Work(work);
    }
    if !step.done {
        // A pod that cannot be made must not keep it from being said.
        let makes = |it: &Action| matches!(it, Action::CreatePod(pod) if pod.metadata.name.as_ref() == Some(name));
        draft.actions.retain(|it| !makes(it));
        step.done = true;
        return Turn::Work(moving(Requested, STEP, name));
    }
    let why = "a RaftOperation fences its member";
    Turn::Work(take_down(draft, member, STEP, why))
}

/// What has to come before the member is stopped, if anything.
fn gate(view: &View<'_>, draft: &mut Draft, member: &Member<'_>) -> Option<Work> {
    let voters = view.voters().len();
    let needed = majority(voters.max(view.spec.replicas));
    let short = if view.membership.is_none() {
        no_quorum(view)
    } else if member.is_voter() {
        short_of(view, member, needed)
    } else {
        None
    };
    if let Some(why) = short {
        return Some(waiting(Requested, STEP, &member.name, "Quorum", why));
    }
    let leads = view.leads(member) && voters > 1;
    leads.then(|| hand_over(view, draft, Requested, member))
}
