//! Who watches what, how far each has come, and who is told what next.
//!
//! A watcher is a place in history and nothing else: what it has not been given is read again from the store, so that a slow
//! client costs the bytes in its outlet and no more.
//!
//! - *Synced* watchers share one place, the newest revision that was published. A put finds those it concerns by its key.
//! - The others go through history together, in a sweep like an elevator's: it starts at the oldest revision that anybody
//!   waits for, takes in on its way who waits at the revisions it passes, and ends at the newest, where all that are on it
//!   are synced. Who comes to wait behind it takes the next one, so that nobody waits for ever, and history is read once
//!   for all and not once for each.
//! - A watcher whose stream has no room is *parked* at the first revision it could not be given, and waits again once
//!   there is room. Nobody else notices.
//!
//! Invariants:
//! - A watcher is in exactly one [`Place`], and only [`Hub::shift`] moves it.
//! - No response carries a part of a revision's events for its watcher.
//! - Progress is told while nothing is pending, after everything it speaks of.
//! - One [`Hub::step`] does a bounded amount of work beyond one revision's, however many watch and however much was written.
//!
//! What this module deliberately does not do: wait, send, or keep history.

mod client;
mod figures;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use store::{Change, Store};

use super::index::Index;
use super::request::{Ask, Body, Create, NO_ID, Reason, Response, StreamId, WatchId};
use super::watcher::{Batch, Place, Watcher, WatcherKey};
use client::Stream;

pub use figures::Figures;

/// The most watchers of one stream, where no flag says another number. Clients put all of theirs on one; beyond this somebody
/// leaks.
pub const WATCHERS_MAX: usize = 100_000;
/// Deliveries of what was just written in one step, and records and deliveries of the sweep: some milliseconds each, little
/// against a heartbeat.
pub(super) const LIVE_PER_STEP: usize = 8_192;
const SWEPT_PER_STEP: usize = 4_096;
/// What may wait to be published. Beyond that all synced watchers read it from history, where it costs no memory.
pub(super) const PENDING_MAX: usize = 100_000;
const PENDING_BYTES_MAX: usize = 64 << 20;
/// A response of the sweep is closed once its events have this many bytes.
const RESPONSE_BYTES: usize = 1 << 20;

/// Where a stream's responses go.
pub trait Outlet {
    /// Whether events may be sent. If not, the stream must say [`Ask::Drained`] when they may be again.
    fn has_room(&mut self) -> bool;
    /// Takes a response. Those without events are sent whether there is room or not.
    fn send(&mut self, response: Response);
}

/// See the module.
#[derive(Debug)]
pub struct Hub<O> {
    streams: HashMap<StreamId, Stream<O>>,
    watchers: HashMap<WatcherKey, Watcher>,
    next_key: u64,
    synced: Index,
    /// What the synced were given everything of.
    published: i64,
    /// What was applied after that.
    pending: VecDeque<Change>,
    pending_bytes: usize,
    /// Who waits, by the revision it waits for.
    waiting: BTreeSet<(i64, WatcherKey)>,
    sweep: Sweep,
    /// Streams that are to be told of progress.
    asked: BTreeSet<StreamId>,
    figures: Figures,
    /// Of one stream.
    watchers_max: usize,
}

#[derive(Debug, Default)]
struct Sweep {
    /// Everything before this was given to all members.
    at: i64,
    members: BTreeSet<WatcherKey>,
    index: Index,
}

impl<O: Outlet> Hub<O> {
    /// Nobody watches a store at this revision.
    #[must_use]
    pub fn new(revision: i64) -> Self {
        Self {
            streams: HashMap::new(),
            watchers: HashMap::new(),
            next_key: 0,
            synced: Index::default(),
            published: revision,
            pending: VecDeque::new(),
            pending_bytes: 0,
            waiting: BTreeSet::new(),
            sweep: Sweep::default(),
            asked: BTreeSet::new(),
            figures: Figures::default(),
            watchers_max: WATCHERS_MAX,
        }
    }

    /// With another bound on the watchers of one stream.
    #[must_use]
    pub fn with_watchers_max(self, watchers_max: usize) -> Self {
        Self {
            watchers_max,
            ..self
        }
    }

