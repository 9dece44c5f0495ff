//! The lab's cluster, with the operator in it: what all scenarios share.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use e2e::kind::audit::Call;
use e2e::kind::cluster::NODES;
use e2e::kind::images::{self, Image};
use e2e::kind::kubectl::Kubectl;
use e2e::kind::progress::Progress;
use e2e::kind::{install, nodes};
use e2e::{FIGURE, tools, wait};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};

use crate::members::{container_id, node_of};
use crate::stage::{LOOK_EVERY, PATIENCE};

/// The cluster that the environment names.
pub(crate) struct House {
    client: Client,
    kubectl: Kubectl,
    cluster: String,
    images: OnceLock<Vec<Image>>,
}

impl House {
    /// Connects to it.
    pub(crate) async fn from_environment() -> Result<Self> {
        let kubeconfig = variable("QUORATE_KIND_KUBECONFIG")?;
        let cluster = variable("QUORATE_KIND_CLUSTER")?;
        let read = Kubeconfig::read_from(&kubeconfig)
            .with_context(|| format!("read the kubeconfig {kubeconfig}"))?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        Ok(Self {
            client: Client::try_from(config)?,
            kubectl: Kubectl::new(Path::new(&kubeconfig))?,
            cluster,
            images: OnceLock::new(),
        })
    }

    /// Brings images, operator and traffic to it; nothing that is there already is done again.
    pub(crate) async fn install(&self) -> Result<()> {
        let progress = Progress::new(&tools::folder().join("logs"))?;
        tools::provide("helm", &progress)?;
        let images = images::build(&progress)?;
        images::load(&images, &self.cluster, &progress)?;
        install::traffic(&self.kubectl, &images).await?;
        // A scenario that was cut off may have left them so.
        self.uncordon().await?;
        progress.say("install the operator");
        install::plain(&self.kubectl, &images).await?;
        // Asked again in this process, they are the same.
        let _ = self.images.set(images);
        progress.say("operator and traffic are there");
        Ok(())
    }

    /// Prints the sizes of the images.
    pub(crate) fn tell_sizes(&self) -> Result<()> {
        for image in self.images()? {
            let megabytes = image.bytes as f64 / 1e6;
            println!("{FIGURE}image {}: {megabytes:.1} MB", image.tags[0]);
        }
        Ok(())
    }

    /// An image of the lab, by its name.
    pub(crate) fn image(&self, name: &str) -> Result<&Image> {
        install::image(self.images()?, name)
    }

    /// All images; they are built first of all.
    pub(crate) fn images(&self) -> Result<&[Image]> {
        let images = self.images.get().context("the images are built first")?;
        Ok(images)
    }

    /// Lets pods onto every node.
    pub(crate) async fn uncordon(&self) -> Result<()> {
        for node in self.nodes().await? {
            self.kubectl.run(&["uncordon", &node]).await?;
        }
        Ok(())
    }

    /// Waits until every node that the lab began with is there and well.
    pub(crate) async fn all_nodes_are_ready(&self) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        wait::until_every(LOOK_EVERY, "all nodes to be ready", PATIENCE, async || {
            let listed = nodes.list(&ListParams::default()).await;
            let there = listed.map_err(|e| e.to_string())?.items;
            let ready: Vec<String> = there
                .iter()
                .filter(|it| is_ready(it))
                .map(ResourceExt::name_any)
                .collect();
            (ready.len() == NODES)
                .then_some(())
                .ok_or_else(|| format!("{ready:?} are"))
        })
        .await?;
        Ok(())
    }

    /// Puts the plain file's operator in the place of whatever a scenario has left.
    pub(crate) async fn restore(&self, namespace: &str) -> Result<()> {
        install::uninstall_chart(&self.kubectl, namespace).await?;
        install::plain(&self.kubectl, self.images()?).await
    }

    /// The operator's pods.
    async fn operators(&self) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), install::NAMESPACE);
        let selected = ListParams::default().labels(install::SELECTOR);
        Ok(pods.list(&selected).await?.items)
    }

    /// The uids of the operator's pods.
    pub(crate) async fn operator_uids(&self) -> Result<BTreeSet<String>> {
        Ok(self
            .operators()
            .await?
            .iter()
            .filter_map(ResourceExt::uid)
            .collect())
    }

    /// Waits until no process of the operator is left.
    pub(crate) async fn no_operator_is_left(&self) -> Result<()> {
        wait::until_every(LOOK_EVERY, "no operator to be left", PATIENCE, async || {
            let left = self.operators().await.map_err(|e| format!("{e:#}"))?;
            let left: Vec<String> = left.iter().map(ResourceExt::name_any).collect();
            left.is_empty()
                .then_some(())
                .ok_or_else(|| format!("{left:?} are"))
        })
        .await?;
        Ok(())
    }

    /// Ends every process of the operator with SIGKILL, and deletes the pods so that new ones start at once.
    pub(crate) async fn kill_operators(&self) -> Result<()> {
        for pod in self.operators().await? {
            // One that has just been started again may not run yet; it is deleted all the same.
            if let (Some(node), Some(container)) = (node_of(&pod), container_id(&pod, "operator")) {
                nodes::kill(node, &container)?;
            }
        }
        let delete = [
            "delete",
            "pods",
            "-n",
            install::NAMESPACE,
            "-l",
            install::SELECTOR,
        ];
        let by_force = ["--force", "--grace-period=0"];
        self.kubectl
            .run(&[delete.as_slice(), &by_force].concat())
            .await
            .map(drop)
    }

    /// The memory of the operator that has most of it, in KiB.
    pub(crate) async fn operator_memory_kib(&self) -> Result<u64> {
        let mut most = None;
        for pod in self.operators().await? {
            let node = node_of(&pod).context("a pod that runs has a node")?;
            let container = container_id(&pod, "operator").context("the operator runs")?;
            most = most.max(Some(nodes::memory_kib(node, &container)?));
        }
        most.context("no operator runs")
    }

    /// A client as an administrator has it.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// `kubectl` and `helm` as an administrator has them.
    pub(crate) fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// The names of the nodes, the control plane's first.
    pub(crate) async fn nodes(&self) -> Result<Vec<String>> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let mut found = nodes.list(&ListParams::default()).await?.items;
        found.sort_by_key(|node| (!is_control_plane(node), node.name_any()));
        Ok(found.iter().map(ResourceExt::name_any).collect())
    }

    /// What an operator has asked of the API server since a moment.
    pub(crate) async fn calls(&self, user: &str, since: Timestamp) -> Result<Vec<Call>> {
        let control_plane = self.nodes().await?.into_iter().next();
        nodes::calls(&control_plane.context("a cluster has nodes")?, user, since)
    }
}

fn is_ready(node: &Node) -> bool {
    let status = node.status.as_ref();
    let conditions = status.and_then(|it| it.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|it| it.type_ == "Ready" && it.status == "True")
}

fn is_control_plane(node: &Node) -> bool {
    node.labels()
        .contains_key("node-role.kubernetes.io/control-plane")
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name)
        .with_context(|| format!("{name} names no cluster; bring one up with: make demo-kind"))
}
