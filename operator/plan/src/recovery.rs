//! How long the cluster was short of healthy voters, measured from what Kubernetes tells of a failure to full redundancy.
//!
//! A failure is a voter that was ready and does not answer any more, unless the work in hand takes it down. It is over when as
//! many voters as are wanted are healthy and caught up, but for those that a person keeps stopped; failures in between belong to it.
//!
//! This file deliberately knows no cause: see `repair.rs`.

use crds::{MemberPhase, OperationType, Recovery};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    footing, hibernate,
    repair::whole,
    report::Work,
    view::{Member, View},
};

/// What Kubernetes tells of a time longer ago than this belongs to something else.
const RECENT: SignedDuration = SignedDuration::from_mins(10);

/// How the last failure goes on, or that another one has begun.
pub(crate) fn recovery(view: &View<'_>, work: Option<&Work>) -> Option<Recovery> {
    let last = view.status.recovery.clone();
    if hibernate::wanted(view) {
        return last;
    }
    let kept_stopped = |it: &&Member<'_>| it.is_voter() && !it.good && it.fenced.is_some();
    let kept_stopped = view.members.values().filter(kept_stopped).count();
    let missing = view
        .spec
        .replicas
        .saturating_sub(view.good() + kept_stopped);
    let voters_at_risk = i32::try_from(missing).unwrap_or(i32::MAX);
    let now = whole(view.now);
    match last.filter(|it| it.restored.is_none()) {
        Some(open) => Some(Recovery {
            restored: (missing == 0).then_some(Time(now)),
            voters_at_risk,
            ..open
        }),
        None => match first_failure(view, work) {
            Some(failure) => Some(Recovery {
                last_failure: Time(whole(failure).min(now)),
                detected: Time(now),
                restored: None,
                voters_at_risk,
            }),
            None => view.status.recovery.clone(),
        },
    }
}

/// When the first of the voters failed that are missed now, if any is.
fn first_failure(view: &View<'_>, work: Option<&Work>) -> Option<Timestamp> {
    let planned = work.filter(|it| {
        matches!(
            it.kind,
            OperationType::Rollout | OperationType::ScaleDown | OperationType::ScaleUp
        )
    });
    let expected = planned.and_then(|it| it.member.as_deref());
    let ready = |name: &str| {
        let mut shown = view.status.members.iter();
        shown.any(|it| it.name == name && it.phase == MemberPhase::Ready)
    };
    let failed = view.members.values().filter(|it| {
        let silent = it.answer.is_none() && it.fenced.is_none();
        silent && ready(&it.name) && expected != Some(&it.name) && !it.is_learner()
    });
    let removed = |it: &&Member<'_>| it.removed(view.membership.is_some());
    failed
        .filter(|it| !removed(it))
        .map(|it| failed_at(view, it))
        .min()
}

/// When a member failed: its container ended, its pod was told to go or lost its readiness, or its node was last heard of. What is
/// not known happened just now.
fn failed_at(view: &View<'_>, member: &Member<'_>) -> Timestamp {
    let pod = member.pod;
    let status = pod.and_then(|it| it.status.as_ref());
    let containers = status.and_then(|it| it.container_statuses.as_ref());
    let ends = containers.into_iter().flatten().flat_map(|it| {
        let states = [it.state.as_ref(), it.last_state.as_ref()];
        let ended = |state: &k8s_openapi::api::core::v1::ContainerState| {
            state.terminated.as_ref()?.finished_at.clone()
        };
        states.into_iter().flatten().filter_map(ended)
    });
    let conditions = status.and_then(|it| it.conditions.as_ref());
    let unready = conditions.into_iter().flatten().filter_map(|it| {
        let lost = it.type_ == "Ready" && it.status == "False";
        it.last_transition_time.clone().filter(|_| lost)
    });
    let known = ends
        .chain(unready)
        .map(|it| it.0)
        .chain(footing::last_heard(view, member));
    let recent = |it: &Timestamp| *it <= view.now && view.now.duration_since(*it) <= RECENT;
    known.filter(recent).min().unwrap_or(view.now)
}
