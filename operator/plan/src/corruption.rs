//! Members whose data differ from the others': the alarm CORRUPT, which names them.
//!
//! While it is up nobody takes a write, and most members call themselves not ready, but the membership changes as ever. So
//! whoever is accused goes first (`repair.rs` gives it up, `leave.rs` takes it away), then the alarm about it is taken back, and
//! only then another one joins: the other way round, the cluster would stand still for as long as a new member takes to catch up.
//! Not before it has gone, either: a member that differs raises the alarm again, or, worse, is served.
//!
//! An accusation is acted upon only while the accused are fewer than half of the voters. Otherwise, and where the alarm is about
//! member 0 (the members differ, and no majority of them agrees), whoever goes may have been right: then no voter is removed, for
//! whatever reason, until a person has ended the alarm.
//!
//! This file deliberately removes nobody and takes back no alarm about a member.

use crds::OperationType::Repair;
use crds::{BlockedBy, Reason, RepairMode};
use k8s_openapi::api::core::v1::ContainerStatus;

use crate::{
    action::{Action, Alarm},
    draft::{Draft, moving, no_quorum},
    report::Work,
    view::{Member, View, hex},
};

/// What the alarm is about where it is about nobody in particular.
const NOBODY: u64 = 0;

/// The gate behind which everything waits while nobody can tell whose data are right.
pub(crate) const GATE: &str = "SoundMajority";

/// What an accused member is accused of, in words.
pub(crate) fn accusation(member: &Member<'_>) -> String {
    format!(
        "the alarm CORRUPT names member {}: its data differ from the others', and no writes are taken",
        member.name
    )
}

/// Why nobody can tell whose data are right, if nobody can.
pub(crate) fn doubt(view: &View<'_>) -> Option<String> {
    const WAY_OUT: &str = "compare the members (etcdctl endpoint hashkv), end the alarm (etcdctl alarm disarm), \
                           and delete the RaftMembers whose data are wrong, one by one";
    let voters = view.voters();
    let accused = voters.iter().filter(|it| it.accused).count();
    let membership = view.membership.as_ref()?;
    if membership.corrupt.contains(&NOBODY) {
        return Some(format!(
            "the alarm CORRUPT says that the members differ and names none of them; {WAY_OUT}"
        ));
    }
    (accused > 0 && 2 * accused >= voters.len()).then(|| {
        format!(
            "the alarm CORRUPT names {accused} of {} voters, which is no minority, so that no copy is known to be sound; {WAY_OUT}",
            voters.len()
        )
    })
}

/// Takes back alarms about members that there are no more; no work where there are none, or the user does it himself.
pub(crate) fn disarm(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    let gone = about_the_gone(view);
    if gone.is_empty() || view.spec.repair.mode == RepairMode::Disabled || no_quorum(view).is_some()
    {
        return None;
    }
    let ground = view.ground("")?;
    let via = ground.via.clone();
    draft
        .actions
        .extend(gone.into_iter().map(|id| Action::Disarm {
            alarm: Alarm::Corrupt,
            id,
            ground: ground.clone(),
        }));
    Some(moving(Repair, "DisarmAlarm", &via))
}

/// What keeps the members from being repaired where no single one of them is known to be wrong.
pub(crate) fn wait(view: &View<'_>) -> Option<Work> {
    let message = doubt(view).filter(|_| view.spec.repair.mode == RepairMode::Automatic)?;
    Some(Work {
        kind: Repair,
        step: "ReplaceMember",
        member: None,
        blocked_by: vec![BlockedBy {
            gate: GATE.to_owned(),
            message,
        }],
    })
}

/// Whether a member's pod may be not ready for no other reason than the alarm: what runs then must not pass for broken.
pub(crate) fn explains(view: &View<'_>, member: &Member<'_>) -> bool {
    let status = member.pod.and_then(|it| it.status.as_ref());
    let starts = status
        .iter()
        .flat_map(|it| it.container_statuses.iter().flatten());
    let waits = |it: &ContainerStatus| it.state.as_ref().is_some_and(|it| it.waiting.is_some());
    let runs = status.is_some_and(|it| it.phase.as_deref() == Some("Running"));
    runs && !starts.clone().any(waits) && sentence(view).is_some()
}

/// What the condition says while the alarm is up, or was when the membership could be read last.
pub(crate) fn sentence(view: &View<'_>) -> Option<String> {
    if view.membership.is_none() {
        let mut last = view.status.conditions.iter();
        let last = last.find(|it| it.reason == Reason::DataCorrupt.as_str());
        return last.map(|it| it.message.clone());
    }
    let accused = view.members.values().filter(|it| it.accused);
    let gone = about_the_gone(view);
    let gone = gone.iter().map(|id| {
        let id = hex(*id);
        format!("the alarm CORRUPT names {id}, which is no member, and no writes are taken until it is taken back")
    });
    let sentences: Vec<String> = doubt(view)
        .into_iter()
        .chain(accused.map(accusation))
        .chain(gone)
        .collect();
    (!sentences.is_empty()).then(|| sentences.join("; "))
}

/// Ids that the alarm is about and the membership has not.
fn about_the_gone(view: &View<'_>) -> Vec<u64> {
    let Some(membership) = &view.membership else {
        return Vec::new();
    };
    let there = |id: u64| membership.listed.values().any(|it| it.id == id);
    let ids = membership.corrupt.iter().copied();
    ids.filter(|id| *id != NOBODY && !there(*id)).collect()
}
