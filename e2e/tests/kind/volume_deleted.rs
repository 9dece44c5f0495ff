//! Promise: the volume of a follower is deleted under load; a new member takes its place without a hand, and nothing is lost.

use std::time::Duration;

use anyhow::Result;
use futures::FutureExt;

use crate::engine::BOTH;
use crate::scenario::{Scenario, nothing};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "volume-deleted",
    engines: BOTH,
    limit: Duration::from_secs(600),
    usual: Duration::from_secs(90),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let traffic = stage.traffic().await?;
    let lost = stage.follower().await?;
    let cost = stage.cost(&traffic, async || {
        stage.say(&format!("delete the volume of {lost}"));
        let claim = format!("data-{lost}");
        stage
            .kubectl_here(&["delete", "pvc", &claim, "--wait=false"])
            .await?;
        stage
            .kubectl_here(&["delete", "pod", &lost, "--wait=false"])
            .await?;
        stage.is_without(&lost).await
    });
    stage.figure(&format!("a follower's volume deleted: {}", cost.await?));
    stage.judge(&traffic).await
}
