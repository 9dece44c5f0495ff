//! The programs of others that the lab runs: Kubernetes, etcd, kind, Helm, Prometheus.
//!
//! Each is taken from the first place that has it in a version that will do: `PATH`; the folder that `LAB_PREBUILT` names,
//! as it is or compressed by zstd (`etcd.zst`); what was built here before. [`provide`] builds what is nowhere from its Go
//! module, at a pinned version, into `target/lab/bin`.
//!
//! The Kubernetes programs can be one file, `hyperkube`, which acts as the name it is called by.
//!
//! What Debian packages and no Go module of ours builds comes from there, unpacked and not installed ([`debian()`]).
//!
//! It deliberately downloads no other binary, and trusts no version that it has not asked the program for.

mod build;
mod debian;
mod version;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

pub use build::provide;
pub use debian::debian;
pub use version::Version;

use crate::binaries::build_folder;

/// One program, and which versions of it will do.
#[derive(Debug)]
pub struct Tool {
    /// Its file name.
    pub name: &'static str,
    /// The version that is built here.
    pub pinned: Version,
    /// The oldest that will do.
    pub oldest: Version,
    /// The first that will not do any more.
    pub before: Version,
    /// How it is asked for its version.
    ask: &'static [&'static str],
    /// The folder of its Go module below `e2e/node-image/go`, and the package in it.
    module: (&'static str, &'static str),
    /// The file that holds it beside others and acts by its name.
    within: Option<&'static str>,
}

const fn v(major: u32, minor: u32, patch: u32) -> Version {
    Version {
        major,
        minor,
        patch,
    }
}

const fn kubernetes(name: &'static str, ask: &'static [&'static str]) -> Tool {
    Tool {
        name,
        pinned: v(1, 34, 4),
        // One minor version around that of the lab's cluster: the skew that Kubernetes allows.
        oldest: v(1, 33, 0),
        before: v(1, 36, 0),
        ask,
        module: ("hyperkube", "."),
        within: Some("hyperkube"),
    }
}

const fn etcd(name: &'static str, ask: &'static [&'static str], package: &'static str) -> Tool {
    Tool {
        name,
        pinned: v(3, 7, 3),
        oldest: v(3, 5, 11),
        before: v(3, 8, 0),
        ask,
        module: ("etcd", package),
        within: None,
    }
}

/// All of them.
pub const TOOLS: &[Tool] = &[
    Tool {
        name: "kind",
        pinned: v(0, 33, 0),
        oldest: v(0, 27, 0),
        before: v(1, 0, 0),
        ask: &["version"],
        module: ("kind", "sigs.k8s.io/kind"),
        within: None,
    },
    kubernetes("kubectl", &["version", "--client"]),
    kubernetes("kube-apiserver", &["--version"]),
    kubernetes("kube-controller-manager", &["--version"]),
    Tool {
        name: "helm",
        pinned: v(4, 3, 1),
        oldest: v(3, 17, 0),
        before: v(5, 0, 0),
        ask: &["version"],
        module: ("helm", "helm.sh/helm/v4/cmd/helm"),
        within: None,
    },
    etcd("etcd", &["--version"], "."),
    // Older ones, for the promises about versions.
    Tool {
        pinned: v(3, 5, 35),
        before: v(3, 6, 0),
        module: ("etcd-3.5", "."),
        ..etcd("etcd-3.5", &["--version"], ".")
    },
    Tool {
        pinned: v(3, 6, 16),
        oldest: v(3, 6, 0),
        before: v(3, 7, 0),
        module: ("etcd-3.6", "."),
        ..etcd("etcd-3.6", &["--version"], ".")
    },
    etcd("etcdctl", &["version"], "go.etcd.io/etcd/etcdctl/v3"),
    etcd("etcdutl", &["version"], "go.etcd.io/etcd/etcdutl/v3"),
    Tool {
        name: "benchmark",
        pinned: v(3, 6, 8),
        oldest: v(0, 0, 0),
        before: v(4, 0, 0),
        // It cannot say which it is.
        ask: &[],
        module: ("benchmark", "go.etcd.io/etcd/v3/tools/benchmark"),
        within: None,
    },
    // What only the node image holds.
    Tool {
        name: "hyperkube",
        ask: &[],
        within: None,
        ..kubernetes("hyperkube", &[])
    },
    Tool {
        name: "coredns",
        pinned: v(1, 12, 1),
        oldest: v(1, 12, 1),
        before: v(1, 12, 2),
        ask: &["-version"],
        module: ("coredns", "."),
        within: None,
    },
    Tool {
        name: "local-path-provisioner",
        pinned: v(0, 0, 30),
        oldest: v(0, 0, 0),
        before: v(1, 0, 0),
        // Asked for its version, it wants a cluster first.
        ask: &[],
        module: (
            "local-path-provisioner",
            "github.com/rancher/local-path-provisioner",
        ),
        within: None,
    },
];

/// A program that is needed and is not there.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// Nobody has it.
    #[error(
        "{name} {oldest} or later is neither on PATH nor in a folder named by LAB_PREBUILT{others}; \
         to build it from its Go module: make lab-tools"
    )]
    Nowhere {
        /// Which.
        name: &'static str,
        /// What would do.
        oldest: Version,
        /// What was found and would not do, as part of the sentence.
        others: String,
    },
    /// A compressed one could not be unpacked.
    #[error("unpack {} with zstd: {reason}", path.display())]
    Unpack {
        /// The compressed file.
        path: PathBuf,
        /// What stood in the way.
        reason: String,
    },
    /// It is none of [`TOOLS`].
    #[error("{0} is none of the lab's tools")]
    Unknown(String),
}

