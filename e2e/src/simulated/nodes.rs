//! Nodes under the pods: they fall silent and come back, or are gone with the volumes on them.
//!
//! Only worlds that ask for nodes have any; elsewhere pods run on nothing in particular. Volumes are local: each stays on the node
//! that its first pod was put on. What a scheduler, kubelets and the node controller do is done here once a step; a pod whose node
//! is dead is touched by nobody but the controller.
//!
//! It deliberately spreads pods by their number alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use plan::names;
use serde_json::{Value, json};

/// By which label a volume names its node.
const HOSTNAME: &str = "kubernetes.io/hostname";
/// By which annotation a claim names the node that its volume is to be made on.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// With which taint the node controller marks a node that it does not hear of.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// For so many steps pods stay on a node that is not heard of; the real controller waits for five minutes.
const TOLERATED: u32 = 40;

/// All nodes. Clones share them.
#[derive(Clone)]
pub(super) struct Nodes {
    client: Client,
    state: Arc<Mutex<State>>,
}

/// Which there are, whoever else is asked.
#[derive(Clone, Default)]
struct State {
    there: BTreeSet<String>,
    /// Those that are dead, and for how many steps they have been.
    dead: BTreeMap<String, u32>,
    /// Whether volumes are made a step after their node is chosen, and not at once.
    late: bool,
    /// Whether the next one that a volume is to be made on dies before it is.
    doomed: bool,
}

impl Nodes {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            state: Arc::default(),
        }
    }

    /// The same nodes in another world.
    pub(super) fn fork(&self, client: Client) -> Self {
        Self {
            client,
            state: Arc::new(Mutex::new(self.state().clone())),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes so many.
    pub(super) async fn make(&self, count: usize) -> kube::Result<()> {
        let api: Api<Node> = Api::all(self.client.clone());
        for number in 1..=count {
            let name = format!("n{number}");
            let node = json!({ "metadata": { "name": name, "labels": { HOSTNAME: name } } });
            let node = serde_json::from_value(node).expect("a node");
            api.create(&PostParams::default(), &node).await?;
            self.hear(&name, "True").await?;
            self.state().there.insert(name);
        }
        Ok(())
    }

    /// Says what the node controller hears of a node.
    async fn hear(&self, name: &str, ready: &str) -> kube::Result<()> {
        let api: Api<Node> = Api::all(self.client.clone());
        let effects = ["NoSchedule", "NoExecute"];
        let taints = effects.map(|it| json!({ "key": UNREACHABLE, "effect": it }));
        let taints = (ready != "True").then_some(taints);
        let taint = Patch::Merge(json!({ "spec": { "taints": taints } }));
        api.patch(name, &PatchParams::default(), &taint).await?;
        let told = json!({ "status": { "conditions": [{ "type": "Ready", "status": ready, "reason": "" }] } });
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(told))
            .await
            .map(drop)
    }

    /// A node dies: whatever ran on it has ended, and nobody can say so.
    pub(super) async fn die(&self, name: &str) -> kube::Result<()> {
        self.state().dead.insert(name.to_owned(), 0);
        self.hear(name, "Unknown").await
    }

    /// The next node that a volume is to be made on dies before it is.
    pub(super) fn doom_next(&self) {
        let mut state = self.state();
        (state.late, state.doomed) = (true, true);
    }

    /// All nodes that have died and are still there come back, with their volumes.
    pub(super) async fn return_all(&self) -> kube::Result<()> {
        let back = std::mem::take(&mut self.state().dead);
        let there = self.state().there.clone();
        for name in back.into_keys().filter(|it| there.contains(it)) {
            self.hear(&name, "True").await?;
        }
        Ok(())
    }

    /// Dead nodes are taken out of the cluster for good.
    pub(super) async fn delete_dead(&self) -> kube::Result<()> {
        let api: Api<Node> = Api::all(self.client.clone());
        let dead: Vec<String> = self.state().dead.keys().cloned().collect();
        for name in dead {
            api.delete(&name, &DeleteParams::default()).await?;
            self.state().there.remove(&name);
        }
        Ok(())
    }

    /// Moves on by one step; gives the pods that kubelets can reach, those of worlds without nodes all.
    pub(super) async fn step(
        &self,
        pods: Vec<Pod>,
        claims: &[PersistentVolumeClaim],
    ) -> kube::Result<Vec<Pod>> {
        let State { there, dead, .. } = {
            let mut state = self.state();
            state.dead.values_mut().for_each(|steps| *steps += 1);
            state.clone()
        };
        if there.is_empty() && dead.is_empty() {
            return Ok(pods);
        }
        self.drop_volumes(claims).await?;
        let (lost, mut reached): (Vec<Pod>, Vec<Pod>) = pods.into_iter().partition(|it| {
            node_of(it).is_some_and(|node| dead.contains_key(node) || !there.contains(node))
        });
        for pod in &lost {
            self.look_after(pod, &there, &dead).await?;
        }
        let mut alive = there;
        alive.retain(|it| !dead.contains_key(it));
        for at in 0..reached.len() {
            if node_of(&reached[at]).is_none()
                && let Some(placed) = self.place(&reached[at], &reached, claims, &alive).await?
            {
                reached[at] = placed;
            }
        }
        reached.retain(|it| node_of(it).is_some());
        Ok(reached)
    }

    /// What the node controller does to a pod whose node is dead or gone.
    async fn look_after(
        &self,
        pod: &Pod,
        there: &BTreeSet<String>,
        dead: &BTreeMap<String, u32>,
    ) -> kube::Result<()> {
        let node = node_of(pod).unwrap_or_default();
        let api: Api<Pod> =
            Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let name = pod.name_any();
        let gone = !there.contains(node);
        let late = dead.get(node).is_some_and(|steps| *steps >= TOLERATED);
        let ends = pod.metadata.deletion_timestamp.is_some();
        if gone || (late && !ends) {
            let params = DeleteParams::default();
            let params = if gone { params.grace_period(0) } else { params };
            return absent_is_well(api.delete(&name, &params).await.map(drop));
        }
        if !is_ready(pod) {
            return Ok(());
        }
        let not = json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } });
        let not = Patch::Merge(not);
        let patched = api.patch_status(&name, &PatchParams::default(), &not).await;
        absent_is_well(patched.map(drop))
    }

    /// Puts a pod on the node that its volume is tied to, or on the one with the fewest pods; nothing while there is none.
    async fn place(
        &self,
        pod: &Pod,
        pods: &[Pod],
        claims: &[PersistentVolumeClaim],
        alive: &BTreeSet<String>,
    ) -> kube::Result<Option<Pod>> {
        let Some(claim) = claim_of(pod, claims) else {
            return Ok(None);
        };
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let volume = volumes.get_opt(&volume_of(claim)).await?;
        let chosen = claim.annotations().get(SELECTED_NODE);
        let tied = volume.as_ref().map(tied_to).or_else(|| chosen.cloned());
        let Some(node) = choose(tied.as_deref(), pods, alive) else {
            return Ok(None);
        };
        if tied.is_none() && self.state().late {
            self.select(claim, node).await?;
            return Ok(None);
        }
        if volume.is_none() {
            let volume = local(claim, node);
            volumes.create(&PostParams::default(), &volume).await?;
        }
        let api: Api<Pod> =
            Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let bind = json!({ "metadata": { "uid": pod.uid() }, "spec": { "nodeName": node } });
        let bind = Patch::Merge(bind);
        api.patch(&pod.name_any(), &PatchParams::default(), &bind)
            .await
            .map(Some)
    }

    /// Whether a claim's volume is there to be bound; where they are made at once it is taken for made.
    pub(super) async fn has_made(&self, claim: &PersistentVolumeClaim) -> kube::Result<bool> {
        if !self.state().late {
            return Ok(true);
        }
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        Ok(volumes.get_opt(&volume_of(claim)).await?.is_some())
    }

    /// Notes the node that a claim's volume is to be made on.
    async fn select(&self, claim: &PersistentVolumeClaim, node: &str) -> kube::Result<()> {
        let namespace = claim.namespace().unwrap_or_default();
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &namespace);
        let note = json!({ "metadata": { "annotations": { SELECTED_NODE: node } } });
        let params = PatchParams::default();
        api.patch(&claim.name_any(), &params, &Patch::Merge(note))
            .await?;
        if std::mem::take(&mut self.state().doomed) {
            self.die(node).await?;
        }
        Ok(())
    }

    /// Volumes go with their claims.
    async fn drop_volumes(&self, claims: &[PersistentVolumeClaim]) -> kube::Result<()> {
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let used: BTreeSet<String> = claims.iter().map(volume_of).collect();
        for volume in volumes.list(&ListParams::default()).await? {
            let name = volume.name_any();
            if !used.contains(&name) {
                let gone = volumes.delete(&name, &DeleteParams::default()).await;
                absent_is_well(gone.map(drop))?;
            }
        }
        Ok(())
    }
}

fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|it| &it.conditions).flatten();
    conditions.any(|it| it.type_ == "Ready" && it.status == "True")
}

/// A pod's claim, if it is there.
pub(super) fn claim_of<'a>(
    pod: &Pod,
    claims: &'a [PersistentVolumeClaim],
) -> Option<&'a PersistentVolumeClaim> {
    let wanted = names::claim(&pod.name_any());
    let mut found = claims.iter().filter(|it| it.namespace() == pod.namespace());
    found.find(|it| it.name_any() == wanted)
}

/// The node that a volume is tied to, or else the one with the fewest pods.
fn choose<'a>(tied: Option<&str>, pods: &[Pod], alive: &'a BTreeSet<String>) -> Option<&'a String> {
    let count = |node: &String| pods.iter().filter(|it| node_of(it) == Some(node)).count();
    let fitting = alive
        .iter()
        .filter(|node| tied.is_none_or(|it| it == node.as_str()));
    fitting.min_by_key(|it| count(it))
}

/// The node that a pod is on, or was.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// What a claim's volume is called.
pub(super) fn volume_of(claim: &PersistentVolumeClaim) -> String {
    format!("pv-{}", claim.name_any())
}

fn local(claim: &PersistentVolumeClaim, node: &str) -> PersistentVolume {
    let here = json!({ "key": HOSTNAME, "operator": "In", "values": [node] });
    let terms = json!([{ "matchExpressions": [here] }]);
    let volume: Value = json!({
        "metadata": { "name": volume_of(claim) },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": claim.spec.as_ref().and_then(|it| it.resources.as_ref()?.requests.clone()),
            "local": { "path": "/none" },
            "nodeAffinity": { "required": { "nodeSelectorTerms": terms } },
        },
    });
    serde_json::from_value(volume).expect("a volume")
}

fn tied_to(volume: &PersistentVolume) -> String {
    let affinity = volume
        .spec
        .as_ref()
        .and_then(|it| it.node_affinity.as_ref());
    let terms = affinity.and_then(|it| it.required.as_ref());
    let mut terms = terms.into_iter().flat_map(|it| &it.node_selector_terms);
    let mut here = terms
        .by_ref()
        .flat_map(|it| it.match_expressions.iter().flatten());
    let values = here.next().and_then(|it| it.values.clone());
    values.unwrap_or_default().concat()
}

fn absent_is_well(result: kube::Result<()>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result,
    }
}
