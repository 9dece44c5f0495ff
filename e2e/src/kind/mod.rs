//! The lab on a real cluster: a container engine, kind, a node image; images of our own, the operator in it, traffic inside
//! it, and harm to its nodes.
//!
//! What is promised there stands in `tests/kind/`, one promise per file.

pub mod audit;
pub mod cluster;
pub mod engine;
pub mod images;
pub mod install;
pub mod kubectl;
pub mod node_image;
pub mod nodes;
pub mod program;
pub mod progress;
pub mod samples;
pub mod traffic;

use anyhow::Result;

use crate::tools;
use cluster::Cluster;
use progress::Progress;

/// Brings up the lab's cluster; keeps what is there.
///
/// # Errors
/// Whatever is missing and cannot be had, with the way to it.
pub async fn up(progress: &Progress) -> Result<Cluster> {
    engine::ensure(progress).await?;
    let kind = tools::provide("kind", progress)?;
    tools::provide("kubectl", progress)?;
    let image = node_image::ensure(progress)?;
    let cluster = Cluster::new(kind)?;
    cluster.up(&image, progress)?;
    Ok(cluster)
}
