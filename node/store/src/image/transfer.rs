//! A store on its way out into another format, and in from one.
//!
//! - What goes out is what can be read: history that a compaction gave up is left behind, swept or not.
//! - Two stores that were brought in from the same are equal, digest included.
//! - What comes in is checked: revisions ascend, and every record is one that a store could have written.
//!
//! What this module deliberately does not do: know another format.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use prost::Message;

use super::{Header, Image, empty_store};
use crate::keyspace::{FIRST_REVISION, Keyspace, NEVER_COMPACTED};
use crate::record::{Change, Record, Revision};
use crate::store::digest_record;
use crate::{Alarm, Auth, DecodeError, KeyValue, Lease, Member, Store};

impl Image {
    /// A store of everything but the keys: the tables, which are small.
    #[must_use]
    pub fn tables(&self) -> Store {
        let store = empty_store(&self.header);
        let mut store = store.expect("an image is taken of a sound store");
        store.auth = Arc::clone(&self.auth);
        store
    }

    /// The oldest readable revision; -1 before the first compaction.
    #[must_use]
    pub fn compact_revision(&self) -> i64 {
        self.header.compacted
    }

    /// Every kept write, oldest first. While a sweep is under way, this takes memory in proportion to the history up to the
    /// compaction.
    pub fn changes(&self) -> impl Iterator<Item = Change> {
        let mut garbage = self.garbage().into_iter().peekable();
        let kept = self
            .timeline
            .iter()
            .filter(move |record| garbage.next_if_eq(&record.revision()).is_none());
        kept.map(|record| Change(Arc::clone(record)))
    }

    /// What the compaction gave up and the sweep has not reached, ascending.
    fn garbage(&self) -> Vec<Revision> {
        let compacted = self.header.compacted;
        if self.header.sweep.is_none() {
            return Vec::new();
        }
        // Only asked whether it holds a key, so its order is never seen.
        let mut seen: HashSet<&[u8], BuildHasherDefault<DefaultHasher>> = HashSet::default();
        let newest_first = self.timeline.iter().rev();
        let old = newest_first.filter(|record| record.kv.mod_revision <= compacted);
        // A deletion at the compaction's own revision is kept for watchers that resume there.
        let ended = |record: &Record| record.tombstone && record.kv.mod_revision != compacted;
        let given_up = old.filter(|record| !seen.insert(&record.kv.key) || ended(record));
        let mut garbage: Vec<Revision> = given_up.map(|record| record.revision()).collect();
        garbage.reverse();
        garbage
    }
}

/// What a store holds beside its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// The entry that all of it stands for.
    pub applied_index: u64,
    /// The newest revision, if it is newer than the last record's.
    pub revision: i64,
    /// The oldest readable revision; 0 and less if there was no compaction.
    pub compacted: i64,
    /// Who belongs to the cluster.
    pub members: Vec<Member>,
    /// The alarms that are up.
    pub alarms: Vec<Alarm>,
    /// Users and roles.
    pub auth: Auth,
    /// All leases; what hangs on them is in the records.
    pub leases: Vec<Lease>,
}

/// Makes a store of what another format holds: first the records, oldest first, then everything else.
#[derive(Debug, Default)]
pub struct Import {
    keyspace: Keyspace,
    last: Revision,
}

impl Import {
    /// Takes a write. Of a deletion only the key counts.
    ///
    /// # Errors
    /// It does not come after the one before, or is no write that a store makes.
    pub fn record(
        &mut self,
        at: Revision,
        kv: KeyValue,
        is_delete: bool,
    ) -> Result<(), DecodeError> {
        let kv = if is_delete { deletion(kv, at) } else { kv };
        check(&kv, at, self.last, is_delete)?;
        self.last = at;
        self.keyspace.restore(Record {
            kv,
            sub: at.sub,
            tombstone: is_delete,
        });
        Ok(())
    }

    /// The store. What its compaction gave up is not in it any more.
    ///
    /// # Errors
    /// The tables do not fit together.
    pub fn finish(self, tables: Tables) -> Result<Store, DecodeError> {
        let compacted = tables.compacted;
        let newest = FIRST_REVISION.max(self.last.main).max(compacted);
        let header = Header {
            applied_index: tables.applied_index,
            revision: newest.max(tables.revision),
            compacted: if compacted > 0 {
                compacted
            } else {
                NEVER_COMPACTED
            },
            members: tables.members,
            alarms: tables.alarms,
            auth: tables.auth.to_image(),
            leases: tables.leases,
            ..Header::default()
        };
        let mut store = empty_store(&header)?;
        store.keyspace = Keyspace {
            revision: header.revision,
            compacted: header.compacted,
            sweep: (compacted > 0).then(Revision::default),
            ..self.keyspace
        };
        store.keyspace.leases.fill(&header.leases);
        store.keyspace.sweep_all();
        store.digest.bytes(&header.encode_to_vec());
        let records = store.keyspace.timeline.iter();
        records.for_each(|record| digest_record(&mut store.digest, record));
        Ok(store)
    }
}

