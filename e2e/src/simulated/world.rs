//! The world itself: an API server, kubelets, members and time, moved on in steps between an operator's rounds.
//!
//! It deliberately runs no operator's loop: rounds are called one by one, so that every test sees the same order of events.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use crds::{RaftCluster, RaftOperation};
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};
use quorate_operator::clock::Clock;
use quorate_operator::gate::Shut;
use quorate_operator::{Context, ReconcileError, Requeue, reconcile};
use serde_json::{Value, json};
use smallkube::{Options, Smallkube};
use tokio::task::JoinHandle;

use super::bug::Bug;
use super::crash::Crash;
use super::etcd::Model;
use super::faults::Faults;
use super::kubelet::{Kubelet, Processes};
use super::nodes::Nodes;
use super::real::Real;
use super::snapshots;
use super::summary::{self, Summary};

/// The namespace of the one cluster.
pub const NAMESPACE: &str = "default";
/// The name of the one cluster.
pub const NAME: &str = "kv";
/// The Secret with the password of `root`.
pub const ROOT_SECRET: &str = "root";
/// When the world begins; a date of no meaning.
const DAWN: i64 = 1_800_000_000;
/// After so many rounds in which nothing changed, nothing will.
const STUCK: u32 = 120;
/// No change of a cluster takes this many rounds.
const ENDLESS: u32 = 1_500;
/// A converged cluster is one that stays so for this many rounds.
const QUIET: u32 = 2;

/// A world with one namespace and at most one cluster.
pub struct World {
    /// The API server.
    pub kube: Smallkube,
    /// The members, unless they are real.
    pub model: Model,
    /// The members, if they are real.
    real: Option<Real>,
    /// A client of the user.
    pub user: Client,
    kubelet: Kubelet,
    pub(super) nodes: Nodes,
    clock: WorldClock,
    bug: Option<Bug>,
    faults: Faults,
    rounds: AtomicU32,
    rounds_max: u32,
}

/// A round of an operator that is held up at a write and is no leader any more.
pub type HeldUp = JoinHandle<Result<Requeue, ReconcileError>>;

/// How a round ended.
#[derive(Debug)]
pub enum Round {
    /// By itself.
    Ended(Result<Requeue, ReconcileError>),
    /// The operator died in it.
    Crashed,
}

/// The world's time.
#[derive(Clone, Default)]
struct WorldClock(Arc<AtomicI64>);

impl WorldClock {
    fn read(&self) -> Timestamp {
        let seconds = DAWN + self.0.load(Ordering::Relaxed);
        Timestamp::from_second(seconds).expect("a test lasts no centuries")
    }

    fn of_smallkube(&self) -> smallkube::Clock {
        let told = self.clone();
        Arc::new(move || told.read())
    }
}

impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        self.read()
    }
}

/// Whether how a round ended says nothing of a plan that the operator's own safety check refused: none is ever made.
///
/// # Errors
/// What was refused.
pub(super) fn safe(ended: &str) -> Result<(), String> {
    if ended.contains("refused by the safety check") {
        return Err(format!("a plan is unsafe: {ended}"));
    }
    Ok(())
}

/// Whether an operation keeps a member stopped, and has no end by itself.
fn stands(operation: &RaftOperation) -> bool {
    let plan = operation.status.iter().filter_map(|it| it.plan.as_ref());
    let mut steps = plan.flat_map(|it| &it.steps);
    operation.spec.fence.is_some() && steps.any(|it| it.done)
}

/// The spec of a cluster whose members ask who somebody is.
#[must_use]
pub fn authentication() -> Value {
    json!({ "auth": { "rootSecretName": ROOT_SECRET }, "tls": { "client": { "mode": "Operator" } } })
}

impl World {
    /// A world with nothing in it but the definitions of our kinds.
    ///
    /// # Panics
    /// If the definitions are refused.
    pub async fn new() -> Self {
        static DEFINITIONS: LazyLock<Vec<CustomResourceDefinition>> =
            LazyLock::new(crds::definitions);
        let clock = WorldClock::default();
        let kube = Smallkube::start(&Options {
            seed: 7,
            clock: clock.of_smallkube(),
            ..Options::default()
        });
        let user = kube.client("user");
        let model = Model::default();
        let nodes = Nodes::new(kube.client("node-controller"));
        let kubelet =
            Kubelet::new(kube.client("kubelet"), Arc::new(model.clone())).on(nodes.clone());
        let definitions = Api::all(user.clone());
        for definition in DEFINITIONS.iter() {
            let created = definitions.create(&PostParams::default(), definition).await;
            created.expect("our own definitions are valid");
        }
        Self {
            kube,
            model,
            real: None,
            user,
            kubelet,
            nodes,
            clock,
            bug: None,
            faults: Faults::default(),
            rounds: AtomicU32::new(0),
            rounds_max: ENDLESS,
        }
    }