    /// What there is.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            streams: self.streams.len() as u64,
            watchers: self.watchers.len() as u64,
            ..self.figures
        }
    }

    /// Whether another [`Hub::step`] has something to do already.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        let sweeps = !self.waiting.is_empty() || !self.sweep.members.is_empty();
        sweeps || !self.pending.is_empty()
    }

    /// Takes in what a stream asks, of a store of which everything was [published](Hub::publish).
    pub fn on(&mut self, ask: Ask<O>, store: &Store) {
        match ask {
            Ask::Open(stream, outlet) => self.open(stream, outlet),
            Ask::Create(stream, create) => self.create(stream, create, store),
            Ask::Refuse(stream, reason) => self.refuse(stream, reason, store),
            Ask::Cancel(stream, id) => self.cancel(stream, id, store),
            Ask::Progress(id) => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.wants_progress = true;
                    self.asked.insert(id);
                }
            }
            Ask::Tick(id) => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.is_ticked = true;
                    self.asked.insert(id);
                }
            }
            Ask::Drained(stream) => self.unpark(stream),
            Ask::Close(stream) => self.close(stream),
        }
    }

    /// Takes in what was applied since the last time. `is_replaced` says that the store is another one since then, from a
    /// snapshot: what lies between the two is not among the changes, so that all who are behind read it from history.
    pub fn publish(&mut self, changes: Vec<Change>, is_replaced: bool, store: &Store) {
        let size = |change: &Change| change.key().len() + change.kv().value.len();
        self.pending_bytes += changes.iter().map(size).sum::<usize>();
        self.pending.extend(changes);
        let is_much = self.pending.len() > PENDING_MAX || self.pending_bytes > PENDING_BYTES_MAX;
        if is_replaced || is_much {
            self.fall_behind(store.revision());
        }
    }

    /// Tells what there is to tell, as much of it as is good at once.
    pub fn step(&mut self, store: &Store) {
        let mut spent = 0;
        while spent < LIVE_PER_STEP && !self.pending.is_empty() {
            spent += self.publish_revision(store);
        }
        self.catch_up(store);
        if self.pending.is_empty() {
            self.pending_bytes = 0;
            self.published = store.revision();
            self.tell_progress(store.revision());
        }
    }

    fn open(&mut self, id: StreamId, outlet: O) {
        self.streams.insert(id, Stream::new(outlet));
    }

    fn close(&mut self, id: StreamId) {
        let watchers = self.streams.get_mut(&id);
        let watchers = watchers.map(|stream| std::mem::take(&mut stream.watchers));
        for watcher in watchers.into_iter().flat_map(BTreeMap::into_values) {
            self.remove(watcher);
        }
        self.streams.remove(&id);
        self.asked.remove(&id);
    }

    fn create(&mut self, stream_id: StreamId, create: Create, store: &Store) {
        let Some(stream) = self.streams.get_mut(&stream_id) else {
            return;
        };
        let id = match stream.choose(create.id, self.watchers_max) {
            Ok(id) => id,
            Err(reason) => return self.refuse(stream_id, reason, store),
        };
        let key = WatcherKey(self.next_key);
        self.next_key += 1;
        stream.watchers.insert(id, key);
        stream.tell(id, store.revision(), Body::Created);
        let watcher = Watcher::new(stream_id, id, create, store.revision());
        self.watchers.insert(key, watcher);
        self.enter(key);
    }

    fn refuse(&mut self, stream: StreamId, reason: Reason, store: &Store) {
        if matches!(reason, Reason::TooMany(_)) {
            self.figures.refused += 1;
        }
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.tell(NO_ID, store.revision(), Body::Refused(reason));
        }
    }

    /// Whoever cancels what is not there hears nothing, as in etcd.
    fn cancel(&mut self, stream: StreamId, id: WatchId, store: &Store) {
        let Some(stream) = self.streams.get_mut(&stream) else {
            return;
        };
        if let Some(watcher) = stream.watchers.remove(&id) {
            stream.tell(id, store.revision(), Body::Canceled);
            self.remove(watcher);
        }
    }

    fn remove(&mut self, key: WatcherKey) {
        self.leave(key);
        self.watchers.remove(&key);
    }

    /// Moves a watcher, which wants revision `next` next.
    fn shift(&mut self, key: WatcherKey, place: Place, next: i64) {
        self.leave(key);
        if let Some(watcher) = self.watchers.get_mut(&key) {
            (watcher.place, watcher.next) = (place, next);
        }
        self.enter(key);
    }

    fn enter(&mut self, key: WatcherKey) {
        let Some((watcher, stream)) = both(&self.watchers, &mut self.streams, key) else {
            return;
        };
        match watcher.place {
            Place::Synced => self.synced.insert(&watcher.range, key),
            Place::Waiting => drop(self.waiting.insert((watcher.next, key))),
            Place::Sweeping => self.sweep.insert(watcher, key),
            Place::Parked => drop(stream.parked.insert(key)),
            Place::Ended => {}
        }
        if watcher.place.is_slow() {
            stream.slow += 1;
            self.figures.slow += 1;
        }
    }

    fn leave(&mut self, key: WatcherKey) {
        let Some((watcher, stream)) = both(&self.watchers, &mut self.streams, key) else {
            return;
        };
        match watcher.place {
            Place::Synced => self.synced.remove(&watcher.range, key),
            Place::Waiting => drop(self.waiting.remove(&(watcher.next, key))),
            Place::Sweeping => self.sweep.remove(watcher, key),
            Place::Parked => drop(stream.parked.remove(&key)),
            Place::Ended => {}
        }
        if watcher.place.is_slow() {
            stream.slow -= 1;
            self.figures.slow -= 1;
        }
    }

    fn unpark(&mut self, stream: StreamId) {
        let parked = self.streams.get(&stream).map(|stream| &stream.parked);
        let parked: Vec<WatcherKey> = parked.into_iter().flatten().copied().collect();
        for key in parked {
            self.shift(key, Place::Waiting, self.watchers[&key].next);
        }
    }

    /// Synced watchers that are not told of everything up to `newest` read it from history.
    fn fall_behind(&mut self, newest: i64) {
        let first = self.published + 1;
        let behind = |(key, watcher): (&WatcherKey, &Watcher)| {
            let next = watcher.next.max(first);
            (watcher.place == Place::Synced && next <= newest).then_some((*key, next))
        };
        let behind: Vec<_> = self.watchers.iter().filter_map(behind).collect();
        for (key, next) in behind {
            self.shift(key, Place::Waiting, next);
        }
        self.pending.clear();
        self.pending_bytes = 0;
        self.published = newest;
    }

    /// Tells the synced of the oldest pending revision; how much that was to do.
    fn publish_revision(&mut self, store: &Store) -> usize {
        let Some(revision) = self.pending.front().map(|first| first.revision().main) else {
            return 0;
        };
        let (mut batch, mut hits, mut found) = (Batch::new(store), Vec::new(), Vec::new());
        let is_of_it = |change: &mut Change| change.revision().main == revision;
        while let Some(change) = self.pending.pop_front_if(is_of_it) {
            self.synced.watching(change.key(), &mut found);
            let place = batch.push(change);
            hits.extend(found.drain(..).map(|key| (key, place)));
        }
        self.published = revision;
        self.hand_out(&batch, &mut hits, revision);
        1 + hits.len()
    }

    /// Gives every watcher what of the batch concerns it, in whole revisions.
    fn hand_out(&mut self, batch: &Batch<'_>, hits: &mut [(WatcherKey, usize)], as_of: i64) {
        hits.sort_unstable();
        for of_one in hits.chunk_by(|(one, _), (other, _)| one == other) {
            let mut rest = of_one;
            while !rest.is_empty() {
                let (response, later) = rest.split_at(response_len(batch, rest));
                if !self.give(response, batch, as_of) {
                    break;
                }
                rest = later;
            }
        }
    }

    /// Gives one watcher these changes, unless its stream has no room: then it is parked.
    fn give(&mut self, hits: &[(WatcherKey, usize)], batch: &Batch<'_>, as_of: i64) -> bool {
        let Some(&(key, _)) = hits.first() else {
            return true;
        };
        let Some(watcher) = self.watchers.get_mut(&key) else {
            return false;
        };
        let Some(stream) = self.streams.get_mut(&watcher.stream) else {
            return false;
        };
        let wanted = |place: &usize| watcher.wants(batch.change(*place));
        let wanted: Vec<usize> = hits
            .iter()
            .map(|(_, place)| *place)
            .filter(wanted)
            .collect();
        let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else {
            return true;
        };
        if !stream.outlet.has_room() {
            let first = batch.change(*first).revision().main;
            self.shift(key, Place::Parked, first);
            return false;
        }
        watcher.next = batch.change(*last).revision().main + 1;
        watcher.is_told = true;
        let event = |place: &usize| batch.event(*place, watcher.prev_kv);
        let events: Vec<_> = wanted.iter().map(event).collect();
        self.figures.events += events.len() as u64;
        stream.tell(watcher.id, as_of, Body::Events(events, watcher.fragment));
        true
    }

    /// Goes on with the sweep through history.
    fn catch_up(&mut self, store: &Store) {
        self.end_compacted(store.compact_revision());
        if self.sweep.members.is_empty() {
            let Some(&(first, _)) = self.waiting.first() else {
                return;
            };
            self.sweep.at = first;
        }
        let Ok(changes) = store.changes_from(self.sweep.at) else {
            return;
        };
        let (mut batch, mut hits, mut found) = (Batch::new(store), Vec::new(), Vec::new());
        let (mut spent, mut last, mut goes_on) = (0, 0, None);
        for change in changes {
            let revision = change.revision().main;
            if revision > last {
                if spent >= SWEPT_PER_STEP {
                    goes_on = Some(revision);
                    break;
                }
                self.take_along(revision);
                last = revision;
            }
            self.sweep.index.watching(change.key(), &mut found);
            spent += 1 + found.len();
            if !found.is_empty() {
                let place = batch.push(change);
                hits.extend(found.drain(..).map(|key| (key, place)));
            }
        }
        if goes_on.is_none() {
            self.take_along(i64::MAX);
        }
        self.hand_out(&batch, &mut hits, store.revision());
        match goes_on {
            Some(revision) => self.sweep.at = revision,
            None => self.end_sweep(store.revision()),
        }
    }

    /// Everybody who waits at the sweep's place or after it, up to this revision, takes part from now on.
    fn take_along(&mut self, revision: i64) {
        let from = (self.sweep.at, WatcherKey(0));
        while let Some(&(next, key)) = self.waiting.range(from..).next()
            && next <= revision
        {
            self.shift(key, Place::Sweeping, next);
        }
    }

    fn end_sweep(&mut self, newest: i64) {
        while let Some(key) = self.sweep.members.first().copied() {
            let next = self.watchers[&key].next.max(newest + 1);
            self.shift(key, Place::Synced, next);
        }
    }

    /// Whoever wants what is compacted is told so, and gets no more.
    fn end_compacted(&mut self, compacted: i64) {
        while let Some(&(next, key)) = self.waiting.first()
            && next < compacted
        {
            self.end(key, compacted);
        }
        while self.sweep.at < compacted
            && let Some(key) = self.sweep.members.first().copied()
        {
            self.end(key, compacted);
        }
    }

    fn end(&mut self, key: WatcherKey, compacted: i64) {
        self.shift(key, Place::Ended, compacted);
        if let Some((watcher, stream)) = both(&self.watchers, &mut self.streams, key) {
            stream.tell(watcher.id, 0, Body::Compacted(compacted));
        }
    }

    fn tell_progress(&mut self, revision: i64) {
        let (streams, watchers) = (&mut self.streams, &mut self.watchers);
        self.asked.retain(|id| {
            let stream = streams.get_mut(id);
            stream.is_some_and(|stream| stream.tell_progress(watchers, revision))
        });
    }
}

