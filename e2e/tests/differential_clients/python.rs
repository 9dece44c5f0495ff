//! The program in Python: `etcd3gw`, by the gateway, and `aetcd`, by gRPC, at the versions of `requirements.txt`.
//!
//! They are installed into an environment below `target/`. It deliberately runs on one member, as the one in Go does.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::tools;

use crate::go::tells_the_same;

#[tokio::test(flavor = "multi_thread")]
async fn etcd3gw_and_aetcd_tell_the_same_of_ours() -> Result<()> {
    let main = folder().join("main.py");
    tells_the_same("etcd3gw and aetcd", installed(), &[&main]).await
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python")
}

/// The Python that has them.
fn installed() -> Result<PathBuf> {
    let place = tools::folder().join("clients/python");
    run(Command::new("python3").args(["-m", "venv"]).arg(&place))?;
    let python = place.join("bin/python");
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--no-deps"]);
    pip.arg("--disable-pip-version-check").arg("-r");
    run(pip.arg(folder().join("requirements.txt")))?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<()> {
    let ended = command.output();
    let ended = ended.with_context(|| format!("start {}", command.get_program().display()))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{command:?}: {said}");
    Ok(())
}
