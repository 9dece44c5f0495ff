//! Whether a cluster has lost its quorum for good, who survives, and what may be lost.
//!
//! A member that does not answer may come back unless its volume is gone with its pod, or no node is left on which the volume
//! can be used. As long as those that answer and those that may come back are a majority, there is nothing to recover from:
//! waiting, or mending what keeps them, loses nothing. A node that is off for good is told by deleting its Node object.
//!
//! Of two survivors the one that knows of more committed entries has everything that the other knows to be committed, whatever
//! their terms; the term decides between equals.
//!
//! It deliberately takes nobody's word for it: a member that answers is no lost one, and one that is silent no survivor.

use std::cmp::Reverse;

use crds::{LostMember, MemberRole, RecoverQuorum, RecoveryPlan, Survivor};
use serde_json::json;

use super::snapshots;
use crate::{
    footing::{self, Fall},
    names, spec,
    view::{ClaimState, Member, View, thousands},
};

/// The plan of now.
///
/// # Errors
/// Why there is none, by the facts that stand against it.
pub(super) fn plan(view: &View<'_>, asked: &RecoverQuorum) -> Result<RecoveryPlan, String> {
    refuse_while_led(view)?;
    let candidates = candidates(view);
    let lost = lost(view, &candidates);
    refuse_while_enough(view, &candidates, &lost)?;
    let kept = candidates.iter().copied();
    let survivors: Vec<Survivor> = kept.filter_map(|it| survivor(view, it, asked)).collect();
    let survivor = choose(&survivors, asked)?.clone();
    // How a member might come back is told in words that move; that it might is a fact.
    let gone: Vec<_> = lost.iter().map(|it| (&it.member, it.may_return)).collect();
    let facts = json!([
        view.spec.uid,
        view.memory.cluster_id,
        survivor,
        survivors,
        gone
    ]);
    Ok(RecoveryPlan {
        name: spec::hash(&facts),
        may_lose: may_lose(&survivor, &survivors, &lost),
        survivor: survivor.member,
        survivors,
        lost,
    })
}

fn refuse_while_led(view: &View<'_>) -> Result<(), String> {
    if !view.born() {
        return Err("the cluster has never been founded".to_owned());
    }
    if let Some(membership) = &view.membership {
        return Err(format!(
            "a majority answers: the membership could be read through {}",
            membership.via
        ));
    }
    let follows = |it: &&Member<'_>| it.answer.is_some_and(|answer| answer.leader_id != 0);
    match view.members.values().find(follows) {
        Some(member) => Err(format!(
            "member {} has a leader, so that a majority may work",
            member.name
        )),
        None => Ok(()),
    }
}

/// Members that answer, under the id that they are known by, from the volume that is theirs; whoever knows of most first.
fn candidates<'v, 'a>(view: &'v View<'a>) -> Vec<&'v Member<'a>> {
    let members = view.members.values();
    let mut found: Vec<_> = members.filter(|it| is_candidate(it)).collect();
    let knows = |it: &Member<'_>| it.answer.map(|it| (it.raft_index, it.term));
    found.sort_by_key(|it| (Reverse(knows(it)), it.serial));
    found
}

fn is_candidate(member: &Member<'_>) -> bool {
    let id = member.answer.map(|it| crate::view::hex(it.member_id));
    let own = matches!(member.claim, ClaimState::Present(_));
    own && member.identity.is_some()
        && member.fenced.is_none()
        && !member.pod_ending()
        && id.is_some()
        && id == member.known_id
}

fn survivor(view: &View<'_>, member: &Member<'_>, asked: &RecoverQuorum) -> Option<Survivor> {
    let answer = member.answer?;
    let snapshotted = snapshots::wanted(asked);
    let number = |it: u64| i64::try_from(it).unwrap_or(i64::MAX);
    Some(Survivor {
        member: member.name.clone(),
        term: number(answer.term),
        last_index: number(answer.raft_index),
        last_revision: answer.revision,
        volume_snapshot_class: snapshots::of(view, member).filter(|_| snapshotted),
    })
}

fn votes(view: &View<'_>, member: &str) -> bool {
    view.role_shown(member) != Some(MemberRole::Learner)
}

