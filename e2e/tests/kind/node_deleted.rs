//! Promise: a follower's node hangs and its Node object is deleted, with the follower's local volume on it; a new member takes
//! its place on another node without a hand, and nothing is lost.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::kind::nodes::{self, Stopped};
use futures::FutureExt;

use crate::engine::BOTH;
use crate::members::node_of;
use crate::scenario::Scenario;
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "node-deleted",
    engines: BOTH,
    limit: Duration::from_secs(900),
    usual: Duration::from_secs(180),
    acts: |stage| acts(stage).boxed_local(),
    after: |stage| after(stage).boxed_local(),
};

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let traffic = stage.traffic().await?;
    let (lost, node) = follower_on_a_worker(stage).await?;
    let mut paused = None;
    let cost = stage.cost(&traffic, async || {
        stage.say(&format!("pause {node} and delete it, with {lost} on it"));
        paused = Some(Stopped::paused(&node)?);
        let delete = ["delete", "node", &node, "--wait=false"];
        stage.kubectl(&delete).await?;
        stage.is_without(&lost).await
    });
    let cost = cost.await?;
    stage.figure(&format!(
        "a follower's node deleted with its volume: {cost}"
    ));
    let members = stage.pod_names().await?;
    for member in members.iter().filter(|it| **it != lost) {
        let pod = stage.pod(member).await?;
        let elsewhere = node_of(&pod).is_some_and(|it| it != node);
        ensure!(elsewhere, "{member} is on {node}, which is gone");
    }
    stage.judge(&traffic).await?;
    stage.say("let the node come back");
    paused.map_or(Ok(()), Stopped::end)?;
    nodes::register_again(&node)
}

/// A follower that is not on the control plane, and its node.
async fn follower_on_a_worker(stage: &Stage<'_>) -> Result<(String, String)> {
    let nodes = stage.house().nodes().await?;
    let (control_plane, _) = nodes.split_first().context("a cluster has nodes")?;
    let leader = stage.leader().await?;
    for member in stage.pod_names().await? {
        let pod = stage.pod(&member).await?;
        let node = node_of(&pod).context("a pod that runs has a node")?;
        if member != leader && node != control_plane {
            return Ok((member, node.to_owned()));
        }
    }
    bail!("every follower is on the control plane")
}

/// Whatever happened, the node is one of the cluster's again.
async fn after(stage: &Stage<'_>) -> Result<()> {
    stage.house().all_nodes_are_ready().await
}
