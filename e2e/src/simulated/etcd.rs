//! A model of etcd's membership: who is a member, who votes, who runs, who leads, how far each has come.
//!
//! It refuses what etcd refuses, with etcd's texts, and keeps a list of what no operator may do to it:
//! founding a cluster twice, stopping a leader that could have handed over, taking the majority away, stopping a voter while those
//! left have not caught up, starting one without its data.
//!
//! It deliberately holds no keys and no log: an index stands for all that was ever written.

mod accounts;
mod alarms;
mod changes;
mod papers;
mod port;
mod rebuild;
mod rules;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plan::{Answer, Listed};
use quorate_operator::members::Members;

use self::accounts::Book;
pub use self::papers::{Papers, shown};
use self::port::Port;
use self::rebuild::Rebuilds;
pub use self::start::Start;
use super::crash::Crash;
use super::kubelet::Processes;

/// What a new cluster has written by the time anybody looks: a learner that starts from nothing is far behind.
const HEAD_START: u64 = 5_000;
/// What clients write while the world takes one step.
const TRAFFIC: u64 = 7;

/// How many steps a process takes to catch up: to be told what it lacks, or to go through its own log again.
const CATCH_UP: u64 = 2;
/// How far behind it is meanwhile if it has data.
const REPLAYED: u64 = 3_000;

/// All members of all clusters. Clones share it.
#[derive(Clone, Default)]
pub struct Model(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    clusters: BTreeMap<u64, Cluster>,
    founded: BTreeMap<String, u64>,
    processes: BTreeMap<String, Process>,
    disks: BTreeMap<String, Disk>,
    ids: u64,
    /// How often time has passed.
    steps: u64,
    violations: Vec<String>,
    may_end: bool,
    sleep: Sleep,
    rebuilds: Rebuilds,
    stalled: bool,
    /// Which member takes the others for lost.
    alone: Option<u64>,
}

/// Whether the user wants members to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sleep {
    #[default]
    Awake,
    Asleep,
    /// He wants them to again, and a majority has not come up yet.
    Waking,
}

#[derive(Clone)]
struct Cluster {
    members: Vec<Listed>,
    leader: u64,
    term: u64,
    index: u64,
    /// Members that have raised the alarm NOSPACE.
    alarms: BTreeSet<u64>,
    book: Book,
    /// Members that the alarm CORRUPT is about.
    corrupt: BTreeSet<u64>,
}

/// What stands on a volume.
#[derive(Clone, Copy)]
struct Disk {
    cluster: u64,
    id: u64,
    applied: u64,
    /// Whether it has given back what it does not use.
    tidy: bool,
}

#[derive(Clone)]
struct Process {
    pod_uid: String,
    claim_uid: String,
    version: String,
    /// How many learners it allows.
    max_learners: usize,
    steps: u64,
    /// Schemes and ports on which it listens for its peers.
    listens: BTreeSet<String>,
    /// Whether it has a certificate for its peers.
    has_certificate: bool,
    papers: Papers,
}

impl Model {
    /// Other members that are as these are now.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// From now on whoever starts from nothing gets nothing; or, again, what it lacks.
    pub fn stall(&self, stalled: bool) {
        self.state().stalled = stalled;
    }

    /// What was done that must never be done.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// From now on members may end in any order: their cluster is being deleted.
    pub fn expect_end(&self) {
        self.state().may_end = true;
    }

    /// Whether the user wants the members to run. If not, they may end in any order, until he wants them to again and a majority runs.
    pub fn expect_running(&self, wanted: bool) {
        let mut state = self.state();
        state.sleep = match (wanted, state.sleep) {
            (false, _) => Sleep::Asleep,
            (true, Sleep::Awake) => Sleep::Awake,
            (true, _) => Sleep::Waking,
        };
    }

