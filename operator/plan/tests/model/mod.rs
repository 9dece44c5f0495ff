//! A model of the world around the planner: Kubernetes objects with their garbage collector and kubelet, and an etcd
//! cluster whose members live in the pods and whose data live on the volumes.
//!
//! The model panics when something happens that must never: a second cluster is founded, a member comes back with an empty
//! volume, two pods share one, or a majority is lost by the operator's own hand.
//!
//! It deliberately knows nothing of Raft's messages: a majority of running voters agrees at once or not at all.

mod certificates;
pub(crate) mod etcd;
pub(crate) mod facts;

use std::collections::{BTreeMap, BTreeSet};

use crds::{RaftCluster, RaftMember, RaftOperation, RunState};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use plan::{Action, Keyring, Target, names};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use certificates::Mounts;
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
    pub(crate) network_policies: BTreeMap<String, NetworkPolicy>,
    pub(crate) keyrings: BTreeMap<String, Keyring>,
    /// What pods have of the Secrets.
    mounted: BTreeMap<String, Mounts>,
    pub(crate) operations: BTreeMap<String, RaftOperation>,
    pub(crate) etcd: Etcd,
    /// The version of every member's program.
    pub(crate) version: String,
    /// Nodes that are cordoned.
    pub(crate) cordoned: BTreeSet<String>,
    /// How large every member's database is.
    pub(crate) db_size: u64,
    /// Whether volumes can grow in place.
    pub(crate) expandable: bool,
    /// Calls that were made.
    pub(crate) writes: usize,
    /// How often each kind of action was carried out.
    pub(crate) deeds: BTreeMap<String, usize>,
    uids: u64,
}

/// How many nodes there are.
const NODES: u64 = 4;

fn node(number: u64) -> String {
    format!("node-{}", number % NODES)
}

