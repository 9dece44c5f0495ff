//! The whole: one server, its controllers, its nodes, its doors, started and stopped together.
//!
//! It deliberately has one node of control: no leader election, no replicas of anything.

use crate::agent::{Agent, Pace, Runtime, Signal};
use crate::api::{InProcess, Logs, Server, listen};
use crate::faults::Faults;
use crate::hand::{Hand, Unknown};
use crate::network::{self, Share};
use crate::nodes::{self, Power};
use crate::verbs::{Clock, Objects, Part, Target, Writing};
use crate::volumes::{self, Ground};
use crate::{budgets, garbage, schedule, services};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How a cluster is started. The default is the API with its controllers, and neither nodes nor an agent.
#[derive(Clone)]
pub struct Options {
    /// Seed of uids and generated names.
    pub seed: u64,
    /// Where `creationTimestamp` and its like come from.
    pub clock: Clock,
    /// Names of the nodes.
    pub nodes: Vec<String>,
    /// What runs containers; without one no pod ever starts.
    pub runtime: Option<Arc<dyn Runtime>>,
    /// Folder of volumes, logs and the hosts file. Without one, volumes are paths where nothing is made.
    pub state: Option<PathBuf>,
    /// Takes addresses that no other smallkube on this machine has, and forwards those of Services.
    pub network: bool,
    /// How patient the agent is.
    pub pace: Pace,
    /// Ties every volume to the node of its first pod, as local disks are.
    pub local_volumes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            clock: Arc::new(Timestamp::now),
            nodes: Vec::new(),
            runtime: None,
            state: None,
            network: false,
            pace: Pace::default(),
            local_volumes: false,
        }
    }
}

impl Options {
    /// Three nodes with a runtime that needs no network and no folder, as tests want it.
    #[must_use]
    pub fn simulated(runtime: impl Runtime) -> Self {
        Self {
            nodes: three_nodes(),
            runtime: Some(Arc::new(runtime)),
            ..Self::default()
        }
    }

    /// Three nodes that run local processes, with their traces in a state folder.
    #[must_use]
    pub fn processes(state: impl Into<PathBuf>, runtime: impl Runtime) -> Self {
        Self {
            state: Some(state.into()),
            network: true,
            ..Self::simulated(runtime)
        }
    }
}

fn three_nodes() -> Vec<String> {
    (1..=3).map(|n| format!("node-{n}")).collect()
}

/// A started cluster. It ends when it is stopped or dropped.
pub struct Smallkube {
    objects: Arc<Objects>,
    server: Arc<Server>,
    faults: Arc<Faults>,
    hand: Hand,
    stop: CancellationToken,
    tasks: TaskTracker,
    _share: Option<Share>,
}

