//! The data directory: that it is ours, that it is ours alone, and where things lie in it.
//!
//! What this module does not do: read what lies there.

use super::error::StorageError;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A data directory that this process has locked. The lock goes with the value, and with the process however it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    wal: PathBuf,
    checkpoints: PathBuf,
    is_new: bool,
    _lock: File,
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
        let path = path.into();
        let was_there = path.is_dir();
        create_folder(&path)?;
        let parent = path.parent().filter(|parent| parent.is_dir());
        if let (false, Some(parent)) = (was_there, parent) {
            // A member whose directory vanished with the power would be founded a second time.
            sync_folder(parent)?;
        }
        refuse_foreign(&path)?;
        let lock = lock(&path)?;
        let (wal, checkpoints) = (path.join(WAL), path.join(CHECKPOINTS));
        create_folder(&wal)?;
        create_folder(&checkpoints)?;
        sync_folder(&path)?;
        let is_new = files(&wal, ".wal")?.is_empty();
        if is_new && !files(&checkpoints, ".checkpoint")?.is_empty() {
            return Err(StorageError::Gap {
                path,
                what: "it has checkpoints but no log".to_owned(),
            });
        }
        Ok(Self {
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

    pub(super) fn wal(&self) -> &Path {
        &self.wal
    }

    pub(super) fn checkpoints(&self) -> &Path {
        &self.checkpoints
    }
}

/// Only the owner may look in, as etcd has it: the store holds other people's secrets.
pub(super) fn create_folder(path: &Path) -> Result<(), StorageError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(StorageError::attempt("create the directory", path))
}

fn refuse_foreign(path: &Path) -> Result<(), StorageError> {
    let mut entries = names(path)?;
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

fn lock(directory: &Path) -> Result<File, StorageError> {
    let path = directory.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(StorageError::attempt("open the lock file", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StorageError::Locked {
            path: directory.to_owned(),
        }),
        Err(TryLockError::Error(error)) => {
            Err(StorageError::attempt("lock the file", &path)(error))
        }
    }
}

pub(super) fn names(path: &Path) -> Result<Vec<String>, StorageError> {
    let failed = || StorageError::attempt("list the directory", path);
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        found.push(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(found)
}

/// The files in a folder whose names end so, sorted by name.
pub(super) fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, StorageError> {
    let mut found = names(folder)?;
    found.retain(|name| name.ends_with(ending));
    found.sort();
    Ok(found.into_iter().map(|name| folder.join(name)).collect())
}

/// Removes what a crash left half made.
pub(super) fn sweep(folder: &Path) -> Result<(), StorageError> {
    for path in files(folder, TEMPORARY)? {
        fs::remove_file(&path).map_err(StorageError::attempt("remove", &path))?;
    }
    Ok(())
}

/// The ending of files that do not count yet.
pub(super) const TEMPORARY: &str = ".tmp";

/// Makes the names in a folder durable: files created, renamed or removed there.
pub(super) fn sync_folder(folder: &Path) -> Result<(), StorageError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(StorageError::attempt("sync the directory", folder))
}
