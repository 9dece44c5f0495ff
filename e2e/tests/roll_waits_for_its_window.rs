//! Promise: a changed template waits for the maintenance window and says until when, while a member that fails is brought back at
//! once, if need be with that template; when a window is open, the members are restarted, and nothing is lost.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use e2e::engine::Engine;
use e2e::lab::{Lab, PATIENCE, told};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use e2e::{FIGURE, wait};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use kube::ResourceExt;
use serde_json::{Value, json};

e2e::on_each_engine!(a_roll_waits_for_its_window_and_repairs_do_not);

async fn a_roll_waits_for_its_window_and_repairs_do_not(engine: Engine) -> Result<()> {
    let lab = Lab::start("maintenance", engine).await?;
    let name = lab
        .apply(include_str!("../../examples/minimal.yaml"))
        .await?;
    lab.ready(&name).await?;
    let traffic = Traffic::start(Mix::default(), lab.endpoints(&name).await?);
    traffic.flows(50, PATIENCE).await?;
    let before = uids(&lab, &name).await?;
    let follower = a_follower(&lab, &name).await?;

    let change = json!({
        "maintenanceWindows": [in_12_hours()?],
        "options": { "snapshotCount": 20_000 },
    });
    lab.patch_spec(&name, change).await?;
    let said = waits(&lab, &name).await?;
    ensure!(uids(&lab, &name).await? == before, "a member was restarted");
    lab.kill(&follower)?;
    lab.healthy(&name, 3).await?;
    waits(&lab, &name).await?;
    let kept = uids(&lab, &name).await?;
    let kept = kept.intersection(&before).count();
    ensure!(
        kept >= 2,
        "{kept} of 3 pods are left while no window is open"
    );

    let always = json!({ "startTime": "00:00", "durationSeconds": 86_400 });
    lab.patch_spec(&name, json!({ "maintenanceWindows": [always] }))
        .await?;
    tokio::select! {
        ready = lab.ready(&name) => ready.map(drop)?,
        broken = lab.follow(&name, &traffic) => broken?,
    }
    let after = uids(&lab, &name).await?;
    ensure!(
        after.is_disjoint(&before) && after.len() == 3,
        "{before:?} became {after:?}"
    );
    println!("{FIGURE}{}, a roll waited: {said}", lab.engine());
    traffic.use_endpoints(lab.endpoints(&name).await?);
    traffic.flows(50, PATIENCE).await?;
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

/// A quarter of an hour that is not now.
fn in_12_hours() -> Result<Value> {
    let start = Timestamp::now().checked_add(12.hours())?;
    let time = start.to_zoned(TimeZone::UTC).strftime("%H:%M").to_string();
    Ok(json!({ "startTime": time, "durationSeconds": 900 }))
}

/// Waits until the cluster says that it waits for its window, and gives its words.
async fn waits(lab: &Lab, name: &str) -> Result<String> {
    let found = wait::until("the roll to wait", PATIENCE, async || {
        let cluster = lab.clusters().get(name).await.map_err(|e| e.to_string())?;
        let status = cluster.status.clone().unwrap_or_default();
        let gates = status.operation.into_iter().flat_map(|it| it.blocked_by);
        let said = gates
            .filter(|it| it.gate == "MaintenanceWindow")
            .map(|it| it.message)
            .next();
        said.ok_or_else(|| told(&cluster))
    });
    Ok(found.await?)
}

async fn uids(lab: &Lab, name: &str) -> Result<BTreeSet<String>> {
    let pods = lab.pods(name).await?;
    Ok(pods.iter().filter_map(ResourceExt::uid).collect())
}

async fn a_follower(lab: &Lab, name: &str) -> Result<String> {
    let led = lab.leader(name).await?.member;
    let pods = lab.pods(name).await?;
    let mut names = pods.iter().map(ResourceExt::name_any);
    names.find(|it| *it != led).context("a follower")
}
