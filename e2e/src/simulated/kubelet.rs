//! What binders and kubelets do, one step at a time: claims are bound and let go, pods run, pods that end go away.
//!
//! It deliberately pulls nothing: an image whose name contains `missing` is never there, and every other one is.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Client, ResourceExt};
use plan::names::{self, Surface};
use quorate_operator::members::Members;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::crash::Crash;
use super::etcd::{Papers, Start, shown};
use super::nodes::{Nodes, claim_of, volume_of};

/// What runs in pods, and where the operator reaches it.
pub trait Processes: Send + Sync {
    /// Starts a process, which may end at once with a sentence, as etcd's would.
    ///
    /// # Errors
    /// The sentence.
    fn start(&self, start: &Start) -> Result<(), String>;

    /// The Secrets that a pod mounts hold this now.
    fn bring(&self, pod_uid: &str, papers: Papers);

    /// Ends the process of a pod through no doing of the operator's.
    fn stop_unasked(&self, pod_uid: &str);

    /// Ends the process of a pod that was deleted; a leader must have handed over by then.
    fn stop(&self, pod_uid: &str);

    /// Whether the pod's process runs, and whether it would call itself ready.
    fn is_ready(&self, pod_uid: &str) -> Option<bool>;

    /// The pods whose processes run.
    fn running(&self) -> BTreeSet<String>;

    /// All volumes but these were deleted, with all that stood on them.
    fn lose_disks_but(&self, claims: &BTreeSet<String>);

    /// A pod makes another cluster of what a volume holds, beside it.
    fn restore(&self, pod_uid: &str, claim_uid: &str);

    /// Lets elections, replication and clients' traffic happen once.
    fn step(&self);

    /// The port through which an operator of this fate reaches the members.
    fn members(&self, crash: Crash) -> Arc<dyn Members>;
}

/// All kubelets of all nodes.
pub struct Kubelet {
    client: Client,
    processes: Arc<dyn Processes>,
    nodes: Nodes,
}

impl Kubelet {
    /// Kubelets that run these processes.
    #[must_use]
    pub fn new(client: Client, processes: Arc<dyn Processes>) -> Self {
        let nodes = Nodes::new(client.clone());
        Self {
            client,
            processes,
            nodes,
        }
    }

    /// The same on these nodes.
    #[must_use]
    pub(super) fn on(self, nodes: Nodes) -> Self {
        Self { nodes, ..self }
    }

    /// Does what there is to do, once.
    ///
    /// # Errors
    /// If the API server refuses.
    pub async fn step(&self) -> kube::Result<()> {
        let claims: Api<PersistentVolumeClaim> = Api::all(self.client.clone());
        let claims = claims.list(&ListParams::default()).await?.items;
        let uids: BTreeSet<String> = claims.iter().filter_map(ResourceExt::uid).collect();
        let pods = Api::<Pod>::all(self.client.clone())
            .list(&ListParams::default())
            .await?
            .items;
        for claim in &claims {
            match claim.metadata.deletion_timestamp {
                Some(_) => self.let_go(claim, &pods).await?,
                None if self.nodes.has_made(claim).await? => self.bind(claim).await?,
                None => {}
            }
        }
        self.end_processes(&pods);
        self.processes.lose_disks_but(&uids);
        for pod in &self.nodes.step(pods, &claims).await? {
            self.tend(pod, &claims).await?;
        }
        Ok(())
    }

