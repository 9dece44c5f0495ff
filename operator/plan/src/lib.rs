//! The operator's whole decision: `(cluster, observed, now) -> (actions, report)`.
//!
//! ```text
//! observe (reads) -> plan (this crate) -> act (writes) -> publish (status, this crate's `status`)
//! ```
//!
//! Nothing is remembered between rounds but what stands in the resource's status; what must be remembered before
//! something is made ([`report::Memory`]) is published first and built upon in the next round.
//!
//! This crate deliberately does no input or output and has no clock: everything is handed in.

pub mod action;
pub mod names;
pub mod observed;
pub mod report;

use std::time::Duration;

use crds::{RaftCluster, RaftClusterStatus};
use jiff::Timestamp;

pub use action::{Action, Ground, Target};
pub use observed::{Answer, Listed, Observed, Probe};
pub use report::{Failure, Outcome, Report};

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The calls to make, in this order, stopping at the first that fails.
    pub actions: Vec<Action>,
    /// Why.
    pub report: Report,
    /// When to look again if nothing happens before: zero for at once.
    pub requeue: Duration,
}

/// Decides one round. Total: whatever is handed in, there is a plan, if only one that does nothing and says why.
#[must_use]
pub fn plan(cluster: &RaftCluster, observed: &Observed, now: Timestamp) -> Plan {
    let status = cluster.status.clone().unwrap_or_default();
    let hands_off = cluster
        .metadata
        .deletion_timestamp
        .as_ref()
        .map(|_| report::HandsOff::Deletion)
        .or(cluster.spec.paused.then_some(report::HandsOff::Paused));
    let report = Report {
        at: now,
        invalid: Vec::new(),
        hands_off,
        work: None,
        wanted: cluster.spec.replicas,
        members: Vec::new(),
        ready: 0,
        quorate: None,
        quorum: None,
        leader: None,
        endpoints: observed.pods.len(),
        memory: report::Memory::of(&status),
        notices: Vec::new(),
    };
    Plan {
        actions: Vec::new(),
        report,
        requeue: Duration::from_secs(30),
    }
}

/// The status after a round: deterministic, so that a converged cluster's status is the one it already has.
#[must_use]
pub fn status(
    cluster: &RaftCluster,
    _observed: &Observed,
    report: &Report,
    _outcome: &Outcome,
) -> RaftClusterStatus {
    RaftClusterStatus {
        observed_generation: cluster.metadata.generation,
        serial: report.memory.serial,
        joining: report.memory.joining.clone(),
        ..cluster.status.clone().unwrap_or_default()
    }
}

/// Checks of a plan that share no code with the policies.
pub mod safety {
    use crate::{Action, Observed};

    /// A plan that must not be carried out.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Violation {
        /// What it would do, in words.
        pub sentence: String,
    }

    /// Refuses more than one change of the membership at a time.
    ///
    /// # Errors
    /// The violation, for a person.
    pub fn check(_observed: &Observed, actions: &[Action]) -> Result<(), Violation> {
        let changes = actions
            .iter()
            .filter(|action| {
                matches!(
                    action,
                    Action::AddLearner { .. }
                        | Action::Promote { .. }
                        | Action::RemoveMember { .. }
                )
            })
            .count();
        if changes > 1 {
            return Err(Violation {
                sentence: format!("{changes} changes of the membership at once"),
            });
        }
        Ok(())
    }
}
