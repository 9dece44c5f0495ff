//! Members that are real behind the operator's pods: they run the node's own driver, `raft` and `store` on a simulated network, disk
//! and clock ([`simulation::Stage`]), while clients write all the time and every answer they get is judged in the end.
//!
//! A pod that starts starts a member, one that ends kills it as a failure of power would, and a volume that goes takes the member's
//! disk with it. The members' time goes on with the world's, and while the operator waits for an answer.
//!
//! It deliberately forbids nothing and has no rules of its own, as the model of etcd has: what counts is what clients saw. Alarms,
//! accounts and clusters that are rebuilt are told of with the model alone.

mod port;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use quorate_operator::members::Members;
use simulation::{Bug, Stage, Summary};

use self::port::Port;
use super::crash::Crash;
use super::etcd::{Papers, Start};
use super::kubelet::Processes;

/// How much of the members' time goes by in one step of the world, in milliseconds.
const STEP_MS: u64 = 1_000;

/// All members of one cluster, and their clients. Clones share it.
#[derive(Clone)]
pub struct Real(Arc<Inner>);

struct Inner {
    stage: mpsc::Sender<Act>,
    tables: Mutex<Tables>,
}

/// What is done on the stage's own thread: a simulated member never leaves the one that it was made on.
type Act = Box<dyn FnOnce(&mut Stage) + Send>;

#[derive(Default)]
struct Tables {
    /// Whose data a volume holds, by the claim's uid.
    disks: BTreeMap<String, u64>,
    /// By client URL.
    processes: BTreeMap<String, Process>,
    /// What was done that leaves no way back.
    violations: Vec<String>,
}

#[derive(Clone)]
struct Process {
    id: u64,
    pod_uid: String,
    claim_uid: String,
    version: String,
    max_learners: usize,
}

impl Real {
    /// Nobody but clients, of this seed; with a bug in every member, if one is to be there.
    #[must_use]
    pub fn new(seed: u64, bug: Option<Bug>) -> Self {
        let (stage, acts) = mpsc::channel::<Act>();
        std::thread::spawn(move || {
            let mut stage = Stage::new(seed, bug);
            for act in acts {
                act(&mut stage);
            }
        });
        let tables = Mutex::default();
        Self(Arc::new(Inner { stage, tables }))
    }

    /// The end: faults stop, every member must come right and give out everything, and the clients' history is judged.
    ///
    /// # Errors
    /// The first promise that was broken, at any time.
    pub fn end(&self) -> Result<Summary, String> {
        if let Some(violation) = self.tables().violations.first() {
            return Err(violation.clone());
        }
        self.on_stage(Stage::end).map_err(|it| it.to_string())
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something on the stage, and waits for what comes of it.
    fn on_stage<T: Send + 'static>(&self, act: impl FnOnce(&mut Stage) -> T + Send + 'static) -> T {
        let (came, of_it) = mpsc::channel();
        let act = move |stage: &mut Stage| drop(came.send(act(stage)));
        let sent = self.0.stage.send(Box::new(act));
        sent.ok()
            .and_then(|()| of_it.recv().ok())
            .expect("the stage lives as long as the world, unless it panicked")
    }

    /// Whose a process without data is, by `--initial-cluster` and what a running peer knows. It gets an empty disk.
    fn join(&self, tables: &Tables, start: &Start) -> Result<u64, String> {
        let peers: Vec<u64> = tables.processes.values().map(|it| it.id).collect();
        let urls: BTreeSet<String> = start.peers.values().cloned().collect();
        let found = self.on_stage(move |stage| {
            let mut known = peers.into_iter().map(|id| (id, stage.known_to(id)));
            known.find(|(id, all)| {
                let own = all.iter().find(|it| it.id == *id);
                own.is_some_and(|own| own.peer_urls.iter().any(|url| urls.contains(url)))
            })
        });
        let (peer, known) =
            found.ok_or("could not retrieve cluster information from the given URLs")?;
        let known: Vec<plan::Listed> = known.into_iter().map(port::listed).collect();
        let id = start.id_in(&known)?;
        self.on_stage(move |stage| stage.equip(id, peer));
        Ok(id)
    }

