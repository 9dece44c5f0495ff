//! Promise: a change that does not work reaches the canary and nobody else, and is undone without a hand while the cluster
//! serves; one that works reaches all, after the canary has soaked.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::lab::is_rolled_back;
use futures::FutureExt;
use serde_json::json;

use crate::engine::BOTH;
use crate::scenario::{Scenario, nothing};
use crate::stage::{NAME, PATIENCE, Stage};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "canary",
    engines: BOTH,
    limit: Duration::from_secs(900),
    usual: Duration::from_secs(120),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

/// How long the members with the missing image may try before the rollout has failed.
const DEADLINE_SECONDS: u64 = 20;
const SOAK_SECONDS: u64 = 10;

async fn acts(stage: &Stage<'_>) -> Result<()> {
    let careful = json!({ "updateStrategy": {
        "progressDeadlineSeconds": DEADLINE_SECONDS,
        "onFailure": "Rollback",
        "rollingUpdate": { "canary": { "count": 1, "soakSeconds": SOAK_SECONDS } },
    } });
    stage.apply_with(3, careful).await?;
    stage.ready().await?;
    let traffic = stage.traffic().await?;
    let before = stage.pod_uids().await?;
    let missing = stage.missing_image()?;
    stage.say(&format!("patch the image to {missing}"));
    let from = traffic.state().await?.elapsed;
    stage.patch(json!({ "image": missing })).await?;
    stage.is(NAME, "rolled back", is_rolled_back).await?;
    let undone = traffic.state().await?.elapsed;
    traffic.flows(200, PATIENCE).await?;
    let kept = stage.pod_uids().await?.intersection(&before).count();
    ensure!(kept == 2, "{kept} of the two other pods were left alone");
    stage.figure(&format!(
        "a canary that fails: undone after {:.1} s, write gap {} ms",
        (undone - from).as_secs_f64(),
        traffic.gap(from, undone).await?.as_millis()
    ));
    let before = stage.pod_uids().await?;
    let deadline = json!({ "progressDeadlineSeconds": 600 });
    let next = json!({ "image": stage.next_image()?, "updateStrategy": deadline });
    stage.say(&format!("patch {next}"));
    let cost = stage.cost(&traffic, async || stage.patch(next).await);
    stage.figure(&format!(
        "rolled by an image, with a canary that soaks {SOAK_SECONDS} s: {}",
        cost.await?
    ));
    stage.all_are_new(&before, 3).await?;
    stage.judge(&traffic).await
}
