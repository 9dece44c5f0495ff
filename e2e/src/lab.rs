//! A whole house on this machine: smallkube, the operator, and members as real processes.
//!
//! smallkube runs inside the test, so that it can be told to kill, pause and lose; the operator
//! and the members are the binaries that users run. Everything has its folder, which stays with
//! all logs when the lab is not ended well, and everything dies with the test.
//!
//! It decides nothing about what should happen: it acts as a user and as fate.

mod clients;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use crds::{GROUP, OperationPhase, RaftCluster, RaftMember, RaftOperation};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use smallkube::{Pace, Processes, Signal, Smallkube};
use tokio::process::{Child, Command};

use crate::engine::Engine;
use crate::folder::Folder;
use crate::{binaries, secured, wait};

/// The namespace everything is in.
pub const NAMESPACE: &str = "default";
/// How long anything may take before a test gives up: many times what it takes on a calm
/// machine, because a failed wait must mean a failure and not a busy neighbour.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A running house.
pub struct Lab {
    engine: Engine,
    kube: Smallkube,
    client: kube::Client,
    operator: Option<Child>,
    folder: Folder,
}

/// The member that leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Its name, which is its pod's.
    pub member: String,
    /// Since when, in Raft's time.
    pub term: u64,
}

impl Lab {
    /// Starts everything for clusters of this engine; `what` is part of the folder's name.
    ///
    /// # Errors
    /// When a binary is missing (with what to build) or something does not start.
    pub async fn start(what: &str, engine: Engine) -> Result<Self> {
        Self::start_in(Folder::new(what)?, engine).await
    }

    /// Starts everything in a folder of the caller's.
    ///
    /// # Errors
    /// As [`Lab::start`].
    pub async fn start_in(folder: Folder, engine: Engine) -> Result<Self> {
        Self::start_as(folder, engine, |_| {}).await
    }

    /// Starts everything on five nodes, with each volume tied to the node where it was first used.
    ///
    /// # Errors
    /// As [`Lab::start`].
    pub async fn start_on_local_volumes(what: &str, engine: Engine) -> Result<Self> {
        Self::start_as(Folder::new(what)?, engine, |options| {
            options.local_volumes = true;
            options.nodes = (1..=5).map(|n| format!("node-{n}")).collect();
        })
        .await
    }

    async fn start_as(
        folder: Folder,
        engine: Engine,
        change: impl FnOnce(&mut smallkube::Options),
    ) -> Result<Self> {
        let state = folder.path().join("smallkube");
        let runtime = Processes::new(&state, engine.images());
        let mut options = smallkube::Options::processes(&state, runtime);
        options.pace = pace();
        change(&mut options);
        let kube = Smallkube::try_start(&options)?;
        let address = kube.serve(([127, 0, 0, 1], 0).into()).await?;
        let client = kube.client("lab");
        let mut lab = Self {
            engine,
            kube,
            client,
            operator: None,
            folder,
        };
        let kubeconfig = kubeconfig_for(&format!("http://{address}"));
        std::fs::write(lab.kubeconfig(), kubeconfig).context("write the kubeconfig")?;
        lab.install().await?;
        lab.start_operator()?;
        Ok(lab)
    }

    /// Declares the kinds, as a user does with `kubectl apply -f crds/yaml`.
    async fn install(&self) -> Result<()> {
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for definition in crds::definitions() {
            let name = definition.name_any();
            let patch = Patch::Apply(&definition);
            definitions
                .patch(&name, &manager(), &patch)
                .await
                .with_context(|| format!("declare {name}"))?;
        }
        let clusters = self.clusters();
        let listed = async || clusters.list(&ListParams::default()).await;
        wait::until("the API to serve RaftClusters", PATIENCE, listed).await?;
        Ok(())
    }