fn deletion(kv: KeyValue, at: Revision) -> KeyValue {
    KeyValue {
        key: kv.key,
        mod_revision: at.main,
        ..KeyValue::default()
    }
}

fn check(kv: &KeyValue, at: Revision, last: Revision, is_delete: bool) -> Result<(), DecodeError> {
    let refuse = |rule: &str| {
        Err(DecodeError::Malformed {
            what: "the write of a revision",
            why: format!("{}.{}: {rule}", at.main, at.sub),
        })
    };
    if at <= last || at.main < 1 || at.sub < 0 {
        return refuse("it does not come after the one before");
    }
    if kv.key.is_empty() {
        return refuse("it has no key");
    }
    if kv.mod_revision != at.main {
        return refuse("it says that it was written at another");
    }
    if !is_delete && (!(1..=at.main).contains(&kv.create_revision) || kv.version < 1) {
        return refuse("it was created later, or never");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest};

    fn put(key: &'static str, value: &'static str) -> Command {
        Command::Put(PutRequest {
            key: key.into(),
            value: value.into(),
            ..PutRequest::default()
        })
    }

    fn delete(key: &'static str) -> Command {
        Command::DeleteRange(DeleteRangeRequest {
            key: key.into(),
            ..DeleteRangeRequest::default()
        })
    }

    fn compact(revision: i64) -> Command {
        Command::Compact(CompactionRequest {
            revision,
            physical: false,
        })
    }

    fn store_of(commands: &[Command]) -> Store {
        let mut store = Store::new();
        for (index, command) in (1..).zip(commands) {
            store.apply(index, command);
        }
        store
    }

    fn moved(image: &Image) -> Store {
        let mut import = Import::default();
        for change in image.changes() {
            let kv = change.kv().clone();
            let taken = import.record(change.revision(), kv, change.is_delete());
            taken.unwrap();
        }
        let tables = Tables {
            applied_index: 3,
            revision: image.revision(),
            compacted: image.compact_revision(),
            ..Tables::default()
        };
        import.finish(tables).unwrap()
    }

    #[test]
    fn a_store_that_was_moved_reads_as_before() {
        let mut commands = vec![put("a", "1"), put("b", "2"), delete("a"), put("a", "3")];
        // More history than the sweep of one compaction reaches, so that there is garbage.
        commands.extend((0..50).map(|_| put("c", "4")));
        commands.extend([delete("b"), compact(56), put("d", "5")]);
        let store = store_of(&commands);
        let image = store.snapshot();
        assert!(image.header.sweep.is_some(), "a sweep is under way");
        let moved = moved(&image);
        let all = RangeRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            ..RangeRequest::default()
        };
        assert_eq!(moved.range(&all), store.range(&all));
        for revision in [0, 56, 57] {
            assert_eq!(
                moved.hash_kv(revision),
                store.hash_kv(revision),
                "{revision}"
            );
        }
        assert_eq!(moved.compact_revision(), 56);
        assert_eq!(moved.applied_index(), 3);
        let kept: Vec<_> = image.changes().map(|it| it.revision().main).collect();
        assert_eq!(kept, [5, 55, 56, 57]);
    }

    #[test]
    fn stores_moved_from_the_same_are_the_same() {
        let image = store_of(&[put("a", "1"), put("b", "2")]).snapshot();
        assert_eq!(moved(&image).digest(), moved(&image).digest());
        let other = store_of(&[put("a", "1"), put("b", "3")]).snapshot();
        assert_ne!(moved(&image).digest(), moved(&other).digest());
    }

    #[test]
    fn what_no_store_writes_is_refused() {
        let kv = |main: i64| KeyValue {
            key: "k".into(),
            create_revision: main,
            mod_revision: main,
            version: 1,
            ..KeyValue::default()
        };
        let at = |main, sub| Revision { main, sub };
        let mut import = Import::default();
        import.record(at(2, 0), kv(2), false).unwrap();
        let bad = [
            (at(2, 0), kv(2), false),
            (at(1, 7), kv(1), false),
            (at(3, -1), kv(3), false),
            (at(3, 0), kv(2), false),
            (
                at(3, 0),
                KeyValue {
                    version: 0,
                    ..kv(3)
                },
                false,
            ),
            (
                at(3, 0),
                KeyValue {
                    create_revision: 4,
                    ..kv(3)
                },
                false,
            ),
            (
                at(3, 0),
                KeyValue {
                    key: "".into(),
                    ..kv(3)
                },
                true,
            ),
        ];
        for (at, kv, is_delete) in bad {
            assert!(import.record(at, kv, is_delete).is_err(), "{at:?}");
        }
        import
            .record(
                at(3, 0),
                KeyValue {
                    key: "k".into(),
                    ..KeyValue::default()
                },
                true,
            )
            .unwrap();
        assert!(
            import
                .finish(Tables {
                    revision: i64::MAX,
                    ..Tables::default()
                })
                .is_err()
        );
    }
}
