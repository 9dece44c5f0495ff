//! A model of the world around the planner: Kubernetes objects with their garbage collector and kubelet, and an etcd
//! cluster whose members live in the pods and whose data live on the volumes.
//!
//! The model panics when something happens that must never: a second cluster is founded, a member comes back with an empty
//! volume, two pods share one, or a majority is lost by the operator's own hand.
//!
//! It deliberately knows nothing of Raft's messages: a majority of running voters agrees at once or not at all.

pub(crate) mod etcd;
pub(crate) mod facts;

use std::collections::BTreeMap;

use crds::{RaftCluster, RaftMember};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use plan::{Action, Target};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use etcd::Etcd;

/// The uid of the cluster under test.
pub(crate) const CLUSTER_UID: &str = "c1c1c1c1-0000-4000-8000-000000000001";

/// The world.
pub(crate) struct World {
    pub(crate) rng: SmallRng,
    pub(crate) now: Timestamp,
    pub(crate) cluster: RaftCluster,
    pub(crate) members: BTreeMap<String, RaftMember>,
    pub(crate) pods: BTreeMap<String, Pod>,
    pub(crate) claims: BTreeMap<String, PersistentVolumeClaim>,
    pub(crate) services: BTreeMap<String, Service>,
    pub(crate) budgets: BTreeMap<String, PodDisruptionBudget>,
    pub(crate) etcd: Etcd,
    /// Calls that were made.
    pub(crate) writes: usize,
    /// How often each kind of action was carried out.
    pub(crate) deeds: BTreeMap<String, usize>,
    uids: u64,
}

/// The cluster that a manifest of `replicas` members makes.
pub(crate) fn cluster(replicas: i32) -> RaftCluster {
    let manifest = serde_json::json!({
        "apiVersion": "quorate.io/v1alpha1",
        "kind": "RaftCluster",
        "metadata": {"name": "kv", "namespace": "demo", "uid": CLUSTER_UID, "generation": 1},
        "spec": {"replicas": replicas, "image": "quorate-node:1.0.0", "storage": {"size": "4Gi"}},
    });
    serde_json::from_value(manifest).expect("a manifest")
}

