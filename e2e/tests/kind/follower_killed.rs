//! Promise: a follower's process is ended with SIGKILL under load, five times; nobody who writes notices, and the member comes
//! back.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::FutureExt;

use crate::engine::BOTH;
use crate::scenario::{Scenario, nothing};
use crate::stage::{Stage, summed_up};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "follower-killed",
    engines: BOTH,
    limit: Duration::from_secs(900),
    usual: Duration::from_secs(110),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

const KILLS: usize = 5;

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let traffic = stage.traffic().await?;
    let mut costs = Vec::new();
    for kill in 1..=KILLS {
        let follower = stage.follower().await?;
        stage.say(&format!("kill {follower} ({kill} of {KILLS})"));
        let before = stage.pod(&follower).await?;
        let cost = stage.cost(&traffic, async || {
            stage.kill(&follower).await?;
            stage.is_started_again(&follower, &before).await
        });
        costs.push(cost.await.with_context(|| follower.clone())?);
    }
    stage.figure(&format!("follower killed {}", summed_up(&costs)));
    stage.judge(&traffic).await
}
