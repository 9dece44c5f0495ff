//! The data directory: that it is ours, that it is ours alone, and where things lie in it.
//!
//! What this module does not do: read what lies there.

use super::error::StorageError;
use super::files::{File, Files, RealFiles};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A data directory that this process has locked. The lock goes with the value, and with the process however it ends.
#[derive(Debug)]
pub struct DataDir {
    files: Arc<dyn Files>,
    path: PathBuf,
    wal: PathBuf,
    checkpoints: PathBuf,
    is_new: bool,
    _lock: Box<dyn File>,
}

const LOCK: &str = "LOCK";
pub(super) const WAL: &str = "wal";
const CHECKPOINTS: &str = "checkpoints";

/// What a fresh volume may hold besides us: the folder that ext file systems make; the token that bootstrap keeps; and the
/// certificates of `--auto-tls`.
const TOLERATED: &[&str] = &[LOCK, WAL, CHECKPOINTS, "lost+found", "token", "fixtures"];

impl DataDir {
    /// Makes the directory if it is not there, locks it, and looks whether it is empty or ours.
    ///
    /// # Errors
    /// It cannot be made or written, another process has it, or it holds something else.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StorageError> {
        Self::open_in(Arc::new(RealFiles), path)
    }

    /// As [`DataDir::open`], in another file system than the operating system's. Everything that lies in the directory is
    /// read and written there.
    ///
    /// # Errors
    /// As [`DataDir::open`].
    pub fn open_in(files: Arc<dyn Files>, path: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let path = path.into();
        let disk = files.as_ref();
        let made = missing(disk, &path);
        create_folder(disk, &path)?;
        refuse_foreign(disk, &path)?;
        let lock = lock(disk, &path)?;
        let (wal, checkpoints) = (path.join(WAL), path.join(CHECKPOINTS));
        create_folder(disk, &wal)?;
        create_folder(disk, &checkpoints)?;
        sync_folder(disk, &path)?;
        let is_new = list(disk, &wal, ".wal")?.is_empty();
        if is_new {
            make_lasting(disk, &path, made)?;
        }
        if is_new && !list(disk, &checkpoints, ".checkpoint")?.is_empty() {
            return Err(StorageError::Gap {
                path,
                what: "it has checkpoints but no log".to_owned(),
            });
        }
        Ok(Self {
            files,
            path,
            wal,
            checkpoints,
            is_new,
            _lock: lock,
        })
    }

    /// Whether no member was founded here yet.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn files(&self) -> &dyn Files {
        self.files.as_ref()
    }

    pub(super) fn share_files(&self) -> Arc<dyn Files> {
        Arc::clone(&self.files)
    }

    pub(super) fn wal(&self) -> &Path {
        &self.wal
    }

    pub(super) fn checkpoints(&self) -> &Path {
        &self.checkpoints
    }
}

pub(super) fn create_folder(files: &dyn Files, path: &Path) -> Result<(), StorageError> {
    files
        .create_folder(path)
        .map_err(|refusal| match refusal.kind() {
            ErrorKind::AlreadyExists | ErrorKind::NotADirectory => StorageError::InTheWay {
                path: path.to_owned(),
            },
            _ => StorageError::attempt("create the directory", path)(refusal),
        })
}

/// How many folders must be made for a path to be one.
fn missing(files: &dyn Files, path: &Path) -> usize {
    let missing = |at: &&Path| !at.as_os_str().is_empty() && !files.is_folder(at);
    path.ancestors().take_while(missing).count()
}

/// Sees to it that a new directory stays, and the way to it, of which so many folders were made just now: a member whose directory
/// vanished with the power would be founded a second time.
fn make_lasting(files: &dyn Files, path: &Path, made: usize) -> Result<(), StorageError> {
    let named = path.ancestors().filter(|at| at.file_name().is_some());
    for (depth, folder) in named.enumerate() {
        let synced = sync_folder(files, above(folder));
        if depth < made {
            synced?;
        }
        // Else a process that died before it had synced it made it, perhaps. What we may not look into, it did not make.
    }
    Ok(())
}

/// The folder that a path's own name is in.
fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn refuse_foreign(files: &dyn Files, path: &Path) -> Result<(), StorageError> {
    let mut entries = names(files, path)?;
    entries.sort();
    match entries
        .into_iter()
        .find(|entry| !TOLERATED.contains(&entry.as_str()))
    {
        Some(entry) => Err(StorageError::NotOurs {
            path: path.to_owned(),
            entry,
        }),
        None => Ok(()),
    }
}

fn lock(files: &dyn Files, directory: &Path) -> Result<Box<dyn File>, StorageError> {
    let path = directory.join(LOCK);
    let locked = files
        .lock(&path)
        .map_err(StorageError::attempt("lock the file", &path))?;
    locked.ok_or_else(|| StorageError::Locked {
        path: directory.to_owned(),
    })
}

pub(super) fn names(files: &dyn Files, path: &Path) -> Result<Vec<String>, StorageError> {
    files
        .names(path)
        .map_err(StorageError::attempt("list the directory", path))
}

/// The files in a folder whose names end so, sorted by name.
pub(super) fn list(
    files: &dyn Files,
    folder: &Path,
    ending: &str,
) -> Result<Vec<PathBuf>, StorageError> {
    let mut found = names(files, folder)?;
    found.retain(|name| name.ends_with(ending));
    found.sort();
    Ok(found.into_iter().map(|name| folder.join(name)).collect())
}

/// Removes what a crash left half made.
pub(super) fn sweep(files: &dyn Files, folder: &Path) -> Result<(), StorageError> {
    for path in list(files, folder, TEMPORARY)? {
        files
            .remove(&path)
            .map_err(StorageError::attempt("remove", &path))?;
    }
    Ok(())
}

/// The ending of files that do not count yet.
pub(super) const TEMPORARY: &str = ".tmp";

/// Makes the names in a folder durable: files created, renamed or removed there.
pub(super) fn sync_folder(files: &dyn Files, folder: &Path) -> Result<(), StorageError> {
    files
        .sync_folder(folder)
        .map_err(StorageError::attempt("sync the directory", folder))
}
