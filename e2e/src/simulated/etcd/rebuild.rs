//! Clusters that have lost their quorum for good, and those that are made of what is left.
//!
//! It deliberately lets all of it happen, and notes what must not: that a cluster is rebuilt twice or without being lost, and that
//! a member runs on data that another cluster was made of.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cluster, Disk, Listed, Model, Start, State};

/// What was lost and what came of it.
#[derive(Clone, Default)]
pub(super) struct Rebuilds {
    lost: BTreeSet<u64>,
    /// Clusters that others were made of.
    over: BTreeSet<u64>,
    /// What pods have restored: by their uids, the volume and how far the data there go.
    restored: BTreeMap<String, (String, u64)>,
    /// By volume, the pod whose work is its data.
    made_by: BTreeMap<String, String>,
}

impl Rebuilds {
    /// Whether this cluster lost its quorum through no doing of the operator's.
    pub(super) fn is_lost(&self, cluster: u64) -> bool {
        self.lost.contains(&cluster)
    }
}

impl Model {
    /// From now on the clusters that there are may lack a quorum.
    pub fn lose_quorum(&self) {
        let mut state = self.state();
        let all: Vec<u64> = state.clusters.keys().copied().collect();
        state.rebuilds.lost.extend(all);
    }
}

impl State {
    /// A pod makes another cluster of what a volume holds, beside it.
    pub(super) fn restore(&mut self, pod_uid: &str, claim_uid: &str) {
        let Some(disk) = self.disks.get(claim_uid).copied() else {
            return;
        };
        if self.is_quorate(disk.cluster) || !self.rebuilds.is_lost(disk.cluster) {
            let note = "a cluster is rebuilt that has its quorum";
            self.violations.push(note.to_owned());
        }
        let held = (claim_uid.to_owned(), disk.applied);
        self.rebuilds.restored.insert(pod_uid.to_owned(), held);
    }

    /// Makes a disk that of the cluster which a pod has restored, when a member is first started on it.
    pub(super) fn rebuild(&mut self, start: &Start) {
        let known = self.rebuilds.made_by.get(&start.claim_uid);
        if known == start.restored_by.as_ref() {
            return;
        }
        let restored = start.restored_by.as_ref();
        let held = restored.and_then(|it| self.rebuilds.restored.get(it));
        let Some((_, applied)) = held.filter(|it| it.0 == start.claim_uid).cloned() else {
            let note = format!("{} starts on data that are not its own", start.name);
            return self.violations.push(note);
        };
        let old = self.disks[&start.claim_uid].cluster;
        if !self.rebuilds.over.insert(old) {
            let note = format!("{} makes a second cluster of a lost one", start.name);
            self.violations.push(note);
        }
        let (cluster, id) = (self.id() << 16, self.id());
        let alone = Listed {
            id,
            name: start.name.clone(),
            peer_urls: start.peers.get(&start.name).cloned().into_iter().collect(),
            is_learner: false,
        };
        let made = Cluster {
            members: vec![alone],
            leader: 0,
            term: 1,
            index: applied,
            alarms: BTreeSet::new(),
            book: self.clusters[&old].book.clone(),
            corrupt: BTreeSet::new(),
        };
        self.clusters.insert(cluster, made);
        let disk = Disk {
            cluster,
            id,
            applied,
            tidy: false,
        };
        self.disks.insert(start.claim_uid.clone(), disk);
        let by = start.restored_by.clone().unwrap_or_default();
        self.rebuilds.made_by.insert(start.claim_uid.clone(), by);
    }
}
