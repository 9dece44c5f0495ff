//! A stopped member's data directory as the source of a restore: its newest checkpoint and the whole log behind it.
//!
//! It is opened as the member itself would open it: locked, a torn tail cut, damage refused. Nothing else of it changes, so
//! that the member it was can be started from it again.
//!
//! What it does not do: read etcd's directories; of those the file `member/snap/db` is a snapshot.

use std::path::{Path, PathBuf};

use store::{DecodeError, Import, Store, Tables};

use super::import::Edit;
use crate::image;
use crate::replica::{Unreadable, apply_all};
use crate::storage::{DataDir, Identity, Options, Storage, StorageError};

/// Why a data directory cannot be restored from.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// It cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Nobody has run on it.
    #[error(
        "{0} holds no member's data: name the data directory of a stopped member, or a snapshot"
    )]
    Empty(PathBuf),
    /// The checkpoint is sound as a file, but no store.
    #[error("cannot read the checkpoint")]
    Checkpoint(#[source] DecodeError),
    /// The log holds what this program does not know.
    #[error(transparent)]
    Entry(#[from] Unreadable),
    /// The parts do not fit together.
    #[error(transparent)]
    Store(#[from] DecodeError),
}

/// What a stopped member held.
pub(super) struct Held {
    pub(super) identity: Identity,
    pub(super) store: Store,
}

/// Reads all that a member had.
pub(super) fn open(path: &Path) -> Result<Held, DataError> {
    let directory = DataDir::open(path)?;
    if directory.is_new() {
        return Err(DataError::Empty(path.to_owned()));
    }
    let (storage, recovered) = Storage::open(directory, Options::default())?;
    storage.close()?;
    let store = recovered.image.map(|bytes| image::decode(&bytes));
    let store = store.transpose().map_err(DataError::Checkpoint)?;
    let mut store = store.unwrap_or_default();
    let from = recovered.snapshot.index;
    let entries = recovered.entries.into_iter();
    apply_all(&mut store, entries.filter(|entry| entry.index > from))?;
    Ok(Held {
        identity: recovered.identity,
        store,
    })
}

/// The same data in a store of its own, edited.
pub(super) fn moved(held: &Store, edit: Box<Edit<'_>>) -> Result<Store, DataError> {
    let image = held.snapshot();
    let mut import = Import::default();
    for change in image.changes() {
        let kv = change.kv().clone();
        import.record(change.revision(), kv, change.is_delete())?;
    }
    let mut tables = Tables {
        revision: image.revision(),
        compacted: image.compact_revision(),
        alarms: held.alarms().iter().collect(),
        auth: image.auth().clone(),
        leases: image.leases().to_vec(),
        ..Tables::default()
    };
    edit(&mut tables);
    Ok(import.finish(tables)?)
}
