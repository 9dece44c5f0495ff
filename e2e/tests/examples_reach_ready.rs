//! Promise: every file in `examples/` is accepted as it stands and becomes a Ready cluster that
//! takes writes, over TLS; and it does so as well when its members are stock etcd.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use crds::RaftCluster;
use e2e::engine::Engine;
use e2e::lab::{Lab, PATIENCE};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;

e2e::on_each_engine!(every_example_reaches_ready);

async fn every_example_reaches_ready(engine: Engine) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut paths: Vec<_> = std::fs::read_dir(folder)?
        .map(|e| Ok(e?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    ensure!(!paths.is_empty(), "there are no examples");
    let lab = Lab::start("examples", engine).await?;
    for path in paths {
        let manifest = std::fs::read_to_string(&path)?;
        let cluster: RaftCluster = serde_saphyr::from_str(&manifest)?;
        // Ours runs nothing that asks for etcd by name; etcd runs everything.
        if cluster.spec.engine != lab.engine().kind() && lab.engine().plain_image().is_none() {
            continue;
        }
        serves(&lab, &manifest)
            .await
            .with_context(|| format!("apply {}", path.display()))?;
    }
    lab.end().await
}

async fn serves(lab: &Lab, manifest: &str) -> Result<()> {
    let name = lab.apply_as_it_stands(manifest).await?;
    let cluster = lab.ready(&name).await?;
    let endpoints = lab.secured_endpoints(&name).await?;
    ensure!(
        endpoints.len() == usize::try_from(cluster.spec.replicas)?,
        "{endpoints:?}"
    );
    let shown = lab.shown(&name).await?;
    let traffic = Traffic::start_secured(Mix::default(), endpoints, shown);
    traffic.flows(100, PATIENCE).await?;
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.delete(&name).await
}
