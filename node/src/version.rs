//! Which etcd we say we are.
//!
//! Clients decide by this number what they may ask for: the API server of Kubernetes reads `Status.version` as a semantic
//! version and turns features on by it, Patroni splits `/version` at the dots and reads integers. So it is a plain `X.Y.Z`
//! of etcd, never ours with a suffix.
//!
//! What this module does not do: agree with the other members; `replica::versions` does.

use store::Version;

/// The etcd whose wire and behaviour we promise: the newest minor, all of whose calls we serve, and of it the newest patch of
/// the day, as clients avoid older ones by number (progress requests below 3.5.13, stale reads below 3.6.9), and those
/// bugs are not ours.
pub const ETCD_VERSION: &str = "3.7.1";

/// The minor that we serve.
#[must_use]
pub fn served() -> Version {
    Version::parse(ETCD_VERSION).expect("a version of etcd's is a semantic one")
}

/// What `etcdcluster` says: the minor that every member can speak, patch 0 as etcd has it. Before the members have agreed,
/// within the first moments of a cluster, it is our own; etcd says `not_decided`, which clients cannot read.
#[must_use]
pub fn cluster_text(decided: Option<Version>) -> String {
    format!("{}.0", decided.unwrap_or_else(served))
}

/// Our own version, of the package.
pub const QUORATE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What `--version` prints: etcd's four lines, as scripts look for them.
#[must_use]
pub fn text() -> String {
    let (os, arch) = (std::env::consts::OS, go_arch(std::env::consts::ARCH));
    format!(
        "etcd Version: {ETCD_VERSION}\nGit SHA: Not provided\nGo Version: none, quorate-node {QUORATE_VERSION} is Rust\n\
         Go OS/Arch: {os}/{arch}\n"
    )
}

/// The processor under Go's name for it.
fn go_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
