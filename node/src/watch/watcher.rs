//! One watcher, and a revision's changes on their way to many.
//!
//! What this module deliberately does not do: decide when.

use std::cell::OnceCell;

use store::{Change, KeyValue, Store};

use super::request::{Create, Event, Filter, KeyRange, StreamId, WatchId};

/// A watcher, among all of the hub. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WatcherKey(pub(super) u64);

/// Where a watcher stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It has everything that was published, and gets what will be.
    Synced,
    /// It misses what was before, and waits for the next sweep through history.
    Waiting,
    /// It takes part in the sweep.
    Sweeping,
    /// Its stream has no room.
    Parked,
    /// It was told that its history is compacted. Its id stays taken until the client cancels it, as in etcd.
    Ended,
}

impl Place {
    pub(super) const fn is_slow(self) -> bool {
        matches!(self, Self::Waiting | Self::Sweeping | Self::Parked)
    }
}

#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) stream: StreamId,
    pub(super) id: WatchId,
    pub(super) range: KeyRange,
    /// What the client asked for; progress before it would be news of what it did not want.
    pub(super) start: i64,
    /// Every revision before this one has been delivered, or is not wanted.
    pub(super) next: i64,
    pub(super) place: Place,
    wants_puts: bool,
    wants_deletes: bool,
    pub(super) prev_kv: bool,
    pub(super) fragment: bool,
    pub(super) progress_notify: bool,
    /// An event came since the last tick, so that this one tells nothing new.
    pub(super) is_told: bool,
}

impl Watcher {
    pub(super) fn new(stream: StreamId, id: WatchId, create: Create, newest: i64) -> Self {
        let next = match create.start {
            0 => newest + 1,
            start => start,
        };
        Self {
            stream,
            id,
            range: create.range,
            start: create.start,
            next,
            place: if next > newest {
                Place::Synced
            } else {
                Place::Waiting
            },
            wants_puts: !create.filters.contains(&Filter::NoPut),
            wants_deletes: !create.filters.contains(&Filter::NoDelete),
            prev_kv: create.prev_kv,
            fragment: create.fragment,
            progress_notify: create.progress_notify,
            is_told: false,
        }
    }

    /// Whether it wants a change of its range that it does not have yet.
    pub(super) fn wants(&self, change: &Change) -> bool {
        let kind = if change.is_delete() {
            self.wants_deletes
        } else {
            self.wants_puts
        };
        kind && change.revision().main >= self.next
    }
}

/// Changes that are handed to many watchers: what was before each is looked up once, and only if somebody asks.
pub(super) struct Batch<'a> {
    store: &'a Store,
    changes: Vec<(Change, OnceCell<Option<KeyValue>>)>,
}

impl<'a> Batch<'a> {
    pub(super) const fn new(store: &'a Store) -> Self {
        Self {
            store,
            changes: Vec::new(),
        }
    }

    /// Its place, for [`Batch::event`].
    pub(super) fn push(&mut self, change: Change) -> usize {
        self.changes.push((change, OnceCell::new()));
        self.changes.len() - 1
    }

    pub(super) fn change(&self, place: usize) -> &Change {
        &self.changes[place].0
    }

    pub(super) fn event(&self, place: usize, prev_kv: bool) -> Event {
        let (change, previous) = &self.changes[place];
        let look = || self.store.previous(change).cloned();
        let previous = if prev_kv {
            previous.get_or_init(look).clone()
        } else {
            None
        };
        Event {
            change: change.clone(),
            previous,
        }
    }
}
