//! Promise: the operator lives through a cluster's whole life with exactly the rights that the chart gives it, for all
//! namespaces and for a single one, and is refused nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::kind::audit::{Call, summary};
use e2e::kind::install;
use futures::FutureExt;
use jiff::Timestamp;
use serde_json::json;

use crate::engine::BOTH;
use crate::scenario::{Scenario, nothing};
use crate::stage::{NAME, Stage};

pub(crate) const EVERYWHERE: Scenario = Scenario {
    name: "rights-everywhere",
    engines: BOTH,
    limit: Duration::from_secs(700),
    usual: Duration::from_secs(70),
    acts: |stage| everywhere(stage).boxed_local(),
    after: nothing,
};

pub(crate) const IN_ONE_NAMESPACE: Scenario = Scenario {
    name: "rights-in-one-namespace",
    engines: BOTH,
    limit: Duration::from_secs(900),
    usual: Duration::from_secs(120),
    acts: |stage| in_one_namespace(stage).boxed_local(),
    after: |stage| restore(stage).boxed_local(),
};

async fn everywhere(stage: &Stage<'_>) -> Result<()> {
    let began = Timestamp::now();
    life(stage).await?;
    let mebibytes = stage.house().operator_memory_kib().await? / 1024;
    stage.figure(&format!("operator's memory {mebibytes} MiB"));
    nothing_was_refused(stage, &install::user(install::NAMESPACE), began).await
}

async fn restore(stage: &Stage<'_>) -> Result<()> {
    stage.house().restore(stage.namespace()).await
}

/// An operator of the scenario's own, because no two may look after the same cluster.
async fn in_one_namespace(stage: &Stage<'_>) -> Result<()> {
    let (house, here, began) = (stage.house(), stage.namespace(), Timestamp::now());
    stage.say("install an operator for this namespace only");
    install::remove_plain(house.kubectl()).await?;
    house.no_operator_is_left().await?;
    // As a team installs it that has rights in its own namespace only.
    let watched = format!("watchNamespaces={{{here}}}");
    let values = ["--set", &watched, "--set", "crds.enabled=false"];
    install::chart(house.kubectl(), house.images()?, here, &values).await?;
    life(stage).await?;
    nothing_was_refused(stage, &install::user(here), began).await
}

/// Everything that the operator is asked to do to a cluster.
async fn life(stage: &Stage<'_>) -> Result<()> {
    stage.founded(1).await?;
    let traffic = stage.traffic().await?;
    for step in ["grow", "roll", "repair", "shrink"] {
        stage.say(step);
        let cost = stage.cost(&traffic, async || match step {
            "grow" => stage.scale(3).await,
            "roll" => {
                stage
                    .patch(json!({ "options": { "snapshotCount": 5000 } }))
                    .await
            }
            "repair" => stage.delete_pod(&stage.leader().await?).await,
            _ => stage.scale(1).await,
        });
        cost.await?;
    }
    stage.judge(&traffic).await?;
    stage.kubectl_here(&["delete", "raftcluster", NAME]).await?;
    Ok(())
}

async fn nothing_was_refused(stage: &Stage<'_>, user: &str, began: Timestamp) -> Result<()> {
    let calls = stage.house().calls(user, began).await?;
    stage.figure(&format!(
        "{} API requests in a life: {}",
        calls.len(),
        summary(&calls)
    ));
    let refused: Vec<Call> = calls
        .iter()
        .filter(|it| it.is_forbidden())
        .cloned()
        .collect();
    ensure!(
        !calls.is_empty(),
        "the audit log has not one request of {user}"
    );
    ensure!(refused.is_empty(), "refused: {}", summary(&refused));
    Ok(())
}
