//! Promise: a leader killed with SIGKILL under load costs no acknowledged write and no order,
//! twenty times in a row, and the cluster is Ready again each time without a hand.

use anyhow::{Context, Result, ensure};
use e2e::FIGURE;
use e2e::engine::Engine;
use e2e::lab::{Lab, PATIENCE};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;

const KILLS: usize = 20;

e2e::on_each_engine!(twenty_leaders_are_killed_and_nothing_is_lost);

async fn twenty_leaders_are_killed_and_nothing_is_lost(engine: Engine) -> Result<()> {
    let lab = Lab::start("leader-killed", engine).await?;
    let name = lab
        .apply(include_str!("../../examples/minimal.yaml"))
        .await?;
    lab.ready(&name).await?;
    let traffic = Traffic::start(Mix::default(), lab.endpoints(&name).await?);
    let mut gaps_ms = Vec::new();
    for kill in 0..KILLS {
        gaps_ms.push(
            kill_once(&lab, &name, &traffic)
                .await
                .with_context(|| format!("kill {kill}"))?,
        );
    }
    judge(&traffic.finish(PATIENCE).await?)?;
    gaps_ms.sort_unstable();
    println!(
        "{FIGURE}{}, {KILLS} kills: write gap median {} ms, largest {} ms",
        lab.engine(),
        gaps_ms[KILLS / 2],
        gaps_ms[KILLS - 1]
    );
    lab.end().await
}

/// Kills the leader, waits until writes flow and all members are healthy, and gives the gap.
async fn kill_once(lab: &Lab, name: &str, traffic: &Traffic) -> Result<u128> {
    traffic.flows(50, PATIENCE).await?;
    let before = lab.leader(name).await?;
    let killed_at = traffic.recorder().elapsed();
    lab.kill(&before.member)?;
    traffic.flows(50, PATIENCE).await?;
    let flowed_at = traffic.recorder().elapsed();
    let after = lab.leader(name).await?;
    ensure!(
        after.term > before.term,
        "{before:?} was killed and {after:?} leads"
    );
    lab.healthy(name, 3).await?;
    let history = traffic.recorder().history();
    let gap = history
        .largest_write_gap_within(killed_at, flowed_at)
        .context("no writes")?;
    Ok(gap.length().as_millis())
}
