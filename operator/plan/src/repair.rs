//! Replacing members that cannot come back: who is suspected, since when, and when one is given up.
//!
//! A member that is given up leaves as if its `RaftMember` had been deleted (`leave.rs`), and a new one joins in its place
//! (`join.rs`). **The dead leaves before the new one joins**: a voter that does not answer counts against the majority
//! whether or not it ever comes back, and etcd refuses to add anyone while one of its voters is not connected. It costs
//! nothing: of `n` voters with `d` dead, as many more may fail before the removal as after it, or one less.
//!
//! Invariants:
//! - A member that works is never given up: it votes, answers, agrees, is caught up and not accused, or, as a learner, answers.
//! - Only what was published is acted upon: since when it is suspected, and that its replacement was begun.
//! - Replacements begun within the period never outnumber `maxReplacements`; the list of them is no longer than that.
//! - Nobody is given up whom the others could not do without; all other gates are `leave.rs`'s.
//!
//! This file deliberately removes and adds nobody itself, and never replaces a member to change it: see `rollout.rs`.

use crds::OperationType::Repair;
use crds::{RepairCause, RepairMode, Replacement, Suspect, overlay::MEMBER_CONTAINER};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    corruption,
    draft::{Draft, moving, waiting},
    footing::{self, Fall},
    leave,
    report::Work,
    view::{ClaimState, Member, View},
};

/// How long a container must have run before its crashes are over: after as long the kubelet forgets its back-off.
const STEADY: SignedDuration = SignedDuration::from_mins(10);

/// Members that look as if they could not come back, each with the time since when it has.
pub(crate) fn suspects(view: &View<'_>) -> Vec<Suspect> {
    let members = view.members.values();
    members.filter_map(|it| suspect(view, it)).collect()
}

fn suspect(view: &View<'_>, member: &Member<'_>) -> Option<Suspect> {
    let cause = cause(view, member)?;
    let restarts = (cause == RepairCause::CrashLoop)
        .then(|| restarts(member))
        .flatten();
    let known = remembered(view, member).filter(|it| it.cause == cause && it.restarts <= restarts);
    Some(known.cloned().unwrap_or_else(|| Suspect {
        member: member.name.clone(),
        cause,
        since: Time(whole(view.now)),
        restarts,
    }))
}

/// What the status remembers of a suspected member.
fn remembered<'v>(view: &'v View<'_>, member: &Member<'_>) -> Option<&'v Suspect> {
    let mut suspects = view.memory.repair.suspects.iter();
    suspects.find(|it| it.member == member.name)
}

/// Why a member cannot come back, if it looks so. One that has no identity is on its way out by the user's own hand, and one that
/// he keeps stopped is not expected back; but while its data are known to be wrong, nobody can write.
fn cause(view: &View<'_>, member: &Member<'_>) -> Option<RepairCause> {
    if member.identity.is_none() || member.removed(view.membership.is_some()) {
        return None;
    }
    let works = member.good || (member.is_learner() && member.answer.is_some());
    let lost = matches!(member.claim, ClaimState::Lost | ClaimState::Ending);
    match () {
        () if member.accused => Some(RepairCause::Corrupt),
        () if member.fenced.is_some() => None,
        () if lost && !works => Some(RepairCause::VolumeLost),
        () if crashes(view, member) => Some(RepairCause::CrashLoop),
        () => footing::fall(view, member).map(|it| match it {
            Fall::Gone => RepairCause::NodeGone,
            Fall::Silent => RepairCause::NodeUnreachable,
        }),
    }
}

/// Whether a member's container ends again and again. What ends it is the member's own only if another member works with
/// the same template; what want of memory ends would end a new one too.
fn crashes(view: &View<'_>, member: &Member<'_>) -> bool {
    let Some(status) = container(member) else {
        return false;
    };
    let waiting = status.state.as_ref().and_then(|it| it.waiting.as_ref());
    let backs_off = waiting.is_some_and(|it| it.reason.as_deref() == Some("CrashLoopBackOff"));
    let known = remembered(view, member).is_some_and(|it| it.cause == RepairCause::CrashLoop);
    let mut others = view.members.values().filter(|it| it.name != member.name);
    (backs_off || (known && !is_steady(status, view.now)))
        && !starved(status)
        && member.current
        && others.any(Member::settled)
}

fn is_steady(status: &ContainerStatus, now: Timestamp) -> bool {
    let running = status.state.as_ref().and_then(|it| it.running.as_ref());
    let since = running.and_then(|it| it.started_at.as_ref());
    since.is_some_and(|it| now.duration_since(it.0) >= STEADY)
}