    /// Ends the process of a pod.
    fn end_process(&self, pod_uid: &str) {
        let mut tables = self.tables();
        let mut ended = Vec::new();
        tables.processes.retain(|_, process| {
            let ends = process.pod_uid == pod_uid;
            ended.extend(ends.then_some(process.id));
            !ends
        });
        for id in ended {
            self.on_stage(move |stage| stage.stop(id));
        }
    }
}

impl Processes for Real {
    fn start(&self, start: &Start) -> Result<(), String> {
        let mut tables = self.tables();
        let id = match tables.disks.get(&start.claim_uid) {
            Some(id) => *id,
            None if start.new => {
                let url = start.peers.get(&start.name).cloned().unwrap_or_default();
                let founded = self.on_stage(move |stage| stage.found(&url));
                let note = |why: &String| tables.violations.push(format!("{}: {why}", start.name));
                founded.inspect_err(note)?
            }
            None => self.join(&tables, start)?,
        };
        tables.disks.insert(start.claim_uid.clone(), id);
        if self.on_stage(move |stage| stage.is_removed(id)) {
            return Err("the member has been permanently removed from the cluster".into());
        }
        let process = Process {
            id,
            pod_uid: start.pod_uid.clone(),
            claim_uid: start.claim_uid.clone(),
            version: start.version().to_owned(),
            max_learners: start.max_learners,
        };
        tables.processes.insert(start.url.clone(), process);
        let (name, url) = (start.name.clone(), start.url.clone());
        self.on_stage(move |stage| stage.start(id, &name, &url));
        Ok(())
    }

    /// These members speak in plain text.
    fn bring(&self, _: &str, _: Papers) {}

    fn stop(&self, pod_uid: &str) {
        self.end_process(pod_uid);
    }

    fn stop_unasked(&self, pod_uid: &str) {
        self.end_process(pod_uid);
    }

    fn is_ready(&self, pod_uid: &str) -> Option<bool> {
        let tables = self.tables();
        let process = tables.processes.values().find(|it| it.pod_uid == pod_uid);
        let id = process?.id;
        let state = self.on_stage(move |stage| stage.state(id));
        Some(state.is_some_and(|it| it.leader.is_some()))
    }

    fn running(&self) -> BTreeSet<String> {
        let tables = self.tables();
        let processes = tables.processes.values();
        processes.map(|it| it.pod_uid.clone()).collect()
    }

    fn lose_disks_but(&self, claims: &BTreeSet<String>) {
        let mut tables = self.tables();
        tables.disks.retain(|claim, _| claims.contains(claim));
        let lost: Vec<String> = tables
            .processes
            .values()
            .filter(|it| !claims.contains(&it.claim_uid))
            .map(|it| it.pod_uid.clone())
            .collect();
        drop(tables);
        lost.iter().for_each(|pod| self.end_process(pod));
    }

    fn restore(&self, pod_uid: &str, _: &str) {
        let note = format!("{pod_uid} rebuilds a cluster that nobody gave up");
        self.tables().violations.push(note);
    }

    fn step(&self) {
        let mut tables = self.tables();
        let ids: Vec<u64> = tables.processes.values().map(|it| it.id).collect();
        let removed: BTreeSet<u64> = self.on_stage(move |stage| {
            stage.pass(STEP_MS);
            ids.into_iter().filter(|id| stage.is_removed(*id)).collect()
        });
        // A member that hears that it was removed ends.
        tables.processes.retain(|_, it| !removed.contains(&it.id));
    }

    fn members(&self, crash: Crash) -> Arc<dyn Members> {
        Arc::new(Port::new(self.clone(), crash))
    }
}
