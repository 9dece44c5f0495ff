//! The keyspace: index and timeline together, at one newest revision, with a window of readable history.
//!
//! It does not know requests; [`crate::range`] and [`crate::txn`] speak to it in keys and revisions.

use std::sync::Arc;

use bytes::Bytes;

use crate::keys::{KeyRange, Keys};
use crate::record::{Change, Record, Revision};
use crate::timeline::Timeline;
use crate::{KeyValue, Leases, StoreError};

/// Revision of a store that was never written to, as in etcd.
pub(crate) const FIRST_REVISION: i64 = 1;
/// `compacted` of a store that was never compacted, as in etcd.
pub(crate) const NEVER_COMPACTED: i64 = -1;

/// - `keys` and `timeline` hold the same records.
/// - Records of revisions up to `compacted`, which `compacted` does not show any more, are garbage: no read reaches them, and
///   the sweep (see [`crate::compact`]) takes them out of both.
/// - Without a sweep under way there is no garbage.
/// - A key hangs on the lease that its newest record names (see [`crate::lease`]).
#[derive(Clone, Debug)]
pub(crate) struct Keyspace {
    pub(crate) keys: Keys,
    pub(crate) timeline: Timeline,
    pub(crate) leases: Leases,
    /// The newest revision.
    pub(crate) revision: i64,
    /// The oldest readable revision, once there was a compaction.
    pub(crate) compacted: i64,
    /// Where the sweep goes on; `None` when there is nothing to sweep.
    pub(crate) sweep: Option<Revision>,
    /// Memory held for records, about.
    pub(crate) size_bytes: u64,
}

impl Default for Keyspace {
    fn default() -> Self {
        Self {
            keys: Keys::default(),
            timeline: Timeline::default(),
            leases: Leases::default(),
            revision: FIRST_REVISION,
            compacted: NEVER_COMPACTED,
            sweep: None,
            size_bytes: 0,
        }
    }
}

impl Keyspace {
    /// The key at revision `main`.
    pub(crate) fn find(&self, key: &[u8], main: i64) -> Option<&Arc<Record>> {
        self.keys.find(key)?.at(main)
    }

    /// The keys of `range` at revision `main`, in order.
    pub(crate) fn range(&self, range: KeyRange<'_>, main: i64) -> impl Iterator<Item = &KeyValue> {
        self.keys
            .range(range)
            .filter_map(move |history| history.at(main))
            .map(|record| &record.kv)
    }

    /// Whether a compaction gave the record up, swept or not yet. Only asked for the compaction's own revision and later:
    /// there it is what the same command wrote over.
    pub(crate) fn is_garbage(&self, record: &Record) -> bool {
        record.kv.mod_revision <= self.compacted
            && self.keys.find(&record.kv.key).is_none_or(|history| {
                let newest = history.newest(self.compacted);
                newest.is_none_or(|newest| newest.revision() != record.revision())
            })
    }

    /// Keeps the record that is built from what the key was before; it must be newer than all others.
    fn keep(
        &mut self,
        key: &[u8],
        build: impl FnOnce(Option<&Arc<Record>>) -> Arc<Record>,
    ) -> Arc<Record> {
        let mut lease_before = 0;
        let record = self.keys.push_with(key, |last| {
            lease_before = last.map_or(0, |last| last.kv.lease);
            build(last)
        });
        let kv = &record.kv;
        self.leases.moved(&kv.key, lease_before, kv.lease);
        self.size_bytes += record.size_bytes();
        self.timeline.push(Arc::clone(&record));
        record
    }

    /// Keeps a record together with another store; it must be newer than all others.
    pub(crate) fn share(&mut self, record: &Arc<Record>) {
        self.keep(&record.kv.key, |_| Arc::clone(record));
    }

    /// Keeps a record that was written elsewhere; it must be newer than all others.
    pub(crate) fn restore(&mut self, mut record: Record) {
        let key = record.kv.key.clone();
        self.keep(&key, move |last| {
            if let Some(last) = last {
                record.kv.key = last.kv.key.clone();
            }
            Arc::new(record)
        });
    }
}

/// Where reads see the keyspace from: outside a transaction its newest revision, inside what was written so far.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) keyspace: &'a Keyspace,
    /// The newest revision that this view sees.
    pub(crate) revision: i64,
}

