//! A hosts file of their own for local processes: what the kubelet mounts into every container, by a mount that only the
//! process sees.
//!
//! A program that cannot be told of another hosts file, as one written in Go, thus finds pods by their names. `unshare` of
//! util-linux makes the mount namespace, since this tree has no unsafe code; it becomes the program, so that nothing stands
//! between. Root may do so nearly everywhere, others where the kernel lets them have user namespaces.
//!
//! It deliberately leaves the resolver alone: names that are no pod's are looked up as on the machine.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Arguments of `unshare`, of which the first that works is used.
const WAYS: [&[&str]; 2] = [&["--mount"], &["--map-root-user", "--mount"]];

/// Mounts the file that is its first word, and becomes the others.
const SCRIPT: &str = r#"mount --bind "$0" /etc/hosts && exec "$@""#;

/// Why processes cannot have a hosts file of their own here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no process can have a hosts file of its own here ({0}); be root with CAP_SYS_ADMIN, or allow unprivileged user namespaces"
)]
pub struct NoOwnHosts(String);

/// Finds out, once for this process, whether local processes can have a hosts file of their own.
///
/// # Errors
/// [`NoOwnHosts`], with what `unshare` said.
pub fn own_hosts() -> Result<(), NoOwnHosts> {
    way().map(drop)
}

fn way() -> Result<&'static [&'static str], NoOwnHosts> {
    static WAY: OnceLock<Result<&'static [&'static str], NoOwnHosts>> = OnceLock::new();
    let tried = WAY.get_or_init(|| {
        let mut last = NoOwnHosts(String::new());
        for way in WAYS {
            match attempt(way) {
                Ok(()) => return Ok(way),
                Err(why) => last = NoOwnHosts(why),
            }
        }
        Err(last)
    });
    tried.clone()
}

fn attempt(way: &[&str]) -> Result<(), String> {
    let tried = Command::new("unshare")
        .args(way)
        .args(["sh", "-c", SCRIPT, "/etc/hosts", "true"])
        .stdin(Stdio::null())
        .output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("unshare: {error}")),
    }
}

/// The words that start a program with this hosts file; the program alone where that cannot be.
pub(super) fn with_hosts<'a>(hosts: &'a Path, program: &'a OsStr) -> Vec<&'a OsStr> {
    let Ok(way) = way() else {
        return vec![program];
    };
    let mut words = vec![OsStr::new("unshare")];
    words.extend(way.iter().map(OsStr::new));
    words.extend(["sh", "-c", SCRIPT].map(OsStr::new));
    words.extend([hosts.as_os_str(), program]);
    words
}
