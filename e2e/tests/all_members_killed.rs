//! Promise: all members killed at once come back by themselves with everything they acknowledged.

use anyhow::Result;
use e2e::engine::Engine;
use e2e::lab::{Lab, PATIENCE};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use kube::ResourceExt;

const KILLS: usize = 3;

e2e::on_each_engine!(all_members_are_killed_at_once_and_nothing_is_lost);

async fn all_members_are_killed_at_once_and_nothing_is_lost(engine: Engine) -> Result<()> {
    let lab = Lab::start("all-killed", engine).await?;
    let name = lab
        .apply(include_str!("../../examples/minimal.yaml"))
        .await?;
    lab.ready(&name).await?;
    let traffic = Traffic::start(Mix::default(), lab.endpoints(&name).await?);
    for _ in 0..KILLS {
        traffic.flows(100, PATIENCE).await?;
        for pod in lab.pods(&name).await? {
            lab.kill(&pod.name_any())?;
        }
        traffic.flows(100, PATIENCE).await?;
        lab.healthy(&name, 3).await?;
    }
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.ready(&name).await?;
    lab.end().await
}
