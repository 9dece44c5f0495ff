//! Promise: the leader's node stops for a minute without a word, as a machine that hangs; the others elect and serve, no
//! member is thrown out for it, and all are back when the node is.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::kind::nodes::Stopped;
use futures::FutureExt;

use crate::engine::BOTH;
use crate::scenario::{Scenario, nothing};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "node-paused",
    engines: BOTH,
    limit: Duration::from_secs(900),
    usual: Duration::from_secs(110),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

/// Longer than the 40 s after which Kubernetes calls a node lost, shorter than the 5 minutes after which it evicts.
const PAUSE: Duration = Duration::from_secs(60);

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let traffic = stage.traffic().await?;
    let node = stage.worker_that_leads().await?;
    let members = stage.pod_names().await?;
    let cost = stage.cost(&traffic, async || {
        stage.say(&format!("pause {node}, whose member leads"));
        let paused = Stopped::paused(&node)?;
        stage.serves_for(&traffic, PAUSE).await?;
        stage.say("let it go on");
        paused.end()
    });
    stage.figure(&format!(
        "leader's node paused for {} s: {}",
        PAUSE.as_secs(),
        cost.await?
    ));
    let after = stage.pod_names().await?;
    ensure!(
        after == members,
        "the members were {members:?} and are {after:?}"
    );
    stage.judge(&traffic).await
}
