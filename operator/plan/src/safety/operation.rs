//! The checker's part about what operations ask of members.
//!
//! Like the rest of the checker it shares no code with the policies. It asks for a reason only where something is lost that
//! does not come back, which is history; it deliberately does not ask whether anybody wanted the rest.

use crds::{OperationPhase, RaftOperation};

use super::{Facts, Violation, is_majority, refuse};
use crate::action::{Alarm, Target};

/// A member that is defragmented answers nobody for a while: the others must do without it, where they are enough to.
pub(super) fn pause(facts: &Facts<'_>, name: &str) -> Result<(), Violation> {
    if facts.list.is_none() {
        return refuse(
            1,
            format!("{name} is to be defragmented while nobody can read the membership"),
        );
    }
    let (voters, mut left) = (facts.voters(), facts.sound());
    let Some(id) = facts.id_in(name).filter(|it| voters.contains(it)) else {
        return Ok(());
    };
    left.remove(&id);
    let unavoidable = voters.len() <= 2 && left.len() + 1 >= voters.len();
    if unavoidable || is_majority(left.len(), voters.len()) {
        return Ok(());
    }
    refuse(
        1,
        format!(
            "while {name} is defragmented only {} of {} voters are sound",
            left.len(),
            voters.len()
        ),
    )
}

/// Old revisions go only where a majority agrees on what the newest is, and only if a running operation names this revision or
/// a member has no space left.
pub(super) fn compact(facts: &Facts<'_>, revision: i64) -> Result<(), Violation> {
    if facts.list.is_none() || !is_majority(facts.sound().len(), facts.voters().len()) {
        return refuse(2, "revisions are to go without a sound majority".to_owned());
    }
    let plans = facts.observed.operations.iter().filter_map(|it| {
        let status = it.status.as_ref()?;
        let runs = status.phase == OperationPhase::Running;
        status.plan.as_ref().filter(|_| runs)
    });
    let asked = plans
        .flat_map(|it| &it.steps)
        .any(|it| it.revision == Some(revision));
    if asked || facts.answers.values().any(|it| !it.no_space.is_empty()) {
        return Ok(());
    }
    refuse(
        2,
        format!("revisions before {revision} are to go and nobody asked for it"),
    )
}

/// What has ended stays as it ended: nothing is done a second time.
pub(super) fn tell(facts: &Facts<'_>, told: &RaftOperation) -> Result<(), Violation> {
    let mut operations = facts.observed.operations.iter();
    let seen = operations.find(|it| it.metadata.uid == told.metadata.uid);
    let as_seen =
        seen.is_some_and(|it| it.metadata.resource_version == told.metadata.resource_version);
    if as_seen && !seen.and_then(phase).is_some_and(has_ended) {
        return Ok(());
    }
    refuse(
        3,
        "an operation is to be told that has ended, or that nobody saw".to_owned(),
    )
}

fn phase(operation: &RaftOperation) -> Option<OperationPhase> {
    operation.status.as_ref().map(|it| it.phase)
}

fn has_ended(phase: OperationPhase) -> bool {
    use OperationPhase::{Failed, Planned, Succeeded};
    [Planned, Succeeded, Failed].contains(&phase)
}

/// Only an alarm that somebody reports is disarmed, and only by a majority; that data are corrupt, only of one that is no member.
pub(super) fn disarm(facts: &Facts<'_>, alarm: Alarm, id: u64) -> Result<(), Violation> {
    let member = id == 0
        || facts
            .list
            .is_some_and(|all| all.iter().any(|it| it.id == id));
    if alarm == Alarm::Corrupt && member {
        return refuse(
            2,
            format!("the alarm CORRUPT of {id:x} is to be disarmed while it may be right"),
        );
    }
    let reported = facts.answers.values().any(|it| match alarm {
        Alarm::NoSpace => it.no_space.contains(&id),
        Alarm::Corrupt => it.corrupt.contains(&id),
    });
    if reported && facts.list.is_some() && is_majority(facts.sound().len(), facts.voters().len()) {
        return Ok(());
    }
    refuse(
        1,
        format!("an alarm of {id:x} is to be disarmed that nobody reports"),
    )
}

/// An operation that has not ended is the user's to delete.
pub(super) fn delete_operation(facts: &Facts<'_>, target: &Target) -> Result<(), Violation> {
    let mut operations = facts.observed.operations.iter();
    let seen = operations.find(|it| it.metadata.uid.as_deref() == Some(target.uid.as_str()));
    if seen.and_then(phase).is_some_and(has_ended) {
        return Ok(());
    }
    refuse(
        3,
        format!(
            "operation {} is to be deleted and has not ended",
            target.name
        ),
    )
}