    /// The same with members that are real.
    #[must_use]
    pub fn of(self, real: &Real) -> Self {
        let client = self.kube.client("kubelet");
        Self {
            kubelet: Kubelet::new(client, Arc::new(real.clone())).on(self.nodes.clone()),
            real: Some(real.clone()),
            ..self
        }
    }

    /// What runs in the pods.
    pub(super) fn processes(&self) -> &dyn Processes {
        match &self.real {
            Some(real) => real,
            None => &self.model,
        }
    }

    /// Another world that begins where this one stands: for stories with one beginning and many ends. Nobody has called its API
    /// server yet, and nothing goes wrong in it.
    ///
    /// # Panics
    /// Outside of a tokio runtime, and with members that are real: there is no copy of what is on its way between them.
    #[must_use]
    pub fn fork(&self) -> Self {
        assert!(self.real.is_none(), "real members cannot be copied");
        let now = self.clock.0.load(Ordering::Relaxed);
        let clock = WorldClock(Arc::new(AtomicI64::new(now)));
        let kube = self.kube.fork(clock.of_smallkube());
        let model = self.model.fork();
        let nodes = self.nodes.fork(kube.client("node-controller"));
        Self {
            user: kube.client("user"),
            kubelet: Kubelet::new(kube.client("kubelet"), Arc::new(model.clone()))
                .on(nodes.clone()),
            nodes,
            kube,
            model,
            real: None,
            clock,
            bug: self.bug,
            faults: Faults::default(),
            rounds: AtomicU32::new(0),
            rounds_max: self.rounds_max,
        }
    }

    /// The world with this planted in all its operators, and so many rounds for a change at most.
    #[must_use]
    pub fn with(self, bug: Option<Bug>, rounds_max: u32) -> Self {
        Self {
            bug,
            rounds_max,
            ..self
        }
    }

    /// From now on all its operators meet these faults, and rounds are counted from here.
    #[must_use]
    pub fn under(self, faults: &Faults) -> Self {
        Self {
            faults: faults.clone(),
            rounds: AtomicU32::new(0),
            ..self
        }
    }

    /// How many rounds there were.
    #[must_use]
    pub fn rounds_so_far(&self) -> u32 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// A new operator of this fate, with nothing in its head.
    #[must_use]
    pub fn operator(&self, crash: &Crash) -> Context {
        self.operator_called("operator", crash)
    }

    /// The same, under a name of its own in the log of calls.
    #[must_use]
    pub fn operator_called(&self, name: &str, crash: &Crash) -> Context {
        let mut client = crash.client(self.faults.client(self.kube.client(name)));
        if let Some(bug) = self.bug {
            client = bug.client(client);
        }
        let members = self.faults.members(self.processes().members(crash.clone()));
        let mut ctx = Context::new(client, members);
        ctx.clock = Arc::new(self.clock.clone());
        if let Some(bug) = self.bug {
            bug.plant(&mut ctx);
        }
        ctx
    }

    /// The cluster as it stands.
    ///
    /// # Panics
    /// If it cannot be read.
    pub async fn cluster(&self) -> Option<RaftCluster> {
        self.clusters()
            .get_opt(NAME)
            .await
            .expect("smallkube can be read")
    }

    /// One round of this operator, to its end or to its death.
    pub async fn round(&self, ctx: &Context, crash: &Crash) -> Round {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        let ctx = ctx.clone();
        // A task of its own, as in the operator: a whole story leaves it too little of a test's stack.
        let mut round = tokio::spawn(async move { reconcile(&ctx, NAMESPACE, NAME).await });
        tokio::select! {
            biased;
            ended = &mut round => match ended {
                Ok(ended) => Round::Ended(ended),
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            },
            () = crash.died() => {
                round.abort();
                // What it held is let go of before anything else happens.
                drop(round.await);
                Round::Crashed
            }
        }
    }