    /// Starts the operator, unless it runs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_operator(&mut self) -> Result<()> {
        if self.operator.is_some() {
            return Ok(());
        }
        let program = binaries::ours("quorate-operator")?;
        let log = self.folder.path().join("operator.log");
        let output = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)?;
        let mut command = Command::new(&program);
        command
            .args(["--metrics-bind-address=127.0.0.1:0", "--log-level=info"])
            .env("KUBECONFIG", self.kubeconfig())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        self.operator = Some(child);
        Ok(())
    }

    /// Ends the operator with SIGKILL.
    ///
    /// # Errors
    /// When it had ended by itself before.
    pub async fn kill_operator(&mut self) -> Result<()> {
        let mut operator = self
            .operator
            .take()
            .context("the operator is not running")?;
        if let Some(status) = operator.try_wait()? {
            bail!("the operator had ended by itself with {status}");
        }
        Ok(operator.kill().await?)
    }

    /// The operator's process, while it runs.
    pub fn operator_pid(&self) -> Option<u32> {
        self.operator.as_ref().and_then(Child::id)
    }

    /// What the members run.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where everything is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What `kubectl` needs to talk to this house.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// The small Kubernetes itself, for faults and for its log of calls.
    pub fn kube(&self) -> &Smallkube {
        &self.kube
    }

    /// A client as a user has it.
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// The clusters of the lab's namespace.
    pub fn clusters(&self) -> Api<RaftCluster> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// The members of the lab's namespace.
    pub fn raft_members(&self) -> Api<RaftMember> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Applies a manifest of one `RaftCluster` and gives its name: as it stands but for the lab's engine, and in plain HTTP on
    /// surfaces that it does not name.
    ///
    /// # Errors
    /// The API's refusal.
    pub async fn apply(&self, manifest: &str) -> Result<String> {
        let mut object = read(manifest)?;
        secured::plain(&mut object.data["spec"]);
        self.apply_object(object).await
    }

    /// The same, with TLS where the manifest does not say otherwise, as a user has it.
    ///
    /// # Errors
    /// The API's refusal.
    pub async fn apply_as_it_stands(&self, manifest: &str) -> Result<String> {
        self.apply_object(read(manifest)?).await
    }

    async fn apply_object(&self, mut object: DynamicObject) -> Result<String> {
        self.engine.dress(&mut object.data);
        let kind = ApiResource::erase::<RaftCluster>(&());
        let clusters: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), NAMESPACE, &kind);
        let name = object.name_any();
        clusters
            .patch(&name, &manager(), &Patch::Apply(&object))
            .await?;
        Ok(name)
    }

    /// Changes a cluster's spec, as `kubectl patch --type merge` does.
    ///
    /// # Errors
    /// The API's refusal.
    pub async fn patch_spec(&self, name: &str, spec: serde_json::Value) -> Result<()> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.clusters()
            .patch(name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// Changes the number of replicas, as `kubectl scale` does.
    ///
    /// # Errors
    /// The API's refusal.
    pub async fn scale(&self, name: &str, replicas: u32) -> Result<()> {
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        self.clusters()
            .patch_scale(name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// Deletes a cluster, as `kubectl delete` does, and waits until it is gone.
    ///
    /// # Errors
    /// The API's refusal, or when it stays.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.clusters()
            .delete(name, &DeleteParams::background())
            .await?;
        wait::until(format!("{name} to be gone"), PATIENCE, async || match self
            .clusters()
            .get_opt(name)
            .await
        {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err("it is still there".to_owned()),
            Err(e) => Err(e.to_string()),
        })
        .await?;
        Ok(())
    }

    /// Waits until an operation has been done.
    ///
    /// # Errors
    /// When it is not in time; with what it says of itself.
    pub async fn succeeded(&self, operation: &str) -> Result<()> {
        let operations: Api<RaftOperation> = Api::namespaced(self.client().clone(), NAMESPACE);
        let what = format!("{operation} to be done");
        let done = wait::until(what, PATIENCE, async || {
            let found = operations.get(operation).await.map_err(|e| e.to_string())?;
            let status = found.status.unwrap_or_default();
            match status.phase {
                OperationPhase::Succeeded => Ok(()),
                _ => Err(format!("{status:?}")),
            }
        });
        Ok(done.await?)
    }

    /// Waits until a cluster is `Ready` for the spec it has now.
    ///
    /// # Errors
    /// When it is not in time; with its conditions and what it waits for.
    pub async fn ready(&self, name: &str) -> Result<RaftCluster> {
        let found = wait::until(format!("{name} to be Ready"), PATIENCE, async || {
            let cluster = self.clusters().get(name).await.map_err(|e| e.to_string())?;
            if is_ready(&cluster) {
                Ok(cluster)
            } else {
                Err(told(&cluster))
            }
        });
        found
            .await
            .with_context(|| format!("logs in {}", self.folder.path().display()))
    }

    /// Waits until so many different steps have been seen in status, as `step_of` tells them apart; false when the cluster is
    /// `Ready` before.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn steps_seen(
        &self,
        name: &str,
        steps: usize,
        step_of: impl Fn(&RaftCluster) -> Option<String>,
    ) -> Result<bool> {
        let mut seen = BTreeSet::new();
        let mut look = tokio::time::interval(Duration::from_millis(10));
        loop {
            look.tick().await;
            let cluster = self.clusters().get(name).await?;
            if is_ready(&cluster) {
                return Ok(false);
            }
            seen.extend(step_of(&cluster));
            if seen.len() >= steps {
                return Ok(true);
            }
        }
    }

    /// The pods of a cluster.
    ///
    /// # Errors
    /// The API's.
    pub async fn pods(&self, name: &str) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let selector = ListParams::default().labels(&format!("{GROUP}/cluster={name}"));
        Ok(pods.list(&selector).await?.items)
    }

    /// Ends a member's process with SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, member: &str) -> Result<()> {
        self.kube.signal(NAMESPACE, member, Signal::Kill)?;
        Ok(())
    }

    /// All went well: stops everything and removes its folder.
    ///
    /// # Errors
    /// When the operator had ended by itself, or something cannot be ended.
    pub async fn end(mut self) -> Result<()> {
        if self.operator.is_some() {
            self.kill_operator().await?;
        }
        self.kube.stop().await;
        self.folder.discard();
        Ok(())
    }
}

