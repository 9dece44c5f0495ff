//! Installs the operator from its plain manifests, and the lab's traffic program, into the lab's cluster.
//!
//! Both run the image by the tag that names its content, so that a new build is rolled out and the same one is not.
//! Everything is applied server-side: doing it again changes nothing.
//!
//! It deliberately waits for pods and not for elections: whoever applies a cluster waits for that anyway.

use std::path::Path;

use anyhow::{Context, Result};

use super::images::{Image, VERSION};
use super::kubectl::Kubectl;
use super::traffic;

/// The operator's namespace.
pub const NAMESPACE: &str = "quorate-system";
/// The label of its pods.
pub const SELECTOR: &str = "app.kubernetes.io/name=quorate-operator";
/// Who it is to the API server.
pub const USER: &str = "system:serviceaccount:quorate-system:quorate-operator";
/// How long pods may take to start from images that are on the node, on a busy machine.
const ROLLED_OUT_WITHIN: &str = "--timeout=300s";

const TRAFFIC: &str = include_str!("traffic.yaml");

/// Installs the operator for all namespaces.
///
/// # Errors
/// The API server's refusals, or pods that do not become ready.
pub async fn operator(kubectl: &Kubectl, images: &[Image]) -> Result<()> {
    let image = content(images, "quorate-operator")?;
    kubectl
        .apply(None, &file("crds/yaml/raftclusters.yaml")?)
        .await?;
    kubectl
        .apply(None, &file("crds/yaml/raftmembers.yaml")?)
        .await?;
    kubectl
        .apply(None, &file("operator/deploy/rbac.yaml")?)
        .await?;
    let deployment = file("operator/deploy/deployment.yaml")?;
    let deployment = deployment.replace(&format!("quorate-operator:{VERSION}"), image);
    kubectl.apply(None, &deployment).await?;
    rolled_out(kubectl, NAMESPACE, "deployment/quorate-operator").await
}

/// Installs the traffic program.
///
/// # Errors
/// The API server's refusals, or a pod that does not become ready.
pub async fn traffic(kubectl: &Kubectl, images: &[Image]) -> Result<()> {
    let image = content(images, "quorate-lab-traffic")?;
    let manifests = TRAFFIC.replace("TRAFFIC_IMAGE", image);
    kubectl.apply(None, &manifests).await?;
    rolled_out(kubectl, traffic::NAMESPACE, "daemonset/traffic").await
}

/// Waits until the pods of a workload are those of its present template.
///
/// # Errors
/// When they are not in time.
pub async fn rolled_out(kubectl: &Kubectl, namespace: &str, workload: &str) -> Result<()> {
    let status = [
        "rollout",
        "status",
        "-n",
        namespace,
        workload,
        ROLLED_OUT_WITHIN,
    ];
    kubectl.run(&status).await.map(drop)
}

/// The content tag of an image of ours.
///
/// # Errors
/// When it is not among them.
pub fn content<'a>(images: &'a [Image], name: &str) -> Result<&'a str> {
    let is_it = |image: &&Image| image.content.split(':').next() == Some(name);
    let image = images.iter().find(is_it);
    Ok(&image
        .with_context(|| format!("there is no image {name}"))?
        .content)
}

/// A file of the repository.
fn file(path: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}
