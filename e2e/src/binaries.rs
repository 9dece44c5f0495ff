//! Where our own programs are; those of others are [`crate::tools`].
//!
//! They lie beside the running test or tool, where `cargo build --workspace` puts them: nothing here builds anything.
//! `E2E_BINARIES` names another folder, such as that of a release build.

use std::path::PathBuf;

/// One of ours has not been built.
#[derive(Debug, thiserror::Error)]
#[error("{} is not built; run: cargo build --workspace --bins", .0.display())]
pub struct Missing(PathBuf);

/// The binary of ours with this name.
///
/// # Errors
/// [`Missing`], with what to build.
pub fn ours(name: &str) -> Result<PathBuf, Missing> {
    let folder = std::env::var_os("E2E_BINARIES").map_or_else(build_folder, PathBuf::from);
    let path = folder.join(name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(Missing(path))
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
