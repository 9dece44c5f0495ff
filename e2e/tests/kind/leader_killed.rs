//! Promise: the leader's process is ended with SIGKILL twenty times under load; every time the others elect, the member
//! comes back, and nothing is lost.

use std::time::Duration;

use anyhow::Result;
use futures::FutureExt;

use crate::engine::BOTH;
use crate::members::restarts;
use crate::scenario::{Scenario, nothing};
use crate::stage::{Stage, summed_up};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "leader-killed",
    engines: BOTH,
    limit: Duration::from_secs(1800),
    usual: Duration::from_secs(260),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

const KILLS: usize = 20;
/// The kubelet waits twice as long before each further restart of a container, and forgets only after ten minutes. After
/// this many the pod is deleted, as an administrator would, and counts anew.
const RESTARTS_MAX: i32 = 2;

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let traffic = stage.traffic().await?;
    let mut costs = Vec::new();
    for kill in 1..=KILLS {
        let leader = stage.leader().await?;
        stage.say(&format!("kill {leader} ({kill} of {KILLS})"));
        let cost = stage.cost(&traffic, async || kill_for_good(stage, &leader).await);
        costs.push(cost.await?);
    }
    stage.figure(&format!("leader killed {}", summed_up(&costs)));
    stage.judge(&traffic).await
}

/// Kills a member and waits until another process of it runs.
async fn kill_for_good(stage: &Stage<'_>, member: &str) -> Result<()> {
    let before = stage.pod(member).await?;
    stage.kill(member).await?;
    if restarts(&before) < RESTARTS_MAX {
        stage.is_started_again(member, &before).await
    } else {
        stage.delete_pod(member).await
    }
}
