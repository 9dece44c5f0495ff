//! Promise: three bare members, with no operator and no Kubernetes in sight, lose nothing that
//! they acknowledged when their leader is killed under load, again and again.
//!
//! `E2E_SERVER` names another program with etcd's flags, to hold the same against a real etcd.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use e2e::binaries;
use e2e::members::Members;
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;

const KILLS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(180);

fn server() -> Result<PathBuf> {
    match std::env::var_os("E2E_SERVER") {
        Some(path) => Ok(path.into()),
        None => Ok(binaries::ours("quorate-node")?),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_alone_survive_the_loss_of_their_leader() -> Result<()> {
    let mut members = Members::start(&server()?, 3).await?;
    let traffic = Traffic::start(Mix::default(), members.endpoints());
    for _ in 0..KILLS {
        traffic.flows(50, PATIENCE).await?;
        let leader = members.leader().await?;
        members.kill(leader).await?;
        traffic.flows(50, PATIENCE).await?;
        members.restart(leader)?;
    }
    let history = traffic.finish(PATIENCE).await?;
    judge(&history)?;
    members.end_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn members_alone_survive_a_kill_of_all() -> Result<()> {
    let mut members = Members::start(&server()?, 3).await?;
    let traffic = Traffic::start(Mix::default(), members.endpoints());
    for _ in 0..KILLS {
        traffic.flows(50, PATIENCE).await?;
        for number in 0..3 {
            members.kill(number).await?;
        }
        for number in 0..3 {
            members.restart(number)?;
        }
    }
    traffic.flows(50, PATIENCE).await?;
    let history = traffic.finish(PATIENCE).await?;
    judge(&history)?;
    members.end_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_asked_to_stop_hands_over_and_ends_cleanly() -> Result<()> {
    let mut members = Members::start(&server()?, 3).await?;
    let traffic = Traffic::start(Mix::default(), members.endpoints());
    for _ in 0..3 {
        traffic.flows(50, PATIENCE).await?;
        let leader = members.leader().await?;
        members.stop(leader).await?;
        traffic.flows(50, PATIENCE).await?;
        members.restart(leader)?;
    }
    let history = traffic.finish(PATIENCE).await?;
    judge(&history)?;
    members.end_all().await
}
