//! Linearizable reads: gathered, confirmed by a quorum together, served when this member has applied enough.
//!
//! 1. A read is gathered (nobody was asked for it), asked (a try is under way) or confirmed (waits for the applied index).
//! 2. Every try has an id that no try before it had; a read that is tried again is only confirmed by its newest try.
//!    etcd once reused ids and answered reads with confirmations older than the reads.
//! 3. Nobody waits longer than his deadline, in ticks of the replica's clock.
//!
//! What this module deliberately does not do: read.

use std::collections::VecDeque;

use raft::{Index, ReadId};

use crate::event::Read;

/// A read and who waits for it.
#[derive(Debug)]
pub(super) struct Pending<W> {
    pub(super) read: Read,
    pub(super) waiter: W,
    pub(super) deadline: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Reads<W> {
    next_id: u64,
    gathered: Vec<Pending<W>>,
    asked: VecDeque<Try<W>>,
    confirmed: VecDeque<(Index, Vec<Pending<W>>)>,
}

#[derive(Debug)]
struct Try<W> {
    id: ReadId,
    /// When it counts as lost.
    patience: u64,
    reads: Vec<Pending<W>>,
}

impl<W> Reads<W> {
    /// `first_id` is drawn at random at every start, so that no id comes twice in the life of a cluster.
    pub(super) fn new(first_id: u64) -> Self {
        Self {
            next_id: first_id,
            gathered: Vec::new(),
            asked: VecDeque::new(),
            confirmed: VecDeque::new(),
        }
    }

    pub(super) fn gather(&mut self, pending: Pending<W>) {
        self.gathered.push(pending);
    }

    pub(super) fn has_gathered(&self) -> bool {
        !self.gathered.is_empty()
    }

    /// An id for the next try.
    pub(super) fn draw_id(&mut self) -> ReadId {
        self.next_id = self.next_id.wrapping_add(1);
        ReadId(self.next_id)
    }

    /// The core took the try for all that was gathered; it counts as lost at tick `patience`.
    pub(super) fn mark_asked(&mut self, id: ReadId, patience: u64) {
        let reads = std::mem::take(&mut self.gathered);
        self.asked.push_back(Try {
            id,
            patience,
            reads,
        });
    }

    /// A try succeeded: its reads may be served once this index is applied.
    pub(super) fn confirm(&mut self, id: ReadId, index: Index) {
        if let Some(reads) = self.take_try(id) {
            self.confirmed.push_back((index, reads));
        }
    }

    /// A try failed: its reads are gathered again.
    pub(super) fn fail(&mut self, id: ReadId) {
        let reads = self.take_try(id).unwrap_or_default();
        self.gathered.extend(reads);
    }

    /// Nobody will answer the tries under way, or those that have used up their patience: all are gathered again.
    pub(super) fn retry(&mut self, is_lost: impl Fn(u64) -> bool) {
        for attempt in std::mem::take(&mut self.asked) {
            if is_lost(attempt.patience) {
                self.gathered.extend(attempt.reads);
            } else {
                self.asked.push_back(attempt);
            }
        }
    }

    /// Reads that this member may serve now that it has applied this index.
    pub(super) fn serve(&mut self, applied: Index) -> Vec<Pending<W>> {
        let mut ready = Vec::new();
        for (index, reads) in std::mem::take(&mut self.confirmed) {
            if index <= applied {
                ready.extend(reads);
            } else {
                self.confirmed.push_back((index, reads));
            }
        }
        ready
    }

    /// Those who have waited long enough, whatever for.
    pub(super) fn expired(&mut self, now: u64) -> Vec<W> {
        let asked = self.asked.iter_mut().map(|attempt| &mut attempt.reads);
        let confirmed = self.confirmed.iter_mut().map(|(_, reads)| reads);
        let lists = std::iter::once(&mut self.gathered)
            .chain(asked)
            .chain(confirmed);
        let late = |pending: &mut Pending<W>| pending.deadline <= now;
        lists
            .flat_map(|reads| reads.extract_if(.., late))
            .map(|pending| pending.waiter)
            .collect()
    }

    /// Everybody.
    pub(super) fn drain(&mut self) -> Vec<W> {
        self.expired(u64::MAX)
    }

    fn take_try(&mut self, id: ReadId) -> Option<Vec<Pending<W>>> {
        let place = self.asked.iter().position(|attempt| attempt.id == id)?;
        self.asked.remove(place).map(|attempt| attempt.reads)
    }
}
