//! Installs the operator from its plain file or its chart, and the lab's traffic program, into the lab's cluster.
//!
//! Both run the image by the tag that names its content, so that a new build is rolled out and the same one is not. Doing it
//! again changes nothing.
//!
//! It deliberately waits for pods and not for elections: whoever applies a cluster waits for that anyway.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::images::Image;
use super::kubectl::Kubectl;
use super::traffic;

/// The release's name, and what the names of its objects begin with.
pub const RELEASE: &str = "quorate";
/// The operator's namespace.
pub const NAMESPACE: &str = "quorate-system";
/// What runs the operator.
pub const DEPLOYMENT: &str = "deployment/quorate-operator";
/// The labels of its pods.
pub const SELECTOR: &str = "app.kubernetes.io/name=quorate,app.kubernetes.io/component=operator";
/// How long pods may take to start from images that are on the node, on a busy machine.
const STARTED_WITHIN: &str = "--timeout=300s";

const TRAFFIC: &str = include_str!("traffic.yaml");

/// Who an operator is to the API server that this chart has installed into a namespace.
#[must_use]
pub fn user(namespace: &str) -> String {
    format!("system:serviceaccount:{namespace}:{RELEASE}-operator")
}

/// Installs the operator from the one file for those without Helm.
///
/// # Errors
/// The API server's refusals, or pods that do not become ready.
pub async fn plain(kubectl: &Kubectl, images: &[Image]) -> Result<()> {
    let file = plain_file();
    let manifests =
        std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let image = image(images, "quorate-operator")?;
    kubectl
        .apply(None, &manifests.replace(&image.tags[0], &image.content))
        .await?;
    rolled_out(kubectl, NAMESPACE, DEPLOYMENT).await
}

/// Removes the operator as that file says it, and nothing else.
///
/// # Errors
/// What `kubectl` says.
pub async fn remove_plain(kubectl: &Kubectl) -> Result<()> {
    let file = plain_file();
    let file = file.to_str().context("the repository's path is text")?;
    let delete = [
        "delete",
        "-f",
        file,
        "-l",
        "app.kubernetes.io/component=operator",
    ];
    kubectl.run(&delete).await.map(drop)
}

fn plain_file() -> PathBuf {
    repository().join("deploy/quorate.yaml")
}

/// Installs the operator by its chart into a namespace, or upgrades it, with further arguments for `helm`.
///
/// # Errors
/// What Helm says: refusals of the API server, or pods that do not become ready.
pub async fn chart(
    kubectl: &Kubectl,
    images: &[Image],
    namespace: &str,
    more: &[&str],
) -> Result<()> {
    let chart = repository().join("charts/quorate");
    let chart = chart.to_str().context("the repository's path is text")?;
    let image = image(images, "quorate-operator")?;
    let (_, tag) = image
        .content
        .split_once(':')
        .context("an image has a tag")?;
    let tag = format!("image.tag={tag}");
    let mut arguments = vec![
        "upgrade",
        "--install",
        RELEASE,
        chart,
        "--namespace",
        namespace,
    ];
    arguments.push("--create-namespace");
    arguments.extend(["--set", &tag, "--wait", STARTED_WITHIN]);
    arguments.extend(more);
    kubectl.helm(&arguments).await.map(drop)
}

/// Takes the chart's operator away, if it is there, and nothing else: the definitions and all clusters stay.
///
/// # Errors
/// What Helm says.
pub async fn uninstall_chart(kubectl: &Kubectl, namespace: &str) -> Result<()> {
    let arguments = ["uninstall", RELEASE, "--namespace", namespace];
    let softly = ["--ignore-not-found", "--wait", STARTED_WITHIN];
    let arguments = [arguments.as_slice(), &softly].concat();
    kubectl.helm(&arguments).await.map(drop)
}

/// Installs the traffic program.
///
/// # Errors
/// The API server's refusals, or a pod that does not become ready.
pub async fn traffic(kubectl: &Kubectl, images: &[Image]) -> Result<()> {
    let image = image(images, "quorate-lab-traffic")?;
    let manifests = TRAFFIC.replace("TRAFFIC_IMAGE", &image.content);
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
        STARTED_WITHIN,
    ];
    kubectl.run(&status).await.map(drop)
}

/// An image by its name.
///
/// # Errors
/// When it is not among them.
pub fn image<'a>(images: &'a [Image], name: &str) -> Result<&'a Image> {
    let is_it = |image: &&Image| image.content.split(':').next() == Some(name);
    let image = images.iter().find(is_it);
    image.with_context(|| format!("there is no image {name}"))
}

/// Where the source is: charts and examples are used as they stand there.
#[must_use]
pub fn repository() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .parent()
        .expect("the package lies in the repository")
}
