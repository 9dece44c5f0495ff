//! Promise: the leader's node is switched off and stays so, with the leader's local volume on it, and nobody touches the Node
//! object; the others elect and serve, a new member takes its place on another node without a hand, and nothing is lost.

use std::time::Duration;

use anyhow::Result;
use e2e::kind::nodes::Stopped;
use futures::FutureExt;

use crate::engine::BOTH;
use crate::scenario::Scenario;
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "node-killed",
    engines: BOTH,
    limit: Duration::from_secs(900),
    usual: Duration::from_secs(140),
    acts: |stage| acts(stage).boxed_local(),
    after: |stage| after(stage).boxed_local(),
};

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let traffic = stage.traffic().await?;
    let node = stage.worker_that_leads().await?;
    let lost = stage.leader().await?;
    let mut off = None;
    let cost = stage.cost(&traffic, async || {
        stage.say(&format!("switch {node} off, with {lost} on it"));
        off = Some(Stopped::killed(&node)?);
        stage.is_without(&lost).await
    });
    stage.figure(&format!(
        "leader's node switched off with its volume: {}",
        cost.await?
    ));
    stage.judge(&traffic).await?;
    stage.say("switch it on again");
    off.map_or(Ok(()), Stopped::end)
}

/// Whatever happened, the node is one of the cluster's again.
async fn after(stage: &Stage<'_>) -> Result<()> {
    stage.house().all_nodes_are_ready().await
}
