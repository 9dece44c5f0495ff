//! Promise: an image that does not exist costs one member at most, is told in the status, and its revert heals; the
//! cluster serves throughout.

use std::time::Duration;

use anyhow::{Result, ensure};
use crds::RaftCluster;
use crds::status::BlockedBy;
use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::engine::BOTH;
use crate::scenario::{Scenario, nothing};
use crate::stage::{NAME, PATIENCE, Stage};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "bad-image",
    engines: BOTH,
    limit: Duration::from_secs(600),
    usual: Duration::from_secs(50),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let traffic = stage.traffic().await?;
    let missing = stage.missing_image()?;
    let before = stage.pod_uids().await?;
    stage.say(&format!("patch the image to {missing}"));
    let cost = stage.cost(&traffic, async || {
        stage.patch(json!({ "image": missing })).await?;
        stage
            .is(NAME, "told as waiting for a member", waits)
            .await?;
        let broken = stage.pods().await?;
        let broken: Vec<&Pod> = broken.iter().filter(|it| runs(it, &missing)).collect();
        ensure!(
            broken.len() == 1,
            "{} pods got the missing image",
            broken.len()
        );
        traffic.flows(200, PATIENCE).await?;
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
    stage.judge(&traffic).await
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

fn runs(pod: &Pod, image: &str) -> bool {
    let spec = pod.spec.as_ref();
    spec.is_some_and(|it| {
        it.containers
            .iter()
            .any(|c| c.image.as_deref() == Some(image))
    })
}