impl World {
    pub(crate) fn new(seed: u64, replicas: i32) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(seed),
            now: Timestamp::from_second(1_795_000_000).unwrap(),
            cluster: cluster(replicas),
            members: BTreeMap::new(),
            pods: BTreeMap::new(),
            claims: BTreeMap::new(),
            services: BTreeMap::new(),
            budgets: BTreeMap::new(),
            etcd: Etcd::default(),
            writes: 0,
            deeds: BTreeMap::new(),
            uids: 0,
        }
    }

    /// Half a second goes by: the garbage collector, the kubelet and the members do their work.
    pub(crate) fn tick(&mut self) {
        self.now += SignedDuration::from_millis(500);
        self.collect_garbage();
        self.run_kubelet();
        let running = self.running();
        self.etcd.tick(&running, &mut self.rng);
        self.judge_readiness();
    }

    fn collect_garbage(&mut self) {
        let members: Vec<String> = self
            .members
            .values()
            .filter_map(|it| it.metadata.uid.clone())
            .collect();
        let now = self.now;
        for pod in self.pods.values_mut() {
            let orphan = pod
                .metadata
                .owner_references
                .iter()
                .flatten()
                .any(|it| !members.contains(&it.uid));
            if orphan && pod.metadata.deletion_timestamp.is_none() {
                pod.metadata.deletion_timestamp = Some(Time(now));
            }
        }
    }

    fn run_kubelet(&mut self) {
        let names: Vec<String> = self.pods.keys().cloned().collect();
        for name in names {
            let ending = self.pods[&name].metadata.deletion_timestamp.is_some();
            if ending && self.rng.random_bool(0.4) {
                self.pods.remove(&name);
                self.etcd.stop(&name);
            } else if !ending && phase(&self.pods[&name]) == "Pending" && self.rng.random_bool(0.4)
            {
                self.start(&name);
            }
        }
    }

    /// The kubelet tries to start a pod's container.
    fn start(&mut self, name: &str) {
        let pod = self.pods[name].clone();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        if container.image.as_deref().unwrap().contains("bad") {
            set_status(self.pods.get_mut(name).unwrap(), "Pending", false);
            return;
        }
        let claim_name = format!("data-{name}");
        let claim = self
            .claims
            .get(&claim_name)
            .unwrap_or_else(|| panic!("pod {name} was made without a claim"));
        let claim_uid = claim.metadata.uid.clone().unwrap();
        let args = container.args.clone().unwrap();
        if self.etcd.boot(name, &claim_uid, &args) {
            set_status(self.pods.get_mut(name).unwrap(), "Running", false);
        }
    }

    /// Names of pods whose container runs.
    pub(crate) fn running(&self) -> Vec<String> {
        self.pods
            .iter()
            .filter(|(_, it)| phase(it) == "Running")
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn judge_readiness(&mut self) {
        for (name, pod) in &mut self.pods {
            if phase(pod) == "Running" {
                let ready = self.etcd.follows(name);
                set_status(pod, "Running", ready);
            }
        }
    }

    /// Carries out one action as the API server and the members would.
    pub(crate) fn act(&mut self, action: &Action) -> Result<(), String> {
        self.writes += 1;
        *self.deeds.entry(kind(action)).or_default() += 1;
        match action.clone() {
            Action::ApplyService(it) => {
                self.services.insert(it.metadata.name.clone().unwrap(), *it);
            }
            Action::ApplyBudget(it) => {
                self.budgets.insert(it.metadata.name.clone().unwrap(), *it);
            }
            Action::CreateMember(it) => {
                create(&mut self.uids, &mut self.members, *it, |o| &mut o.metadata)?
            }
            Action::CreateClaim(it) => {
                create(&mut self.uids, &mut self.claims, *it, |o| &mut o.metadata)?
            }
            Action::CreatePod(it) => self.create_pod(*it)?,
            Action::LabelPod { pod, role } => {
                let found = find(&mut self.pods, &pod, |o| &o.metadata)?;
                let labels = found.metadata.labels.get_or_insert_default();
                labels.insert("quorate.io/role".to_owned(), role.as_str().to_owned());
            }
            Action::OwnClaim { claim, owner } => {
                let found = find(&mut self.claims, &claim, |o| &o.metadata)?;
                found.metadata.owner_references = owner.map(|it| vec![it]);
            }
            Action::DeletePod { pod, .. } => self.delete_pod(&pod)?,
            Action::DeleteMember { member } => {
                find(&mut self.members, &member, |o| &o.metadata)?;
                self.members.remove(&member.name);
            }
            Action::DeleteClaim { claim } => self.delete_claim(&claim)?,
            Action::AddLearner {
                name,
                peer_url,
                ground,
            } => self.etcd.add(&name, &peer_url, &ground)?,
            Action::Promote { id, ground, .. } => self.etcd.promote(id, &ground)?,
            Action::RemoveMember { id, ground, .. } => self.etcd.remove(id, &ground)?,
            Action::MoveLeader { to_id, ground, .. } => self.etcd.move_leader(to_id, &ground)?,
        }
        Ok(())
    }

    fn create_pod(&mut self, mut pod: Pod) -> Result<(), String> {
        let name = pod.metadata.name.clone().unwrap();
        assert!(
            self.claims.contains_key(&format!("data-{name}")),
            "pod {name} is made without its claim"
        );
        set_status(&mut pod, "Pending", false);
        pod.metadata.creation_timestamp = Some(Time(self.now));
        create(&mut self.uids, &mut self.pods, pod, |o| &mut o.metadata)
    }

    fn delete_pod(&mut self, target: &Target) -> Result<(), String> {
        let quorate = self.etcd.quorate();
        let voters = self.etcd.voters();
        let now = self.now;
        let pod = find(&mut self.pods, target, |o| &o.metadata)?;
        pod.metadata.deletion_timestamp.get_or_insert(Time(now));
        let leads = self.etcd.leads(&target.name);
        self.etcd.stop(&target.name);
        assert!(
            !(leads && voters > 1),
            "pod {} was stopped while it led {voters} voters",
            target.name
        );
        assert!(
            !quorate || self.etcd.quorate() || voters <= 2,
            "stopping {} cost the majority",
            target.name
        );
        if phase(&self.pods[&target.name]) != "Running"
            && phase(&self.pods[&target.name]) != "Pending"
        {
            self.pods.remove(&target.name);
        }
        Ok(())
    }

    fn delete_claim(&mut self, target: &Target) -> Result<(), String> {
        find(&mut self.claims, target, |o| &o.metadata)?;
        let member = target.name.strip_prefix("data-").unwrap();
        assert!(
            !self.pods.contains_key(member),
            "claim {} was deleted under a pod",
            target.name
        );
        assert!(
            !self.etcd.has(member),
            "claim {} of a member was deleted",
            target.name
        );
        self.claims.remove(&target.name);
        self.etcd.volumes.remove(&target.uid);
        Ok(())
    }

    /// A pod dies of a cause outside: it is deleted, or it ends.
    pub(crate) fn lose_pod(&mut self, name: &str) {
        self.etcd.stop(name);
        if self.rng.random_bool(0.5) {
            self.pods.remove(name);
        } else if let Some(pod) = self.pods.get_mut(name) {
            let phase = if self.rng.random_bool(0.5) {
                "Failed"
            } else {
                "Succeeded"
            };
            set_status(pod, phase, false);
        }
    }

    /// The volume of a member is lost with all that is on it, but never that of a voter that the others could not do without.
    pub(crate) fn lose_volume(&mut self) {
        let claims: Vec<String> = self.claims.keys().cloned().collect();
        if claims.is_empty() || !self.etcd.can_spare_a_volume() {
            return;
        }
        let name = claims[self.rng.random_range(0..claims.len())].clone();
        let member = name.trim_start_matches("data-").to_owned();
        self.pods.remove(&member);
        self.etcd.stop(&member);
        if let Some(uid) = self.claims.remove(&name).and_then(|it| it.metadata.uid) {
            self.etcd.volumes.remove(&uid);
        }
    }

    /// A changed spec is applied.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut crds::RaftClusterSpec)) {
        change(&mut self.cluster.spec);
        self.cluster.metadata.generation = self.cluster.metadata.generation.map(|it| it + 1);
    }
}