/// The cluster that a manifest of `replicas` members makes.
pub(crate) fn cluster(replicas: i32) -> RaftCluster {
    let manifest = serde_json::json!({
        "apiVersion": "quorate.io/v1alpha1",
        "kind": "RaftCluster",
        "metadata": {"name": "kv", "namespace": "demo", "uid": CLUSTER_UID, "generation": 1},
        "spec": {"replicas": replicas, "image": "quorate-node:1.0.0", "tls": {"peer": {"mode": "Disabled"}, "client": {"mode": "Disabled"}},
            "storage": {"size": "4Gi"},
            // What is lost by chance is lost more often than the default would replace.
            "repairPolicy": {"maxReplacements": {"count": 9, "periodSeconds": 60}}},
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
            network_policies: BTreeMap::new(),
            keyrings: BTreeMap::new(),
            mounted: BTreeMap::new(),
            operations: BTreeMap::new(),
            etcd: Etcd::default(),
            version: "1.0.0".to_owned(),
            cordoned: BTreeSet::new(),
            db_size: 0,
            expandable: true,
            writes: 0,
            deeds: BTreeMap::new(),
            uids: 0,
        }
    }

    /// Half a second goes by: the garbage collector, the kubelet and the members do their work.
    pub(crate) fn tick(&mut self) {
        self.now += SignedDuration::from_millis(500);
        self.collect_garbage();
        self.run_storage();
        self.run_kubelet();
        self.project();
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
            .get_mut(&claim_name)
            .unwrap_or_else(|| panic!("pod {name} was made without a claim"));
        bind(claim);
        let claim_uid = claim.metadata.uid.clone().unwrap();
        let args = container.args.clone().unwrap();
        if args.iter().any(|it| it == "restore") {
            self.restore(name, &pod, &claim_uid);
        } else if self.etcd.boot(name, &claim_uid, &args) {
            self.mount(name);
            set_status(self.pods.get_mut(name).unwrap(), "Running", false);
            self.judge_peers();
        }
    }

    /// A pod makes a new cluster of a volume and ends; now and then it fails.
    fn restore(&mut self, name: &str, pod: &Pod, claim_uid: &str) {
        let fails = self.rng.random_bool(0.2);
        if !fails {
            let uid = pod.metadata.uid.clone().unwrap();
            self.etcd.restore(name, &uid, claim_uid);
        }
        let phase = if fails { "Failed" } else { "Succeeded" };
        set_status(self.pods.get_mut(name).unwrap(), phase, false);
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
                let ready = self.etcd.follows(name) && self.etcd.corrupt.is_empty();
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
            Action::ApplyNetworkPolicy(it) => self.apply_network_policy(*it),
            Action::DeleteNetworkPolicy { policy } => self.delete_network_policy(&policy)?,
            Action::ApplyCertificate(_)
            | Action::DeleteCertificate { .. }
            | Action::CreateSnapshot(_) => unasked(),
            Action::IssueCertificates(it) => self.issue(&it)?,
            Action::CreateMember(it) => {
                create(&mut self.uids, &mut self.members, *it, |o| &mut o.metadata)?
            }
            Action::CreateClaim(it) => {
                create(&mut self.uids, &mut self.claims, *it, |o| &mut o.metadata)?
            }
            Action::CreatePod(it) => self.create_pod(*it)?,
            Action::LabelPod { pod, role } => self.label_pod(&pod, role)?,
            Action::OwnClaim { claim, owner } => {
                let found = find(&mut self.claims, &claim, |o| &o.metadata)?;
                found.metadata.owner_references = owner.map(|it| vec![it]);
            }
            Action::GrowClaim { claim, size } => self.grow_claim(&claim, &size)?,
            Action::MarkClaim { claim, key, value } => self.mark_claim(&claim, key, value)?,
            Action::DeletePod { pod, .. } => self.delete_pod(&pod)?,
            Action::DeleteMember { member } => self.delete_member(&member)?,
            Action::DeleteClaim { claim } => self.delete_claim(&claim)?,
            Action::AddLearner {
                name,
                peer_url,
                ground,
            } => {
                assert_eq!(self.joining(), 0, "{name} joins beside another");
                self.etcd.add(&name, &peer_url, &ground)?;
            }
            Action::Promote { name, id, ground } => {
                let learner = self.members.get(&name).is_some_and(|it| it.spec.learner);
                assert!(!learner, "the learner {name} is promoted");
                self.etcd.promote(id, &ground)?;
            }
            Action::RemoveMember { id, ground, .. } => self.etcd.remove(id, &ground)?,
            Action::UpdatePeerUrl {
                id,
                peer_url,
                ground,
                ..
            } => {
                self.etcd.update_peer_url(id, &peer_url, &ground)?;
                self.judge_peers();
            }
            Action::MoveLeader { to_id, ground, .. } => self.etcd.move_leader(to_id, &ground)?,
            Action::Defragment { name, ground } => self.etcd.defragment(&name, &ground)?,
            Action::Compact { revision, ground } => self.etcd.compact(revision, &ground)?,
            Action::Disarm { alarm, id, ground } => self.etcd.disarm(alarm, id, &ground)?,
            Action::ChangeAccount { .. } | Action::TellUser(_) | Action::TellRole(_) => {
                unreachable!("nobody asks for authentication here")
            }
            Action::TellOperation(told) => self.tell_operation(&told)?,
            Action::DeleteOperation { operation } => self.delete_operation(&operation)?,
        }
        Ok(())
    }

    fn delete_member(&mut self, member: &Target) -> Result<(), String> {
        find(&mut self.members, member, |o| &o.metadata)?;
        self.members.remove(&member.name);
        Ok(())
    }

    fn delete_operation(&mut self, operation: &Target) -> Result<(), String> {
        find(&mut self.operations, operation, |o| &o.metadata)?;
        self.operations.remove(&operation.name);
        Ok(())
    }

    fn tell_operation(&mut self, told: &RaftOperation) -> Result<(), String> {
        let name = told.metadata.name.clone().unwrap();
        let found = self.operations.get_mut(&name).ok_or("it is gone")?;
        // As the API server keeps it: through JSON and back.
        let status = serde_json::to_value(&told.status).unwrap();
        found.status = serde_json::from_value(status).unwrap();
        Ok(())
    }

    /// Learners that are to vote.
    fn joining(&self) -> usize {
        let permanent = |name: &String| self.members.get(name).is_some_and(|it| it.spec.learner);
        let hosts: Vec<&String> = self.members.keys().filter(|it| !permanent(it)).collect();
        let joins = |url: &str| hosts.iter().any(|it| url.contains(&format!("//{it}.")));
        let learners = self.etcd.list.iter().filter(|it| it.is_learner);
        learners.filter(|it| joins(&it.peer_urls[0])).count()
    }

    fn create_pod(&mut self, mut pod: Pod) -> Result<(), String> {
        let name = pod.metadata.name.clone().unwrap();
        assert!(
            self.claims.contains_key(&format!("data-{name}")),
            "pod {name} is made without its claim"
        );
        set_status(&mut pod, "Pending", false);
        pod.metadata.creation_timestamp = Some(Time(self.now));
        pod.spec.get_or_insert_default().node_name = Some(node(self.uids));
        create(&mut self.uids, &mut self.pods, pod, |o| &mut o.metadata)
    }

    fn delete_pod(&mut self, target: &Target) -> Result<(), String> {
        let quorate = self.etcd.quorate();
        let voters = self.etcd.voters();
        let now = self.now;
        let pod = find(&mut self.pods, target, |o| &o.metadata)?;
        pod.metadata.deletion_timestamp.get_or_insert(Time(now));
        let leads = self.etcd.leads(&target.name);
        let sleeps = self.cluster.spec.run_state == RunState::Hibernated;
        self.etcd.stop(&target.name);
        let alone = sleeps && self.etcd.processes.keys().all(|it| self.ends(it));
        assert!(
            !(leads && voters > 1) || alone,
            "pod {} was stopped while it led {voters} voters",
            target.name
        );
        assert!(
            !quorate || self.etcd.quorate() || voters <= 2 || sleeps,
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

    fn ends(&self, pod: &str) -> bool {
        let found = self.pods.get(pod);
        found.is_none_or(|it| it.metadata.deletion_timestamp.is_some())
    }

    /// Everybody listens where the membership has the others look for it, and all can dial that.
    fn judge_peers(&self) {
        let running: Vec<(&String, Vec<String>)> = self
            .pods
            .iter()
            .filter(|(name, _)| self.etcd.processes.contains_key(*name))
            .map(|(name, pod)| {
                let container = &pod.spec.as_ref().unwrap().containers[0];
                (name, container.args.clone().unwrap())
            })
            .collect();
        for (name, args) in &running {
            let Some(url) = self.etcd.url_of(name) else {
                continue;
            };
            let flag = args
                .iter()
                .find_map(|it| it.strip_prefix("--listen-peer-urls="));
            let (scheme, port) = (
                url.split_once(':').unwrap().0,
                url.rsplit_once(':').unwrap().1,
            );
            let wanted = format!("{scheme}://$(POD_IP):{port}");
            let mut listens = flag.unwrap().split(',');
            assert!(listens.any(|it| it == wanted), "{name} is not at {url}");
            for (other, args) in &running {
                let dials = args.iter().any(|it| it.starts_with("--peer-cert-file="));
                assert!(dials || scheme == "http", "{other} cannot dial {url}");
            }
        }
    }

    fn label_pod(&mut self, target: &Target, role: names::Role) -> Result<(), String> {
        let found = find(&mut self.pods, target, |o| &o.metadata)?;
        let labels = found.metadata.labels.get_or_insert_default();
        labels.insert(names::ROLE_LABEL.to_owned(), role.as_str().to_owned());
        Ok(())
    }

    fn mark_claim(&mut self, target: &Target, key: &str, value: String) -> Result<(), String> {
        let found = find(&mut self.claims, target, |o| &o.metadata)?;
        let annotations = found.metadata.annotations.get_or_insert_default();
        annotations.insert(key.to_owned(), value);
        Ok(())
    }

    fn apply_network_policy(&mut self, mut policy: NetworkPolicy) {
        self.uids += 1;
        policy.metadata.uid = Some(format!("uid-{}", self.uids));
        let name = policy.metadata.name.clone().unwrap();
        self.network_policies.insert(name, policy);
    }

    fn delete_network_policy(&mut self, target: &Target) -> Result<(), String> {
        find(&mut self.network_policies, target, |o| &o.metadata)?;
        self.network_policies.remove(&target.name);
        Ok(())
    }

    fn grow_claim(&mut self, target: &Target, size: &str) -> Result<(), String> {
        let expandable = self.expandable;
        let claim = find(&mut self.claims, target, |o| &o.metadata)?;
        if !expandable {
            return Err("only dynamically provisioned pvc can be resized".to_owned());
        }
        assert!(
            bytes(size) > bytes(&capacity(claim)),
            "a volume was to shrink"
        );
        claim
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(names::SIZE.to_owned(), size.to_owned());
        let resources = claim.spec.as_mut().unwrap().resources.as_mut().unwrap();
        let requests = resources.requests.as_mut().unwrap();
        requests.insert("storage".to_owned(), Quantity(size.to_owned()));
        Ok(())
    }

    /// The storage system makes volumes as large as their claims ask for.
    fn run_storage(&mut self) {
        for claim in self.claims.values_mut().filter(|it| it.status.is_some()) {
            if self.rng.random_bool(0.4) {
                bind(claim);
            }
        }
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

    /// The user asks for something to be done once.
    pub(crate) fn ask(&mut self, spec: serde_json::Value) -> String {
        let name = format!("operation-{}", self.uids);
        let mut operation: RaftOperation = serde_json::from_value(serde_json::json!({
            "apiVersion": "quorate.io/v1alpha1",
            "kind": "RaftOperation",
            "metadata": {"name": name, "namespace": "demo"},
            "spec": spec,
        }))
        .expect("an operation");
        operation.metadata.creation_timestamp = Some(Time(self.now));
        let made = create(&mut self.uids, &mut self.operations, operation, |o| {
            &mut o.metadata
        });
        made.expect("a name of its own");
        name
    }

    /// A node is cordoned, or all are uncordoned.
    pub(crate) fn cordon(&mut self) {
        let node = node(self.rng.random_range(0..NODES));
        if self.rng.random_bool(0.6) {
            self.cordoned.insert(node);
        } else {
            self.cordoned.clear();
        }
    }

    /// Names of members on nodes that are not cordoned.
    pub(crate) fn on_good_nodes(&self) -> Vec<&str> {
        let stays = |pod: &Pod| {
            let node = pod.spec.as_ref().and_then(|it| it.node_name.as_ref());
            node.is_some_and(|it| !self.cordoned.contains(it))
        };
        let pods = self.pods.iter().filter(|(_, it)| stays(it));
        pods.map(|(name, _)| name.as_str()).collect()
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

/// What no spec of this world asks for.
fn unasked() {
    unreachable!("nobody here asks for what others have to install")
}

/// A volume as large as the claim asks for, in the class it asks for.
fn bind(claim: &mut PersistentVolumeClaim) {
    let spec = claim.spec.as_mut().unwrap();
    spec.storage_class_name.get_or_insert("standard".to_owned());
    let requests = spec.resources.as_ref().unwrap().requests.clone();
    let held = bytes(&capacity(claim));
    if requests
        .as_ref()
        .is_some_and(|it| bytes(&it["storage"].0) > held)
    {
        claim.status.get_or_insert_default().capacity = requests;
    }
}

/// What a claim has.
pub(crate) fn capacity(claim: &PersistentVolumeClaim) -> String {
    let status = claim.status.as_ref().and_then(|it| it.capacity.as_ref());
    status.map_or_else(String::new, |it| it["storage"].0.clone())
}

/// A size as manifests write it here, in bytes; 0 for none.
pub(crate) fn bytes(size: &str) -> u64 {
    let number = |unit| size.strip_suffix(unit)?.parse::<u64>().ok();
    let gibibytes = number("Gi").map(|it| it << 30);
    gibibytes
        .or_else(|| number("Mi").map(|it| it << 20))
        .unwrap_or(0)
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
        "apply" | "create" | "label" | "delete" | "issue" => words[..2].join(" "),
        one => one.to_owned(),
    }
}
