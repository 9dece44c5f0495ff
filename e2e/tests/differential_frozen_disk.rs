//! Promise: a leader whose disk stalls is replaced while it stalls, and nothing that was acknowledged is lost when it comes back.
//!
//! Three members, each with its data on a file system of its own; that of the leader is frozen by the kernel under load. Then real
//! etcd, in the same way, for the figure. Where no file system can be mounted the test says why, and how it would run.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::client::Client;
use e2e::device::{Device, Impossible};
use e2e::folder::Folder;
use e2e::members::Members;
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use e2e::{FIGURE, binaries, differential, wait};
use tokio::task::JoinSet;

const MEMBERS: usize = 3;
const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a write is tried while there may be no leader.
const TRY_EVERY: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_is_frozen_is_replaced() -> Result<()> {
    let folder = Folder::new("frozen")?;
    let mut devices = match devices(folder.path()) {
        Ok(devices) => devices,
        Err(impossible) => {
            println!("{FIGURE}not run, as no file system can be frozen here: {impossible}");
            return Ok(());
        }
    };
    let ours = gaps(&binaries::ours("quorate-node")?, "quorate", &mut devices).await?;
    let theirs = match differential::etcd() {
        Ok(etcd) => told(&gaps(&etcd, "etcd", &mut devices).await?),
        Err(missing) => format!("not run: {missing}"),
    };
    println!(
        "{FIGURE}leader's disk frozen, until another member acknowledges a write (election timeout 1000 ms): ours {}; etcd {theirs}",
        told(&ours)
    );
    drop(devices);
    let mut folder = folder;
    folder.discard();
    Ok(())
}

fn devices(folder: &Path) -> Result<Vec<Device>, Impossible> {
    let names = (0..MEMBERS).map(|number| format!("disk{number}"));
    names.map(|name| Device::mount(folder, &name)).collect()
}

fn told(gaps: &[Duration]) -> String {
    let gaps: Vec<String> = gaps.iter().map(|gap| gap.as_millis().to_string()).collect();
    format!("{} ms", gaps.join(", "))
}

/// Freezes the disk of one leader after the other, and says how long nobody could write.
async fn gaps(program: &Path, name: &str, devices: &mut [Device]) -> Result<Vec<Duration>> {
    let places = devices.iter().map(|device| device.path().join(name));
    let folders: Vec<PathBuf> = places.collect();
    let members = Members::start_in(program, &folders).await?;
    let traffic = Traffic::start(Mix::default(), members.endpoints());
    let mut gaps = Vec::new();
    for _ in 0..ROUNDS {
        traffic.flows(50, PATIENCE).await?;
        gaps.push(round(&members, &traffic, devices).await?);
    }
    let history = traffic.finish(PATIENCE).await?;
    judge(&history)?;
    members.end_all().await?;
    Ok(gaps)
}

async fn round(members: &Members, traffic: &Traffic, devices: &mut [Device]) -> Result<Duration> {
    let old = members.leader().await?;
    let endpoints = members.endpoints();
    let others: Vec<String> = (0..MEMBERS)
        .filter(|number| *number != old)
        .map(|number| endpoints[number].clone())
        .collect();
    let (_, ids) = members.ids().await?;
    let clients = connected(&others).await?;
    let frozen = Instant::now();
    devices[old].freeze()?;
    first_write(&clients).await?;
    let gap = frozen.elapsed();
    traffic.flows(50, PATIENCE).await?;
    let now = Client::connect(&others[0]).await?.status().await?;
    ensure!(
        now.leader != 0 && now.leader != ids[old],
        "writes are acknowledged, and {now:?} names no other leader"
    );
    devices[old].thaw()?;
    follows(&endpoints[old], ids[old], now.raft_applied_index).await?;
    Ok(gap)
}

async fn connected(urls: &[String]) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for url in urls {
        clients.push(Client::connect(url).await.context("a sound member")?);
    }
    Ok(clients)
}

/// Tries to write at one after the other, without waiting for the answer, until one is acknowledged.
async fn first_write(clients: &[Client]) -> Result<()> {
    let writing = async {
        let mut tries = JoinSet::new();
        let mut turns = clients.iter().cycle();
        let mut every = tokio::time::interval(TRY_EVERY);
        loop {
            tokio::select! {
                _ = every.tick() => {
                    let mut client = turns.next().expect("there are members").clone();
                    tries.spawn(async move {
                        client.put_all(vec![("probe".to_owned(), Vec::new())]).await
                    });
                }
                Some(tried) = tries.join_next() => if tried?.is_ok() {
                    return anyhow::Ok(());
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, writing)
        .await
        .context("nobody takes a write while the leader's disk is frozen")?
}

/// The old leader has come back: it follows another, and has what was written without it.
async fn follows(url: &str, id: u64, applied: u64) -> Result<()> {
    let following = wait::until("the old leader to follow", PATIENCE, async || {
        let client = Client::connect(url).await;
        let status = client.map_err(|e| e.to_string())?.status().await;
        let status = status.map_err(|e| e.to_string())?;
        let follows = status.leader != 0 && status.leader != id;
        if follows && status.raft_applied_index >= applied {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    });
    Ok(following.await?)
}