/// Where a tool is.
///
/// # Errors
/// [`Missing`], with what was found in its place and the way to it.
pub fn find(name: &str) -> Result<PathBuf, Missing> {
    find_since(name, named(name)?.oldest)
}

/// Where a tool is that is no older than this.
///
/// # Errors
/// As [`find`].
pub fn find_since(name: &str, oldest: Version) -> Result<PathBuf, Missing> {
    let tool = named(name)?;
    let mut unfit = Vec::new();
    for place in [on_path(tool), prebuilt(tool)?, built(tool)]
        .into_iter()
        .flatten()
    {
        match version::of(&place, tool.ask) {
            Ok(found) if found.is_none_or(|it| tool.takes(it) && it >= oldest) => return Ok(place),
            Ok(found) => {
                let found = found.map_or_else(String::new, |it| it.to_string());
                unfit.push(format!("{} is {found}", place.display()));
            }
            Err(reason) => unfit.push(format!("{}: {reason}", place.display())),
        }
    }
    let others = unfit.join(", ");
    Err(Missing::Nowhere {
        name: tool.name,
        oldest,
        others: if others.is_empty() {
            others
        } else {
            format!(" ({others})")
        },
    })
}

/// Where everything of the lab is kept between runs.
pub fn folder() -> PathBuf {
    build_folder().join("../lab")
}

impl Tool {
    fn takes(&self, version: Version) -> bool {
        (self.oldest..self.before).contains(&version)
    }
}

fn named(name: &str) -> Result<&'static Tool, Missing> {
    TOOLS
        .iter()
        .find(|tool| tool.name == name)
        .ok_or_else(|| Missing::Unknown(name.to_owned()))
}

fn bin() -> PathBuf {
    folder().join("bin")
}

fn on_path(tool: &Tool) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|folder| folder.join(tool.name))
        .find(|path| path.is_file())
}

