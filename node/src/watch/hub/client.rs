//! One stream as the hub knows it: its watchers, and what it is to be told of progress.
//!
//! What this module deliberately does not do: move watchers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::request::{AUTO_ID, Body, NO_ID, Reason, Response, WatchId};
use super::super::watcher::{Place, Watcher, WatcherKey};
use super::Outlet;

/// See the module.
#[derive(Debug)]
pub(super) struct Stream<O> {
    pub(super) outlet: O,
    pub(super) watchers: BTreeMap<WatchId, WatcherKey>,
    next_id: i64,
    pub(super) parked: BTreeSet<WatcherKey>,
    /// How many of its watchers wait, are swept or parked.
    pub(super) slow: usize,
    pub(super) wants_progress: bool,
    pub(super) is_ticked: bool,
}

impl<O: Outlet> Stream<O> {
    pub(super) const fn new(outlet: O) -> Self {
        Self {
            outlet,
            watchers: BTreeMap::new(),
            next_id: 0,
            parked: BTreeSet::new(),
            slow: 0,
            wants_progress: false,
            is_ticked: false,
        }
    }

    pub(super) fn tell(&mut self, id: WatchId, revision: i64, body: Body) {
        self.outlet.send(Response { id, revision, body });
    }

    /// The id of a new watcher, one of `most`: the client's wish, or the next that is free.
    pub(super) fn choose(&mut self, wish: WatchId, most: usize) -> Result<WatchId, Reason> {
        if self.watchers.len() >= most {
            return Err(Reason::TooMany(most));
        }
        if wish != AUTO_ID {
            let is_free = !self.watchers.contains_key(&wish);
            return is_free.then_some(wish).ok_or(Reason::DuplicateId);
        }
        while self.watchers.contains_key(&WatchId(self.next_id)) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Ok(WatchId(self.next_id - 1))
    }

    /// Tells of progress where everything up to `revision` has been told; whether there is still some to be told.
    pub(super) fn tell_progress(
        &mut self,
        watchers: &mut HashMap<WatcherKey, Watcher>,
        revision: i64,
    ) -> bool {
        if std::mem::take(&mut self.is_ticked) {
            self.tell_each(watchers, revision);
        }
        if !self.wants_progress {
            return false;
        }
        if self.slow > 0 || !self.outlet.has_room() {
            return true;
        }
        self.wants_progress = false;
        let live = self.watchers.values().map(|key| &watchers[key]);
        let mut live = live.filter(|it| it.place != Place::Ended).peekable();
        // Nobody is there to be told, or somebody of the future: etcd says nothing, then or later.
        if live.peek().is_some() && live.all(|watcher| watcher.start <= revision) {
            self.tell(NO_ID, revision, Body::Progress);
        }
        false
    }

    fn tell_each(&mut self, watchers: &mut HashMap<WatcherKey, Watcher>, revision: i64) {
        for (id, key) in &self.watchers {
            let watcher = watchers.get_mut(key).filter(|it| it.progress_notify);
            let Some(watcher) = watcher else { continue };
            let is_told = std::mem::take(&mut watcher.is_told);
            let is_there = watcher.place == Place::Synced && watcher.start <= revision;
            if is_there && !is_told && self.outlet.has_room() {
                self.outlet.send(Response {
                    id: *id,
                    revision,
                    body: Body::Progress,
                });
            }
        }
    }
}
