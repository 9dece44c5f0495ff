//! Promise: a cluster that was founded without TLS gets it while it serves, between members and towards clients; those that have
//! not moved are served until the user says so.

use std::time::Duration;

use anyhow::Result;
use futures::FutureExt;
use serde_json::{Value, json};

use crate::engine::BOTH;
use crate::scenario::{Scenario, nothing};
use crate::stage::{NAME, Stage};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "tls-enabled",
    engines: BOTH,
    limit: Duration::from_secs(1200),
    usual: Duration::from_secs(200),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let plain = stage.traffic().await?;
    let enabled = stage.cost(&plain, async || stage.patch(tls("Allowed")).await);
    stage.figure(&format!(
        "TLS between members, and for clients that want it: {}",
        enabled.await?
    ));
    stage.judge(&plain).await?;
    let secured = stage.secured_traffic_at(NAME).await?;
    let refused = stage.cost(&secured, async || stage.patch(tls("Refused")).await);
    stage.figure(&format!(
        "clients without TLS are served no more: {}",
        refused.await?
    ));
    stage.judge(&secured).await
}

fn tls(plaintext: &str) -> Value {
    json!({ "tls": {
        "peer": { "mode": "Operator" },
        "client": { "mode": "Operator", "plaintext": plaintext },
    } })
}
