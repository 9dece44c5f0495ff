//! Promise: the API server is away for five minutes; the cluster serves all the while, and when it is back nothing has been
//! done that was not needed: every pod is the one it was.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::kind::nodes::NoApiServer;
use futures::FutureExt;

use crate::engine::BOTH;
use crate::scenario::{Scenario, nothing};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "api-server-down",
    engines: BOTH,
    limit: Duration::from_secs(1200),
    usual: Duration::from_secs(420),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

/// Longer than every lease and lock of Kubernetes: who leads by one has lost it.
const AWAY: Duration = Duration::from_secs(300);

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let traffic = stage.traffic().await?;
    let nodes = stage.house().nodes().await?;
    let control_plane = nodes.first().context("a cluster has nodes")?;
    let before = stage.pod_uids().await?;
    let cost = stage.cost(&traffic, async || {
        stage.say(&format!("the API server is away for {} s", AWAY.as_secs()));
        let away = NoApiServer::on(control_plane)?;
        // The clients are in the cluster and go on; what they were told is read when it can be asked for again.
        tokio::time::sleep(AWAY).await;
        away.end()?;
        stage
            .sees("the API server again", async || {
                stage.cluster().await.map(drop)
            })
            .await
    });
    stage.figure(&format!(
        "API server away for {} s: {}",
        AWAY.as_secs(),
        cost.await?
    ));
    ensure!(stage.pod_uids().await? == before, "a pod was replaced");
    stage.judge(&traffic).await
}
