//! The next step of an operation, behind the gates that its kind of step has.
//!
//! Every step asks what is there: a member has restarted when its pod is another one, a hand-over is done when the heir leads.
//! What leaves no trace (a compaction, a defragmentation) is marked in the plan after its call, and may be done twice.
//!
//! It deliberately gives nothing up for taking long: an operation that is no longer wanted is deleted.

use crds::OperationType::{self, Requested};
use crds::{OperationPlan, OperationStep, RaftOperationSpec};

use super::{certificates, fence};
use crate::{
    action::Action,
    draft::{Draft, hand_over, moving, no_quorum, waiting},
    footing, leave,
    report::Work,
    rollout::{blocked, in_transit},
    view::{Member, View},
};

/// What became of the operation in this round.
pub(super) enum Turn {
    /// It has ended well.
    Done(String),
    /// It cannot go on.
    Failed(String),
    /// It moves, or waits.
    Work(Work),
    /// It waits on purpose, in words, and nothing is in hand meanwhile.
    Rest(String),
}

/// Takes the next step of a plan, marking what is done.
pub(super) fn step(
    view: &View<'_>,
    draft: &mut Draft,
    asked: &RaftOperationSpec,
    plan: &mut OperationPlan,
) -> Turn {
    match asked {
        RaftOperationSpec {
            transfer_leader: Some(it),
            ..
        } => transfer(view, draft, &it.to, plan),
        RaftOperationSpec {
            restart: Some(_), ..
        } => restart(view, draft, plan),
        RaftOperationSpec {
            replace_member: Some(it),
            ..
        } => replace(view, &it.member, plan),
        RaftOperationSpec {
            defragment: Some(_),
            ..
        } => defragment(view, draft, plan),
        RaftOperationSpec {
            rotate_certificates: Some(it),
            ..
        } => certificates::step(view, draft, it, plan),
        RaftOperationSpec {
            fence: Some(it), ..
        } => fence::step(view, draft, it, plan),
        _ => compact(view, draft, plan),
    }
}

fn transfer(view: &View<'_>, draft: &mut Draft, to: &str, plan: &mut OperationPlan) -> Turn {
    const STEP: &str = "HandOver";
    let Some(heir) = view.members.get(to).filter(|it| it.identity.is_some()) else {
        return Turn::Failed(format!("member {to} is gone"));
    };
    if heir.permanent {
        return Turn::Failed(format!(
            "member {to} is a learner for good and leads nobody; name one that votes"
        ));
    }
    let wait = |gate, why| Turn::Work(waiting(Requested, STEP, to, gate, why));
    let Some(leader) = view.leading() else {
        return wait("Leader", "no member leads".to_owned());
    };
    if leader.name == to {
        plan.steps.iter_mut().for_each(|it| it.done = true);
        return Turn::Done(format!("member {to} leads"));
    }
    if heir.is_learner() {
        return wait("Heir", format!("member {to} has no vote yet"));
    }
    if !heir.good {
        return wait("Heir", heir.trouble(view));
    }
    if footing::stays(view, heir) == Some(false) {
        let node = heir.node().unwrap_or_default();
        let why = format!(
            "node {node} of member {to} is about to be emptied; uncordon it, or name another member"
        );
        return wait("Heir", why);
    }
    let ground = view.ground("").filter(|it| it.via == leader.name);
    match (ground, heir.listed.as_ref()) {
        (Some(ground), Some(listed)) => {
            draft.actions.push(Action::MoveLeader {
                to: to.to_owned(),
                to_id: listed.id,
                ground,
            });
            Turn::Work(moving(Requested, STEP, to))
        }
        _ => wait(
            "Leader",
            format!("member {} leads and does not answer", leader.name),
        ),
    }
}

/// The member of a step, while it has a future in the cluster.
pub(super) fn member_of<'v, 'a>(
    view: &'v View<'a>,
    step: &OperationStep,
) -> Option<&'v Member<'a>> {
    let member = view.members.get(step.member.as_deref()?)?;
    let known = view.membership.is_some();
    Some(member).filter(|it| it.identity.is_some() && !it.removed(known))
}

fn leads(view: &View<'_>, member: &Member<'_>) -> bool {
    view.leading().is_some_and(|it| it.name == member.name)
}

/// Whether a member's pod is another one than it was.
fn is_renewed(member: &Member<'_>, step: &OperationStep) -> bool {
    member.pod_target().map(|it| it.uid) != step.pod_uid
}

fn restart(view: &View<'_>, draft: &mut Draft, plan: &mut OperationPlan) -> Turn {
    for step in &mut plan.steps {
        // One that is kept stopped has a new start before it.
        let back = |it: &Member<'_>| it.fenced.is_some() || (is_renewed(it, step) && it.settled());
        step.done = step.done || member_of(view, step).is_none_or(back);
    }
    let open = || plan.steps.iter().filter(|it| !it.done);
    let members = || open().filter_map(|it| Some((it, member_of(view, it)?)));
    let on_its_way =
        |step: &OperationStep, it: &Member<'_>| is_renewed(it, step) || it.pod_ending();
    if let Some((_, member)) = members().find(|it| on_its_way(it.0, it.1)) {
        let (name, why) = (&member.name, member.trouble(view));
        return Turn::Work(waiting(
            Requested,
            "WaitForMember",
            name,
            "MemberReady",
            why,
        ));
    }
    let next = members()
        .map(|(_, it)| it)
        .min_by_key(|it| (it.good && it.pod_ready(), leads(view, it), it.serial));
    match next {
        Some(next) => Turn::Work(stop(view, draft, next)),
        None => Turn::Done(format!("members restarted: {}", plan.steps.len())),
    }
}

