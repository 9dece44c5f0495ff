//! Promise: a converged cluster costs no writes: for two minutes under load the operator asks for no change at all, as the
//! API server's own audit log has it. Renewals of its Lease do not count.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use crds::status::Leader;
use e2e::kind::audit::{Call, summary};
use e2e::kind::install;
use futures::FutureExt;
use jiff::Timestamp;

use crate::engine::BOTH;
use crate::scenario::{Scenario, nothing};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "quiet",
    engines: BOTH,
    limit: Duration::from_secs(900),
    usual: Duration::from_secs(170),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

const QUIET: Duration = Duration::from_secs(120);

/// An election makes a new leader to be written down; how often it may spoil the two minutes.
const TRIES: usize = 3;

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let traffic = stage.traffic().await?;
    for _ in 0..TRIES {
        let before = leader(stage).await?;
        let began = Timestamp::now();
        stage.say("look on for two minutes");
        stage.serves_for(&traffic, QUIET).await?;
        let calls = stage
            .house()
            .calls(&install::user(install::NAMESPACE), began)
            .await?;
        if leader(stage).await? == before {
            nothing_was_written(stage, &calls)?;
            return stage.judge(&traffic).await;
        }
        stage.say("there was an election; once more");
    }
    bail!("the leader changed {TRIES} times in a row, with nobody doing harm")
}

async fn leader(stage: &Stage<'_>) -> Result<Option<Leader>> {
    Ok(stage.ready().await?.status.and_then(|status| status.leader))
}

fn nothing_was_written(stage: &Stage<'_>, calls: &[Call]) -> Result<()> {
    let writes: Vec<Call> = calls.iter().filter(|it| it.writes()).cloned().collect();
    stage.figure(&format!(
        "{} s converged: {}",
        QUIET.as_secs(),
        summary(calls)
    ));
    ensure!(
        !calls.is_empty(),
        "the audit log has not one request of the operator"
    );
    ensure!(
        writes.is_empty(),
        "the operator wrote: {}",
        summary(&writes)
    );
    Ok(())
}
