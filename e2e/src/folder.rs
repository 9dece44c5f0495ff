//! A folder that goes when all went well, and stays with everything in it when not.
//!
//! A test that fails leaves its logs: whoever drops the folder without [`Folder::discard`] is told
//! where it lies.

use std::path::{Path, PathBuf};

/// A folder of its own under the system's temporary one.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    discarded: bool,
}

impl Folder {
    /// Makes one; `what` is part of its name.
    ///
    /// # Errors
    /// The system's, when it cannot be made.
    pub fn new(what: &str) -> std::io::Result<Self> {
        let path = tempfile::Builder::new()
            .prefix(&format!("quorate-{what}-"))
            .tempdir()?
            .keep();
        Ok(Self {
            path,
            discarded: false,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All went well: removes it with everything in it.
    pub fn discard(&mut self) {
        self.discarded = true;
        // What cannot be removed stays in the temporary folder: no reason to fail a passed test.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.discarded {
            eprintln!("logs and files are kept in {}", self.path.display());
        }
    }
}
