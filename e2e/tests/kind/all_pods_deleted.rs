//! Promise: all pods of a cluster are deleted at once, by force, under load; the cluster comes back by itself on its
//! volumes, with the members that it had, and nothing that was acknowledged is lost.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::FutureExt;
use kube::ResourceExt;
use plan::names;

use crate::engine::BOTH;
use crate::scenario::{Scenario, nothing};
use crate::stage::{NAME, Stage};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "all-pods-deleted",
    engines: BOTH,
    limit: Duration::from_secs(600),
    usual: Duration::from_secs(65),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let traffic = stage.traffic().await?;
    let members = stage.pod_names().await?;
    let before = stage.pod_uids().await?;
    stage.say("delete all pods by force");
    let cost = stage.cost(&traffic, async || delete_all(stage).await);
    let cost = cost.await?;
    stage.all_are_new(&before, 3).await?;
    let after = stage.pod_names().await?;
    ensure!(
        after == members,
        "the members were {members:?} and are {after:?}"
    );
    stage.figure(&format!("all pods deleted: {cost}"));
    stage.judge(&traffic).await
}

async fn delete_all(stage: &Stage<'_>) -> Result<()> {
    let before = stage.pods().await?;
    let selector = names::selector(NAME);
    let delete = ["delete", "pods", "-l", &selector];
    let by_force = ["--force", "--grace-period=0"];
    stage
        .kubectl_here(&[delete.as_slice(), &by_force].concat())
        .await?;
    for pod in before {
        stage.is_started_again(&pod.name_any(), &pod).await?;
    }
    Ok(())
}
