//! Promise: every member gets a changed option, and then another image, one by one, while the cluster serves.

use std::time::Duration;

use anyhow::Result;
use e2e::kind::traffic::Remote;
use futures::FutureExt;
use serde_json::{Value, json};

use crate::engine::BOTH;
use crate::scenario::{Scenario, nothing};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "rolling",
    engines: BOTH,
    limit: Duration::from_secs(600),
    usual: Duration::from_secs(70),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let traffic = stage.traffic().await?;
    let option = json!({ "options": { "snapshotCount": 5000 } });
    roll(stage, &traffic, "rolled by an option", option).await?;
    let image = json!({ "image": stage.next_image()? });
    roll(stage, &traffic, "rolled by an image", image).await?;
    stage.judge(&traffic).await
}

async fn roll(stage: &Stage<'_>, traffic: &Remote, what: &str, spec: Value) -> Result<()> {
    let before = stage.pod_uids().await?;
    stage.say(&format!("patch {spec}"));
    let cost = stage.cost(traffic, async || stage.patch(spec).await);
    stage.figure(&format!("{what}: {}", cost.await?));
    stage.all_are_new(&before, 3).await
}
