//! Promise: a namespace with a cluster in it that is deleted is gone within a minute: nothing of ours holds it up.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::FutureExt;

use crate::engine::BOTH;
use crate::scenario::{Scenario, nothing};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "namespace-deleted",
    engines: BOTH,
    limit: Duration::from_secs(600),
    usual: Duration::from_secs(55),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

/// A minute, on a machine that is three times slower than it should be.
const GONE_WITHIN: Duration = Duration::from_secs(180);

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let traffic = stage.traffic().await?;
    stage.judge(&traffic).await?;
    let began = Instant::now();
    stage.say("delete the namespace");
    stage.delete_namespace().await?;
    stage.namespace_is_gone().await?;
    let took = began.elapsed();
    stage.figure(&format!("namespace gone after {:.1} s", took.as_secs_f64()));
    ensure!(took < GONE_WITHIN, "it took {} s", took.as_secs());
    Ok(())
}
