//! Adding a member: name, identity, volume, learner, pod, caught up, voter. One member at a time; learners for good, which stop before
//! the last step, when all voters are in.
//!
//! Every step asks what is there and not what was done, so a crash between any two of them changes nothing: a member that
//! was added and has no pod yet gets one, an identity without a volume gets that.
//!
//! This file deliberately never removes anyone: a spec that no longer wants the member makes `leave.rs` take it away again.

use crds::OperationType::{self, Replace, ScaleDown, ScaleUp};
use k8s_openapi::api::core::v1::Pod;

use crate::{
    action::Action,
    corruption,
    draft::{Draft, majority, make, make_claim, moving, no_quorum, waiting},
    engine, names,
    operate::fence,
    peers, progress, replace,
    report::Work,
    view::{ClaimState, LAG_GATE, Member, View},
};

/// Brings the member in hand one step nearer to a vote, or begins with the next; no work when there are enough.
pub(crate) fn join(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    if let Some(member) = in_hand(view) {
        return Some(step(view, draft, member));
    }
    let short = view.seats().len() + view.missed().len() < replace::wanted(view);
    let learner = !short && lacks_learners(view) && unroomy(view).is_none();
    let joining = draft.memory.joining.clone();
    let joining = joining.filter(|it| !it.learner || learner);
    if joining.is_none() && !short && !learner {
        return None;
    }
    let joining = joining.filter(|it| !view.spoilt(it));
    if let (None, Some(why)) = (&joining, fence::of_a_voter(view)) {
        let name = view.next_joining(learner).name;
        return Some(fenced(view, "ChooseName", &name, &why));
    }
    Some(match (&joining, no_quorum(view)) {
        (Some(joining), _) => {
            make(view, draft, joining);
            moving(kind(view), "CreateMember", &joining.name)
        }
        (None, Some(why)) => waiting(
            kind(view),
            "ChooseName",
            &view.next_joining(learner).name,
            "Quorum",
            why,
        ),
        (None, None) => {
            let name = draft.choose(view.next_joining(learner));
            moving(kind(view), "ChooseName", &name)
        }
    })
}

/// Chooses who follows on the seed in the round that remembers the cluster, if anyone does: two facts, one status.
pub(crate) fn choose_first(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    let short = view.seats().len() < view.spec.replicas;
    if !short || no_quorum(view).is_some() {
        return None;
    }
    let name = draft.choose(view.next_joining(false));
    Some(moving(ScaleUp, "ChooseName", &name))
}

/// The member that is half-way in: a learner that is to vote first, so that there is never a second, then one with an identity that
/// is not in the membership; a learner for good when all that are to vote do. A learner without an identity is on its way out, and
/// `leave.rs` has the round.
fn in_hand<'v, 'a>(view: &'v View<'a>) -> Option<&'v Member<'a>> {
    let seats = view.seats();
    let known = view.membership.is_some();
    let learner = seats.iter().find(|it| it.is_learner());
    let unlisted = || seats.iter().find(|it| known && it.listed.is_none());
    let voter = learner.or_else(unlisted).copied();
    let complete = known && seats.len() >= replace::wanted(view);
    voter.or_else(|| next_learner(view).filter(|_| complete))
}

/// A learner for good that is not in the membership and may come in, or has never started.
fn next_learner<'v, 'a>(view: &'v View<'a>) -> Option<&'v Member<'a>> {
    let mut learners = view.learners().into_iter();
    learners.find(|it| match &it.listed {
        Some(listed) => listed.is_learner && (listed.name.is_empty() || it.known_id.is_none()),
        None => unroomy(view).is_none(),
    })
}

/// Whether fewer learners for good are there than the spec wants.
fn lacks_learners(view: &View<'_>) -> bool {
    view.learners().len() < view.spec.learners
}

/// A member that has no room for learners for good yet. Each judges by its own flag whether one may be added: where they differ, so
/// would their memberships.
fn unroomy<'v, 'a>(view: &'v View<'a>) -> Option<&'v Member<'a>> {
    let flag = engine::room_for_learners();
    let has_room = |pod: &Pod| {
        let containers = pod.spec.iter().flat_map(|it| &it.containers);
        let mut args = containers.flat_map(|it| it.args.iter().flatten());
        args.any(|it| *it == flag)
    };
    let mut members = view.members.values().filter(|it| it.listed.is_some());
    members.find(|it| !it.pod.is_some_and(has_room))
}

/// Says what learners for good wait for, where nothing else is to be done, or that the last of them has left: members lose the room for
/// them when the status says so.
pub(crate) fn wait(view: &View<'_>) -> Option<Work> {
    let none_wanted = view.spec.learners == 0 && view.spec.takes_learners;
    if none_wanted && !view.members.values().any(|it| it.permanent) {
        let leader = view.leading()?;
        return Some(moving(ScaleDown, "ForgetLearners", &leader.name));
    }
    let waits = |it: &&Member<'_>| it.listed.is_none();
    let unlisted = view.learners().iter().any(waits);
    let member = unroomy(view).filter(|_| view.born() && (lacks_learners(view) || unlisted))?;
    let why = no_room(member);
    Some(waiting(ScaleUp, "AddLearner", &member.name, "Room", why))
}

