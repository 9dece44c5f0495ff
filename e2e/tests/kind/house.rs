//! The lab's cluster, with the operator in it: what all scenarios share.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use e2e::kind::kubectl::Kubectl;
use e2e::kind::{audit::Call, images, install, nodes};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};

/// The cluster that the environment names.
pub(crate) struct House {
    client: Client,
    kubectl: Kubectl,
    cluster: String,
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
        })
    }

    /// Brings images, operator and traffic to it; nothing that is there already is done again.
    pub(crate) async fn install(&self) -> Result<()> {
        let began = Instant::now();
        let images = images::build()?;
        let sent = images::load(&images, &self.cluster)?;
        for image in &images {
            println!(
                "image {}: {:.1} MB",
                image.tags[0],
                image.bytes as f64 / 1e6
            );
        }
        install::operator(&self.kubectl, &images).await?;
        install::traffic(&self.kubectl, &images).await?;
        let seconds = began.elapsed().as_secs_f64();
        println!("installed after {seconds:.0} s ({sent} images sent to nodes)");
        Ok(())
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

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

    /// What the operator has asked of the API server since a moment.
    pub(crate) async fn calls(&self, since: Timestamp) -> Result<Vec<Call>> {
        let control_plane = self.nodes().await?.into_iter().next();
        nodes::calls(
            &control_plane.context("a cluster has nodes")?,
            install::USER,
            since,
        )
    }
}

fn is_control_plane(node: &Node) -> bool {
    node.labels()
        .contains_key("node-role.kubernetes.io/control-plane")
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name)
        .with_context(|| format!("{name} names no cluster; bring one up with: make demo-kind"))
}