    async fn bind(&self, claim: &PersistentVolumeClaim) -> kube::Result<()> {
        let spec = claim.spec.as_ref();
        let asked = spec.and_then(|it| it.resources.as_ref()?.requests.clone());
        let status = claim.status.as_ref();
        let held = status.and_then(|it| it.capacity.clone());
        let phase = status.and_then(|it| it.phase.as_deref());
        if phase == Some("Bound") && held == asked {
            return Ok(());
        }
        let (namespace, name) = (claim.namespace().unwrap_or_default(), claim.name_any());
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &namespace);
        let volume = json!({ "spec": { "volumeName": volume_of(claim) } });
        api.patch(&name, &PatchParams::default(), &Patch::Merge(volume))
            .await?;
        let bound = json!({ "status": { "phase": "Bound", "capacity": asked } });
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(bound))
            .await
            .map(drop)
    }

    /// A claim that is to go goes when no pod uses it any more.
    async fn let_go(&self, claim: &PersistentVolumeClaim, pods: &[Pod]) -> kube::Result<()> {
        let (namespace, name) = (claim.namespace().unwrap_or_default(), claim.name_any());
        let uses = |pod: &Pod| {
            names::claim(&pod.name_any()) == name && pod.namespace() == claim.namespace()
        };
        if pods.iter().any(uses) {
            return Ok(());
        }
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &namespace);
        let free = json!({ "metadata": { "uid": claim.uid(), "finalizers": null } });
        match api
            .patch(&name, &PatchParams::default(), &Patch::Merge(free))
            .await
        {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            result => result.map(drop),
        }
    }

    /// Processes whose pod is gone, or is another one by now.
    fn end_processes(&self, pods: &[Pod]) {
        let alive: BTreeSet<String> = pods.iter().filter_map(ResourceExt::uid).collect();
        self.processes
            .running()
            .difference(&alive)
            .for_each(|uid| self.processes.stop(uid));
    }

    async fn tend(&self, pod: &Pod, claims: &[PersistentVolumeClaim]) -> kube::Result<()> {
        let uid = pod.uid().unwrap_or_default();
        if pod.metadata.deletion_timestamp.is_some() {
            self.processes.stop(&uid);
            return self.take_away(pod).await;
        }
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Failed" | "Succeeded")) {
            return Ok(());
        }
        if args(pod).any(|it| it == "restore") {
            return self.restore(pod, claims).await;
        }
        if self.processes.is_ready(&uid).is_none() {
            let Some(start) = self.startable(pod, claims) else {
                return Ok(());
            };
            if let Err(sentence) = self.processes.start(&start) {
                return self
                    .report(pod, waiting("CrashLoopBackOff", &sentence))
                    .await;
            }
        }
        let papers = self.papers(pod).await?;
        if !papers.is_empty() {
            self.processes.bring(&uid, papers);
        }
        let ready = self.processes.is_ready(&uid) == Some(true);
        self.report(pod, running(pod, ready)).await
    }

    /// What stands in the Secrets that a pod mounts.
    async fn papers(&self, pod: &Pod) -> kube::Result<Papers> {
        let mut papers = Papers::new();
        for surface in Surface::ALL {
            let volumes = pod.spec.iter().flat_map(|it| it.volumes.iter().flatten());
            let mut mounted = volumes.filter(|it| it.name == surface.volume());
            let secret = mounted.find_map(|it| it.secret.as_ref()?.secret_name.as_ref());
            let Some(name) = secret else {
                continue;
            };
            let namespace = pod.namespace().unwrap_or_default();
            let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &namespace);
            let found = secrets.get_opt(name).await?;
            papers.extend(found.as_ref().and_then(shown).map(|it| (surface, it)));
        }
        Ok(papers)
    }

    /// A pod that makes another cluster of what its volume holds, and ends.
    async fn restore(&self, pod: &Pod, claims: &[PersistentVolumeClaim]) -> kube::Result<()> {
        let Some(claim) = claim_of(pod, claims) else {
            return Ok(());
        };
        let uid = |it: Option<String>| it.unwrap_or_default();
        self.processes.restore(&uid(pod.uid()), &uid(claim.uid()));
        self.report(pod, json!({ "phase": "Succeeded" })).await
    }

    /// How the pod's process would be started, if its claim is bound and its image is there.
    fn startable(&self, pod: &Pod, claims: &[PersistentVolumeClaim]) -> Option<Start> {
        let claim = claim_of(pod, claims)?;
        let url = format!("{}://{}:{}", scheme(pod), address(pod), names::CLIENT_PORT);
        Start::of(pod, &claim.uid()?, &url).filter(|it| !it.image.contains("missing"))
    }

    async fn take_away(&self, pod: &Pod) -> kube::Result<()> {
        let api: Api<Pod> =
            Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let preconditions = Preconditions {
            uid: pod.uid(),
            resource_version: None,
        };
        let now = DeleteParams::default()
            .grace_period(0)
            .preconditions(preconditions);
        match api.delete(&pod.name_any(), &now).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            result => result.map(drop),
        }
    }

    async fn report(&self, pod: &Pod, status: Value) -> kube::Result<()> {
        let old = serde_json::to_value(&pod.status).unwrap_or_default();
        if contains(&old, &status) {
            return Ok(());
        }
        let api: Api<Pod> =
            Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let patch = Patch::Merge(json!({ "metadata": { "uid": pod.uid() }, "status": status }));
        api.patch_status(&pod.name_any(), &PatchParams::default(), &patch)
            .await
            .map(drop)
    }
}

fn args(pod: &Pod) -> impl Iterator<Item = &String> {
    let containers = pod.spec.iter().flat_map(|it| &it.containers);
    containers.flat_map(|it| it.args.iter().flatten())
}

/// How a member serves its clients, as its pod tells it.
fn scheme(pod: &Pod) -> &'static str {
    if args(pod).any(|it| it.starts_with("--listen-client-urls=https:")) {
        "https"
    } else {
        "http"
    }
}

/// Stable per namespace and name, as the demo's are.
fn address(pod: &Pod) -> String {
    let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
    let digest = Sha256::digest(name.as_bytes());
    format!("10.{}.{}.{}", digest[0], digest[1], digest[2].max(1))
}

fn running(pod: &Pod, ready: bool) -> Value {
    let ready_text = if ready { "True" } else { "False" };
    json!({
        "phase": "Running",
        "podIP": address(pod),
        "podIPs": [{ "ip": address(pod) }],
        "conditions": [{ "type": "Ready", "status": ready_text }],
        "containerStatuses": [{
            "name": "member", "image": "", "imageID": "", "restartCount": 0, "ready": ready,
            "state": { "running": {} },
        }],
    })
}

fn waiting(reason: &str, sentence: &str) -> Value {
    json!({
        "phase": "Pending",
        "conditions": [{ "type": "Ready", "status": "False" }],
        "containerStatuses": [{
            "name": "member", "image": "", "imageID": "", "restartCount": 1, "ready": false,
            "state": { "waiting": { "reason": reason, "message": sentence } },
        }],
    })
}

/// Whether all of `part` stands in `whole` already.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(key, value)| whole.get(key).is_some_and(|found| contains(found, value))),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len()
                && whole
                    .iter()
                    .zip(part)
                    .all(|(whole, part)| contains(whole, part))
        }
        (whole, part) => whole == part,
    }
}
