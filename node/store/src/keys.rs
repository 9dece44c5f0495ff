//! The index: every key that kept history knows, with its records.
//!
//! It does not know what is compacted; readers ask for a revision within the window, which [`crate::keyspace`] checks.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::record::Record;

/// The keys a request speaks of, with etcd's rule for `range_end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyRange<'a> {
    /// No `range_end`: one key.
    One(&'a [u8]),
    /// `range_end` is `"\0"`: every key from this one on.
    From(&'a [u8]),
    /// `[start, end)`; empty if `end` does not come after `start`.
    Span(&'a [u8], &'a [u8]),
}

type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

impl<'a> KeyRange<'a> {
    pub(crate) fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        match range_end {
            [] => Self::One(key),
            [0] => Self::From(key),
            end => Self::Span(key, end),
        }
    }

    /// As a map takes them; `None` for an empty span, which a map would panic at.
    fn bounds(self) -> Option<Bounds<'a>> {
        match self {
            Self::One(key) => Some((Bound::Included(key), Bound::Included(key))),
            Self::From(key) => Some((Bound::Included(key), Bound::Unbounded)),
            Self::Span(start, end) => {
                (start < end).then_some((Bound::Included(start), Bound::Excluded(end)))
            }
        }
    }
}

/// All records of one key, oldest first; never empty.
#[derive(Clone, Debug)]
pub(crate) enum History {
    /// Most keys have one record; it needs no allocation of its own.
    One(Arc<Record>),
    /// A deque, because compactions take from the front, record by record.
    #[expect(
        clippy::box_collection,
        reason = "the map has a place for every key, and most have one record"
    )]
    Many(Box<VecDeque<Arc<Record>>>),
}

impl History {
    fn last(&self) -> Option<&Arc<Record>> {
        match self {
            Self::One(record) => Some(record),
            Self::Many(records) => records.back(),
        }
    }

    /// The newest record not after revision `main`, tombstones included.
    pub(crate) fn newest(&self, main: i64) -> Option<&Arc<Record>> {
        let last = self.last().filter(|last| last.kv.mod_revision <= main);
        last.or_else(|| match self {
            Self::One(_) => None,
            Self::Many(records) => {
                let end = records.partition_point(|record| record.kv.mod_revision <= main);
                records.get(end.checked_sub(1)?)
            }
        })
    }

    /// The key at revision `main`, if it existed then.
    pub(crate) fn at(&self, main: i64) -> Option<&Arc<Record>> {
        self.newest(main).filter(|record| !record.tombstone)
    }

    fn push(&mut self, record: Arc<Record>) {
        match self {
            Self::Many(records) => records.push_back(record),
            Self::One(first) => {
                let both = VecDeque::from([Arc::clone(first), record]);
                *self = Self::Many(Box::new(both));
            }
        }
    }

    /// Drops what is superseded up to revision `swept` into `dropped`; whether nothing is left. `swept` is not after
    /// `compacted`, the oldest readable revision.
    ///
    /// The newest record up to `swept` stays, as it is what the key was then; a tombstone stays only if it was written
    /// *at* `compacted`, because a watcher may still resume there.
    fn compact(&mut self, swept: i64, compacted: i64, dropped: &mut Vec<Arc<Record>>) -> bool {
        let ended = |record: &Record| {
            record.tombstone
                && record.kv.mod_revision <= swept
                && record.kv.mod_revision != compacted
        };
        match self {
            Self::One(record) if ended(record) => {
                dropped.push(Arc::clone(record));
                return true;
            }
            Self::One(_) => return false,
            Self::Many(records) => {
                while records
                    .get(1)
                    .is_some_and(|next| next.kv.mod_revision <= swept)
                {
                    dropped.extend(records.pop_front());
                }
                dropped.extend(records.pop_front_if(|first| ended(first)));
            }
        }
        self.settle()
    }

    /// Gives back what a long history had allocated; whether nothing is left.
    fn settle(&mut self) -> bool {
        let Self::Many(records) = self else {
            return false;
        };
        match (records.len(), records.front()) {
            (1, Some(only)) => *self = Self::One(Arc::clone(only)),
            (0, _) => return true,
            (len, _) if records.capacity() > 4 * len => records.shrink_to(2 * len),
            _ => {}
        }
        false
    }
}

/// Every key with its history, in the order of their bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    /// A key stands here once more in bytes of its own: two words of a map's place, where shared ones take four.
    histories: BTreeMap<Box<[u8]>, History>,
}

impl Keys {
    /// The keys of `range`, in order.
    pub(crate) fn range(&self, range: KeyRange<'_>) -> impl Iterator<Item = &History> {
        let bounds = range.bounds();
        bounds
            .map(|bounds| {
                self.histories
                    .range::<[u8], _>(bounds)
                    .map(|(_, history)| history)
            })
            .into_iter()
            .flatten()
    }

    pub(crate) fn find(&self, key: &[u8]) -> Option<&History> {
        self.histories.get(key)
    }

    /// Adds the newest record of a key, built from what the key was before: its last record, if there is one.
    pub(crate) fn push_with(
        &mut self,
        key: &[u8],
        build: impl FnOnce(Option<&Arc<Record>>) -> Arc<Record>,
    ) -> Arc<Record> {
        if let Some(history) = self.histories.get_mut(key) {
            let record = build(history.last());
            history.push(Arc::clone(&record));
            record
        } else {
            let record = build(None);
            self.histories
                .insert(key.into(), History::One(Arc::clone(&record)));
            record
        }
    }

    /// Drops what of `key` is superseded up to revision `swept` into `dropped`, given the oldest readable revision.
    pub(crate) fn compact(
        &mut self,
        key: &[u8],
        swept: i64,
        compacted: i64,
        dropped: &mut Vec<Arc<Record>>,
    ) {
        let Some(history) = self.histories.get_mut(key) else {
            return;
        };
        if history.compact(swept, compacted, dropped) {
            self.histories.remove(key);
        }
    }

    /// How many keys the history knows, deleted ones included.
    pub(crate) fn len(&self) -> usize {
        self.histories.len()
    }
}
