//! The whole: one server, its controllers, its doors, started and stopped together.
//!
//! It deliberately has one node of control: no leader election, no replicas of anything.

use crate::api::{InProcess, Logs, Server, listen};
use crate::faults::Faults;
use crate::verbs::{Clock, Objects, Part, Target, Writing};
use crate::{budgets, garbage};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How a cluster is started.
#[derive(Clone)]
pub struct Options {
    /// Seed of uids and generated names.
    pub seed: u64,
    /// Where `creationTimestamp` and its like come from.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            clock: Arc::new(Timestamp::now),
        }
    }
}

/// A started cluster. It ends when it is stopped or dropped.
pub struct Smallkube {
    objects: Arc<Objects>,
    server: Arc<Server>,
    faults: Arc<Faults>,
    stop: CancellationToken,
    tasks: TaskTracker,
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
}

impl Smallkube {
    /// Starts the API and its controllers in this process; nothing listens yet.
    ///
    /// Must be called within a tokio runtime, on which everything runs.
    #[must_use]
    pub fn start(options: &Options) -> Self {
        let objects = Arc::new(Objects::new(options.seed, options.clock.clone()));
        let faults = Arc::new(Faults::default());
        let server = Arc::new(Server {
            objects: objects.clone(),
            faults: faults.clone(),
            logs: Arc::new(NoLogs),
        });
        let cluster = Self {
            objects,
            server,
            faults,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        cluster.furnish();
        cluster.control(garbage::collect);
        cluster.control(|objects| {
            budgets::refresh(objects);
            false
        });
        cluster
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

    /// The newest resourceVersion; the same number twice means that nothing was written in between.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.objects.store.with(|state| state.revision())
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
        let serving = listen(self.server.clone(), listener, self.stop.clone());
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

    /// What every cluster has from the start.
    fn furnish(&self) {
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            self.place("namespaces", "", name, json!({}));
        }
    }

    fn place(&self, resource: &str, namespace: &str, name: &str, object: Value) {
        let found = self.objects.target(resource, namespace, name, Part::Main);
        let target: Target = found.expect("only built-in kinds are placed");
        let placed = self
            .objects
            .create(&target, object, &Writing::by("smallkube"));
        assert!(
            placed.is_ok(),
            "what every cluster has is valid: {placed:?}"
        );
    }
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
