//! Promise: each node is drained and comes back, as for an upgrade of Kubernetes; the budget lets one member go and no
//! second, a leader hands over as soon as its node is cordoned, and the cluster serves throughout.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::kind::install;
use e2e::kind::traffic::Remote;
use e2e::wait;
use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::engine::BOTH;
use crate::members::node_of;
use crate::scenario::Scenario;
use crate::stage::{LOOK_EVERY, PATIENCE, Stage};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "nodes-drained",
    engines: BOTH,
    limit: Duration::from_secs(900),
    usual: Duration::from_secs(100),
    acts: |stage| acts(stage).boxed_local(),
    after: |stage| put_right(stage).boxed_local(),
};

/// How long a second drain is given before it must have been refused by the budget.
const REFUSED_AFTER: &str = "--timeout=20s";

/// Where Kubernetes itself resolves names.
const RESOLVER: [&str; 3] = ["deployment/coredns", "--namespace", "kube-system"];

/// While two nodes were closed, both operators came to the third, and all that resolves names: other promises take one node away, and
/// both with it.
async fn put_right(stage: &Stage<'_>) -> Result<()> {
    stage.house().uncordon().await?;
    let operator = [install::DEPLOYMENT, "--namespace", install::NAMESPACE];
    for deployment in [operator, RESOLVER] {
        for step in ["restart", "status"] {
            stage
                .kubectl(&[["rollout", step].as_slice(), &deployment].concat())
                .await?;
        }
    }
    Ok(())
}

async fn acts(stage: &Stage<'_>) -> Result<()> {
    let nodes = stage.house().nodes().await?;
    stage.founded(3).await?;
    let pods = stage.pods().await?;
    let used: BTreeSet<&str> = pods.iter().filter_map(node_of).collect();
    ensure!(used.len() == 3, "three members are on {used:?} only");
    let traffic = stage.traffic().await?;
    for (turn, node) in nodes.iter().enumerate() {
        let other = &nodes[(turn + 1) % nodes.len()];
        let cost = stage.cost(&traffic, async || {
            drain(stage, &traffic, node, other).await?;
            stage.say(&format!("uncordon {node}"));
            stage.kubectl(&["uncordon", node]).await.map(drop)
        });
        stage.figure(&format!("{node} drained and back: {}", cost.await?));
    }
    stage.judge(&traffic).await
}

/// Drains a node, and tries another while its member is away.
async fn drain(stage: &Stage<'_>, traffic: &Remote, node: &str, other: &str) -> Result<()> {
    let leader = stage.leader().await?;
    let leads_here = node_of(&stage.pod(&leader).await?) == Some(node);
    stage.say(&format!(
        "drain {node}, whose member {}",
        if leads_here { "leads" } else { "follows" }
    ));
    if leads_here {
        stage.kubectl(&["cordon", node]).await?;
        left(stage, &leader).await?;
    }
    stage
        .kubectl(&[&drain_of(node), ["--timeout=300s"].as_slice()].concat())
        .await?;
    is_away(stage, node).await?;
    traffic.flows(100, PATIENCE).await?;
    stage.say(&format!("{other} cannot be drained now"));
    let refused = stage
        .kubectl(&[&drain_of(other), [REFUSED_AFTER].as_slice()].concat())
        .await;
    stage.kubectl(&["uncordon", other]).await?;
    let said = refused
        .err()
        .context("a second node was drained")?
        .to_string();
    ensure!(
        said.contains("disruption budget"),
        "refused, but not by the budget: {said}"
    );
    Ok(())
}

fn drain_of(node: &str) -> [&str; 4] {
    [
        "drain",
        node,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
    ]
}

/// Waits until no member runs on a node.
async fn is_away(stage: &Stage<'_>, node: &str) -> Result<()> {
    let what = format!("no member to be on {node}");
    wait::until_every(LOOK_EVERY, what, PATIENCE, async || {
        let pods = stage.pods().await.map_err(|e| format!("{e:#}"))?;
        let here: Vec<String> = pods
            .iter()
            .filter(|it: &&Pod| node_of(it) == Some(node))
            .map(ResourceExt::name_any)
            .collect();
        here.is_empty()
            .then_some(())
            .ok_or_else(|| format!("{here:?} are"))
    })
    .await?;
    Ok(())
}

/// Waits until a leader whose node is cordoned has handed over, while its pod runs on.
async fn left(stage: &Stage<'_>, leader: &str) -> Result<()> {
    let before = stage.pod(leader).await?.uid();
    let what = format!("{leader} to hand over");
    wait::until_every(LOOK_EVERY, what, PATIENCE, async || {
        let leads = stage.leader().await.map_err(|e| format!("{e:#}"))?;
        (leads != leader).then_some(()).ok_or(leads)
    })
    .await?;
    let pod = stage.pod(leader).await?;
    ensure!(
        pod.uid() == before && pod.metadata.deletion_timestamp.is_none(),
        "its pod was touched"
    );
    Ok(())
}
