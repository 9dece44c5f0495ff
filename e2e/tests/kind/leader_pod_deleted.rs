//! Promise: the leader's pod is deleted by force under load, five times; the others elect, the pod comes back on its
//! volume, and nothing is lost.

use std::time::Duration;

use anyhow::Result;
use futures::FutureExt;

use crate::engine::BOTH;
use crate::scenario::{Scenario, nothing};
use crate::stage::{Stage, summed_up};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "leader-pod-deleted",
    engines: BOTH,
    limit: Duration::from_secs(600),
    usual: Duration::from_secs(60),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

const TIMES: usize = 5;

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let traffic = stage.traffic().await?;
    let mut costs = Vec::new();
    for _ in 0..TIMES {
        let leader = stage.leader().await?;
        stage.say(&format!("delete the pod of {leader} by force"));
        let cost = stage.cost(&traffic, async || stage.delete_pod(&leader).await);
        costs.push(cost.await?);
    }
    stage.figure(&format!("leader's pod deleted {}", summed_up(&costs)));
    stage.judge(&traffic).await
}
