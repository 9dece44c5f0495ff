//! Stopping all members because the user asked for it: followers at once, the leader when they are gone.
//!
//! What was acknowledged is on the volumes of a majority, and all volumes are kept; the leader goes last so that nobody has
//! to be elected on the way. Waking needs no policy: `upkeep.rs` makes every pod that is missing, all at once, on its own
//! volume, and `settle.rs` says what is still on its way.
//!
//! This file deliberately changes no membership and finishes no other work first: whatever was half-way is gone on with
//! when the cluster runs again.

use crds::{OperationType::Hibernate, RunState};

use crate::{
    action::Action,
    draft::{Draft, moving, waiting},
    report::Work,
    upkeep::CHANCE,
    view::{Member, View},
};

/// Whether the user wants no member to run.
pub(crate) fn wanted(view: &View<'_>) -> bool {
    view.spec.run_state == RunState::Hibernated
}

/// Whether the user wants no member to run and none does.
pub(crate) fn asleep(view: &View<'_>) -> bool {
    wanted(view) && view.members.values().all(|it| it.pod.is_none())
}

/// Stops what may be stopped now, or says what it waits for; no work when no pod is left.
pub(crate) fn hibernate(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    let pods: Vec<_> = view
        .members
        .values()
        .filter(|it| it.pod.is_some())
        .collect();
    let (ending, up): (Vec<_>, Vec<_>) = pods.into_iter().partition(|it| it.pod_ending());
    let due = |it: &&&Member<'_>| up.is_empty() || ends_soon(view, it);
    if let Some(member) = ending.iter().find(due) {
        let why = member.trouble(view);
        return Some(waiting(
            Hibernate,
            "StopMember",
            &member.name,
            "PodGone",
            why,
        ));
    }
    let followers: Vec<_> = up.iter().filter(|it| !view.leads(it)).collect();
    let (step, next) = if followers.is_empty() {
        ("StopLeader", up.iter().collect())
    } else {
        ("StopFollowers", followers)
    };
    for pod in next.iter().filter_map(|it| it.pod_target()) {
        if !draft.stops(&pod) {
            let why = "the cluster hibernates".to_owned();
            draft.actions.push(Action::DeletePod { pod, why });
        }
    }
    next.first().map(|it| moving(Hibernate, step, &it.name))
}

/// Whether an ending pod can still be expected to end: one on a dead node must not keep the others awake.
fn ends_soon(view: &View<'_>, member: &Member<'_>) -> bool {
    let due = member
        .pod
        .and_then(|it| it.metadata.deletion_timestamp.as_ref());
    due.is_some_and(|due| view.now.duration_since(due.0) < CHANCE)
}
