//! Promise: every member gets changed options, other resources and another image, one by one, by surge and as the user deletes
//! pods, while the cluster serves.

use std::time::Duration;

use anyhow::{Result, ensure};
use crds::RaftCluster;
use e2e::kind::traffic::Remote;
use e2e::lab::asked_to_delete;
use futures::FutureExt;
use serde_json::{Value, json};

use crate::engine::BOTH;
use crate::scenario::{Scenario, nothing};
use crate::stage::{NAME, PATIENCE, Stage};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "rolling",
    engines: BOTH,
    limit: Duration::from_secs(1200),
    usual: Duration::from_secs(180),
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
    let resources = json!({ "resources": { "requests": { "memory": "48Mi" } } });
    roll(stage, &traffic, "rolled by resources", resources).await?;
    let surge = json!({ "image": stage.image()?, "updateStrategy": { "type": "Surge" } });
    roll(stage, &traffic, "rolled by surge", surge).await?;
    by_deletion(stage, &traffic).await?;
    stage.judge(&traffic).await
}

/// With OnDelete nothing happens until the user deletes the pod that the status names, when it can be spared; the leader's never is.
async fn by_deletion(stage: &Stage<'_>, traffic: &Remote) -> Result<()> {
    let before = stage.pod_uids().await?;
    let change = json!({
        "image": stage.next_image()?,
        "updateStrategy": { "type": "OnDelete" },
    });
    stage.say(&format!("patch {change}"));
    let cost = stage.cost(traffic, async || {
        stage.patch(change).await?;
        let told = |it: &RaftCluster| {
            let status = it.status.as_ref();
            status.is_some_and(|status| status.observed_generation == it.metadata.generation)
        };
        stage.is(NAME, "seen by the operator", told).await?;
        traffic.flows(100, PATIENCE).await?;
        ensure!(
            stage.pod_uids().await? == before,
            "a pod was restarted that nobody had deleted"
        );
        for _ in 0..before.len() {
            let asks = |it: &RaftCluster| asked_to_delete(it).is_some();
            let asking = stage.is(NAME, "asking for a pod", asks).await?;
            let member = asked_to_delete(&asking).unwrap_or_default();
            ensure!(
                stage.leader().await? != member,
                "{member} leads and is to be deleted"
            );
            stage.say(&format!("delete the pod {member}"));
            let pod = stage.pod(member).await?;
            stage.kubectl_here(&["delete", "pod", member]).await?;
            stage.is_started_again(member, &pod).await?;
        }
        Ok(())
    });
    stage.figure(&format!("rolled by the user's hand: {}", cost.await?));
    stage.all_are_new(&before, 3).await
}

async fn roll(stage: &Stage<'_>, traffic: &Remote, what: &str, spec: Value) -> Result<()> {
    let before = stage.pod_uids().await?;
    stage.say(&format!("patch {spec}"));
    let cost = stage.cost(traffic, async || stage.patch(spec).await);
    stage.figure(&format!("{what}: {}", cost.await?));
    stage.all_are_new(&before, 3).await
}
