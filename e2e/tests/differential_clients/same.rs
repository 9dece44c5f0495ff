//! The programs of `e2e/clients`, each on a real etcd and on ours: every line is the same.
//!
//! They deliberately run on one member: which member a client asks first is chance.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::members::Members;
use e2e::{FIGURE, binaries, differential};

use crate::programs::{self, Program};

/// The whole program on a loaded machine.
const WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn clientv3_tells_the_same_of_ours() -> Result<()> {
    tells_the_same("clientv3 with concurrency and leasing", programs::go()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_client_tells_the_same_of_ours() -> Result<()> {
    tells_the_same("etcd-client", programs::rust()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd3gw_and_aetcd_tell_the_same_of_ours() -> Result<()> {
    tells_the_same("etcd3gw and aetcd", programs::python()).await
}

/// Runs a client on a real etcd and on ours; where one of the two cannot be had, only says so.
async fn tells_the_same(name: &str, program: Result<Program>) -> Result<()> {
    let found = program.and_then(|program| Ok((program, differential::etcd()?)));
    let (program, etcd) = match found {
        Ok(found) => found,
        Err(why) => {
            println!("{FIGURE}{name}: not run: {why:#}");
            return Ok(());
        }
    };
    let ours = binaries::ours("quorate-node")?;
    let (real, of_ours) =
        futures::future::try_join(told(&program, &etcd), told(&program, &ours)).await?;
    let failed: Vec<&str> = real.lines().filter(|it| it.starts_with("failed")).collect();
    ensure!(failed.is_empty(), "on a real etcd: {failed:?}\n{real}");
    ensure!(real == of_ours, "{}", beside(&real, &of_ours));
    println!("{FIGURE}{name}: {} lines the same", real.lines().count());
    Ok(())
}

async fn told(program: &Program, server: &Path) -> Result<String> {
    let cluster = Members::start(server, 1).await?;
    let mut command = program.scenes();
    command.args(cluster.endpoints());
    let ended = tokio::time::timeout(WITHIN, command.output()).await;
    let ended = ended.with_context(|| format!("on {}", server.display()))??;
    let error = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{}: {error}", ended.status);
    cluster.end_all().await?;
    Ok(String::from_utf8(ended.stdout)?)
}

/// The lines that differ.
fn beside(real: &str, ours: &str) -> String {
    let (mut one, mut other) = (real.lines(), ours.lines());
    let mut told = String::new();
    loop {
        match (one.next(), other.next()) {
            (None, None) => return told,
            (real, ours) if real == ours => {}
            (real, ours) => {
                let (real, ours) = (real.unwrap_or_default(), ours.unwrap_or_default());
                told += &format!("real {real}\nours {ours}\n");
            }
        }
    }
}