/// A member that was killed many times in a test is not in a crash loop: it comes back soon.
fn pace() -> Pace {
    Pace {
        first_backoff: Duration::from_secs(1),
        longest_backoff: Duration::from_secs(2),
        forgives_after: Duration::from_secs(30),
        node_grace: Duration::from_secs(10),
    }
}

fn manager() -> PatchParams {
    PatchParams::apply("lab").force()
}

fn kubeconfig_for(server: &str) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "smallkube", "cluster": { "server": server } }],
        "users": [{ "name": "lab", "user": {} }],
        "contexts": [{ "name": "smallkube", "context": { "cluster": "smallkube", "user": "lab", "namespace": NAMESPACE } }],
        "current-context": "smallkube",
    });
    // JSON is YAML.
    format!("{config:#}\n")
}

fn client_url(pod: &Pod) -> Option<String> {
    let address = pod.status.as_ref()?.pod_ip.as_ref()?;
    Some(format!("http://{address}:2379"))
}

fn read(manifest: &str) -> Result<DynamicObject> {
    serde_saphyr::from_str(manifest).context("read the manifest")
}

/// Whose pod the operator asks the user to delete (`updateStrategy.type: OnDelete`).
pub fn asked_to_delete(cluster: &RaftCluster) -> Option<&str> {
    let operation = cluster.status.as_ref()?.operation.as_ref()?;
    let mut gates = operation.blocked_by.iter();
    let asks = gates.any(|it| it.gate == "OnDelete");
    operation.member.as_deref().filter(|_| asks)
}

/// Whether the operator says of this very spec that all of it is there.
pub fn is_ready(cluster: &RaftCluster) -> bool {
    let Some(status) = &cluster.status else {
        return false;
    };
    status.observed_generation == cluster.metadata.generation
        && status.ready_replicas == cluster.spec.replicas
        && status
            .conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Whether all members are well on the template that last worked, for the very spec that does not.
#[must_use]
pub fn is_rolled_back(cluster: &RaftCluster) -> bool {
    let status = cluster.status.clone().unwrap_or_default();
    let mut conditions = status.conditions.iter();
    status.observed_generation == cluster.metadata.generation
        && status.operation.is_none()
        && status.ready_replicas == cluster.spec.replicas
        && conditions.any(|it| it.type_ == "Ready" && it.reason == "RolledBack")
}

/// What the operator says of a cluster, on one line.
pub fn told(cluster: &RaftCluster) -> String {
    let Some(status) = &cluster.status else {
        return "no status yet".to_owned();
    };
    let conditions = status
        .conditions
        .iter()
        .map(|c| format!("{}={} ({}: {}) ", c.type_, c.status, c.reason, c.message));
    let operation = status
        .operation
        .as_ref()
        .map(|o| format!("doing {o:?}"))
        .unwrap_or_default();
    let generation = (cluster.metadata.generation, status.observed_generation);
    format!(
        "generation {generation:?}, {}{operation}",
        conditions.collect::<String>()
    )
}
