//! The program in Go: `clientv3` with `concurrency` and `leasing`, built from the module that stands in `e2e/clients/go`.
//!
//! It deliberately runs on one member: which member a client asks first is chance.

use std::path::{Path, PathBuf};
use std::process::Command as Blocking;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::members::Members;
use e2e::{FIGURE, binaries, differential, tools};
use tokio::process::Command;

/// The whole program on a loaded machine.
const WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn clientv3_tells_the_same_of_ours() -> Result<()> {
    tells_the_same("clientv3 with concurrency and leasing", built(), &[]).await
}

/// Runs a client on a real etcd and on ours; where one of the two cannot be had, only says so.
pub(crate) async fn tells_the_same(
    name: &str,
    program: Result<PathBuf>,
    arguments: &[&Path],
) -> Result<()> {
    let found = program.and_then(|program| Ok((program, differential::etcd()?)));
    let (program, etcd) = match found {
        Ok(found) => found,
        Err(why) => {
            println!("{FIGURE}{name}: not run: {why:#}");
            return Ok(());
        }
    };
    let ours = binaries::ours("quorate-node")?;
    let (real, of_ours) = futures::future::try_join(
        told(&program, arguments, &etcd),
        told(&program, arguments, &ours),
    )
    .await?;
    let failed: Vec<&str> = real.lines().filter(|it| it.starts_with("failed")).collect();
    ensure!(failed.is_empty(), "on a real etcd: {failed:?}\n{real}");
    ensure!(real == of_ours, "{}", beside(&real, &of_ours));
    println!("{FIGURE}{name}: {} lines the same", real.lines().count());
    Ok(())
}

/// The program; built where its modules are or can be had.
fn built() -> Result<PathBuf> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/go");
    let output = tools::folder().join("clients/go");
    let mut go = Blocking::new("go");
    go.current_dir(&module)
        .env("CGO_ENABLED", "0")
        .args(["build", "-mod=readonly", "-trimpath", "-o"])
        .args([output.as_path(), Path::new(".")]);
    let ended = go
        .output()
        .context("Go is needed to build e2e/clients/go")?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "go build in e2e/clients/go: {said}");
    Ok(output)
}

async fn told(program: &Path, arguments: &[&Path], server: &Path) -> Result<String> {
    let cluster = Members::start(server, 1).await?;
    let mut command = Command::new(program);
    command.args(arguments);
    command.args(cluster.endpoints()).kill_on_drop(true);
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
