//! Promise: two of three volumes are destroyed under load; the cluster is rebuilt of the third when the plan is acknowledged, with
//! another id and three members, and nothing is lost but what the plan named.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use crds::{OperationPhase, RaftOperation, RaftOperationStatus};
use e2e::verdict::{forgiven, judge};
use futures::FutureExt;
use kube::Api;
use serde_json::json;

use crate::engine::BOTH;
use crate::scenario::{Scenario, nothing};
use crate::stage::{NAME, Stage};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "quorum-lost",
    engines: BOTH,
    limit: Duration::from_secs(600),
    usual: Duration::from_secs(120),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let traffic = stage.traffic().await?;
    let before = stage.cluster().await?.status.and_then(|it| it.cluster_id);
    let lost = destroy_two(stage).await?;
    let began = Instant::now();
    ask(stage).await?;
    let planned = shows(stage, "a plan", |it| it.plan.is_some()).await?;
    let plan = planned.plan.and_then(|it| it.recovery).context("a plan")?;
    stage.say(&plan.may_lose);
    let word = json!({ "spec": { "recoverQuorum": { "acknowledge": plan.name } } }).to_string();
    let patch = [
        "patch",
        "raftoperation",
        "recover",
        "--type=merge",
        "-p",
        &word,
    ];
    stage.kubectl_here(&patch).await?;
    let done = shows(stage, "its end", |it| it.phase.is_final()).await?;
    ensure!(done.phase == OperationPhase::Succeeded, "{done:?}");
    let served = began.elapsed();
    for member in &lost {
        stage.is_without(member).await?;
    }
    let after = stage.ready().await?.status.and_then(|it| it.cluster_id);
    ensure!(before != after, "the cluster is still {before:?}");
    traffic.flows(50, crate::stage::PATIENCE).await?;
    stage.figure(&format!(
        "two of three volumes destroyed: rebuilt {:.1} s after it was asked for, three members after {:.1} s",
        served.as_secs_f64(),
        began.elapsed().as_secs_f64()
    ));
    let known = plan.survivors.iter().find(|it| it.member == plan.survivor);
    let known = known.map_or(0, |it| it.last_revision);
    judge(&forgiven(traffic.finish().await?, known))
}

/// The leader's volume and a follower's.
async fn destroy_two(stage: &Stage<'_>) -> Result<[String; 2]> {
    let lost = [stage.leader().await?, stage.follower().await?];
    ensure!(lost[0] != lost[1], "{} leads no more", lost[0]);
    stage.say(&format!("destroy the volumes of {}", lost.join(" and ")));
    let claims = lost.clone().map(|it| format!("data-{it}"));
    let [one, other] = &claims;
    stage
        .kubectl_here(&["delete", "pvc", one, other, "--wait=false"])
        .await?;
    let [one, other] = &lost;
    let now = [
        "delete",
        "pod",
        one,
        other,
        "--wait=false",
        "--grace-period=1",
    ];
    stage.kubectl_here(&now).await?;
    Ok(lost)
}

async fn ask(stage: &Stage<'_>) -> Result<()> {
    let manifest = json!({
        "apiVersion": "quorate.io/v1alpha1",
        "kind": "RaftOperation",
        "metadata": { "name": "recover" },
        "spec": { "clusterName": NAME, "recoverQuorum": {} },
    });
    stage.apply_manifest(&manifest.to_string()).await
}

async fn shows(
    stage: &Stage<'_>,
    what: &str,
    right: impl Fn(&RaftOperationStatus) -> bool,
) -> Result<RaftOperationStatus> {
    let operations: Api<RaftOperation> = Api::namespaced(stage.client(), stage.namespace());
    let mut shown = RaftOperationStatus::default();
    stage
        .sees(&format!("the recovery show {what}"), async || {
            shown = operations.get("recover").await?.status.unwrap_or_default();
            ensure!(right(&shown), "{shown:?}");
            Ok(())
        })
        .await?;
    Ok(shown)
}
