//! Taking members out of the membership: those that nobody owns any more, those that the spec no longer wants, those that
//! `repair.rs` has given up, and those that a `RaftOperation` replaces.
//!
//! Any member can go, not only the last: broken ones first, then learners, then the newest, and the leader last, after it
//! has handed over and the hand-over was seen to have worked. A majority of the old configuration must be there to agree
//! (the leaving voter among them, it votes on its own removal), and those that stay must be a majority of the new one.
//!
//! This file deliberately deletes no pod and no volume of a member that was in the membership: once it is out,
//! `upkeep.rs` clears its remains away.

use std::cmp::Reverse;

use crds::OperationType::{self, Repair, Replace, Requested, ScaleDown};

use crate::{
    action::Action,
    corruption,
    draft::{Draft, hand_over, majority, moving, no_quorum, waiting},
    operate, repair, replace,
    report::Work,
    retention,
    view::{Member, View},
};

/// The member that is on its way out, and why, if one is.
pub(crate) fn leaving<'v, 'a>(view: &'v View<'a>) -> Option<(&'v Member<'a>, OperationType)> {
    if !view.born() {
        return None;
    }
    let leftovers = view
        .members
        .values()
        .filter(|it| it.listed.is_some() && it.identity.is_none());
    let leftover = leftovers.min_by_key(|it| order(view, it));
    leftover
        .map(|it| (it, Repair))
        .or_else(|| {
            repair::given_up(view)
                .filter(|_| surplus(view).is_none())
                .map(|it| (it, Repair))
        })
        .or_else(|| replaced(view))
        .or_else(|| operate::given_up(view).map(|it| (it, Requested)))
        .or_else(|| surplus(view).map(|it| (it, ScaleDown)))
        .or_else(|| risen(view).map(|it| (it, Repair)))
}

/// One that is to be replaced goes when its replacement votes, or at once if it is not in yet itself. A learner for good, which nobody
/// counts on, goes before another one comes, but not while the others of its kind are short of one.
fn replaced<'v, 'a>(view: &'v View<'a>) -> Option<(&'v Member<'a>, OperationType)> {
    let (member, _) = replace::to_replace(view)?;
    let seats = view.seats();
    let one_more = seats.len() == view.spec.replicas.max(1) + 1;
    let all_in = || {
        seats
            .iter()
            .all(|it| it.is_voter() && it.known_id.is_some())
    };
    let goes = if member.permanent {
        let learners = view.learners();
        let well = |it: &&Member<'_>| it.name == member.name || it.settled() || it.fenced.is_some();
        learners.len() >= view.spec.learners && learners.iter().all(well)
    } else {
        replace::is_on_its_way_in(view, member) || (one_more && all_in())
    };
    goes.then_some((member, Replace))
}

/// One that the spec no longer wants; while one is to be replaced, its replacement is no surplus.
fn surplus<'v, 'a>(view: &'v View<'a>) -> Option<&'v Member<'a>> {
    let beyond = |some: Vec<&'v Member<'a>>, wanted: usize| {
        let next = some.iter().copied().min_by_key(|it| order(view, it));
        next.filter(|_| some.len() > wanted)
    };
    beyond(view.learners(), view.spec.learners)
        .or_else(|| beyond(view.seats(), replace::wanted(view).max(1)))
}

/// A learner for good that has a vote: somebody has promoted it, or a lost cluster was rebuilt of it. It goes when the others can do
/// without it, and a learner comes in its place.
fn risen<'v, 'a>(view: &'v View<'a>) -> Option<&'v Member<'a>> {
    let seats = view.seats();
    let complete = seats.len() >= view.spec.replicas && seats.iter().all(|it| it.is_voter());
    let mut learners = view.learners().into_iter().filter(|_| complete);
    learners.find(|it| it.is_voter())
}

/// Who goes first: one that never came in, a broken one, a learner, one that is to be replaced, the newest, the leader last.
fn order(view: &View<'_>, member: &Member<'_>) -> (u8, Reverse<i64>) {
    let leads = view.leads(member);
    let class = match () {
        () if view.membership.is_some() && member.listed.is_none() => 0,
        () if !member.good && !member.pod_ready() => 1,
        () if member.is_learner() => 2,
        () if replace::reason(view, member).is_some() => 3 + u8::from(leads),
        () => 5 + u8::from(leads),
    };
    (class, Reverse(member.serial))
}

