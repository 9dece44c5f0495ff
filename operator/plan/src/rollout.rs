//! Restarting members one by one with a changed template: broken ones first, then followers, the leader last after a
//! hand-over that was seen to have worked, the next only when the last is caught up and healthy.
//!
//! A member that is broken *and* of the template in force stops the roll: the template may be what broke it. Changing the
//! spec again lets `upkeep.rs` replace it at once.
//!
//! A cluster of one restarts its only member. A cluster of two cannot lose one and keep its majority: it restarts one after
//! the other, with both healthy before each, and stands still for the length of a restart. Three or more never do.
//!
//! With OnDelete all is the same but the last step: the user is asked to delete a pod when, and only when, the operator would.
//!
//! Whether a rollout may go on, soaks, or has failed, is `progress.rs`'s business.
//!
//! This file deliberately makes no pods: it takes one away, and `upkeep.rs` makes it again.

use crds::OperationType::Rollout;

use crate::{
    action::Action,
    draft::{Draft, hand_over, majority, moving, short_of, waiting},
    maintenance, progress,
    report::Work,
    view::{Awaited, Member, View},
};

/// Restarts the next member, or says why not yet; no work when all are of the template in force.
pub(crate) fn rollout(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    let roster = view.roster();
    // One that `upkeep.rs` stops in this round comes first, lest two are stopped.
    let spared = |it: &Member<'_>| !it.pod_target().is_some_and(|pod| draft.stops(&pod));
    let next = *roster
        .iter()
        .filter(|it| it.pod.is_some() && !it.current && !it.pod_ending())
        .min_by_key(|it| {
            (
                spared(it),
                it.good && it.pod_ready(),
                view.leads(it),
                it.serial,
            )
        })?;
    if let Some(held) = progress::stopped(view, next) {
        return Some(held);
    }
    if let Some(unsettled) = roster
        .iter()
        .find(|it| it.name != next.name && in_transit(it))
    {
        let why = unsettled.trouble(view);
        return Some(waiting(
            Rollout,
            "WaitForMember",
            &unsettled.name,
            "MemberReady",
            why,
        ));
    }
    if let Some(watched) = progress::soaking(view, next) {
        return Some(watched);
    }
    // `maintenance.rs` says so.
    if maintenance::holds(view, next) {
        return None;
    }
    // `replace.rs` sees to it.
    if progress::surges(view, next) {
        return None;
    }
    if let Some(why) = blocked(view, next) {
        return Some(waiting(Rollout, "RestartMember", &next.name, "Quorum", why));
    }
    if view.leads(next) && view.voters().len() > 1 {
        return Some(hand_over(view, draft, Rollout, next));
    }
    if let Some(asked) = progress::by_hand(view, next) {
        return Some(asked);
    }
    let pod = next.pod_target()?;
    draft
        .actions
        .retain(|it| !matches!(it, Action::DeletePod { pod: other, .. } if *other == pod));
    draft.actions.push(Action::DeletePod {
        pod,
        why: next
            .awaits_restart
            .map_or("its template has changed", Awaited::why)
            .to_owned(),
    });
    Some(moving(Rollout, "RestartMember", &next.name))
}

/// Whether a member is on its way back, or should be and is not: the next must wait for it. One that a person keeps stopped is not
/// expected back.
pub(crate) fn in_transit(member: &Member<'_>) -> bool {
    let away = member.current || member.pod.is_none() || member.pod_ending();
    !member.settled() && away && member.fenced.is_none()
}

/// Why the member must not be stopped now, if it must not.
pub(crate) fn blocked(view: &View<'_>, member: &Member<'_>) -> Option<String> {
    if member.is_learner() {
        return None;
    }
    if view.membership.is_none() {
        return Some("no member could read the membership through a majority".to_owned());
    }
    let voters = view.voters().len();
    // Of one or two none can be spared, and there is no other way.
    let needed = match voters {
        0 | 1 => 0,
        2 => 1,
        _ => majority(voters),
    };
    short_of(view, member, needed)
}
