//! Promise: a cluster that hibernates stops under load, its leader last, keeps every volume, costs nothing while it sleeps,
//! and wakes with everything it acknowledged.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use crds::{MemberPhase, RaftCluster};
use e2e::FIGURE;
use e2e::engine::Engine;
use e2e::lab::{Lab, NAMESPACE, PATIENCE, told};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use e2e::wait;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;

e2e::on_each_engine!(a_cluster_sleeps_under_load_and_wakes_with_everything);

async fn a_cluster_sleeps_under_load_and_wakes_with_everything(engine: Engine) -> Result<()> {
    let lab = Lab::start("hibernation", engine).await?;
    let name = lab
        .apply(include_str!("../../examples/minimal.yaml"))
        .await?;
    lab.ready(&name).await?;
    let traffic = Traffic::start(Mix::default(), lab.endpoints(&name).await?);
    traffic.flows(100, PATIENCE).await?;
    let leader = lab.leader(&name).await?.member;
    let volumes = claims(&lab).await?;
    lab.kube().faults().forget_calls();

    let began = Instant::now();
    lab.patch_spec(&name, json!({ "runState": "Hibernated" }))
        .await?;
    let cluster = asleep(&lab, &name).await?;
    let slept = began.elapsed();
    let phases = cluster.status.context("no status")?.members;
    ensure!(
        phases.len() == 3 && phases.iter().all(|it| it.phase == MemberPhase::Hibernated),
        "{phases:?}"
    );
    ensure!(claims(&lab).await? == volumes, "the claims changed");
    the_leader_went_last(&lab, &leader)?;

    let began = Instant::now();
    lab.patch_spec(&name, json!({ "runState": "Running" }))
        .await?;
    lab.ready(&name).await?;
    println!(
        "{FIGURE}{}, hibernation: asleep in {:.1} s, awake in {:.1} s",
        lab.engine(),
        slept.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    traffic.use_endpoints(lab.endpoints(&name).await?);
    traffic.flows(100, PATIENCE).await?;
    ensure!(claims(&lab).await? == volumes, "the claims changed");
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

/// Waits until no pod is left and the operator says so of the spec as it is.
async fn asleep(lab: &Lab, name: &str) -> Result<RaftCluster> {
    let found = wait::until(format!("{name} to be asleep"), PATIENCE, async || {
        let cluster = lab.clusters().get(name).await.map_err(|e| e.to_string())?;
        let pods = lab.pods(name).await.map_err(|e| format!("{e:#}"))?;
        let status = cluster.status.clone().unwrap_or_default();
        let says = |kind: &str, truth: &str| {
            let mut all = status.conditions.iter();
            all.any(|it| it.type_ == kind && it.status == truth && it.reason == "Hibernated")
        };
        let is = pods.is_empty()
            && status.observed_generation == cluster.metadata.generation
            && says("Ready", "True")
            && says("Available", "False")
            && says("Quorate", "False");
        if is { Ok(cluster) } else { Err(told(&cluster)) }
    });
    Ok(found.await?)
}

/// Names and uids of all claims.
async fn claims(lab: &Lab) -> Result<BTreeSet<(String, String)>> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(lab.client().clone(), NAMESPACE);
    let found = claims.list(&ListParams::default()).await?;
    Ok(found
        .items
        .iter()
        .map(|it| (it.name_any(), it.uid().unwrap_or_default()))
        .collect())
}

/// Of all pods that the operator deleted, the leader's was the last.
fn the_leader_went_last(lab: &Lab, leader: &str) -> Result<()> {
    let deleted: Vec<String> = lab
        .kube()
        .faults()
        .calls()
        .into_iter()
        .filter(|it| it.call.resource == "pods" && it.call.verb == "delete")
        .map(|it| it.call.name)
        .collect();
    ensure!(
        deleted.len() == 3 && deleted.last().map(String::as_str) == Some(leader),
        "{leader} led, and the operator deleted {deleted:?}"
    );
    Ok(())
}