fn starved(status: &ContainerStatus) -> bool {
    let killed = |state: &Option<ContainerState>| {
        let ended = state.as_ref().and_then(|it| it.terminated.as_ref());
        ended.is_some_and(|it| it.reason.as_deref() == Some("OOMKilled"))
    };
    killed(&status.state) || killed(&status.last_state)
}

fn container<'a>(member: &Member<'a>) -> Option<&'a ContainerStatus> {
    let status = member.pod?.status.as_ref()?;
    let mut containers = status.container_statuses.iter().flatten();
    containers.find(|it| it.name == MEMBER_CONTAINER)
}

fn restarts(member: &Member<'_>) -> Option<i32> {
    container(member).map(|it| it.restart_count)
}

/// The member whose replacement was begun and is still called for.
pub(crate) fn given_up<'v, 'a>(view: &'v View<'a>) -> Option<&'v Member<'a>> {
    let begun = |name: &str| {
        let mut all = view.memory.repair.replacements.iter();
        all.any(|it| it.member == name)
    };
    due(view).into_iter().find(|it| begun(&it.name))
}

/// Members to be replaced now, the most certain cause first; none where the user does it.
fn due<'v, 'a>(view: &'v View<'a>) -> Vec<&'v Member<'a>> {
    let automatic = view.spec.repair.mode == RepairMode::Automatic && view.born();
    let members = view.members.values().filter(|_| automatic);
    let mut due: Vec<_> = members
        .filter_map(|it| Some((it, suspect(view, it)?)))
        .filter(|(it, suspect)| is_due(view, it, suspect))
        .map(|(it, suspect)| (suspect.cause, it.serial, it))
        .collect();
    due.sort_by_key(|(cause, serial, _)| (*cause, *serial));
    due.into_iter().map(|(_, _, it)| it).collect()
}

/// Whether a suspicion has lasted long enough. One that the status does not know yet has not.
fn is_due(view: &View<'_>, member: &Member<'_>, suspect: &Suspect) -> bool {
    let known = remembered(view, member) == Some(suspect);
    let seen = restarts(member).zip(suspect.restarts);
    known
        && match suspect.cause {
            // The members have agreed on it by a majority, and take no writes until it has gone.
            RepairCause::Corrupt => true,
            RepairCause::CrashLoop => {
                let limit = view.spec.repair.crash_loop_restarts;
                !member.good && seen.is_some_and(|(now, then)| now - then >= limit)
            }
            RepairCause::VolumeLost | RepairCause::NodeGone | RepairCause::NodeUnreachable => {
                patience_ends(view, suspect) <= view.now
            }
        }
}

/// When a suspicion that time alone confirms has lasted long enough.
fn patience_ends(view: &View<'_>, suspect: &Suspect) -> Timestamp {
    let seconds = match suspect.cause {
        RepairCause::NodeUnreachable => view.spec.repair.node_unreachable_seconds,
        _ => view.spec.repair.volume_lost_seconds,
    };
    suspect.since.0 + SignedDuration::from_secs(seconds.clamp(0, 604_800))
}

/// The next member that is due, if one may be replaced now.
fn next<'v, 'a>(view: &'v View<'a>) -> Option<&'v Member<'a>> {
    let mut due = due(view).into_iter().filter(|_| rested(view) <= view.now);
    due.find(|it| leave::blocked(view, it).is_none())
}

/// Whether a replacement is begun as soon as nothing else is in hand.
pub(crate) fn begins(view: &View<'_>) -> bool {
    next(view).is_some()
}

/// Begins the replacement of the next member that is due, by writing it down; no work if none is due or may be replaced.
pub(crate) fn replace(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    let next = next(view)?;
    let cause = suspect(view, next)?.cause;
    let count = usize::try_from(view.spec.repair.max_replacements.count).unwrap_or(1);
    let begun = &mut draft.memory.repair.replacements;
    begun.push(Replacement {
        member: next.name.clone(),
        cause,
        at: Time(whole(view.now)),
    });
    begun.drain(..begun.len().saturating_sub(count.max(1)));
    Some(moving(Repair, "ReplaceMember", &next.name))
}

/// When the next replacement may begin: a period after the one that is as many back as may be within it.
fn rested(view: &View<'_>) -> Timestamp {
    let limit = view.spec.repair.max_replacements;
    let count = usize::try_from(limit.count).unwrap_or(1).max(1);
    let period = SignedDuration::from_secs(limit.period_seconds.clamp(1, 604_800));
    let mut back = view.memory.repair.replacements.iter().rev();
    back.nth(count - 1).map_or(view.now, |it| it.at.0 + period)
}

