//! Promise: a cluster goes from one member to three, to five and back to three by `kubectl scale`, while it serves.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::FutureExt;

use crate::engine::BOTH;
use crate::scenario::{Scenario, nothing};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "scaling",
    engines: BOTH,
    limit: Duration::from_secs(900),
    usual: Duration::from_secs(70),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(1).await?;
    let traffic = stage.traffic().await?;
    let mut from = 1;
    for to in [3, 5, 3] {
        stage.say(&format!("scale from {from} to {to}"));
        let cost = stage.cost(&traffic, async || stage.scale(to).await).await?;
        stage.figure(&format!("scaled from {from} to {to}: {cost}"));
        let pods = stage.pods().await?.len();
        ensure!(
            pods == usize::try_from(to)?,
            "{pods} pods where {to} are wanted"
        );
        from = to;
    }
    stage.judge(&traffic).await
}