fn lost(view: &View<'_>, candidates: &[&Member<'_>]) -> Vec<LostMember> {
    let survives = |it: &Member<'_>| candidates.iter().any(|other| other.name == it.name);
    let members = view.members.values();
    let others = members.filter(|it| it.known_id.is_some() && !survives(it));
    others.map(|it| fate(view, it)).collect()
}

/// What has become of a member that does not survive.
fn fate(view: &View<'_>, member: &Member<'_>) -> LostMember {
    let name = &member.name;
    let gone = matches!(
        member.claim,
        ClaimState::Absent | ClaimState::Lost | ClaimState::Foreign
    );
    let ended = member.pod.is_none() || member.pod_ended();
    let (may_return, why) = match footing::fall(view, member) {
        _ if gone && ended => (false, "its volume is gone".to_owned()),
        Some(Fall::Gone) => {
            let why = "no node is left on which its volume can be used";
            (false, why.to_owned())
        }
        Some(Fall::Silent) => (
            true,
            "Kubernetes does not hear of its node; delete the Node object if the node is off for good".to_owned(),
        ),
        None => (
            true,
            format!(
                "{}; mend it, or delete {} and the pod if it is lost for good",
                member.trouble(view),
                names::claim(name)
            ),
        ),
    };
    LostMember {
        member: name.clone(),
        why,
        may_return,
    }
}

fn refuse_while_enough(
    view: &View<'_>,
    candidates: &[&Member<'_>],
    lost: &[LostMember],
) -> Result<(), String> {
    if candidates.is_empty() {
        return Err(
            "no member answers, so that nobody knows what is left; mend one first, for only a member that runs can be rebuilt from"
                .to_owned(),
        );
    }
    let required = view.status.quorum.map(|it| it.required);
    let required = required.and_then(|it| usize::try_from(it).ok());
    let required = required.filter(|it| *it > 0);
    let Some(required) = required else {
        return Err("nobody knows how many voters there were".to_owned());
    };
    let answer = candidates.iter().filter(|it| votes(view, &it.name)).count();
    let returning = lost
        .iter()
        .filter(|it| it.may_return && votes(view, &it.member));
    let reasons: Vec<String> = returning
        .map(|it| format!("member {}: {}", it.member, it.why))
        .collect();
    let possible = answer + reasons.len();
    if possible < required {
        return Ok(());
    }
    let reasons = if reasons.is_empty() {
        String::new()
    } else {
        format!(": {}", reasons.join("; "))
    };
    Err(format!(
        "voters that answer: {answer}, that may come back: {}, needed for a majority: {required}{reasons}",
        possible - answer
    ))
}

/// The one that the user named, or that knows of most.
fn choose<'s>(survivors: &'s [Survivor], asked: &RecoverQuorum) -> Result<&'s Survivor, String> {
    let names = || {
        let all = survivors.iter().map(|it| it.member.as_str());
        all.collect::<Vec<_>>().join(", ")
    };
    let named = asked.survivor.as_ref();
    let found = survivors
        .iter()
        .find(|it| named.is_none_or(|name| *name == it.member));
    found.ok_or_else(|| {
        format!(
            "member {} does not answer; those that do are {}",
            named.map_or("", String::as_str),
            names()
        )
    })
}

/// What a person must know before agreeing.
fn may_lose(survivor: &Survivor, survivors: &[Survivor], lost: &[LostMember]) -> String {
    let count = |it: i64| thousands(u64::try_from(it).unwrap_or(0));
    let mut said = format!(
        "Writes after revision {}, which is index {} in term {} and the last that member {} knows to be committed, may be lost",
        count(survivor.last_revision),
        count(survivor.last_index),
        survivor.term,
        survivor.member
    );
    let ahead = survivors
        .iter()
        .filter(|it| it.last_index > survivor.last_index);
    for other in ahead {
        let more = other.last_index - survivor.last_index;
        said += &format!("; member {} knows {} more", other.member, count(more));
    }
    for other in lost.iter().filter(|it| it.may_return) {
        said += &format!("; member {} might come back and have more", other.member);
    }
    said
}