/// What keeps a suspected member from being replaced; no work if none is, or where the user does it.
pub(crate) fn wait(view: &View<'_>) -> Option<Work> {
    if view.spec.repair.mode != RepairMode::Automatic || !view.born() {
        return None;
    }
    let mut members = view.members.values().filter(|it| !it.settled());
    let (member, suspect) = members.find_map(|it| Some((it, suspect(view, it)?)))?;
    let (gate, why) = gate(view, member, &suspect);
    let message = format!("{}; {why}", sentence(member, suspect.cause));
    Some(waiting(
        Repair,
        "ReplaceMember",
        &member.name,
        gate,
        message,
    ))
}

/// Which gate a suspected member is behind, and what it waits for.
fn gate(view: &View<'_>, member: &Member<'_>, suspect: &Suspect) -> (&'static str, String) {
    if !is_due(view, member, suspect) {
        let when = match suspect.cause {
            RepairCause::CrashLoop => format!(
                "it is replaced after {} restarts",
                view.spec.repair.crash_loop_restarts
            ),
            RepairCause::Corrupt => "it is replaced from the next look on".to_owned(),
            RepairCause::VolumeLost | RepairCause::NodeGone | RepairCause::NodeUnreachable => {
                format!("it is replaced from {} on", patience_ends(view, suspect))
            }
        };
        return ("Patience", when);
    }
    if let Some(doubt) = corruption::doubt(view) {
        return (corruption::GATE, doubt);
    }
    if let Some(why) = leave::blocked(view, member) {
        return ("Quorum", why);
    }
    let limit = view.spec.repair.max_replacements;
    let why = format!(
        "{} within {} s is all that spec.repairPolicy.maxReplacements allows; the next may begin at {}, or delete RaftMember {}",
        limit.count,
        limit.period_seconds,
        rested(view),
        member.name
    );
    ("RateLimit", why)
}

/// Why a member cannot come back, in words.
fn sentence(member: &Member<'_>, cause: RepairCause) -> String {
    let name = &member.name;
    match cause {
        RepairCause::Corrupt => corruption::accusation(member),
        RepairCause::VolumeLost => format!("the volume of member {name} is gone"),
        RepairCause::NodeGone => {
            format!("no node is left on which the volume of member {name} can be used")
        }
        RepairCause::NodeUnreachable => format!(
            "member {name} does not answer, and Kubernetes does not hear of the node that it cannot leave"
        ),
        RepairCause::CrashLoop => {
            format!("member {name} crashes again and again, and others work with the same template")
        }
    }
}

/// What the user should do himself, where the policy says that he does.
pub(crate) fn recommendations(view: &View<'_>) -> Vec<String> {
    let (namespace, asked) = (
        &view.spec.namespace,
        view.spec.repair.mode == RepairMode::Recommend,
    );
    let members = view.members.values().filter(|_| asked && view.born());
    let due = members.filter_map(|it| Some((it, suspect(view, it)?)));
    let due = due.filter(|(it, suspect)| is_due(view, it, suspect));
    // Where nobody can tell who is right, nobody is to be deleted.
    due.filter(|(it, _)| !it.accused || corruption::doubt(view).is_none())
        .map(|(it, suspect)| {
            let name = &it.name;
            let cause = sentence(it, suspect.cause);
            format!("{cause}. To have a new member take its place: kubectl -n {namespace} delete raftmember {name}")
        })
        .collect()
}

/// Long enough for a pod to be made and a member to start.
const HIDDEN: SignedDuration = SignedDuration::from_mins(1);

/// What cannot be noticed, because the operator may not look; said when a member has been in trouble for a while.
pub(crate) fn blindness(view: &View<'_>) -> Option<String> {
    let operation = view.status.operation.as_ref()?;
    let lasts = view.now.duration_since(operation.started_at.0) >= HIDDEN;
    let hidden = view
        .members
        .values()
        .find(|it| it.fenced.is_none() && footing::is_hidden(view, it));
    let member = &hidden
        .filter(|_| lasts && view.spec.repair.mode != RepairMode::Disabled)?
        .name;
    Some(format!(
        "member {member} does not answer, and the operator may not read nodes and persistent volumes: whether its node is dead is not known. \
         If it is, delete RaftMember {member} to have it replaced"
    ))
}

/// The API server keeps whole seconds.
pub(crate) fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
