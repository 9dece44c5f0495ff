//! Adding a member: name, identity, volume, learner, pod, caught up, voter. One member at a time.
//!
//! Every step asks what is there and not what was done, so a crash between any two of them changes nothing: a member that
//! was added and has no pod yet gets one, an identity without a volume gets that.
//!
//! This file deliberately never removes anyone: a spec that no longer wants the member makes `leave.rs` take it away again.

use crds::OperationType::{self, Replace, ScaleUp};

use crate::{
    action::Action,
    corruption,
    draft::{Draft, majority, make, make_claim, moving, no_quorum, waiting},
    names, peers, progress, replace,
    report::Work,
    view::{ClaimState, LAG_GATE, Member, View},
};

/// Brings the member in hand one step nearer to a vote, or begins with the next; no work when there are enough.
pub(crate) fn join(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    if let Some(member) = in_hand(view) {
        return Some(step(view, draft, member));
    }
    let there = view.roster().len() + view.missed().len();
    if draft.memory.joining.is_none() && there >= replace::wanted(view) {
        return None;
    }
    let joining = draft.memory.joining.clone().filter(|it| !view.spoilt(it));
    Some(match (&joining, no_quorum(view)) {
        (Some(joining), _) => {
            make(view, draft, joining);
            moving(kind(view), "CreateMember", &joining.name)
        }
        (None, Some(why)) => waiting(
            kind(view),
            "ChooseName",
            &view.next_joining().name,
            "Quorum",
            why,
        ),
        (None, None) => {
            let name = draft.choose(view.next_joining());
            moving(kind(view), "ChooseName", &name)
        }
    })
}

/// The member that is half-way in: a learner first, so that there is never a second, then one with an identity that is not in
/// the membership. A learner without an identity is on its way out, and `leave.rs` has the round.
fn in_hand<'v, 'a>(view: &'v View<'a>) -> Option<&'v Member<'a>> {
    let roster = view.roster();
    let known = view.membership.is_some();
    let learner = roster.iter().find(|it| it.is_learner());
    let unlisted = || roster.iter().find(|it| known && it.listed.is_none());
    learner.or_else(unlisted).copied()
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
        ClaimState::Present(_) => promote(view, draft, member),
    }
}

fn add(view: &View<'_>, draft: &mut Draft, member: &Member<'_>) -> Work {
    const STEP: &str = "AddLearner";
    let name = &member.name;
    match (no_quorum(view), view.ground(name)) {
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

fn promote(view: &View<'_>, draft: &mut Draft, member: &Member<'_>) -> Work {
    let name = &member.name;
    if member.known_id.is_none() {
        return moving(kind(view), "RememberMember", name);
    }
    // It may still answer while its pod ends, or is about to be replaced in this very round: as a voter it would be missed.
    let outdated = progress::is_outdated(view, member) && !member.pod_ready();
    if member.answer.is_some() && (member.pod.is_none() || member.pod_ending() || outdated) {
        let why = member.trouble(view);
        return waiting(kind(view), "StartMember", name, "MemberReady", why);
    }
    // Readiness is not asked: a learner may rightly call itself not ready for clients.
    let (Some(_), Some(lag)) = (member.answer, member.lag) else {
        return if member.pod.is_none() && member.known_claim.is_some() {
            moving(kind(view), "StartMember", name)
        } else {
            waiting(
                kind(view),
                "StartMember",
                name,
                "MemberReady",
                member.trouble(view),
            )
        };
    };
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
