//! What a cluster that hibernates may have done to it: its members may all be stopped, and nothing else.
//!
//! It deliberately believes only what the resource itself said in this round's reads.

use crds::RunState;

use super::{Facts, Violation, is_dead, refuse};
use crate::action::{Action, Target};

/// Whether the user asked for no member to run.
pub(super) fn asked_for(facts: &Facts<'_>) -> bool {
    facts.observed.run_state == RunState::Hibernated
}

/// While members are stopped on purpose the membership stays as it is.
pub(super) fn no_change(actions: &[Action]) -> Result<(), Violation> {
    let changes = |it: &&Action| {
        matches!(
            it,
            Action::AddLearner { .. }
                | Action::Promote { .. }
                | Action::RemoveMember { .. }
                | Action::UpdatePeerUrl { .. }
                | Action::MoveLeader { .. }
                | Action::CreatePod(_)
        )
    };
    match actions.iter().find(changes) {
        Some(action) => refuse(
            1,
            format!("the cluster hibernates, and the plan is to {action}"),
        ),
        None => Ok(()),
    }
}

/// The leader goes last.
pub(super) fn stop(facts: &Facts<'_>, target: &Target) -> Result<(), Violation> {
    let id = facts.id_in(&target.name);
    if id.is_none() || id != facts.leader {
        return Ok(());
    }
    let voters = facts.voters();
    let up = facts.observed.pods.iter().find(|pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let voter = facts.id_in(name).filter(|it| voters.contains(it));
        let lives = pod.metadata.deletion_timestamp.is_none() && !is_dead(pod);
        name != target.name && voter.is_some() && lives
    });
    match up.and_then(|it| it.metadata.name.as_deref()) {
        Some(up) => refuse(
            8,
            format!(
                "pod {} is to be stopped while its member leads and {up} runs",
                target.name
            ),
        ),
        None => Ok(()),
    }
}