/// From `LAB_PREBUILT`: by its own name, or as a link to the file that holds it.
fn prebuilt(tool: &Tool) -> Result<Option<PathBuf>, Missing> {
    let Some(folder) = std::env::var_os("LAB_PREBUILT").map(PathBuf::from) else {
        return Ok(None);
    };
    if let Some(found) = as_it_is_or_unpacked(&folder, tool.name)? {
        return Ok(Some(found));
    }
    let Some(file) = tool.within else {
        return Ok(None);
    };
    let Some(file) = as_it_is_or_unpacked(&folder, file)? else {
        return Ok(None);
    };
    linked(&file, tool.name).map(Some)
}

/// Built here before.
fn built(tool: &Tool) -> Option<PathBuf> {
    let path = bin().join("built").join(tool.name);
    path.is_file().then_some(path)
}

fn as_it_is_or_unpacked(folder: &Path, name: &str) -> Result<Option<PathBuf>, Missing> {
    let plain = folder.join(name);
    if plain.is_file() {
        return Ok(Some(plain));
    }
    let packed = folder.join(format!("{name}.zst"));
    if packed.is_file() {
        return unpacked(&packed, name).map(Some);
    }
    Ok(None)
}

/// One at a time in this process: what lies beside is named by the process alone.
static UNPACKS: Mutex<()> = Mutex::new(());

/// A program unpacked, once for each archive as it is now.
fn unpacked(packed: &Path, name: &str) -> Result<PathBuf, Missing> {
    let failed = |reason: String| Missing::Unpack {
        path: packed.to_owned(),
        reason,
    };
    let folder = bin().join(hash(&[packed.to_string_lossy().as_bytes()]));
    let path = folder.join(name);
    let _alone = UNPACKS.lock().unwrap_or_else(PoisonError::into_inner);
    if is_copy_of(packed, &path) {
        return Ok(path);
    }
    std::fs::create_dir_all(&folder).map_err(|e| failed(e.to_string()))?;
    // Unpacked beside and moved, so that of two who unpack at once neither runs half a program.
    let beside = folder.join(format!("{name}.{}", std::process::id()));
    let mut zstd = Command::new("zstd");
    zstd.args(["-q", "-d", "-f"])
        .arg(packed)
        .arg("-o")
        .arg(&beside);
    let ended = zstd.output().map_err(|e| failed(e.to_string()))?;
    if !ended.status.success() {
        return Err(failed(
            String::from_utf8_lossy(&ended.stderr).trim().to_owned(),
        ));
    }
    executable(&beside)
        .and_then(|()| std::fs::rename(&beside, &path))
        .map_err(|e| failed(e.to_string()))?;
    Ok(path)
}

/// Whether it was unpacked from this very file before: zstd gives the copy the file's time.
fn is_copy_of(packed: &Path, unpacked: &Path) -> bool {
    let time = |path: &Path| path.metadata().and_then(|it| it.modified()).ok();
    time(unpacked).is_some_and(|it| Some(it) == time(packed))
}

/// A link to the file by another name, so that it acts as that.
fn linked(file: &Path, name: &str) -> Result<PathBuf, Missing> {
    let failed = |e: std::io::Error| Missing::Unpack {
        path: file.to_owned(),
        reason: format!("link {name} to it: {e}"),
    };
    let file = file.canonicalize().map_err(failed)?;
    let folder = bin().join(hash(&[file.to_string_lossy().as_bytes()]));
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let link = folder.join(name);
    match std::os::unix::fs::symlink(&file, &link) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(failed(e)),
        _ => Ok(link),
    }
}

/// The first half of a SHA-256 over all parts and their lengths, in hexadecimal digits.
pub fn hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pinned_version_is_one_that_will_do() {
        for tool in TOOLS {
            assert!(tool.takes(tool.pinned), "{}", tool.name);
        }
    }

    #[test]
    fn an_unknown_name_is_told() {
        let error = find("no-such-tool").unwrap_err().to_string();
        assert_eq!(error, "no-such-tool is none of the lab's tools");
    }

    #[test]
    fn a_hash_depends_on_where_the_parts_end() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
    }
}