/// Why a cluster did not start or serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address could not be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// No share of the loopback addresses could be had.
    #[error(
        "no free share of 127.0.0.0/8: is another program listening on every 127.n.255.254:10250?"
    )]
    Network(#[source] std::io::Error),
    /// The state folder could not be made.
    #[error("cannot make the state folder {folder}")]
    State {
        /// What was asked for.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Smallkube {
    /// Starts everything in this process; nothing listens for clients yet.
    ///
    /// Must be called within a tokio runtime, on which everything runs.
    ///
    /// # Errors
    /// When the state folder or a share of the loopback addresses cannot be had. With neither asked for there is none.
    pub fn try_start(options: &Options) -> Result<Self, StartError> {
        if let Some(folder) = &options.state {
            std::fs::create_dir_all(folder).map_err(|source| StartError::State {
                folder: folder.clone(),
                source,
            })?;
        }
        let share = options.network.then(network::take).transpose();
        let share = share.map_err(StartError::Network)?;
        let objects = Objects::new(options.seed, options.clock.clone()).on(Ground {
            folder: options.state.clone(),
            local: options.local_volumes,
        });
        if let Some(share) = &share {
            objects.store.with(|state| state.set_network(share.network));
        }
        furnish(&objects, options);
        Ok(Self::assemble(options, Arc::new(objects), share))
    }

    /// Another cluster that begins where this one stands, with a clock of its own: for tests that tell many ends of one beginning.
    ///
    /// It has this one's objects, changes and randomness, and neither its fault rules nor its log of calls. Must be called within a
    /// tokio runtime, on which everything runs.
    ///
    /// # Panics
    /// When this one has nodes or a network: what runs there is not doubled.
    #[must_use]
    pub fn fork(&self, clock: Clock) -> Self {
        let is_bare = self.hand.power.borrow().is_empty() && self._share.is_none();
        assert!(is_bare, "a cluster with nodes or a network has no fork");
        let options = Options {
            clock: clock.clone(),
            ..Options::default()
        };
        Self::assemble(&options, Arc::new(self.objects.fork(clock)), None)
    }

    /// Starts a cluster whose options ask for neither folder nor network.
    ///
    /// # Panics
    /// When they do and it cannot be had; use [`Smallkube::try_start`] then.
    #[must_use]
    pub fn start(options: &Options) -> Self {
        let started = Self::try_start(options);
        started.expect("a cluster without folder and network always starts")
    }

    fn assemble(options: &Options, objects: Arc<Objects>, share: Option<Share>) -> Self {
        let stop = CancellationToken::new();
        let up = options
            .nodes
            .iter()
            .map(|n| (n.clone(), Power::Up))
            .collect();
        let (power, seen) = watch::channel(up);
        let agent = options.runtime.clone().map(|runtime| {
            let state = options.state.clone();
            let (objects, stop) = (objects.clone(), stop.clone());
            Arc::new(Agent::new(
                objects,
                runtime,
                state,
                seen.clone(),
                options.pace,
                stop,
            ))
        });
        let logs: Arc<dyn Logs> = match &agent {
            Some(agent) => agent.clone(),
            None => Arc::new(NoLogs),
        };
        let faults = Arc::new(Faults::default());
        let server = Arc::new(Server {
            objects: objects.clone(),
            faults: faults.clone(),
            logs,
        });
        let cluster = Self {
            objects,
            server,
            faults,
            hand: Hand {
                power: Arc::new(power),
                agent,
            },
            stop,
            tasks: TaskTracker::new(),
            _share: share,
        };
        cluster.run_controllers(options, seen);
        cluster
    }

    fn run_controllers(&self, options: &Options, power: watch::Receiver<BTreeMap<String, Power>>) {
        self.control(garbage::collect);
        self.control(|objects| {
            budgets::refresh(objects);
            false
        });
        // Without nodes there is nobody to bind volumes or run pods: a test that wants to does it itself, undisturbed.
        if !options.nodes.is_empty() {
            self.control(services::refresh);
            self.control(volumes::look_after);
            self.control(schedule::schedule);
        }
        if let Some(agent) = self.hand.agent.clone() {
            self.control(move |_| {
                agent.staff();
                false
            });
        }
        let (objects, stop) = (self.objects.clone(), self.stop.clone());
        self.tasks
            .spawn(nodes::follow(objects, power, options.pace, stop));
        if options.network {
            let (objects, stop) = (self.objects.clone(), self.stop.clone());
            self.tasks.spawn(services::forward(objects, stop));
        }
    }

    /// A client in this process, under a name that the call log and fault rules see.
    #[must_use]
    pub fn client(&self, name: &str) -> kube::Client {
        let door = InProcess {
            server: self.server.clone(),
            client: name.into(),
        };
        kube::Client::new(door, "default")
    }

    /// Fault rules and the log of calls.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Forgets all changes so far, so that watches and pages from before get 410 Gone.
    pub fn forget_changes(&self) {
        self.objects.store.with(|state| state.forget_changes());
    }

    /// From now on lists that take any version (`resourceVersion=0`) are shown things as they are now, as by a server whose cache has
    /// lost touch.
    pub fn freeze_what_is_at_hand(&self) {
        self.objects.store.with(|state| state.freeze());
    }

    /// The newest resourceVersion; the same number twice means that nothing was written in between.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.objects.store.with(|state| state.revision())
    }

    /// Signals the processes of a pod, e.g. SIGKILL; the agent then does what it does when a container ends.
    ///
    /// # Errors
    /// When no container of that pod is running.
    pub fn signal(&self, namespace: &str, pod: &str, signal: Signal) -> Result<(), Unknown> {
        self.hand.signal(namespace, pod, signal)
    }

    /// Pauses a node, lets it die with every process on it, or brings it back.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn set_power(&self, node: &str, power: Power) -> Result<(), Unknown> {
        self.hand.set_power(node, power)
    }

    /// Serves the API over HTTP on a loopback address and answers the address with its port.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    ///
    /// # Panics
    /// When the address is not a loopback one: there is no authentication.
    pub async fn serve(&self, address: SocketAddr) -> Result<SocketAddr, StartError> {
        assert!(
            address.ip().is_loopback(),
            "smallkube has no authentication and serves loopback only, not {address}"
        );
        let listening = TcpListener::bind(address).await;
        let (listener, bound) = listening
            .and_then(|l| l.local_addr().map(|bound| (l, bound)))
            .map_err(|source| StartError::Listen { address, source })?;
        let routes = self.hand.clone().routes();
        let serving = listen(self.server.clone(), routes, listener, self.stop.clone());
        self.tasks.spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the API server stopped serving");
            }
        });
        Ok(bound)
    }

    /// Stops everything and waits until it has stopped.
    pub async fn stop(self) {
        self.stop.cancel();
        self.faults.cut_watches();
        if let Some(agent) = &self.hand.agent {
            agent.ended().await;
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Runs a controller after every change until it has nothing more to do.
    fn control(&self, step: impl Fn(&Objects) -> bool + Send + 'static) {
        let (objects, stop) = (self.objects.clone(), self.stop.clone());
        let mut bell = objects.store.bell();
        bell.mark_changed();
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    rang = bell.changed() => if rang.is_err() { return },
                }
                while step(&objects) {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
}

/// What every cluster has from the start.
fn furnish(objects: &Objects, options: &Options) {
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        place(objects, "namespaces", name, json!({}));
    }
    let class = volumes::default_class();
    let classes = "storageclasses.storage.k8s.io";
    place(objects, classes, volumes::CLASS, class);
    for node in &options.nodes {
        nodes::register(objects, node);
    }
}

fn place(objects: &Objects, resource: &str, name: &str, object: Value) {
    let found = objects.target(resource, "", name, Part::Main);
    let target: Target = found.expect("only built-in kinds are placed");
    let placed = objects.create(&target, object, &Writing::by("smallkube"));
    assert!(
        placed.is_ok(),
        "what every cluster has is valid: {placed:?}"
    );
}

impl Drop for Smallkube {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Without an agent there is no log.
struct NoLogs;

impl Logs for NoLogs {
    fn read(&self, _: &Value, container: &str, _: bool) -> Result<Vec<u8>, String> {
        Err(format!("container {container:?} has not started"))
    }
}

/// A kubeconfig for the API at an address that [`Smallkube::serve`] answered.
#[must_use]
pub fn kubeconfig(address: SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: smallkube\n\
         clusters:\n- name: smallkube\n  cluster:\n    server: http://{address}\n\
         contexts:\n- name: smallkube\n  context:\n    cluster: smallkube\n    user: smallkube\n    namespace: default\n\
         users:\n- name: smallkube\n  user: {{}}\n"
    )
}
