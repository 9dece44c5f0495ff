//! One write as it is kept: a key's state from one revision on, or its end.
//!
//! It is immutable and shared: the key index, the timeline, images and changes hold the same allocation.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::KeyValue;

/// When something was written: the revision of the whole command, and the position within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// The store's revision, one per writing command.
    pub main: i64,
    /// 0 for the first write of the command, then 1, 2, ...
    pub sub: i64,
}

impl Revision {
    /// The first write of revision `main`.
    pub(crate) const fn first_of(main: i64) -> Self {
        Self { main, sub: 0 }
    }
}

/// A write. Its key and value lie in allocations of their own, so that keeping them keeps no network or log buffer alive.
///
/// As a message it is what images are made of.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Record {
    /// As clients see it; a tombstone has nothing but key and `mod_revision`.
    #[prost(message, required, tag = "1")]
    pub(crate) kv: KeyValue,
    /// [`Revision::sub`]
    #[prost(int64, tag = "2")]
    pub(crate) sub: i64,
    /// The key ends here.
    #[prost(bool, tag = "3")]
    pub(crate) tombstone: bool,
}

/// What a record costs beside its key and value, on a 64-bit machine: the record itself with its counters, its places
/// in timeline and index, and the allocator's rounding. Measured, not exact; what `dbSize` reports.
const OVERHEAD_BYTES: u64 = 288;

impl Record {
    pub(crate) fn revision(&self) -> Revision {
        Revision {
            main: self.kv.mod_revision,
            sub: self.sub,
        }
    }

    /// Memory that is held for it, about.
    pub(crate) fn size_bytes(&self) -> u64 {
        OVERHEAD_BYTES + (self.kv.key.len() + self.kv.value.len()) as u64
    }
}

/// One write as a watcher is told of it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change(pub(crate) Arc<Record>);

impl Change {
    /// When it was written.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.0.revision()
    }

    /// Whether the key was deleted; it was put otherwise.
    #[must_use]
    pub fn is_delete(&self) -> bool {
        self.0.tombstone
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        &self.0.kv.key
    }

    /// The key as it is now; of a deleted one only key and `mod_revision`, the revision of the deletion.
    #[must_use]
    pub fn kv(&self) -> &KeyValue {
        &self.0.kv
    }
}
