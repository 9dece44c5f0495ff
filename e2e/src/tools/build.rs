//! Building a tool from its Go module.
//!
//! The modules stand in `e2e/node-image/go`, one folder each with its versions and their checksums. What was built from the
//! same text is not built again.
//!
//! It deliberately changes nothing in those folders: a build takes exactly the versions that stand there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Missing, Tool, bin, find, hash, named};
use crate::kind::progress::Progress;

/// What each program must be told of its own version, or kubeadm refuses it.
const KUBERNETES_VERSION_AT: [&str; 2] = [
    "k8s.io/component-base/version",
    "k8s.io/client-go/pkg/version",
];

/// Where a tool is; builds it where it is nowhere. That can take from a minute to an hour, and is told.
///
/// # Errors
/// When there is no Go, or the build fails; with the log.
pub fn provide(name: &str, progress: &Progress) -> Result<PathBuf> {
    match find(name) {
        Ok(path) => Ok(path),
        Err(Missing::Nowhere { .. }) => built(named(name)?, progress),
        Err(other) => Err(other.into()),
    }
}

fn built(tool: &Tool, progress: &Progress) -> Result<PathBuf> {
    let (folder, package) = tool.module;
    let module = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("node-image/go")
        .join(folder);
    let file = tool.within.unwrap_or(tool.name);
    let content = content(&module)?;
    let output = bin().join(format!("{folder}-{content}")).join(file);
    if !output.is_file() {
        let mut go = Command::new("go");
        go.current_dir(&module)
            .env("CGO_ENABLED", "0")
            .args(["build", "-mod=readonly", "-trimpath", "-ldflags"])
            .arg(flags(tool))
            .arg("-o")
            .arg(&output)
            .arg(package);
        let what = format!("build {file} {} from its Go module", tool.pinned);
        progress.run(&what, &mut go)?;
    }
    let links = bin().join("built");
    std::fs::create_dir_all(&links).with_context(|| format!("make {}", links.display()))?;
    let link = links.join(tool.name);
    // An older build of it may stand there.
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(output.canonicalize()?, &link)
        .with_context(|| format!("link {}", link.display()))?;
    Ok(link)
}

/// What decides what is built.
fn content(module: &Path) -> Result<String> {
    let read = |name: &str| {
        let path = module.join(name);
        std::fs::read(&path).with_context(|| format!("read {}", path.display()))
    };
    // Not every module has a program of its own.
    let main = read("main.go").unwrap_or_default();
    Ok(hash(&[&read("go.mod")?, &read("go.sum")?, &main]))
}

fn flags(tool: &Tool) -> String {
    let mut flags = String::from("-s -w");
    if tool.module.0 == "hyperkube" {
        let v = tool.pinned;
        for package in KUBERNETES_VERSION_AT {
            flags += &format!(
                " -X {package}.gitVersion=v{v} -X {package}.gitMajor={} -X {package}.gitMinor={}",
                v.major, v.minor
            );
            flags += &format!(
                " -X {package}.gitTreeState=clean -X {package}.gitCommit=unknown -X {package}.buildDate=1970-01-01T00:00:00Z"
            );
        }
    }
    flags
}