impl<'a> View<'a> {
    pub(crate) fn newest(keyspace: &'a Keyspace) -> Self {
        Self {
            keyspace,
            revision: keyspace.revision,
        }
    }

    /// The revision to read at for a request that says `revision`; 0 and less mean the newest.
    pub(crate) fn resolve(self, revision: i64) -> Result<i64, StoreError> {
        if revision > self.revision {
            return Err(StoreError::FutureRevision);
        }
        let main = if revision <= 0 {
            self.revision
        } else {
            revision
        };
        if main < self.keyspace.compacted {
            Err(StoreError::Compacted)
        } else {
            Ok(main)
        }
    }

    /// The key as this view sees it.
    pub(crate) fn find(self, key: &[u8]) -> Option<&'a KeyValue> {
        self.keyspace
            .find(key, self.revision)
            .map(|record| &record.kv)
    }

    /// The keys of `range` as this view sees them.
    pub(crate) fn range(self, range: KeyRange<'_>) -> impl Iterator<Item = &'a KeyValue> {
        self.keyspace.range(range, self.revision)
    }
}

/// What one command writes: everything under one revision, or nothing and no revision.
///
/// Dropping it without [`Writer::finish`] would leave records of a revision that does not exist; nothing can fail
/// between the first write and the end, so nobody does.
pub(crate) struct Writer<'a> {
    keyspace: &'a mut Keyspace,
    changes: Vec<Change>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(keyspace: &'a mut Keyspace) -> Self {
        Self {
            keyspace,
            changes: Vec::new(),
        }
    }

    /// What has been written so far can be read.
    pub(crate) fn view(&self) -> View<'_> {
        View {
            keyspace: self.keyspace,
            revision: self.revision(),
        }
    }

    /// The newest revision as this command sees it: one more, once it has written.
    pub(crate) fn revision(&self) -> i64 {
        self.keyspace.revision + i64::from(!self.changes.is_empty())
    }

    /// The leases as what was written so far leaves them.
    pub(crate) fn leases(&self) -> &Leases {
        &self.keyspace.leases
    }

    /// To end one whose keys are deleted.
    pub(crate) fn leases_mut(&mut self) -> &mut Leases {
        &mut self.keyspace.leases
    }

    /// Writes a key.
    pub(crate) fn put(&mut self, key: &[u8], value: Bytes, lease: i64) {
        let at = self.next();
        self.keep(key, |last| {
            let live = last.filter(|last| !last.tombstone).map(|last| &last.kv);
            let kv = KeyValue {
                key: last.map_or_else(|| Bytes::copy_from_slice(key), |last| last.kv.key.clone()),
                create_revision: live.map_or(at.main, |kv| kv.create_revision),
                mod_revision: at.main,
                version: live.map_or(0, |kv| kv.version).saturating_add(1),
                value,
                lease,
            };
            Arc::new(Record {
                kv,
                sub: at.sub,
                tombstone: false,
            })
        });
    }

    /// Deletes every key of `range`; answers how many.
    pub(crate) fn delete(&mut self, range: KeyRange<'_>) -> i64 {
        let keys: Vec<Bytes> = self.view().range(range).map(|kv| kv.key.clone()).collect();
        for key in &keys {
            let at = self.next();
            let kv = KeyValue {
                key: key.clone(),
                mod_revision: at.main,
                ..KeyValue::default()
            };
            let record = Arc::new(Record {
                kv,
                sub: at.sub,
                tombstone: true,
            });
            self.keep(key, |_| record);
        }
        keys.len() as i64
    }

    /// Makes what was written the newest revision, if anything was.
    pub(crate) fn finish(self) -> Vec<Change> {
        self.keyspace.revision = self.revision();
        self.changes
    }

    fn next(&self) -> Revision {
        Revision {
            main: self.keyspace.revision + 1,
            sub: self.changes.len() as i64,
        }
    }

    fn keep(&mut self, key: &[u8], build: impl FnOnce(Option<&Arc<Record>>) -> Arc<Record>) {
        let record = self.keyspace.keep(key, build);
        self.changes.push(Change(record));
    }
}
