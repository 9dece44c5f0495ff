//! A disk that can be made to stall: a file system of its own in a file, mounted, and frozen by the kernel.
//!
//! While it is frozen every write to it waits in the kernel, as on a device that answers no more: no error, no end, and not
//! even SIGKILL ends who waits. It takes root, loop devices and the right to mount.
//!
//! It does not lose or damage anything: what waited goes on when it is thawed.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Room for two preallocated segments of either engine's log, and for its database.
const BYTES: u64 = 512 << 20;

/// Why there can be no such disk on this machine.
#[derive(Debug, thiserror::Error)]
#[error(
    "{program} says: {said}; it takes root with CAP_SYS_ADMIN, /dev/loop-control, and the programs of e2fsprogs, mount and \
     util-linux"
)]
pub struct Impossible {
    program: &'static str,
    said: String,
}

/// A mounted file system; gone when dropped.
#[derive(Debug)]
pub struct Device {
    mounted: PathBuf,
    frozen: bool,
}

impl Device {
    /// Makes one of this name in a folder.
    ///
    /// # Errors
    /// [`Impossible`] on this machine.
    pub fn mount(folder: &Path, name: &str) -> Result<Self, Impossible> {
        let image = folder.join(format!("{name}.img"));
        let mounted = folder.join(name);
        let made = std::fs::File::create(&image).and_then(|file| file.set_len(BYTES));
        made.and_then(|()| std::fs::create_dir_all(&mounted))
            .map_err(|error| Impossible {
                program: "the file system",
                said: error.to_string(),
            })?;
        run("mkfs.ext4", &["-q", "-F"], &[&image])?;
        run("mount", &["-o", "loop"], &[&image, &mounted])?;
        Ok(Self {
            mounted,
            frozen: false,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.mounted
    }

    /// From now on every write waits.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn freeze(&mut self) -> Result<(), Impossible> {
        run("fsfreeze", &["--freeze"], &[&self.mounted])?;
        self.frozen = true;
        Ok(())
    }

    /// What waited goes on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn thaw(&mut self) -> Result<(), Impossible> {
        self.frozen = false;
        run("fsfreeze", &["--unfreeze"], &[&self.mounted])
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let thawed = if self.frozen { self.thaw() } else { Ok(()) };
        // Lazily: a process that was killed while it waited may need a moment.
        let unmounted = run("umount", &["--lazy"], &[&self.mounted]);
        if let Err(error) = thawed.and(unmounted) {
            eprintln!("{} stays mounted: {error}", self.mounted.display());
        }
    }
}

fn run(program: &'static str, flags: &[&str], paths: &[&Path]) -> Result<(), Impossible> {
    let ended = Command::new(program).args(flags).args(paths).output();
    let said = match ended {
        Ok(ended) if ended.status.success() => return Ok(()),
        Ok(ended) => String::from_utf8_lossy(&ended.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Impossible { program, said })
}
