//! Who looks at a key.
//!
//! What this module deliberately does not do: know revisions.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use super::intervals::{End, Intervals, Span};
use super::request::KeyRange;
use super::watcher::WatcherKey;

/// Watchers by the keys they look at. Those of single keys cost nothing to puts on others, those of ranges a logarithm.
#[derive(Debug, Default)]
pub(super) struct Index {
    keys: HashMap<Bytes, BTreeSet<WatcherKey>>,
    ranges: Intervals<WatcherKey>,
}

impl Index {
    pub(super) fn insert(&mut self, range: &KeyRange, watcher: WatcherKey) {
        match range {
            KeyRange::One(key) => {
                self.keys.entry(key.clone()).or_default().insert(watcher);
            }
            KeyRange::Span(start, end) => self.ranges.insert(span(start, end.as_ref()), watcher),
        }
    }

    pub(super) fn remove(&mut self, range: &KeyRange, watcher: WatcherKey) {
        match range {
            KeyRange::One(key) => {
                if let Some(watchers) = self.keys.get_mut(key) {
                    watchers.remove(&watcher);
                    if watchers.is_empty() {
                        self.keys.remove(key);
                    }
                }
            }
            KeyRange::Span(start, end) => self.ranges.remove(&span(start, end.as_ref()), watcher),
        }
    }

    /// Adds everybody who looks at `key` to `found`.
    pub(super) fn watching(&self, key: &[u8], found: &mut Vec<WatcherKey>) {
        if let Some(watchers) = self.keys.get(key) {
            found.extend(watchers.iter().copied());
        }
        self.ranges.holding(key, found);
    }
}

fn span(start: &Bytes, end: Option<&Bytes>) -> Span {
    Span {
        start: start.clone(),
        end: end.map_or(End::Never, |end| End::Before(end.clone())),
    }
}
