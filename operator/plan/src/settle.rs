//! What is still on its way when there is nothing left to decide: members that start, and remains that go.
//!
//! This file deliberately acts on nothing; it puts into words what `upkeep.rs` has set in motion.

use crds::{BlockedBy, MemberPhase, MemberStatus, Operation, OperationType};

use crate::{
    draft::{moving, no_quorum},
    operate::fence,
    report::Work,
    upkeep::{is_remains, is_stranded},
    view::{Member, View},
};

/// The work of waiting for what is on its way; none when all members are settled, but for those that a person keeps stopped, and
/// nothing is left over.
pub(crate) fn settle(view: &View<'_>) -> Option<Work> {
    if let Some(missed) = view.missed().first() {
        return Some(moving(OperationType::Repair, "RestoreMember", &missed.name));
    }
    let unsettled: Vec<_> = view
        .roster()
        .into_iter()
        .filter(|it| !it.settled() && it.fenced.is_none())
        .collect();
    if let Some(first) = unsettled.first() {
        let blocked = |gate: &str, message| BlockedBy {
            gate: gate.to_owned(),
            message,
        };
        let members = unsettled
            .iter()
            .map(|it| blocked("MemberReady", it.trouble(view)));
        let fenced = fence::told(view).filter(|_| no_quorum(view).is_some());
        let fenced = fenced.map(|it| blocked(fence::GATE, it));
        let blocked_by = members.chain(fenced).collect();
        return Some(Work {
            blocked_by,
            ..moving(kind(view, first), "WaitForMember", &first.name)
        });
    }
    let remains = view
        .members
        .values()
        .find(|it| is_remains(view, it) && leaves_something(it) && !is_stranded(view, it))?;
    Some(moving(kind(view, remains), "ClearAway", &remains.name))
}

/// The kind of work that set this member on its way: a restart ends a roll, and clearing away ends a scale-down.
fn kind(view: &View<'_>, member: &Member<'_>) -> OperationType {
    let begun = view
        .status
        .operation
        .as_ref()
        .filter(|it| it.member.as_deref() == Some(&member.name));
    let slept = |it: &MemberStatus| it.phase == MemberPhase::Hibernated;
    let wakes = |it: &Operation| it.kind == OperationType::Wake;
    if view.status.operation.as_ref().is_some_and(wakes) || view.status.members.iter().any(slept) {
        return OperationType::Wake;
    }
    match begun.map(|it| it.kind) {
        Some(
            kind @ (OperationType::Rollout | OperationType::ScaleDown | OperationType::Replace),
        ) => kind,
        _ => OperationType::Repair,
    }
}

/// A retained volume alone is no work.
fn leaves_something(member: &Member<'_>) -> bool {
    member.pod.is_some() || member.identity.is_some()
}