fn create<T>(
    uids: &mut u64,
    objects: &mut BTreeMap<String, T>,
    mut object: T,
    meta: impl Fn(&mut T) -> &mut ObjectMeta,
) -> Result<(), String> {
    *uids += 1;
    meta(&mut object).uid = Some(format!("uid-{uids}"));
    let name = meta(&mut object).name.clone().unwrap();
    if objects.contains_key(&name) {
        return Err(format!("{name} already exists"));
    }
    objects.insert(name, object);
    Ok(())
}

fn find<'a, T>(
    objects: &'a mut BTreeMap<String, T>,
    target: &Target,
    meta: impl Fn(&T) -> &ObjectMeta,
) -> Result<&'a mut T, String> {
    let found = objects
        .get_mut(&target.name)
        .ok_or_else(|| format!("{} is not there", target.name))?;
    if meta(found).uid.as_deref() == Some(&target.uid) {
        Ok(found)
    } else {
        Err(format!("{} has another uid", target.name))
    }
}

/// A pod's phase.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|it| it.phase.as_deref())
        .unwrap_or("Pending")
}

/// Sets a pod's phase and readiness.
pub(crate) fn set_status(pod: &mut Pod, phase: &str, ready: bool) {
    let status = serde_json::json!({
        "phase": phase,
        "podIP": "127.0.0.9",
        "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
        "containerStatuses": if phase == "Pending" {
            serde_json::json!([{
                "name": "member", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
            }])
        } else {
            serde_json::json!([])
        },
    });
    pod.status = Some(serde_json::from_value(status).expect("a pod status"));
}

/// The kind of an action, as its sentence begins.
fn kind(action: &Action) -> String {
    let sentence = action.to_string();
    let words: Vec<&str> = sentence.split(' ').collect();
    match words[0] {
        "apply" | "create" | "label" | "delete" => words[..2].join(" "),
        one => one.to_owned(),
    }
}
