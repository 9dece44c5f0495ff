//! Promise: an image that does not exist costs one member at most, is told in the status, and its revert heals, also when it is
//! asked for in the middle of a roll, at each of its steps; the cluster serves throughout.

use std::time::Duration;

use anyhow::{Result, ensure};
use crds::RaftCluster;
use crds::status::BlockedBy;
use e2e::kind::traffic::Remote;
use futures::FutureExt;
use serde_json::json;

use crate::engine::BOTH;
use crate::members::runs;
use crate::scenario::{Scenario, nothing};
use crate::stage::{NAME, PATIENCE, Stage};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "bad-image",
    engines: BOTH,
    limit: Duration::from_secs(1200),
    usual: Duration::from_secs(130),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let traffic = stage.traffic().await?;
    alone(stage, &traffic).await?;
    for rolled in 1..3 {
        in_a_roll(stage, &traffic, rolled).await?;
    }
    stage.judge(&traffic).await
}

/// The missing image is asked for, and reverted.
async fn alone(stage: &Stage<'_>, traffic: &Remote) -> Result<()> {
    let missing = stage.missing_image()?;
    let before = stage.pod_uids().await?;
    stage.say(&format!("patch the image to {missing}"));
    let cost = stage.cost(traffic, async || {
        reaches_one(stage, traffic, &missing).await?;
        stage.say("revert");
        stage.patch(json!({ "image": stage.image()? })).await
    });
    let cost = cost.await?;
    let after = stage.pod_uids().await?;
    let kept = after.intersection(&before).count();
    ensure!(kept == 2, "{kept} of the two healthy pods were left alone");
    stage.figure(&format!(
        "an image that does not exist, and its revert: {cost}"
    ));
    Ok(())
}

/// The same when so many members have another image already, all of which go back.
async fn in_a_roll(stage: &Stage<'_>, traffic: &Remote, rolled: usize) -> Result<()> {
    let (missing, next) = (stage.missing_image()?, stage.next_image()?);
    stage.say(&format!("patch the image to {next}"));
    let cost = stage.cost(traffic, async || {
        stage.patch(json!({ "image": next })).await?;
        let what = format!("{rolled} members of the next image");
        stage
            .sees(&what, async || {
                let pods = stage.pods().await?;
                let found = pods.iter().filter(|it| runs(it, &next)).count();
                ensure!(found >= rolled, "{found} are");
                Ok(())
            })
            .await?;
        stage.say(&format!("patch the image to {missing}"));
        reaches_one(stage, traffic, &missing).await?;
        stage.say("revert");
        stage.patch(json!({ "image": stage.image()? })).await
    });
    let cost = cost.await?;
    let image = stage.image()?;
    let pods = stage.pods().await?;
    ensure!(
        pods.iter().all(|it| runs(it, &image)),
        "a pod is of another image than {image}"
    );
    stage.figure(&format!(
        "an image that does not exist after {rolled} members rolled, and back: {cost}"
    ));
    Ok(())
}

/// Asks for the missing image, waits until the status tells of it, and until the cluster has shown that it serves; one member
/// has it then.
async fn reaches_one(stage: &Stage<'_>, traffic: &Remote, missing: &str) -> Result<()> {
    stage.patch(json!({ "image": missing })).await?;
    stage
        .is(NAME, "told as waiting for a member", waits)
        .await?;
    traffic.flows(200, PATIENCE).await?;
    let pods = stage.pods().await?;
    let broken = pods.iter().filter(|it| runs(it, missing)).count();
    ensure!(broken == 1, "{broken} pods got the missing image");
    Ok(())
}

/// Whether the status says that the operator waits for a pod that lacks its image.
fn waits(cluster: &RaftCluster) -> bool {
    let Some(status) = &cluster.status else {
        return false;
    };
    let names_it = |it: &BlockedBy| it.message.contains("ImagePull");
    let operation = status.operation.as_ref();
    operation.is_some_and(|it| it.blocked_by.iter().any(names_it))
}