fn both<'a, O>(
    watchers: &'a HashMap<WatcherKey, Watcher>,
    streams: &'a mut HashMap<StreamId, Stream<O>>,
    key: WatcherKey,
) -> Option<(&'a Watcher, &'a mut Stream<O>)> {
    let watcher = watchers.get(&key)?;
    Some((watcher, streams.get_mut(&watcher.stream)?))
}

/// How many of these hits go into one response: whole revisions, and no more once there are enough bytes.
fn response_len(batch: &Batch<'_>, hits: &[(WatcherKey, usize)]) -> usize {
    let (mut bytes, mut last) = (0, None);
    let fits = |(_, place): &(WatcherKey, usize)| {
        let change = batch.change(*place);
        let revision = Some(change.revision().main);
        let fits = bytes < RESPONSE_BYTES || last == revision;
        bytes += change.key().len() + change.kv().value.len();
        last = revision;
        fits
    };
    let first_of_next = hits.iter().map(fits).position(|fits| !fits);
    first_of_next.unwrap_or(hits.len())
}

impl Sweep {
    fn insert(&mut self, watcher: &Watcher, key: WatcherKey) {
        self.members.insert(key);
        self.index.insert(&watcher.range, key);
    }

    fn remove(&mut self, watcher: &Watcher, key: WatcherKey) {
        self.members.remove(&key);
        self.index.remove(&watcher.range, key);
    }
}
