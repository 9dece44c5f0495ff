//! From a snapshot, or the data directory of a stopped member of ours, to the data directory of a member of a new cluster.
//!
//! - Everything is read and checked before anything is written.
//! - The data directory must not be there, or be empty; a directory of its own for the log must not be there.
//! - Ids follow from the flags and the snapshot's hash: members restored from the same file with the same flags are one
//!   cluster, and it is not the one that the snapshot is of. Restoring the same file a second time with the same flags gives
//!   the same ids again, at lower terms and revisions: give each restore a token of its own.
//!
//! - From a data directory the ids follow from the flags, the cluster it was of and how far it had come.
//!
//! What this module deliberately does not do: run a member.

use std::fs;
use std::path::{Path, PathBuf};

use raft::{Configuration, Index, PeerId, SnapshotMeta, Term};
use store::{Store, Tables};

use super::data::{self, DataError, Held};
use super::file::{self, FileError, HashCheck, Opened, hex};
use super::import::{Edit, ImportError, import};
use crate::bootstrap::{founding_identity, founding_members, token};
use crate::config::{Config, ConfigError};
use crate::storage::{DataDir, Identity, Storage, StorageError, place_log};

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The flags do not fit together.
    #[error(transparent)]
    Flags(#[from] ConfigError),
    /// There is data already.
    #[error("data-dir {path:?} not empty or could not be read")]
    DataDir {
        /// Where.
        path: PathBuf,
    },
    /// There may be a log already.
    #[error("wal-dir {path:?} exists")]
    WalDir {
        /// Where.
        path: PathBuf,
    },
    /// The file is none.
    #[error(transparent)]
    File(#[from] FileError),
    /// The data directory that it should come from is none.
    #[error("cannot restore from the data directory {path}")]
    Source {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: DataError,
    },
    /// What it holds is no store.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The disk refused; what was written so far can be removed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The token's file cannot be written.
    #[error("cannot keep the cluster's token in {path}")]
    Token {
        /// The data directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Who the member is.
    pub identity: Identity,
    /// The newest revision.
    pub revision: i64,
}

/// Where the data come from.
enum Source {
    Snapshot(Opened),
    Member(PathBuf, Box<Held>),
}

impl Source {
    fn open(path: &Path, check: HashCheck) -> Result<Self, RestoreError> {
        if !path.is_dir() {
            return Ok(Self::Snapshot(file::open(path, check)?));
        }
        let held = data::open(path).map_err(refused(path))?;
        Ok(Self::Member(path.to_owned(), Box::new(held)))
    }

    /// What nothing else that is restored has in common with it.
    fn lineage(&self, token: &str) -> String {
        match self {
            Self::Snapshot(opened) => format!("{token} restored from {}", hex(&opened.hash)),
            Self::Member(_, held) => {
                let (cluster, index) = (held.identity.cluster_id, held.store.applied_index());
                format!("{token} restored from {cluster:x} at {index}")
            }
        }
    }

    fn store(&self, edit: Box<Edit<'_>>) -> Result<Store, RestoreError> {
        match self {
            Self::Snapshot(opened) => Ok(import(opened, edit)?),
            Self::Member(path, held) => data::moved(&held.store, edit).map_err(refused(path)),
        }
    }
}

fn refused(path: &Path) -> impl FnOnce(DataError) -> RestoreError {
    let path = path.to_owned();
    |source| RestoreError::Source { path, source }
}

/// Makes the data directory that `config` names: of the member that it describes, with what the snapshot, or a stopped member's
/// data directory, holds. `bump` raises the revision by so much and calls everything before compacted, so that no client takes
/// old for new.
///
/// # Errors
/// [`RestoreError`]
pub fn restore(
    config: &Config,
    snapshot: &Path,
    check: HashCheck,
    bump: u64,
) -> Result<Restored, RestoreError> {
    config.check_founding()?;
    refuse_data(&config.data_dir)?;
    refuse_log(config.wal_dir.as_deref())?;
    let source = Source::open(snapshot, check)?;
    let lineage = source.lineage(&config.initial_cluster_token);
    let members = founding_members(&config.initial_cluster, &lineage);
    let identity = founding_identity(&members, &config.name);
    let peers = members.iter().map(|member| PeerId(member.id));
    let meta = SnapshotMeta {
        index: Index(members.len() as u64),
        term: Term(1),
        configuration: Configuration::new(peers, []),
    };
    let applied_index = meta.index.0;
    let edit = move |tables: &mut Tables| {
        tables.applied_index = applied_index;
        tables.members = members;
        raise(tables, bump);
    };
    let store = source.store(Box::new(edit))?;
    let revision = store.revision();
    write(config, identity, meta, &store)?;
    Ok(Restored { identity, revision })
}

fn raise(tables: &mut Tables, bump: u64) {
    if bump > 0 {
        let bump = i64::try_from(bump).unwrap_or(i64::MAX);
        tables.revision = tables.revision.max(1).saturating_add(bump);
        tables.compacted = tables.revision;
    }
}

fn refuse_data(path: &Path) -> Result<(), RestoreError> {
    let is_free = match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if is_free {
        return Ok(());
    }
    Err(RestoreError::DataDir {
        path: path.to_owned(),
    })
}

fn refuse_log(path: Option<&Path>) -> Result<(), RestoreError> {
    match path.filter(|path| path.exists()) {
        Some(path) => Err(RestoreError::WalDir {
            path: path.to_owned(),
        }),
        None => Ok(()),
    }
}

fn write(
    config: &Config,
    identity: Identity,
    meta: SnapshotMeta,
    store: &Store,
) -> Result<(), RestoreError> {
    if let Some(wal_dir) = &config.wal_dir {
        place_log(&config.data_dir, wal_dir)?;
    }
    let directory = DataDir::open(&config.data_dir)?;
    token::keep(directory.path(), &config.initial_cluster_token).map_err(|source| {
        RestoreError::Token {
            path: config.data_dir.clone(),
            source,
        }
    })?;
    let image = store.snapshot();
    Storage::restore(directory, identity, meta, move |out| {
        image.frames().try_for_each(|frame| out.write_all(&frame))
    })?;
    Ok(())
}
