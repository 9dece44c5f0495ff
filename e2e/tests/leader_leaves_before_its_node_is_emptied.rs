//! Promise: a leader whose node is cordoned hands over before anybody evicts it, once, to one whose node stays; its eviction then
//! costs nobody the leader, and nothing is lost.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::engine::Engine;
use e2e::lab::{Lab, Leader, NAMESPACE, PATIENCE};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use e2e::{FIGURE, wait};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::api::{EvictParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

e2e::on_each_engine!(a_leader_leaves_its_node_before_that_is_emptied);

async fn a_leader_leaves_its_node_before_that_is_emptied(engine: Engine) -> Result<()> {
    let lab = Lab::start("evacuation", engine).await?;
    let name = lab
        .apply(include_str!("../../examples/minimal.yaml"))
        .await?;
    lab.ready(&name).await?;
    let traffic = Traffic::start(Mix::default(), lab.endpoints(&name).await?);
    traffic.flows(50, PATIENCE).await?;
    let led = lab.leader(&name).await?;
    let pod = pods(&lab).get(&led.member).await?;

    let began = Instant::now();
    let node = node_of(&pod).context("the leader has a node")?;
    cordon(&lab, &node, true).await?;
    let heir = leader_besides(&lab, &name, &led.member).await?;
    let handed = began.elapsed();
    let after = pods(&lab).get(&led.member).await?;
    ensure!(
        after.uid() == pod.uid() && after.metadata.deletion_timestamp.is_none(),
        "the pod that led was touched"
    );
    let there = node_of(&pods(&lab).get(&heir.member).await?);
    ensure!(there.as_ref() != Some(&node), "the heir is there too");
    is_told(&lab, &led.member, &heir.member).await?;

    pods(&lab)
        .evict(&led.member, &EvictParams::default())
        .await?;
    traffic.flows(50, PATIENCE).await?;
    cordon(&lab, &node, false).await?;
    lab.ready(&name).await?;
    ensure!(
        lab.leader(&name).await? == heir,
        "the leadership moved again"
    );
    println!(
        "{FIGURE}{}, a leader left its cordoned node in {:.1} s",
        lab.engine(),
        handed.as_secs_f64()
    );
    traffic.use_endpoints(lab.endpoints(&name).await?);
    traffic.flows(50, PATIENCE).await?;
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

fn pods(lab: &Lab) -> Api<Pod> {
    Api::namespaced(lab.client().clone(), NAMESPACE)
}

fn node_of(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone()
}

/// As `kubectl cordon` and `kubectl uncordon` do.
async fn cordon(lab: &Lab, node: &str, yes: bool) -> Result<()> {
    let nodes: Api<Node> = Api::all(lab.client().clone());
    let patch = Patch::Merge(json!({"spec": {"unschedulable": yes.then_some(true)}}));
    nodes.patch(node, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Waits until another member leads.
async fn leader_besides(lab: &Lab, name: &str, member: &str) -> Result<Leader> {
    let what = format!("another leader than {member}");
    let found = wait::until(what, PATIENCE, async || {
        let leader = lab.leader(name).await.map_err(|e| format!("{e:#}"))?;
        if leader.member == member {
            return Err(format!("{leader:?}"));
        }
        Ok(leader)
    });
    Ok(found.await?)
}

/// Waits until an event tells of the hand-over.
async fn is_told(lab: &Lab, from: &str, to: &str) -> Result<()> {
    let events: Api<Event> = Api::namespaced(lab.client().clone(), NAMESPACE);
    let sentence = format!("hand leadership over from {from} to {to}");
    wait::until(format!("an event: {sentence}"), PATIENCE, async || {
        let all = events.list(&ListParams::default()).await;
        let all = all.map_err(|e| e.to_string())?;
        let notes: BTreeSet<String> = all.into_iter().filter_map(|it| it.note).collect();
        if notes.iter().any(|it| it.contains(&sentence)) {
            Ok(())
        } else {
            Err(format!("{notes:?}"))
        }
    })
    .await?;
    Ok(())
}
