//! The agent of every node: turns pods that are bound to a node into running containers and reports what became of them.
//!
//! One worker per pod; what a container really is decides a [`Runtime`]: local processes, or simulated ones in tests. It
//! deliberately enforces no limit and isolates nothing: a container is a process of whoever started smallkube.

mod container;
mod hosts;
mod launch;
mod names;
mod pod;
mod probes;
mod process;
mod simulated;
mod status;

pub use container::Pace;
pub use launch::Launch;
pub use names::{NoOwnHosts, own_hosts};
pub use probes::Probe;
pub(crate) use probes::port;
pub use process::{Images, Processes};
pub use simulated::Simulated;
pub(crate) use status::set_condition;

use crate::api::Logs;
use crate::nodes::Power;
use crate::object::Object;
use crate::verbs::Objects;
use futures::future::BoxFuture;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a container can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// End in good order (SIGTERM).
    Terminate,
    /// End at once (SIGKILL).
    Kill,
    /// Stand still (SIGSTOP), as on a node that hangs.
    Pause,
    /// Go on (SIGCONT).
    Resume,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// Exit code; 128 plus the signal when a signal ended it.
    pub code: i32,
}

/// Why an image cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoImage(pub String);

/// A started container. It ends when it is told to, by itself, or when its last owner drops it.
pub trait Running: Send + Sync {
    /// What it is called in `containerID`, e.g. its process id.
    fn id(&self) -> String;
    /// Tells it something; telling one that ended is nothing.
    fn signal(&self, signal: Signal);
    /// Returns when it has ended; may be asked by many and at any time.
    fn ended(&self) -> BoxFuture<'_, Ending>;
    /// Asks one probe; the error says what it got instead.
    fn probe<'a>(&'a self, probe: &'a Probe) -> BoxFuture<'a, Result<(), String>>;
}

/// What runs containers.
pub trait Runtime: Send + Sync + 'static {
    /// Says whether an image can be had.
    ///
    /// # Errors
    /// The sentence for `ErrImagePull`.
    fn pull(&self, image: &str) -> Result<(), NoImage>;
    /// Starts a container.
    ///
    /// # Errors
    /// The sentence for `RunContainerError`.
    fn start(&self, launch: Launch) -> Result<Arc<dyn Running>, String>;
}

/// The agent of all nodes.
pub(crate) struct Agent {
    pub(crate) objects: Arc<Objects>,
    runtime: Arc<dyn Runtime>,
    pub(crate) state: Option<PathBuf>,
    power: watch::Receiver<BTreeMap<String, Power>>,
    pace: Pace,
    addresses: Mutex<HashMap<(String, String), String>>,
    running: Mutex<HashMap<(String, String), Arc<dyn Running>>>,
    workers: Mutex<HashMap<String, ()>>,
    /// What the hosts files say.
    hosts: Mutex<String>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Agent {
    pub(crate) fn new(
        objects: Arc<Objects>,
        runtime: Arc<dyn Runtime>,
        state: Option<PathBuf>,
        power: watch::Receiver<BTreeMap<String, Power>>,
        pace: Pace,
        stop: CancellationToken,
    ) -> Self {
        Self {
            objects,
            runtime,
            state,
            power,
            pace,
            addresses: Mutex::default(),
            running: Mutex::default(),
            workers: Mutex::default(),
            hosts: Mutex::default(),
            stop,
            tasks: TaskTracker::new(),
        }
    }

    /// Starts a worker for every bound pod that has none.
    pub(crate) fn staff(self: &Arc<Self>) {
        for pod in self.objects.list("pods") {
            let over = matches!(pod.text("/status/phase"), "Succeeded" | "Failed");
            if pod.text("/spec/nodeName").is_empty() || over && !pod.ends() {
                continue;
            }
            let uid = pod.uid().to_owned();
            if lock(&self.workers).insert(uid.clone(), ()).is_some() {
                continue;
            }
            let agent = self.clone();
            self.tasks.spawn(async move {
                pod::work(&agent, &pod).await;
                lock(&agent.workers).remove(&uid);
            });
        }
        hosts::write(self);
        self.refresh();
    }

    /// Brings mounted config maps and secrets up to date, for every pod that runs.
    fn refresh(&self) {
        if self.state.is_none() {
            return;
        }
        let running: Vec<String> = lock(&self.running).keys().map(|it| it.0.clone()).collect();
        for pod in self.objects.list("pods") {
            if running.iter().any(|uid| uid == pod.uid()) {
                launch::Source {
                    objects: &self.objects,
                    pod: &pod,
                    container: &Value::Null,
                    address: "",
                    folder: self.pod_folder(pod.uid()),
                }
                .refresh();
            }
        }
    }

    /// Waits until every worker has ended; the stop token makes them.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Tells the container of a pod something; false when it does not run.
    pub(crate) fn tell(&self, namespace: &str, pod: &str, signal: Signal) -> bool {
        let pods = self.objects.find("pods", namespace, pod);
        let uid = pods.map(|p| p.uid().to_owned()).unwrap_or_default();
        let running = lock(&self.running);
        let mut of_pod = running.iter().filter(|((of, _), _)| *of == uid).peekable();
        let any = of_pod.peek().is_some();
        of_pod.for_each(|(_, container)| container.signal(signal));
        any
    }

    /// The address of a pod, the same for its name for as long as this process lives.
    pub(crate) fn address(&self, namespace: &str, pod: &str) -> String {
        let mut addresses = lock(&self.addresses);
        let n = addresses.len() + 1;
        let place = (namespace.to_owned(), pod.to_owned());
        let fresh = || {
            let n = u32::try_from(n).unwrap_or(u32::MAX);
            self.objects.store.with(|state| state.pod_address(n))
        };
        addresses.entry(place).or_insert_with(fresh).clone()
    }

    fn power_of(&self, node: &str) -> Power {
        self.power.borrow().get(node).copied().unwrap_or(Power::Up)
    }

    fn pod_folder(&self, uid: &str) -> Option<PathBuf> {
        self.state
            .as_ref()
            .map(|state| state.join("pods").join(uid))
    }

    fn log_file(&self, pod: &Value, container: &str, previous: bool) -> Option<PathBuf> {
        let folder = self.state.as_ref()?.join("logs");
        let place = format!("{}_{}_{container}", pod.namespace(), pod.name());
        let suffix = if previous { ".previous.log" } else { ".log" };
        Some(folder.join(place + suffix))
    }
}

impl Logs for Agent {
    fn read(&self, pod: &Value, container: &str, previous: bool) -> Result<Vec<u8>, String> {
        let containers = pod.items("/spec/containers");
        let names: Vec<&str> = containers.iter().map(|c| c.text("/name")).collect();
        let name = match (container, names.as_slice()) {
            ("", [only]) => *only,
            ("", many) => {
                return Err(format!(
                    "a container name must be specified for pod {}, choose one of: {many:?}",
                    pod.name()
                ));
            }
            (name, all) if all.contains(&name) => name,
            (name, _) => {
                return Err(format!(
                    "container {name} is not valid for pod {}",
                    pod.name()
                ));
            }
        };
        let waiting = || {
            format!(
                "container {name:?} in pod {:?} is waiting to start: ContainerCreating",
                pod.name()
            )
        };
        let file = self.log_file(pod, name, previous).ok_or_else(waiting)?;
        std::fs::read(file).map_err(|_| waiting())
    }
}

/// A lock that a panic elsewhere does not poison: each of ours guards one step.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
