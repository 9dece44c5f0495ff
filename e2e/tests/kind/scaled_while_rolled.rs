//! Promise: a node stops without a word, and while it is away another image and two more members are asked for: all of it is
//! done as far as a quorum allows while the cluster serves, and the rest when the node is back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::kind::nodes::Stopped;
use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::json;

use crate::engine::BOTH;
use crate::members::{node_of, runs};
use crate::scenario::{Scenario, nothing};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "scaled-while-rolled",
    engines: BOTH,
    limit: Duration::from_secs(1200),
    usual: Duration::from_secs(150),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let traffic = stage.traffic().await?;
    let node = worker_that_follows(stage).await?;
    let next = stage.next_image()?;
    let away = |it: &Pod| node_of(it) == Some(node.as_str());
    let cost = stage.cost(&traffic, async || {
        stage.say(&format!("pause {node}, whose member follows"));
        let paused = Stopped::paused(&node)?;
        stage.say(&format!("patch the image to {next}, and five members"));
        stage.patch(json!({ "image": next, "replicas": 5 })).await?;
        stage
            .sees("four members of the next image elsewhere", async || {
                let pods = stage.pods().await?;
                let here = pods.iter().filter(|it| !away(it));
                let rolled = here.filter(|it| runs(it, &next)).count();
                ensure!(rolled == 4, "{rolled} are");
                Ok(())
            })
            .await?;
        stage.healthy(4).await?;
        stage.say("let it go on");
        paused.end()
    });
    stage.figure(&format!(
        "rolled and scaled to 5 while a node was away: {}",
        cost.await?
    ));
    let old: Vec<String> = stage
        .pods()
        .await?
        .iter()
        .filter(|it| !runs(it, &next))
        .map(ResourceExt::name_any)
        .collect();
    ensure!(old.is_empty(), "{old:?} are not of {next}");
    stage.judge(&traffic).await
}

/// A node that is not the control plane's and has a member that does not lead.
async fn worker_that_follows(stage: &Stage<'_>) -> Result<String> {
    let nodes = stage.house().nodes().await?;
    let (_, workers) = nodes.split_first().context("a cluster has nodes")?;
    let leader = stage.leader().await?;
    let pods = stage.pods().await?;
    let followers = pods.iter().filter(|it| it.name_any() != leader);
    let mut places = followers.filter_map(node_of);
    let found = places.find(|it| workers.iter().any(|worker| worker == it));
    let found = found.context("no follower is on a worker: members are spread over nodes")?;
    Ok(found.to_owned())
}