    /// Everything but the operator moves on by one step.
    ///
    /// # Panics
    /// If a kubelet is refused something.
    pub async fn pass_time(&self) {
        self.settle().await;
        self.kubelet
            .step()
            .await
            .expect("kubelets may do what they do");
        snapshots::step(&self.kube.client("snapshotter"))
            .await
            .expect("snapshotters may do what they do");
        self.processes().step();
        self.settle().await;
        self.clock.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Time passes in which nothing happens.
    pub fn wait(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Rounds and steps until the cluster is as declared and stays so, or is gone. An operator that dies is followed by one
    /// that lives.
    ///
    /// # Errors
    /// If that does not come about; with all that is known.
    pub async fn converge(&self, crash: &Crash) -> Result<(), String> {
        self.converge_dying(std::slice::from_ref(crash)).await
    }

    /// The same with operators of these fates, each after the death of the one before, and then one that lives.
    ///
    /// # Errors
    /// As for [`World::converge`].
    pub async fn converge_dying(&self, fates: &[Crash]) -> Result<(), String> {
        let mut fates = fates.iter().cloned();
        let mut next = || fates.next().unwrap_or_else(Crash::never);
        let mut fate = next();
        let mut ctx = self.operator(&fate);
        let round = async |last: &mut String| {
            match self.round(&ctx, &fate).await {
                Round::Crashed => {
                    fate = next();
                    ctx = self.operator(&fate);
                }
                Round::Ended(ended) => *last = format!("{ended:?}"),
            }
            None::<()>
        };
        self.drive(round).await.map(drop)
    }

    /// Rounds and steps of an operator until it is held up at the write of its fate; it loses its lease there, and its round
    /// goes on by itself. `None` if it had no such write.
    ///
    /// # Errors
    /// As for [`World::converge`].
    pub async fn hold_up(&self, fate: &Crash) -> Result<Option<HeldUp>, String> {
        let ctx = self.operator(fate);
        self.drive(async |last: &mut String| {
            let ctx = ctx.clone();
            let gate = ctx.gate.clone();
            let mut round = tokio::spawn(async move { reconcile(&ctx, NAMESPACE, NAME).await });
            tokio::select! {
                biased;
                ended = &mut round => {
                    *last = format!("{ended:?}");
                    None
                }
                () = fate.struck() => {
                    gate.shut(Shut::Lost);
                    Some(round)
                }
            }
        })
        .await
    }

    /// Alternates rounds and time until a round says that it is enough, or the cluster is as declared and stays so.
    async fn drive<S>(
        &self,
        mut round: impl AsyncFnMut(&mut String) -> Option<S>,
    ) -> Result<Option<S>, String> {
        let (mut still, mut last) = (0, String::new());
        for _ in 0..self.rounds_max {
            let before = self.kube.revision();
            if let Some(enough) = round(&mut last).await {
                return Ok(Some(enough));
            }
            safe(&last)?;
            self.pass_time().await;
            still = if self.kube.revision() == before {
                still + 1
            } else {
                0
            };
            if still >= QUIET && self.is_done().await {
                return Ok(None);
            }
            if still >= STUCK {
                break;
            }
        }
        let status = self.cluster().await.and_then(|cluster| cluster.status);
        Err(format!(
            "it does not converge; last round: {last}; status: {status:#?}"
        ))
    }

    /// Whether the cluster is as declared, but for members that are kept stopped, or back as it was because what is declared has failed,
    /// or gone.
    pub async fn is_done(&self) -> bool {
        let Some(cluster) = self.cluster().await else {
            return true;
        };
        let generation = cluster.metadata.generation;
        let status = cluster.status.unwrap_or_default();
        let ready = |condition: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
            condition.type_ == "Ready"
                && condition.status == "True"
                && condition.observed_generation == generation
        };
        let not_ready_for = |reason: &str| {
            status.conditions.iter().any(|condition| {
                condition.type_ == "Ready"
                    && condition.reason == reason
                    && condition.observed_generation == generation
            })
        };
        let idle = status.operation.is_none();
        let ready = status.conditions.iter().any(|it| ready(&it));
        match self.open_operations().await.as_slice() {
            [] => ready || not_ready_for("RolledBack") && idle,
            open => open.iter().all(stands) && not_ready_for("Fenced") && idle,
        }
    }

    /// What was asked for and has not ended.
    async fn open_operations(&self) -> Vec<RaftOperation> {
        let listed = self.operations().list(&ListParams::default()).await;
        let mut operations = listed.expect("smallkube can be read").items;
        let ended = |it: &RaftOperation| it.status.as_ref().is_some_and(|it| it.phase.is_final());
        operations.retain(|it| !ended(it));
        operations
    }

    /// What stands in the world, without what differs from run to run for no reason of ours.
    pub async fn summary(&self) -> Summary {
        summary::of(self).await
    }

    /// Names of the members, as status has them.
    pub async fn member_names(&self) -> Vec<String> {
        let cluster = self.cluster().await;
        let status = cluster
            .and_then(|cluster| cluster.status)
            .unwrap_or_default();
        status
            .members
            .into_iter()
            .map(|member| member.name)
            .collect()
    }

    /// The uid of the cluster.
    pub async fn uid(&self) -> Option<String> {
        self.cluster().await.and_then(|cluster| cluster.uid())
    }

    pub(super) fn clusters(&self) -> Api<RaftCluster> {
        Api::namespaced(self.user.clone(), NAMESPACE)
    }

    pub(super) fn operations(&self) -> Api<RaftOperation> {
        Api::namespaced(self.user.clone(), NAMESPACE)
    }

    /// Lets smallkube's own controllers come to rest.
    async fn settle(&self) {
        loop {
            let before = self.kube.revision();
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            if self.kube.revision() == before {
                return;
            }
        }
    }
}
