//! Where the programs under test are.
//!
//! Ours lie beside the running test or tool, where `cargo build --workspace` puts them: nothing
//! here builds anything. `E2E_BINARIES` names another folder, such as that of a release build. Those of others come from `PATH`, or from a folder named by
//! `LAB_PREBUILT` that holds them as they are or compressed by zstd (`etcd.zst`).

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that is needed and is not there.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// One of ours has not been built.
    #[error("{} is not built; run: cargo build --workspace --bins", .0.display())]
    Ours(PathBuf),
    /// A foreign one is nowhere.
    #[error("{0} is neither on PATH nor in a folder named by LAB_PREBUILT")]
    Foreign(String),
    /// A compressed one could not be unpacked.
    #[error("unpack {} with zstd: {reason}", path.display())]
    Unpack {
        /// The compressed file.
        path: PathBuf,
        /// What stood in the way.
        reason: String,
    },
}

/// The binary of ours with this name.
///
/// # Errors
/// [`Missing::Ours`], with what to build.
pub fn ours(name: &str) -> Result<PathBuf, Missing> {
    let folder = std::env::var_os("E2E_BINARIES").map_or_else(build_folder, PathBuf::from);
    let path = folder.join(name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(Missing::Ours(path))
    }
}

/// The folder cargo puts binaries in: that of the running one, or for a test the one above.
pub fn build_folder() -> PathBuf {
    let running = std::env::current_exe().expect("the running program has a path");
    let folder = running.parent().expect("a program lies in a folder");
    match folder.file_name() {
        Some(name) if name == "deps" => folder.parent().unwrap_or(folder).to_owned(),
        _ => folder.to_owned(),
    }
}

/// Whether a foreign program can be had here, without unpacking anything.
#[must_use]
pub fn is_there(name: &str) -> bool {
    on_path(name).or_else(|| prebuilt(name)).is_some()
}

/// A foreign program, unpacked into `folder` if it is there only compressed.
///
/// # Errors
/// [`Missing::Foreign`] or [`Missing::Unpack`].
pub fn foreign(name: &str, folder: &Path) -> Result<PathBuf, Missing> {
    if let Some(path) = on_path(name) {
        return Ok(path);
    }
    let found = prebuilt(name).ok_or_else(|| Missing::Foreign(name.to_owned()))?;
    if found.extension().is_none_or(|e| e != "zst") {
        return Ok(found);
    }
    unpack(&found, folder.join(name))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|f| f.join(name))
        .find(|p| p.is_file())
}

fn prebuilt(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("LAB_PREBUILT")?);
    [name.to_owned(), format!("{name}.zst")]
        .into_iter()
        .map(|f| folder.join(f))
        .find(|p| p.is_file())
}

fn unpack(packed: &Path, into: PathBuf) -> Result<PathBuf, Missing> {
    if is_copy_of(packed, &into) {
        return Ok(into);
    }
    let failed = |reason: String| Missing::Unpack {
        path: packed.to_owned(),
        reason,
    };
    // Unpacked beside and moved, so that of two who unpack at once neither runs half a program.
    let beside = into.with_extension(std::process::id().to_string());
    let mut zstd = Command::new("zstd");
    let ended = zstd
        .args(["-q", "-d", "-f"])
        .arg(packed)
        .arg("-o")
        .arg(&beside)
        .output();
    let ended = ended.map_err(|e| failed(e.to_string()))?;
    if !ended.status.success() {
        return Err(failed(
            String::from_utf8_lossy(&ended.stderr).trim().to_owned(),
        ));
    }
    executable(&beside)
        .and_then(|()| std::fs::rename(&beside, &into))
        .map_err(|e| failed(e.to_string()))?;
    Ok(into)
}

/// Whether it was unpacked from this very file before: zstd gives the copy the file's time.
fn is_copy_of(packed: &Path, unpacked: &Path) -> bool {
    let time = |path: &Path| path.metadata().and_then(|it| it.modified()).ok();
    time(unpacked).is_some_and(|it| Some(it) == time(packed))
}

fn executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}
