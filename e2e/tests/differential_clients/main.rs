//! Real clients, unmodified, cannot tell our node from an etcd: each does the same on both, and what it says is compared.
//!
//! `etcdctl` plays the scenes of `etcdctl/`, every command of it; the programs of `e2e/clients` do what `clientv3` can, in Go,
//! `etcd-client` in Rust, and `etcd3gw` and `aetcd` in Python. What differs and stays so is listed with its reason in
//! `differences.yaml`. The same programs go on while leaders are killed ([`failover`]).
//!
//! It deliberately leaves out `etcdctl check`, which measures a machine, and the commands that ask no server.

mod failover;
mod plain;
mod play;
mod programs;
mod same;
mod scene;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::contract::{Difference, Exchange, Listed, compare, judge};
use e2e::tools::Version;
use e2e::{FIGURE, binaries, differential, tools};
use futures::{StreamExt, TryStreamExt, stream};

use scene::Scene;

/// The differences that stay.
const DIFFERENCES: &str = include_str!("differences.yaml");
/// How many scenes run at once, each on two clusters.
const AT_ONCE: usize = 3;
/// The version whose commands the scenes speak.
const ETCDCTL: Version = Version {
    major: 3,
    minor: 7,
    patch: 0,
};

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_says_the_same_of_ours() -> Result<()> {
    let found = tools::find_since("etcdctl", ETCDCTL);
    let (ctl, etcd) = match found.and_then(|ctl| Ok((ctl, differential::etcd()?))) {
        Ok(found) => found,
        Err(missing) => {
            println!("{FIGURE}etcdctl is not run: {missing}");
            return Ok(());
        }
    };
    let ours = binaries::ours("quorate-node")?;
    let mut list = Listed::read(DIFFERENCES)?;
    // Of a part of the scenes it cannot be said that a listed difference is gone.
    list.iter_mut()
        .for_each(|it| it.by_chance |= chosen().is_some());
    let scenes = scenes()?;
    let count = scenes.len();
    let all = stream::iter(scenes).map(|scene| on_both(&ctl, &etcd, &ours, scene));
    let all: Vec<(usize, Vec<Difference>)> = all.buffer_unordered(AT_ONCE).try_collect().await?;
    let commands: usize = all.iter().map(|it| it.0).sum();
    let found: Vec<Difference> = all.into_iter().flat_map(|it| it.1).collect();
    println!(
        "{FIGURE}{commands} invocations of etcdctl in {count} scenes compared; {} differences as listed",
        found.len()
    );
    judge(&found, &list)
}

async fn on_both(
    ctl: &Path,
    etcd: &Path,
    ours: &Path,
    scene: Scene,
) -> Result<(usize, Vec<Difference>)> {
    let (real, of_ours) = futures::future::try_join(
        play::whole(ctl, etcd, &scene),
        play::whole(ctl, ours, &scene),
    )
    .await?;
    told(&scene.name, &real, &of_ours);
    Ok((real.len(), compare(&scene.name, &real, &of_ours)))
}

/// `CLIENTS_SAY` shows what was said, for whoever writes a scene.
fn told(name: &str, real: &[Exchange], ours: &[Exchange]) {
    if std::env::var_os("CLIENTS_SAY").is_some() {
        for (real, ours) in real.iter().zip(ours) {
            println!(
                "{name}: {}\n  real {}\n  ours {}",
                real.call, real.answer, ours.answer
            );
        }
    }
}

/// `DIFFERENTIAL=NAME` plays the scenes whose names begin so.
fn chosen() -> Option<String> {
    std::env::var("DIFFERENTIAL").ok()
}

fn scenes() -> Result<Vec<Scene>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential_clients/etcdctl");
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .map(|it| Ok(it?.path()))
        .collect::<std::io::Result<_>>()?;
    paths.sort();
    if let Some(begins) = chosen() {
        paths.retain(|path| {
            path.file_name()
                .is_some_and(|it| it.to_string_lossy().starts_with(&begins))
        });
    }
    ensure!(!paths.is_empty(), "no scenes in {}", folder.display());
    paths.iter().map(|path| Scene::read(path)).collect()
}