fn no_room(member: &Member<'_>) -> String {
    format!(
        "member {} has to be restarted first, to have room for more than one learner",
        member.name
    )
}

/// Whether the member that comes replaces another one.
fn kind(view: &View<'_>) -> OperationType {
    if replace::wanted(view) > view.spec.replicas {
        Replace
    } else {
        ScaleUp
    }
}

fn step(view: &View<'_>, draft: &mut Draft, member: &Member<'_>) -> Work {
    let name = &member.name;
    match &member.claim {
        ClaimState::Absent if member.listed.is_none() => {
            make_claim(view, draft, name, member.serial);
            moving(kind(view), "CreateVolume", name)
        }
        ClaimState::Foreign => waiting(
            kind(view),
            "CreateVolume",
            name,
            "Volume",
            format!(
                "the claim {} belongs to another cluster; delete it if its data are not needed, or delete RaftMember {name} to go on under another name",
                names::claim(name)
            ),
        ),
        ClaimState::Absent | ClaimState::Lost | ClaimState::Ending => waiting(
            kind(view),
            "StartMember",
            name,
            "Volume",
            member.trouble(view),
        ),
        ClaimState::Present(_) if member.listed.is_none() => add(view, draft, member),
        ClaimState::Present(_) => match start(view, member) {
            Some(work) => work,
            None if member.permanent => moving(kind(view), "StartMember", name),
            None => promote(view, draft, member),
        },
    }
}

/// Members take in nobody while one of them that votes is away.
fn fenced(view: &View<'_>, step: &'static str, name: &str, why: &str) -> Work {
    let why = format!("members take in nobody while a voter is away, and {why}");
    waiting(kind(view), step, name, fence::GATE, why)
}

fn add(view: &View<'_>, draft: &mut Draft, member: &Member<'_>) -> Work {
    const STEP: &str = "AddLearner";
    let name = &member.name;
    if let Some(why) = fence::of_a_voter(view) {
        return fenced(view, STEP, name, &why);
    }
    let second = view.members.values().any(Member::is_learner);
    if let Some(full) = unroomy(view).filter(|_| second) {
        return waiting(kind(view), STEP, name, "Room", no_room(full));
    }
    match (no_quorum(view), view.ground_in_turn(name)) {
        (Some(why), _) => waiting(kind(view), STEP, name, "Quorum", why),
        (None, None) => waiting(
            kind(view),
            STEP,
            name,
            "Quorum",
            "the membership is not known".to_owned(),
        ),
        (None, Some(ground)) => {
            let peer_url = peers::url_of_newcomer(view, name);
            draft.actions.push(Action::AddLearner {
                name: name.clone(),
                peer_url,
                ground,
            });
            moving(kind(view), STEP, name)
        }
    }
}

/// What a member that is in the membership lacks until it answers; nothing once it does.
fn start(view: &View<'_>, member: &Member<'_>) -> Option<Work> {
    let name = &member.name;
    if member.known_id.is_none() {
        return Some(moving(kind(view), "RememberMember", name));
    }
    // It may still answer while its pod ends, or is about to be replaced in this very round: as a voter it would be missed.
    let outdated = progress::is_outdated(view, member) && !member.pod_ready();
    if member.answer.is_some() && (member.pod.is_none() || member.pod_ending() || outdated) {
        let why = member.trouble(view);
        return Some(waiting(kind(view), "StartMember", name, "MemberReady", why));
    }
    // Readiness is not asked: a learner may rightly call itself not ready for clients.
    if member.answer.is_some() {
        return None;
    }
    Some(if member.pod.is_none() && member.known_claim.is_some() {
        moving(kind(view), "StartMember", name)
    } else {
        let why = member.trouble(view);
        waiting(kind(view), "StartMember", name, "MemberReady", why)
    })
}

fn promote(view: &View<'_>, draft: &mut Draft, member: &Member<'_>) -> Work {
    let name = &member.name;
    let lag = member.lag.unwrap_or(u64::MAX);
    if lag > LAG_GATE {
        return waiting(kind(view), "CatchUp", name, "CaughtUp", member.behind(lag));
    }
    if member.accused {
        let why = corruption::accusation(member);
        return waiting(kind(view), "Promote", name, corruption::GATE, why);
    }
    let (voters, good) = (view.voters().len() + 1, view.good() + 1);
    let id = member.listed.as_ref().map_or(0, |it| it.id);
    match (no_quorum(view), view.ground(name)) {
        (Some(why), _) => waiting(kind(view), "Promote", name, "Quorum", why),
        (None, Some(ground)) if good >= majority(voters) => {
            draft.actions.push(Action::Promote {
                name: name.clone(),
                id,
                ground,
            });
            moving(kind(view), "Promote", name)
        }
        (None, _) => waiting(
            kind(view),
            "Promote",
            name,
            "Quorum",
            format!(
                "with {name} as a voter {good} of {voters} would be healthy, {} are needed",
                majority(voters)
            ),
        ),
    }
}
