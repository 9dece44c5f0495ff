//! Promise: a cluster is hibernated under load and woken: no pod runs in between, every volume is the one it was, and nothing
//! that was acknowledged is lost.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::wait;
use futures::FutureExt;
use serde_json::json;

use crate::engine::BOTH;
use crate::scenario::{Scenario, nothing};
use crate::stage::{LOOK_EVERY, PATIENCE, Stage};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "hibernation",
    engines: BOTH,
    limit: Duration::from_secs(600),
    usual: Duration::from_secs(70),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

/// Names and uids of all claims.
const CLAIMS: [&str; 4] = [
    "get",
    "pvc",
    "-o",
    "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{end}",
];

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let traffic = stage.traffic().await?;
    let claims = stage.kubectl_here(&CLAIMS).await?;
    let members = stage.pod_names().await?;
    stage.say("hibernate");
    let began = Instant::now();
    stage.patch(json!({ "runState": "Hibernated" })).await?;
    asleep(stage).await?;
    let slept = began.elapsed().as_secs_f64();
    ensure!(
        stage.kubectl_here(&CLAIMS).await? == claims,
        "claims changed"
    );
    stage.say("wake");
    let cost = stage.cost(&traffic, async || {
        stage.patch(json!({ "runState": "Running" })).await
    });
    let cost = cost.await?;
    ensure!(
        stage.kubectl_here(&CLAIMS).await? == claims,
        "claims changed"
    );
    ensure!(stage.pod_names().await? == members, "members changed");
    stage.figure(&format!("asleep in {slept:.1} s; woken: {cost}"));
    stage.judge(&traffic).await
}

/// Waits until no pod is left and the status says that this is as it should be.
async fn asleep(stage: &Stage<'_>) -> Result<()> {
    let what = format!("{} to be asleep", stage.title());
    wait::until_every(LOOK_EVERY, what, PATIENCE, async || {
        let pods = stage.pod_names().await.map_err(|e| format!("{e:#}"))?;
        let cluster = stage.cluster().await.map_err(|e| format!("{e:#}"))?;
        let conditions = cluster.status.unwrap_or_default().conditions;
        let says = conditions
            .iter()
            .any(|it| (&*it.type_, &*it.status, &*it.reason) == ("Ready", "True", "Hibernated"));
        (pods.is_empty() && says)
            .then_some(())
            .ok_or_else(|| format!("{pods:?} are there; {conditions:?}"))
    })
    .await?;
    Ok(())
}
