//! What a disk can be asked for, as values: what was asked can be told again, up to any place.
//!
//! What this module deliberately does not do: carry anything out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(pub(super) u64);

/// Something that changes what a disk holds or promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Names in a folder change.
    Name {
        /// The folder.
        folder: PathBuf,
        /// How.
        change: NameChange,
    },
    /// The names in a folder become durable.
    SyncFolder(PathBuf),
    /// What a file holds changes.
    Content {
        /// The file.
        file: FileId,
        /// How.
        change: Change,
    },
    /// What was written to a file becomes durable.
    Sync(FileId),
    /// What was written to a file becomes durable in part, and the rest is lost though it can still be read: a failed
    /// `fdatasync`. What is lost is drawn from the seed.
    FailSync {
        /// The file.
        file: FileId,
        /// For the draw.
        seed: u64,
    },
    /// A bit of a file at rest changes by itself.
    Flip {
        /// The file.
        file: FileId,
        /// The byte.
        offset: usize,
        /// Which bits of it.
        mask: u8,
    },
}

/// How the names in a folder change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NameChange {
    /// A name is given to something new, in the place of what had it.
    Put(String, Node),
    /// What has the first name has the second.
    Move(String, String),
    /// A name goes.
    Remove(String),
}

/// How the content of a file changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Bytes at a place.
    Bytes(usize, Arc<[u8]>),
    /// At least so long.
    Length(usize),
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A file.
    File(FileId),
    /// A folder.
    Folder,
}

impl Change {
    /// Carries it out on what a file holds.
    pub(super) fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Bytes(offset, new) => put(bytes, *offset, new),
            Self::Length(length) => grow(bytes, *length),
        }
    }
}

/// Writes at a place, with zeros up to there.
pub(super) fn put(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    grow(bytes, offset + new.len());
    bytes[offset..offset + new.len()].copy_from_slice(new);
}

fn grow(bytes: &mut Vec<u8>, length: usize) {
    if bytes.len() < length {
        bytes.resize(length, 0);
    }
}

/// The folder and the name in it, of a path below the root.
pub(super) fn split(path: &Path) -> Option<(PathBuf, String)> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    Some((path.parent()?.to_owned(), name))
}
