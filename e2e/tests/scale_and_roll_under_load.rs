//! Promise: a cluster goes from one member to five and back, and is rolled member by member,
//! while it serves: never without a quorum by our own hand, nothing lost, nothing out of order.

use anyhow::{Result, ensure};
use e2e::engine::Engine;
use e2e::lab::{Lab, PATIENCE};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use kube::ResourceExt;
use serde_json::json;

const MANIFEST: &str = r"
apiVersion: quorate.io/v1alpha1
kind: RaftCluster
metadata: { name: elastic }
spec:
  replicas: 1
  storage: { size: 1Gi }
";

e2e::on_each_engine!(scaling_and_rolling_never_stop_the_cluster);

async fn scaling_and_rolling_never_stop_the_cluster(engine: Engine) -> Result<()> {
    let lab = Lab::start("scale-and-roll", engine).await?;
    let name = lab.apply(MANIFEST).await?;
    lab.ready(&name).await?;
    let traffic = Traffic::start(Mix::default(), lab.endpoints(&name).await?);
    traffic.flows(50, PATIENCE).await?;
    for replicas in [3, 5] {
        lab.change(
            &name,
            &traffic,
            &format!("scale to {replicas}"),
            json!({ "replicas": replicas }),
        )
        .await?;
    }
    roll(&lab, &name, &traffic).await?;
    for replicas in [3, 1] {
        lab.change(
            &name,
            &traffic,
            &format!("scale to {replicas}"),
            json!({ "replicas": replicas }),
        )
        .await?;
    }
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

/// Every member gets another image, one by one; every pod is a new one at the end.
async fn roll(lab: &Lab, name: &str, traffic: &Traffic) -> Result<()> {
    let uids = async || -> Result<Vec<String>> {
        Ok(lab
            .pods(name)
            .await?
            .iter()
            .filter_map(ResourceExt::uid)
            .collect())
    };
    let before = uids().await?;
    let image = lab.engine().next_image();
    lab.change(name, traffic, "roll", json!({ "image": image }))
        .await?;
    let after = uids().await?;
    ensure!(after.len() == 5, "{} pods after the roll", after.len());
    ensure!(
        after.iter().all(|uid| !before.contains(uid)),
        "a pod was not replaced"
    );
    Ok(())
}
