//! The loop around the rounds: watches wake clusters, a bounded number of workers look at them.
//!
//! Invariants:
//! - One cluster is in at most one worker's hands.
//! - A round that takes too long, fails or panics concerns its own cluster and no other.
//! - On `stop`, no round begins, and those begun end at their next action's boundary; on `abandon`, all are dropped at once.
//!
//! It deliberately keeps no copy of any object: what it knows of a cluster is its name, and of a namespace what it does not hold.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crds::{RaftCluster, RaftMember, RaftOperation, RaftRole, RaftUser};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use plan::names;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::absences::Absences;
use crate::context::Context;
use crate::controller::{ReconcileError, Requeue, reconcile};
use crate::gate::Shut;
use crate::glance::glance;
use crate::kubernetes::{Kind, chain};
use crate::metrics::Outcome;
use crate::nodes;
use crate::operations::{self, Naming};
use crate::queue::{Finish, Key, Queue};
use crate::serve::Pulse;
use crate::watch::{Belongs, Wake, Watch};

/// The longest round: five lists, a second of probes and a handful of writes are over long before.
const ROUND_MAX: Duration = Duration::from_secs(60);
/// How long begun rounds are waited for when the process stops; a write takes less.
const STOP_MAX: Duration = Duration::from_secs(8);

/// What to look after, and how.
#[derive(Debug, Clone)]
pub struct Scope {
    /// These namespaces; all, if there are none.
    pub namespaces: Vec<String>,
    /// Every cluster is looked at this often at least.
    pub resync: Duration,
    /// So many clusters at once.
    pub workers: usize,
}

/// How the loop is told to end.
#[derive(Debug, Clone, Default)]
pub struct Ends {
    /// In good order.
    pub stop: CancellationToken,
    /// At once: the lease is lost.
    pub abandon: CancellationToken,
}

/// Looks after all clusters in scope until told to end.
pub async fn run(mut ctx: Context, scope: Scope, pulse: Pulse, ends: Ends) {
    if !scope.namespaces.is_empty() {
        ctx.kubernetes = ctx.kubernetes.bound();
    }
    ctx.absences = Absences::kept();
    let (wake, wakes) = mpsc::unbounded_channel();
    let mut watches = JoinSet::new();
    watch_all(&ctx, &scope, &pulse, &wake, &mut watches);
    ctx.metrics.concurrency(scope.workers);
    let workers = Workers {
        ctx,
        resync: scope.resync,
        limit: scope.workers,
        queue: Queue::default(),
        rounds: JoinSet::new(),
        hands: HashMap::new(),
    };
    workers.work(wakes, &ends).await;
}

fn watch_all(
    ctx: &Context,
    scope: &Scope,
    pulse: &Pulse,
    wake: &mpsc::UnboundedSender<Wake>,
    watches: &mut JoinSet<()>,
) {
    let everywhere = [None];
    let named: Vec<Option<&str>> = scope
        .namespaces
        .iter()
        .map(|name| Some(name.as_str()))
        .collect();
    for namespace in if named.is_empty() {
        &everywhere[..]
    } else {
        &named[..]
    } {
        let of = Watching {
            ctx,
            namespace: *namespace,
            pulse,
            wake,
        };
        watches.spawn(of.kind::<RaftCluster>(Belongs::Itself).run());
        watches.spawn(of.owned::<RaftMember>().run());
        of.naming::<RaftOperation>(watches);
        of.naming::<RaftUser>(watches);
        of.naming::<RaftRole>(watches);
        watches.spawn(of.owned::<Pod>().run());
        watches.spawn(of.owned::<PersistentVolumeClaim>().run());
        watches.spawn(of.owned::<Service>().run());
        watches.spawn(of.owned::<PodDisruptionBudget>().run());
        watches.spawn(of.owned::<NetworkPolicy>().run());
    }
    if scope.namespaces.is_empty() {
        watch_nodes(ctx, pulse, wake, watches);
    }
}

/// Follows the nodes that are cordoned.
fn watch_nodes(
    ctx: &Context,
    pulse: &Pulse,
    wake: &mpsc::UnboundedSender<Wake>,
    watches: &mut JoinSet<()>,
) {
    let (told, nodes) = mpsc::unbounded_channel();
    let watch = Watch::<Node> {
        api: ctx.kubernetes.wide(),
        kind: "Node".to_owned(),
        labels: None,
        fields: Some(nodes::CORDONED.to_owned()),
        dispensable: true,
        belongs: Belongs::Itself,
        wake: told,
        pulse: pulse.clone(),
        metrics: Arc::clone(&ctx.metrics),
    };
    watches.spawn(watch.run());
    let kubernetes = ctx.kubernetes.clone();
    watches.spawn(nodes::wake_clusters(kubernetes, nodes, wake.clone()));
}

struct Watching<'a> {
    ctx: &'a Context,
    namespace: Option<&'a str>,
    pulse: &'a Pulse,
    wake: &'a mpsc::UnboundedSender<Wake>,
}