/// Takes the member in hand one step nearer to the door; no work when none is to go.
pub(crate) fn leave(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    forget_unwanted(view, draft);
    let (member, kind) = leaving(view)?;
    // What keeps it from being replaced may be a member that cannot come back, and that one must not wait for it.
    if kind == Replace && blocked(view, member).is_some() && repair::begins(view) {
        return None;
    }
    if view.membership.is_some() && member.listed.is_none() {
        return Some(cancel(view, draft, member, kind));
    }
    Some(remove(view, draft, member, kind))
}

/// A name that was chosen and never used, for a member that is no longer wanted.
fn forget_unwanted(view: &View<'_>, draft: &mut Draft) {
    let unused = |name: &str| {
        view.members
            .get(name)
            .is_none_or(|it| it.identity.is_none() && !it.identity_ending && it.listed.is_none())
    };
    let chosen = view.memory.joining.as_ref().filter(|it| unused(&it.name));
    let enough = chosen.is_some_and(|it| {
        if it.learner {
            view.learners().len() >= view.spec.learners
        } else {
            view.seats().len() >= replace::wanted(view)
        }
    });
    if view.born() && enough {
        draft.memory.joining = None;
    }
}

/// A member that has never been in the membership has never run: its identity can simply go.
fn cancel(view: &View<'_>, draft: &mut Draft, member: &Member<'_>, kind: OperationType) -> Work {
    if let Some(mark) = retention::mark(view, member, kind) {
        draft.actions.push(mark);
        return moving(kind, "MarkVolume", &member.name);
    }
    if draft
        .memory
        .joining
        .as_ref()
        .is_some_and(|it| it.name == member.name)
    {
        draft.memory.joining = None;
    }
    draft.actions.extend(
        member
            .identity_target()
            .map(|member| Action::DeleteMember { member }),
    );
    moving(kind, "Cancel", &member.name)
}

fn remove(view: &View<'_>, draft: &mut Draft, member: &Member<'_>, kind: OperationType) -> Work {
    const STEP: &str = "RemoveMember";
    let name = &member.name;
    if let Some(why) = blocked(view, member) {
        return waiting(kind, STEP, name, "Quorum", why);
    }
    if view.leads(member) {
        return hand_over(view, draft, kind, member);
    }
    if let Some(mark) = retention::mark(view, member, kind) {
        draft.actions.push(mark);
        return moving(kind, "MarkVolume", name);
    }
    match (view.ground_in_turn(name), &member.listed) {
        (Some(ground), Some(listed)) => {
            // A pod that cannot be made must not keep its member from being taken away.
            draft
                .actions
                .retain(|it| !matches!(it, Action::CreatePod(pod) if pod.metadata.name.as_ref() == Some(name)));
            draft.actions.push(Action::RemoveMember {
                name: name.clone(),
                id: listed.id,
                ground,
            });
            moving(kind, STEP, name)
        }
        _ => waiting(
            kind,
            STEP,
            name,
            "Quorum",
            "no other member answers".to_owned(),
        ),
    }
}

/// Why the member cannot go now, if it cannot.
pub(crate) fn blocked(view: &View<'_>, member: &Member<'_>) -> Option<String> {
    let name = &member.name;
    let voters = view.voters().len();
    if !member.is_voter() {
        return no_quorum(view);
    }
    if let Some(doubt) = corruption::doubt(view) {
        return Some(doubt);
    }
    if voters <= 1 {
        return Some(format!(
            "{name} is the only voter; it goes when another has joined"
        ));
    }
    let stay = view
        .members
        .values()
        .filter(|it| it.good && it.name != *name)
        .count();
    let (agree, left) = (stay + usize::from(votes_on_it(view, member)), voters - 1);
    match () {
        () if agree < majority(voters) => no_quorum(view).or_else(|| {
            Some(format!(
                "{agree} of {voters} voters can agree to it, {} are needed",
                majority(voters)
            ))
        }),
        () if stay < majority(left) => Some(format!(
            "without {name}, {stay} of {left} voters would be healthy and caught up, {} are needed",
            majority(left)
        )),
        () => None,
    }
}

/// Whether the leaving voter itself can be counted on to agree: it answers and follows the leader.
fn votes_on_it(view: &View<'_>, member: &Member<'_>) -> bool {
    member.good || (member.follows(view) && !member.pod_ending())
}
