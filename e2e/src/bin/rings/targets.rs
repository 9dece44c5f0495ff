//! The test executables that cargo has built.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// One test executable.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The package it tests.
    pub(crate) package: String,
    /// The file's name in `tests/`, or the library's or binary's.
    pub(crate) name: String,
    /// From `tests/`, as opposed to unit tests within a library or binary.
    pub(crate) is_integration: bool,
    /// The package's folder: where it must run.
    pub(crate) folder: PathBuf,
    /// The file to run.
    pub(crate) executable: PathBuf,
}

/// One of cargo's messages, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<Built>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Built {
    kind: Vec<String>,
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Manifest {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

/// What `cargo build --workspace --all-targets` has built; builds what is out of date.
pub(crate) fn built() -> Result<Vec<Target>> {
    let packages = packages()?;
    let arguments = [
        "build",
        "--workspace",
        "--all-targets",
        "--message-format=json-render-diagnostics",
        "-q",
    ];
    let messages = cargo(&arguments)?;
    let mut targets = Vec::new();
    for line in messages.lines() {
        let message: Message =
            serde_json::from_str(line).with_context(|| format!("read cargo's {line}"))?;
        targets.extend(target(message, &packages));
    }
    targets.sort_by(|a, b| (&a.package, &a.name).cmp(&(&b.package, &b.name)));
    Ok(targets)
}

fn target(message: Message, packages: &[Package]) -> Option<Target> {
    if message.reason != "compiler-artifact" || !message.profile?.test {
        return None;
    }
    let manifest = message.manifest_path?;
    let built = message.target?;
    Some(Target {
        package: packages
            .iter()
            .find(|p| p.manifest_path == manifest)?
            .name
            .clone(),
        is_integration: built.kind.iter().any(|k| k == "test"),
        name: built.name,
        folder: manifest.parent()?.to_owned(),
        executable: message.executable?,
    })
}

fn packages() -> Result<Vec<Package>> {
    let text = cargo(&["metadata", "--no-deps", "--format-version=1"])?;
    let manifest: Manifest = serde_json::from_str(&text).context("read cargo's metadata")?;
    Ok(manifest.packages)
}

fn cargo(arguments: &[&str]) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let ended = Command::new(cargo)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output();
    let ended = ended.with_context(|| format!("run cargo {}", arguments.join(" ")))?;
    ensure!(
        ended.status.success(),
        "cargo {} failed",
        arguments.join(" ")
    );
    Ok(String::from_utf8(ended.stdout)?)
}
