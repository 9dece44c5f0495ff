//! Promise: every file in `examples/` is accepted as it stands and becomes a Ready cluster that
//! takes writes.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::lab::{Lab, PATIENCE};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;

#[tokio::test(flavor = "multi_thread")]
async fn every_example_reaches_ready() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut paths: Vec<_> = std::fs::read_dir(folder)?
        .map(|e| Ok(e?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    ensure!(!paths.is_empty(), "there are no examples");
    let lab = Lab::start("examples").await?;
    for path in paths {
        let manifest = std::fs::read_to_string(&path)?;
        serves(&lab, &manifest)
            .await
            .with_context(|| format!("apply {}", path.display()))?;
    }
    lab.end().await
}

async fn serves(lab: &Lab, manifest: &str) -> Result<()> {
    let name = lab.apply(manifest).await?;
    let cluster = lab.ready(&name).await?;
    let endpoints = lab.endpoints(&name).await?;
    ensure!(
        endpoints.len() == usize::try_from(cluster.spec.replicas)?,
        "{endpoints:?}"
    );
    let traffic = Traffic::start(Mix::default(), endpoints);
    traffic.flows(100, PATIENCE).await?;
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.delete(&name).await
}
