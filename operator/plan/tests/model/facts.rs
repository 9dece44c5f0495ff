//! What the operator's reads find in the model, with members that fail to answer or whose answer is old.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use plan::{Answer, Footing, Observed, Probe, Seen};
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
            run_state: self.cluster.spec.run_state,
            recovering: self
                .cluster
                .status
                .as_ref()
                .and_then(|it| it.recovering.clone()),
            members: self.members.values().cloned().collect(),
            pods: self.pods.values().cloned().collect(),
            claims: self.claims.values().cloned().collect(),
            services: self.services.values().cloned().collect(),
            budgets: self.budgets.values().cloned().collect(),
            network_policies: self.network_policies(),
            operator: None,
            classes: ["standard", "class-0", "class-1"]
                .map(|it| (it.to_owned(), self.expandable))
                .into(),
            keyrings: self.keyrings.values().cloned().collect(),
            certificates: BTreeMap::new(),
            snapshot_classes: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            handshakes: self.handshakes(),
            declarations: plan::Declarations::default(),
            accounts: None,
            operations: self.operations.values().cloned().collect(),
            probes,
            footings: self.footings(),
        }
    }

    /// None of them, where nobody would look for any.
    fn network_policies(&self) -> Vec<NetworkPolicy> {
        let looks = plan::network_policy::is_in_question(&self.cluster);
        let all = self.network_policies.values().filter(|_| looks);
        all.cloned().collect()
    }

    /// The nodes of all members.
    fn footings(&self) -> BTreeMap<String, Footing> {
        let footing = |pod: &Pod| {
            let name = pod.spec.as_ref()?.node_name.clone()?;
            let mut node = Node::default();
            let cordoned = self.cordoned.contains(&name);
            node.spec.get_or_insert_default().unschedulable = Some(cordoned);
            Some(Footing {
                node: Seen::There(node),
                within: Seen::Nothing,
            })
        };
        let pods = self.pods.iter();
        pods.filter_map(|(name, pod)| Some((name.clone(), footing(pod)?)))
            .collect()
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
            revision: i64::try_from(data.applied).unwrap() + 1,
            is_learner: listed.is_learner,
            db_size: Some(self.db_size + if data.tidy { 1000 } else { 2000 }),
            db_size_in_use: Some(self.db_size + 1000),
            version: self.version.clone(),
            storage_version: None,
            no_space: self.etcd.alarms.iter().copied().collect(),
            corrupt: self.etcd.corrupt.iter().copied().collect(),
            errors: Vec::new(),
            membership: (self.etcd.leader != 0).then(|| self.etcd.list.clone()),
        })
    }
}
