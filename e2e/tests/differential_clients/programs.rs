//! The programs of `e2e/clients`, built from the versions that stand there, below `target/`.
//!
//! Each may be asked for by several tests at once. It deliberately installs nothing outside of `target/`, and asks for no
//! `protoc`: the crate of the Rust client wants one, and `protox` is one that cargo can install.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use e2e::tools;

/// That which stands in for `protoc`.
const PROTOX: &str = "0.10.0";
/// One build at a time.
static BUILDING: Mutex<()> = Mutex::new(());

/// How one is started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    program: PathBuf,
    /// The folder that holds its scripts, where it is an interpreter.
    scripts: Option<PathBuf>,
}

impl Program {
    /// Plays the scenes that are compared.
    pub(crate) fn scenes(&self) -> tokio::process::Command {
        self.command(&["main.py"], &[])
    }

    /// Goes on while members die.
    pub(crate) fn failover(&self) -> tokio::process::Command {
        self.command(&["failover.py"], &["failover"])
    }

    fn command(&self, scripts: &[&str], words: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.kill_on_drop(true);
        match &self.scripts {
            Some(folder) => command.args(scripts.iter().map(|it| folder.join(it))),
            None => command.args(words),
        };
        command
    }
}

/// `clientv3`; built where its modules are or can be had.
pub(crate) fn go() -> Result<Program> {
    let output = folder().join("go");
    let mut go = Command::new("go");
    go.current_dir(source("go")).env("CGO_ENABLED", "0");
    go.args(["build", "-mod=readonly", "-trimpath", "-o"]);
    run(go.arg(&output).arg(".")).context("Go is needed to build e2e/clients/go")?;
    Ok(Program {
        program: output,
        scripts: None,
    })
}

/// `etcd-client`; built with the crates of its own lock file.
pub(crate) fn rust() -> Result<Program> {
    let folder = folder().join("rust");
    let mut build = cargo();
    build.env("PROTOC", protoc()?);
    build.args(["build", "--quiet", "--locked", "--target-dir"]);
    build.arg(&folder).arg("--manifest-path");
    run(build.arg(source("rust").join("Cargo.toml"))).context("build e2e/clients/rust")?;
    Ok(Program {
        program: folder.join("debug/clients"),
        scripts: None,
    })
}

/// `etcd3gw` and `aetcd`, in an environment of their own.
pub(crate) fn python() -> Result<Program> {
    let folder = folder().join("python");
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let program = folder.join("bin/python");
    let mut pip = Command::new(&program);
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--no-deps"]);
    pip.arg("--disable-pip-version-check").arg("-r");
    run(pip.arg(source("python").join("requirements.txt")))?;
    Ok(Program {
        program,
        scripts: Some(source("python")),
    })
}

fn protoc() -> Result<PathBuf> {
    let root = folder().join(format!("protox-{PROTOX}"));
    let path = root.join("bin/protox");
    if !path.is_file() {
        let mut install = cargo();
        install.args(["install", "protox", "--version", PROTOX, "--features=bin"]);
        install.args(["--quiet", "--locked", "--debug", "--root"]);
        run(install.arg(root)).context("install protox, to build e2e/clients/rust")?;
    }
    Ok(path)
}

/// The one that builds this test, if cargo runs it.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(name)
}

fn folder() -> PathBuf {
    tools::folder().join("clients")
}

fn run(command: &mut Command) -> Result<()> {
    let _one = BUILDING.lock().unwrap_or_else(|it| it.into_inner());
    let ended = command.output();
    let ended = ended.with_context(|| format!("start {}", command.get_program().display()))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{command:?}: {said}");
    Ok(())
}
