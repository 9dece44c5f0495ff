//! The life of the process: serve, lead, work, and end in good order.
//!
//! Invariants:
//! - Without the lease no cluster is even looked at; the moment it is lost, all rounds are dropped and the process ends.
//! - On SIGTERM the rounds end first and the lease is released last.
//!
//! It deliberately takes its client, listener and signal as arguments, so that a test can run a whole operator.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::gate::Shut;
use crate::lease::{Candidate, Heard, Timing};
use crate::run::{Ends, Scope, run};
use crate::serve::Pulse;

/// Where to run for leadership.
#[derive(Debug, Clone)]
pub struct Election {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// Unique to this process.
    pub identity: String,
    /// The rhythm.
    pub timing: Timing,
}

/// How the process's life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to stop, and did.
    Stopped,
    /// It lost its lease; whoever started it should start it anew.
    LostLease,
}

/// Leads, if there is an election, and looks after the clusters in scope until `stop` or until the lease is lost.
pub async fn live(
    ctx: Context,
    election: Option<Election>,
    scope: Scope,
    pulse: Pulse,
    stop: CancellationToken,
) -> Ended {
    let ends = Ends {
        stop: stop.clone(),
        abandon: CancellationToken::new(),
    };
    let Some(election) = election else {
        run(ctx, scope, pulse, ends).await;
        return Ended::Stopped;
    };
    ctx.metrics.leads(&election.name, false);
    let mut candidate = candidate(&ctx, &election);
    let patience = election.timing.duration * 2 + Duration::from_secs(60);
    let beat = pulse.clone();
    let looked = move |heard| match heard {
        Heard::Answer => beat.reached("lease", patience),
        Heard::Nothing => beat.tried("lease", patience),
    };
    pulse.tried("lease", patience);
    tokio::select! {
        () = candidate.acquire(looked.clone()) => {}
        () = stop.cancelled() => return Ended::Stopped,
    }
    tracing::info!(
        lease = election.name,
        identity = election.identity,
        "leading"
    );
    ctx.metrics.leads(&election.name, true);
    let released = CancellationToken::new();
    let holding = hold(candidate, looked, ends.abandon.clone(), released.clone());
    run(ctx.clone(), scope, pulse, ends).await;
    released.cancel();
    let ended = holding.await.unwrap_or(Ended::LostLease);
    ctx.metrics.leads(&election.name, false);
    ended
}

fn candidate(ctx: &Context, election: &Election) -> Candidate {
    Candidate::new(
        ctx.kubernetes.clone(),
        Arc::clone(&ctx.clock),
        ctx.gate.clone(),
        (&election.namespace, &election.name),
        &election.identity,
        election.timing,
    )
}

/// Holds the lease beside the work: on its loss the work is abandoned, and when the work is over it is released.
fn hold(
    mut candidate: Candidate,
    looked: impl Fn(Heard) + Send + Sync + 'static,
    abandon: CancellationToken,
    released: CancellationToken,
) -> JoinHandle<Ended> {
    tokio::spawn(async move {
        let lost: Option<Shut> = tokio::select! {
            why = candidate.hold(looked) => Some(why),
            () = released.cancelled() => None,
        };
        if let Some(why) = lost {
            tracing::error!(%why, "all work is dropped");
            abandon.cancel();
            return Ended::LostLease;
        }
        candidate.release().await;
        Ended::Stopped
    })
}
