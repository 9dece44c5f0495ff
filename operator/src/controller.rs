//! The controller: one round of reconciliation, from beginning to end.
//!
//! A round begins with nothing in its head and reads the cluster itself first. What it decides is `plan`'s; what it may
//! not do is `plan::safety`'s, which shares no code with it.
//!
//! It deliberately does not know who calls it, when, or how often: see `run.rs`, or call [`reconcile`] alone.

use std::time::Duration;

use crds::RaftCluster;
use kube::ResourceExt;
use plan::{Action, Failure, Observed, Outcome, Plan};

use crate::accounts::tell_without_cluster;
use crate::act::act;
use crate::context::{Context, WriteError};
use crate::gate::Shut;
use crate::kubernetes::CallError;
use crate::members::Credentials;
use crate::observe::observe;
use crate::publish::{Published, publish, tell_if_forbidden};

/// How soon a member is asked again that was not ready to do what it was asked.
const AFTER_POSTPONED: Duration = Duration::from_millis(500);
/// How soon a round follows on one that was overtaken by a change.
const AFTER_CHANGE: Duration = Duration::from_millis(50);

/// When to look at the cluster again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requeue {
    /// After this long, if nothing happens before.
    After(Duration),
    /// The same, and nothing is in hand: a glance is enough then.
    Rests(Duration),
    /// Never: there is no such cluster any more.
    Gone,
}

/// A round that did not go through. The world may have changed nevertheless; the next round sees.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server could not be read.
    #[error("the world could not be observed")]
    Observe(#[source] CallError),
    /// An action failed. It stands in the status too.
    #[error("{} failed: {}", .0.action, .0.error)]
    Act(Failure),
    /// The status could not be written.
    #[error("the status could not be published")]
    Publish(#[source] WriteError),
    /// This process must not write any more.
    #[error("the round was given up")]
    Shut(#[source] Shut),
}

/// One round for one cluster.
///
/// # Errors
/// [`ReconcileError`]; try again after a while that grows.
pub async fn reconcile(
    ctx: &Context,
    namespace: &str,
    name: &str,
) -> Result<Requeue, ReconcileError> {
    let found = ctx.kubernetes.find::<RaftCluster>(namespace, name).await;
    let Some(cluster) = found.map_err(ReconcileError::Observe)? else {
        ctx.metrics.cluster_gone(namespace, name);
        let told = tell_without_cluster(ctx, namespace, name).await;
        return told.map(|()| Requeue::Gone).map_err(unpublished);
    };
    let (mut observed, credentials) = match observe(ctx, &cluster).await {
        Ok(seen) => seen,
        Err(error) => {
            let told = tell_if_forbidden(ctx, &cluster, &error).await;
            told.map_err(ReconcileError::Shut)?;
            return Err(ReconcileError::Observe(error));
        }
    };
    let plan = (ctx.decide)(&cluster, &mut observed, ctx.clock.now());
    let outcome = carry_out(ctx, &cluster, (&observed, credentials.as_ref()), &plan)
        .await
        .map_err(ReconcileError::Shut)?;
    let status = plan::status(&cluster, &plan.report, &outcome);
    let went_well = outcome.failed.is_none() && outcome.postponed.is_none();
    let passes = went_well && plan.goes_on();
    let published = publish(ctx, &cluster, status, (&outcome.done, passes))
        .await
        .map_err(unpublished)?;
    conclude(&plan, outcome, published)
}

/// Acts on a plan that the safety check lets pass.
async fn carry_out(
    ctx: &Context,
    cluster: &RaftCluster,
    (observed, credentials): (&Observed, Option<&Credentials>),
    plan: &Plan,
) -> Result<Outcome, Shut> {
    let Err(violation) = plan::safety::check(observed, &plan.actions) else {
        return act(
            ctx,
            &cluster.namespace().unwrap_or_default(),
            (observed, credentials),
            &plan.actions,
        )
        .await;
    };
    ctx.metrics.refused_plan();
    let action = plan
        .actions
        .iter()
        .map(Action::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    let error = format!("refused by the safety check: {}", violation.sentence);
    tracing::error!(
        action,
        error,
        "a plan of ours is unsafe; nothing of it is done"
    );
    Ok(Outcome {
        failed: Some(Failure { action, error }),
        ..Outcome::default()
    })
}

fn conclude(
    plan: &Plan,
    outcome: Outcome,
    published: Published,
) -> Result<Requeue, ReconcileError> {
    match (outcome.failed, published) {
        (Some(failure), _) => Err(ReconcileError::Act(failure)),
        (None, _) if outcome.postponed.is_some() => Ok(Requeue::After(AFTER_POSTPONED)),
        (None, Published::Overtaken) => Ok(Requeue::After(AFTER_CHANGE)),
        (None, _) if plan.rests() => Ok(Requeue::Rests(plan.requeue)),
        (None, Published::Unchanged | Published::Written) => Ok(Requeue::After(plan.requeue)),
    }
}

fn unpublished(error: WriteError) -> ReconcileError {
    match error {
        WriteError::Shut(why) => ReconcileError::Shut(why),
        WriteError::Call(_) => ReconcileError::Publish(error),
    }
}