    /// Every cluster's members: peer URL and whether it votes, sorted.
    #[must_use]
    pub fn memberships(&self) -> Vec<Vec<(String, bool)>> {
        let state = self.state();
        let of = |cluster: &Cluster| {
            let members = cluster
                .members
                .iter()
                .map(|m| (m.peer_urls.concat(), !m.is_learner));
            members.collect::<BTreeSet<_>>().into_iter().collect()
        };
        state.clusters.values().map(of).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Processes for Model {
    fn start(&self, start: &Start) -> Result<(), String> {
        let mut state = self.state();
        if !state.disks.contains_key(&start.claim_uid) {
            let disk = if start.new {
                state.found(start)
            } else {
                state.join(start)?
            };
            state.note_empty_voter(start, disk);
            state.disks.insert(start.claim_uid.clone(), disk);
        }
        state.rebuild(start);
        let disk = state.disks[&start.claim_uid];
        let cluster = state
            .clusters
            .get_mut(&disk.cluster)
            .expect("a disk is of a cluster that was founded");
        let Some(member) = cluster
            .members
            .iter_mut()
            .find(|member| member.id == disk.id)
        else {
            return Err("the member has been permanently removed from the cluster".into());
        };
        member.name.clone_from(&start.name);
        let process = Process {
            pod_uid: start.pod_uid.clone(),
            claim_uid: start.claim_uid.clone(),
            version: start.version().to_owned(),
            max_learners: start.max_learners,
            steps: 0,
            listens: start.listens.clone(),
            has_certificate: start.has_certificate,
            papers: Papers::new(),
        };
        state.processes.insert(start.url.clone(), process);
        state.note_unreachable_peers(disk.cluster);
        Ok(())
    }

    fn bring(&self, pod_uid: &str, papers: Papers) {
        self.state().bring(pod_uid, papers);
    }

    fn stop_unasked(&self, pod_uid: &str) {
        self.state()
            .processes
            .retain(|_, process| process.pod_uid != pod_uid);
    }

    fn stop(&self, pod_uid: &str) {
        let mut state = self.state();
        let url = state
            .processes
            .iter()
            .find(|(_, process)| process.pod_uid == pod_uid)
            .map(|(url, _)| url.clone());
        if let Some(url) = url {
            state.note_abandoned_leadership(&url);
            state.note_lonely_majority(&url);
            state.processes.remove(&url);
        }
    }

    fn is_ready(&self, pod_uid: &str) -> Option<bool> {
        let state = self.state();
        let process = state
            .processes
            .values()
            .find(|process| process.pod_uid == pod_uid)?;
        let cluster = &state.clusters[&state.disks[&process.claim_uid].cluster];
        Some(cluster.leader != 0 && cluster.corrupt.is_empty())
    }

    fn running(&self) -> BTreeSet<String> {
        self.state()
            .processes
            .values()
            .map(|process| process.pod_uid.clone())
            .collect()
    }

    fn lose_disks_but(&self, claims: &BTreeSet<String>) {
        self.state().disks.retain(|claim, _| claims.contains(claim));
    }

    fn restore(&self, pod_uid: &str, claim_uid: &str) {
        self.state().restore(pod_uid, claim_uid);
    }

    fn step(&self) {
        let mut state = self.state();
        state.steps += 1;
        let ids: Vec<u64> = state.clusters.keys().copied().collect();
        for id in ids {
            state.step(id);
        }
    }

    fn members(&self, crash: Crash) -> Arc<dyn Members> {
        Arc::new(Port::new(self.clone(), crash))
    }
}

impl State {
    fn id(&mut self) -> u64 {
        self.ids += 1;
        0x1000 + self.ids
    }

    fn found(&mut self, start: &Start) -> Disk {
        let (cluster, id) = (self.id() << 16, self.id());
        if self.founded.insert(start.token.clone(), cluster).is_some() {
            self.violations.push(format!(
                "{} founds a cluster that was founded before",
                start.name
            ));
        }
        let peer_urls = start.peers.get(&start.name).cloned().into_iter().collect();
        let founder = Listed {
            id,
            name: start.name.clone(),
            peer_urls,
            is_learner: false,
        };
        let members = vec![founder];
        self.clusters.insert(
            cluster,
            Cluster {
                members,
                leader: 0,
                term: 1,
                index: HEAD_START,
                alarms: BTreeSet::new(),
                book: Book::default(),
                corrupt: BTreeSet::new(),
            },
        );
        Disk {
            cluster,
            id,
            applied: HEAD_START,
            tidy: false,
        }
    }

    /// What a process without data does with `--initial-cluster-state=existing`: it asks its peers who it is.
    fn join(&self, start: &Start) -> Result<Disk, String> {
        let urls: BTreeSet<&String> = start.peers.values().collect();
        let is_peer = |process: &Process| {
            let disk = &self.disks[&process.claim_uid];
            let members = &self.clusters[&disk.cluster].members;
            let own = members.iter().find(|member| member.id == disk.id);
            own.is_some_and(|member| member.peer_urls.iter().any(|url| urls.contains(url)))
        };
        let peer = self.processes.values().find(|process| is_peer(process));
        let peer = peer.ok_or("could not retrieve cluster information from the given URLs")?;
        let cluster = self.disks[&peer.claim_uid].cluster;
        Ok(Disk {
            cluster,
            id: start.id_in(&self.clusters[&cluster].members)?,
            applied: 0,
            tidy: false,
        })
    }

    fn process(&self, cluster: u64, id: u64) -> Option<&Process> {
        let is = |process: &&Process| {
            let disk = self.disks.get(&process.claim_uid);
            disk.is_some_and(|disk| disk.cluster == cluster && disk.id == id)
        };
        self.processes.values().find(is)
    }

    /// Voters, and those of them that run.
    fn voters(&self, cluster: u64) -> (Vec<u64>, Vec<u64>) {
        let members = self.clusters[&cluster].members.iter();
        let voters: Vec<u64> = members
            .filter(|member| !member.is_learner)
            .map(|member| member.id)
            .collect();
        let running = voters
            .iter()
            .copied()
            .filter(|id| self.process(cluster, *id).is_some())
            .collect();
        (voters, running)
    }

    /// Whether members may end in any order.
    fn may_stop(&self) -> bool {
        self.may_end || self.sleep != Sleep::Awake
    }

    fn is_quorate(&self, cluster: u64) -> bool {
        let (voters, running) = self.voters(cluster);
        running.len() * 2 > voters.len()
    }

    fn step(&mut self, id: u64) {
        // A member that was removed hears so and ends.
        let members: BTreeSet<u64> = self.clusters[&id]
            .members
            .iter()
            .map(|member| member.id)
            .collect();
        let disks = &self.disks;
        self.processes.retain(|_, process| {
            let disk = disks.get(&process.claim_uid);
            disk.is_some_and(|disk| disk.cluster != id || members.contains(&disk.id))
        });
        let (voters, running) = self.voters(id);
        let quorate = self.is_quorate(id);
        if quorate && self.sleep == Sleep::Waking {
            self.sleep = Sleep::Awake;
        }
        let lost = self.may_stop() || self.rebuilds.is_lost(id);
        if !quorate && voters.len() >= 3 && !lost {
            self.violations
                .push(format!("{} of {} voters run", running.len(), voters.len()));
        }
        let cluster = self
            .clusters
            .get_mut(&id)
            .expect("the ids are those of the clusters");
        if !quorate {
            cluster.leader = 0;
            return;
        }
        if !running.contains(&cluster.leader) {
            cluster.leader = running[0];
            cluster.term += 1;
        }
        cluster.index += TRAFFIC;
        let index = cluster.index;
        for process in self.processes.values_mut() {
            let disk = self
                .disks
                .get_mut(&process.claim_uid)
                .expect("a process has its disk");
            process.steps += 1;
            // Whoever starts from nothing is behind for a while.
            let gets_all = process.steps > CATCH_UP && !self.stalled;
            if disk.cluster == id && (disk.applied > 0 || gets_all) {
                disk.applied = index;
            }
        }
    }

    fn answer(&self, url: &str) -> Option<Answer> {
        let process = self.processes.get(url)?;
        let disk = self.disks[&process.claim_uid];
        let cluster = &self.clusters[&disk.cluster];
        let is_learner = cluster
            .members
            .iter()
            .any(|member| member.id == disk.id && member.is_learner);
        let sees_all = !is_learner && cluster.leader != 0;
        Some(Answer {
            cluster_id: disk.cluster,
            member_id: disk.id,
            leader_id: cluster.leader,
            term: cluster.term,
            raft_index: disk.applied,
            applied_index: if process.steps > CATCH_UP {
                disk.applied
            } else {
                disk.applied.saturating_sub(REPLAYED)
            },
            revision: i64::try_from(disk.applied).unwrap_or(i64::MAX),
            is_learner,
            db_size: Some(if disk.tidy { 1_000 } else { 2_000 }),
            db_size_in_use: Some(1_000),
            version: process.version.clone(),
            storage_version: None,
            no_space: cluster.alarms.iter().copied().collect(),
            corrupt: cluster.corrupt.iter().copied().collect(),
            errors: Vec::new(),
            membership: sees_all.then(|| cluster.members.clone()),
        })
    }
}
