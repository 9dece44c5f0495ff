//! What the operator's reads find in the model, with members that fail to answer or whose answer is old.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use plan::{Answer, Observed, Probe};
use rand::Rng;

use super::{World, phase};

/// How often reads of members go wrong.
#[derive(Clone, Copy)]
pub(crate) struct Faults {
    /// Chance that a member does not answer.
    pub(crate) silent: f64,
    /// Chance that the answer is from long ago.
    pub(crate) stale: f64,
}

/// Nothing goes wrong.
pub(crate) const NONE: Faults = Faults {
    silent: 0.0,
    stale: 0.0,
};

impl World {
    /// Reads everything.
    pub(crate) fn observe(&mut self, faults: Faults) -> Observed {
        let mut probes = BTreeMap::new();
        for name in self
            .pods
            .iter()
            .filter(|(_, it)| phase(it) == "Running")
            .map(|(name, _)| name)
        {
            let answer = match self.answer(name) {
                Some(_) if self.rng.random_bool(faults.silent) => {
                    Err("deadline exceeded".to_owned())
                }
                Some(answer) => Ok(answer),
                None => Err("connection refused".to_owned()),
            };
            let age = if self.rng.random_bool(faults.stale) {
                60
            } else {
                0
            };
            probes.insert(
                name.clone(),
                Probe {
                    taken_at: self.now - SignedDuration::from_secs(age),
                    answer,
                },
            );
        }
        Observed {
            taken_at: self.now,
            members: self.members.values().cloned().collect(),
            pods: self.pods.values().cloned().collect(),
            claims: self.claims.values().cloned().collect(),
            services: self.services.values().cloned().collect(),
            budgets: self.budgets.values().cloned().collect(),
            probes,
        }
    }

    fn answer(&self, pod: &str) -> Option<Answer> {
        let data = &self.etcd.volumes[self.etcd.processes.get(pod)?];
        let listed = self.etcd.list.iter().find(|it| it.id == data.id)?;
        Some(Answer {
            cluster_id: self.etcd.id,
            member_id: data.id,
            leader_id: self.etcd.leader,
            term: self.etcd.term,
            raft_index: data.applied,
            applied_index: data.applied,
            is_learner: listed.is_learner,
            version: "1.0.0".to_owned(),
            storage_version: None,
            errors: Vec::new(),
            membership: (self.etcd.leader != 0).then(|| self.etcd.list.clone()),
        })
    }
}
