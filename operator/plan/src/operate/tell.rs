//! What an operation's status says, and when the whole resource goes.
//!
//! It deliberately decides nothing about the cluster.

use crds::{OperationPhase, RaftOperation, RaftOperationStatus};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{Standing, phase};
use crate::{
    action::{Action, Target},
    draft::Draft,
    report::Work,
    view::View,
};

/// Publishes how an operation stands, if that is not what its status says already.
pub(super) fn tell(
    view: &View<'_>,
    draft: &mut Draft,
    operation: &RaftOperation,
    standing: Standing,
) {
    let old = operation.status.clone().unwrap_or_default();
    // The API server keeps whole seconds.
    let now = Time(Timestamp::from_second(view.now.as_second()).unwrap_or(view.now));
    let ends = standing.phase.is_final();
    let begins = standing.phase == OperationPhase::Running;
    let status = RaftOperationStatus {
        phase: standing.phase,
        conditions: ended(operation, &standing, &now).into_iter().collect(),
        message: Some(standing.message),
        cluster_uid: old
            .cluster_uid
            .clone()
            .or_else(|| Some(view.spec.uid.clone())),
        started_at: old
            .started_at
            .clone()
            .or_else(|| begins.then(|| now.clone())),
        finished_at: ends.then_some(now),
        plan: standing.plan,
    };
    if operation.status.as_ref() != Some(&status) {
        let told = RaftOperation {
            status: Some(status),
            ..operation.clone()
        };
        draft.actions.push(Action::TellOperation(Box::new(told)));
    }
}

/// The one condition of an operation that has ended.
fn ended(operation: &RaftOperation, standing: &Standing, now: &Time) -> Option<Condition> {
    let (kind, reason) = match standing.phase {
        OperationPhase::Pending | OperationPhase::Running => return None,
        OperationPhase::Planned => ("Complete", "Planned"),
        OperationPhase::Succeeded => ("Complete", "Succeeded"),
        OperationPhase::Failed => ("Failed", "Impossible"),
    };
    Some(Condition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: reason.to_owned(),
        message: standing.message.clone(),
        observed_generation: operation.metadata.generation,
        last_transition_time: now.clone(),
    })
}

/// Whether this round tells the operation something already.
pub(super) fn is_told(draft: &Draft, operation: &RaftOperation) -> bool {
    let same = |it: &RaftOperation| it.metadata.uid == operation.metadata.uid;
    let mut actions = draft.actions.iter();
    actions.any(|it| matches!(it, Action::TellOperation(told) if same(told)))
}

/// Clears away operations that have ended as long ago as they said.
pub(super) fn sweep(view: &View<'_>, draft: &mut Draft) {
    for operation in view
        .observed
        .operations
        .iter()
        .filter(|it| is_over(view, it))
    {
        let meta = &operation.metadata;
        if let (Some(name), Some(uid)) = (meta.name.clone(), meta.uid.clone()) {
            let operation = Target { name, uid };
            draft.actions.push(Action::DeleteOperation { operation });
        }
    }
}

fn is_over(view: &View<'_>, operation: &RaftOperation) -> bool {
    let finished = operation
        .status
        .as_ref()
        .and_then(|it| it.finished_at.as_ref());
    let kept = operation.spec.ttl_seconds_after_finished;
    let over = |(finished, kept): (&Time, i64)| {
        view.now.duration_since(finished.0) >= SignedDuration::from_secs(kept)
    };
    phase(operation).is_final()
        && operation.metadata.deletion_timestamp.is_none()
        && finished.zip(kept).is_some_and(over)
}

/// The work in hand in words.
pub(super) fn sentence(work: &Work) -> String {
    let of = work.member.as_ref().map(|it| format!(" of {it}"));
    let waits = work.blocked_by.first();
    let waits = waits.map_or_else(String::new, |it| format!(", waiting: {}", it.message));
    format!("{}{}{waits}", work.step, of.unwrap_or_default())
}

/// A number of steps in words.
pub(super) fn steps(number: usize) -> String {
    match number {
        1 => "1 step".to_owned(),
        many => format!("{many} steps"),
    }
}
