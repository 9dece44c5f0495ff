//! Programs of Debian's packages, unpacked below `target/lab/debian` and not installed: it takes no rights, starts no service, and
//! changes nothing outside of `target/`.
//!
//! `apt-get` brings a package by the machine's own sources, and checks it as it always does. Where the machine has no list of
//! packages, or an old one, a list is fetched into a folder of its own.
//!
//! It deliberately brings no package's dependencies: what needs more than the C library is none for this.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::folder;

/// The program of that name in a package; from `PATH`, if it is there.
///
/// # Errors
/// When there is no `apt-get` or it does not bring the package; with what it said.
pub fn debian(package: &str, program: &str) -> Result<PathBuf> {
    let place = folder().join("debian").join(package);
    let path = place.join("usr/bin").join(program);
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut known = std::env::split_paths(&on_path).map(|folder| folder.join(program));
    if let Some(found) = known.find(|it| it.is_file()) {
        return Ok(found);
    }
    if !path.is_file() {
        unpack(package, &place).with_context(|| format!("unpack Debian's {package}"))?;
    }
    ensure!(path.is_file(), "{package} holds no {program}");
    Ok(path)
}

fn unpack(package: &str, place: &Path) -> Result<()> {
    let parent = place.parent().context("it has a folder")?;
    std::fs::create_dir_all(parent)?;
    let work = tempfile::tempdir_in(parent)?;
    download(package, work.path())?;
    let files = std::fs::read_dir(work.path())?.flatten();
    let mut files = files.map(|it| it.path());
    let archive = files.find(|it| it.extension().is_some_and(|it| it == "deb"));
    let archive = archive.context("apt-get has brought no package")?;
    // Unpacked beside and moved, so that of two who unpack at once neither runs half a program.
    let beside = work.path().join("unpacked");
    run(Command::new("dpkg-deb").arg("-x").arg(archive).arg(&beside))?;
    match std::fs::rename(&beside, place) {
        Err(_) if place.is_dir() => Ok(()),
        other => Ok(other?),
    }
}

/// By the lists of the machine, or by new ones.
fn download(package: &str, work: &Path) -> Result<()> {
    let apt = |options: &[String], words: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.current_dir(work).arg("-qq").args(options).args(words);
        run(&mut apt)
    };
    let known = apt(&[], &["download", package]);
    if known.is_ok() {
        return known;
    }
    for folder in ["lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(work.join(folder))?;
    }
    let own = |of: &str, folder: &str| format!("-oDir::{of}={}", work.join(folder).display());
    let options = [own("State::lists", "lists"), own("Cache", "cache")];
    apt(&options, &["update"])?;
    apt(&options, &["download", package])
}

fn run(command: &mut Command) -> Result<()> {
    let ended = command.output();
    let ended = ended.with_context(|| format!("start {}", command.get_program().display()))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{command:?}: {said}");
    Ok(())
}