impl Watching<'_> {
    fn kind<K: Kind>(&self, belongs: Belongs) -> Watch<K> {
        Watch {
            api: self.ctx.kubernetes.scoped::<K>(self.namespace),
            kind: K::kind(&()).into_owned(),
            labels: None,
            fields: None,
            dispensable: false,
            belongs,
            wake: self.wake.clone(),
            pulse: self.pulse.clone(),
            metrics: Arc::clone(&self.ctx.metrics),
        }
    }

    /// A kind whose objects name their cluster in their spec.
    fn naming<K: Naming>(&self, watches: &mut JoinSet<()>) {
        let (told, changed) = mpsc::unbounded_channel();
        let watch = Watch {
            wake: told,
            ..self.kind::<K>(Belongs::Itself)
        };
        watches.spawn(watch.run());
        let (ctx, wake) = (self.ctx.clone(), self.wake.clone());
        watches.spawn(operations::wake_clusters::<K>(ctx, changed, wake));
    }

    /// A kind of which only what belongs to a cluster concerns us.
    fn owned<K: Kind>(&self) -> Watch<K> {
        let labels = Some(names::CLUSTER_LABEL.to_owned());
        Watch {
            labels,
            ..self.kind(Belongs::ByLabel(names::CLUSTER_LABEL))
        }
    }
}

struct Workers {
    ctx: Context,
    resync: Duration,
    limit: usize,
    queue: Queue,
    rounds: JoinSet<Finish>,
    hands: HashMap<Id, Key>,
}

impl Workers {
    async fn work(mut self, mut wakes: mpsc::UnboundedReceiver<Wake>, ends: &Ends) {
        loop {
            self.begin_rounds();
            let due = self
                .queue
                .next_due()
                .filter(|_| self.rounds.len() < self.limit);
            tokio::select! {
                biased;
                () = ends.abandon.cancelled() => return self.rounds.shutdown().await,
                () = ends.stop.cancelled() => return self.wind_down(&ends.abandon).await,
                Some(ended) = self.rounds.join_next_with_id() => self.end_round(ended),
                Some(woken) = wakes.recv() => self.wake(woken),
                () = until(due) => {}
            }
        }
    }

    fn begin_rounds(&mut self) {
        let now = self.ctx.clock.instant();
        self.ctx
            .metrics
            .queue_stands(self.queue.depth(now), self.queue.running(now));
        while self.rounds.len() < self.limit {
            let Some(due) = self.queue.take(now) else {
                return;
            };
            self.ctx.metrics.reconcile_began(due.overdue);
            let span = tracing::info_span!("round", cluster = %due.key);
            let rests = due.rested.is_some_and(|since| now - since < self.resync);
            let round =
                look(self.ctx.clone(), due.key.clone(), self.resync, rests).instrument(span);
            self.hands.insert(self.rounds.spawn(round).id(), due.key);
        }
    }

    fn end_round(&mut self, ended: Result<(Id, Finish), JoinError>) {
        let (id, finish) = match ended {
            Ok(ended) => ended,
            Err(panic) => {
                tracing::error!(%panic, "a round panicked");
                self.ctx.metrics.reconcile_panicked();
                self.ctx
                    .metrics
                    .reconcile_ended(Outcome::Error, Duration::ZERO);
                (panic.id(), Finish::Failed)
            }
        };
        let key = self
            .hands
            .remove(&id)
            .expect("every round has its cluster in hand");
        self.queue.finish(key, finish, self.ctx.clock.instant());
    }

    fn wake(&mut self, wake: Wake) {
        let now = self.ctx.clock.instant();
        let keys = match wake {
            Wake::One(key) => vec![key],
            Wake::All => self.queue.known(),
        };
        for key in keys {
            self.ctx.metrics.queued();
            self.queue.add(key, now);
        }
    }

    /// Waits for the rounds begun; the gate ends each at its next action's boundary.
    async fn wind_down(mut self, abandon: &CancellationToken) {
        self.ctx.gate.shut(Shut::Stopping);
        let ended = async { while self.rounds.join_next().await.is_some() {} };
        tokio::select! {
            () = ended => {}
            () = tokio::time::sleep(STOP_MAX) => tracing::warn!("a round did not end in time and is dropped"),
            () = abandon.cancelled() => {}
        }
        self.rounds.shutdown().await;
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// One look, bounded, counted and, where it failed, logged: a round, or a glance if that is enough for a cluster that `rests`.
async fn look(ctx: Context, key: Key, resync: Duration, rests: bool) -> Finish {
    let begun = ctx.clock.instant();
    let looked = async {
        if rests && let Some(wait) = glance(&ctx, &key.namespace, &key.name).await {
            return Ok(Finish::Glanced(wait.min(resync)));
        }
        let next = reconcile(&ctx, &key.namespace, &key.name).await?;
        Ok(match next {
            Requeue::After(wait) => Finish::After(wait.min(resync)),
            Requeue::Rests(wait) => Finish::Rests(wait.min(resync)),
            Requeue::Gone => Finish::Gone,
        })
    };
    let finish = match tokio::time::timeout(ROUND_MAX, looked).await {
        Ok(Ok(finish)) => finish,
        Ok(Err(error)) => {
            log(&error);
            Finish::Failed
        }
        Err(_) => {
            tracing::error!(after = ?ROUND_MAX, "a round took too long and was cut off");
            ctx.metrics.reconcile_timed_out();
            Finish::Failed
        }
    };
    let outcome = match finish {
        Finish::Failed => Outcome::Error,
        Finish::After(wait) | Finish::Rests(wait) | Finish::Glanced(wait) if wait < resync => {
            Outcome::RequeueAfter
        }
        _ => Outcome::Success,
    };
    ctx.metrics
        .reconcile_ended(outcome, ctx.clock.instant() - begun);
    finish
}

fn log(error: &ReconcileError) {
    match error {
        ReconcileError::Shut(why) => tracing::info!(%why, "the round was given up"),
        error => tracing::warn!(
            error = chain(error),
            "the round failed and will be tried again"
        ),
    }
}