/// Stops a member so that it is started again, if all others are where they should be.
fn stop(view: &View<'_>, draft: &mut Draft, next: &Member<'_>) -> Work {
    const STEP: &str = "RestartMember";
    if let Some(gate) = others(view, Requested, next, STEP) {
        return gate;
    }
    if leads(view, next) && view.voters().len() > 1 {
        return hand_over(view, draft, Requested, next);
    }
    take_down(draft, next, STEP, "a RaftOperation asks for its restart")
}

/// Stops a member, unless another one is stopped in this round.
pub(super) fn take_down(
    draft: &mut Draft,
    next: &Member<'_>,
    step: &'static str,
    why: &str,
) -> Work {
    let stops = |it: &Action| matches!(it, Action::DeletePod { .. });
    match next.pod_target() {
        Some(pod) if !draft.actions.iter().any(stops) => {
            let why = why.to_owned();
            draft.actions.push(Action::DeletePod { pod, why });
            moving(Requested, step, &next.name)
        }
        _ => waiting(
            Requested,
            step,
            &next.name,
            "MemberReady",
            "a pod is being replaced".to_owned(),
        ),
    }
}

/// What the others still lack before this member may be out of service, if anything.
fn others(
    view: &View<'_>,
    kind: OperationType,
    next: &Member<'_>,
    step: &'static str,
) -> Option<Work> {
    let roster = view.roster();
    let unsettled = roster
        .iter()
        .find(|it| it.name != next.name && in_transit(it));
    if let Some(other) = unsettled {
        let why = other.trouble(view);
        return Some(waiting(kind, step, &next.name, "MemberReady", why));
    }
    let why = blocked(view, next)?;
    Some(waiting(kind, step, &next.name, "Quorum", why))
}

/// The one that comes does so by `join.rs` and the one that goes by `leave.rs`, in an order that `replace.rs` knows; all of
/// them are asked before this.
fn replace(view: &View<'_>, name: &str, plan: &mut OperationPlan) -> Turn {
    const STEP: &str = "ReplaceMember";
    if let Some(member) = plan.steps.first().and_then(|it| member_of(view, it)) {
        return Turn::Work(match leave::blocked(view, member) {
            Some(why) if !member.good => waiting(Requested, STEP, name, "Quorum", why),
            _ => moving(Requested, STEP, name),
        });
    }
    let roster = view.roster();
    let mut expected = roster.iter().filter(|it| it.fenced.is_none());
    if let Some(unsettled) = expected.find(|it| !it.settled()) {
        let (name, why) = (&unsettled.name, unsettled.trouble(view));
        return Turn::Work(waiting(Requested, STEP, name, "MemberReady", why));
    }
    plan.steps.iter_mut().for_each(|it| it.done = true);
    Turn::Done(format!(
        "member {name} is gone, and {} are ready",
        roster.iter().filter(|it| it.settled()).count()
    ))
}

fn defragment(view: &View<'_>, draft: &mut Draft, plan: &mut OperationPlan) -> Turn {
    for step in &mut plan.steps {
        step.done = step.done || member_of(view, step).is_none_or(gains_nothing);
    }
    let open = plan.steps.iter().filter(|it| !it.done);
    let next = open
        .filter_map(|it| member_of(view, it))
        .filter(|it| it.fenced.is_none())
        .min_by_key(|it| (leads(view, it), it.serial));
    let Some(next) = next else {
        return Turn::Done("no member has a tenth of its space to give back".to_owned());
    };
    let work = defragment_one(view, draft, Requested, next);
    let called = |step: &OperationStep| {
        let is_its = |it: &Action| matches!(it, Action::Defragment { name, .. } if step.member.as_ref() == Some(name));
        draft.actions.iter().any(is_its)
    };
    for step in &mut plan.steps {
        step.done = step.done || called(step);
    }
    Turn::Work(work)
}

/// Has one member give back space, if the others can do without it meanwhile. A leader hands over before, for nobody could
/// write while it is busy.
pub(crate) fn defragment_one(
    view: &View<'_>,
    draft: &mut Draft,
    kind: OperationType,
    next: &Member<'_>,
) -> Work {
    const STEP: &str = "Defragment";
    if let Some(gate) = others(view, kind, next, STEP) {
        return gate;
    }
    if leads(view, next) && view.voters().len() > 1 {
        return hand_over(view, draft, kind, next);
    }
    let (Some(_), Some(ground)) = (next.answer, view.ground("")) else {
        let why = next.trouble(view);
        return waiting(kind, STEP, &next.name, "MemberReady", why);
    };
    draft.actions.push(Action::Defragment {
        name: next.name.clone(),
        ground,
    });
    moving(kind, STEP, &next.name)
}

/// Whether a member that says how large its file is would give back less than a tenth of it.
pub(crate) fn gains_nothing(member: &Member<'_>) -> bool {
    let sizes = member
        .answer
        .and_then(|it| it.db_size.zip(it.db_size_in_use));
    sizes.is_some_and(|(size, used)| {
        let free = size.saturating_sub(used);
        free == 0 || free.saturating_mul(10) < size
    })
}

fn compact(view: &View<'_>, draft: &mut Draft, plan: &mut OperationPlan) -> Turn {
    let revision = plan.steps.iter().find_map(|it| it.revision).unwrap_or(1);
    let ground = match (no_quorum(view), view.ground("")) {
        (None, Some(ground)) => ground,
        (why, _) => {
            let why = why.unwrap_or_else(|| "the membership is not known".to_owned());
            return Turn::Work(Work {
                member: None,
                ..waiting(Requested, "Compact", "", "Quorum", why)
            });
        }
    };
    draft.actions.push(Action::Compact { revision, ground });
    plan.steps.iter_mut().for_each(|it| it.done = true);
    Turn::Done(format!("revisions before {revision} are gone"))
}
