//! The log: what is kept in memory, what of it is durable, committed and handed out.
//!
//! What this module does not do: touch a disk. It hands out what must be written and is told what
//! was.

use crate::ids::{Index, Term, Ticket};
use crate::message::{Entry, Payload, SnapshotMeta};
use std::collections::VecDeque;

/// Why entries could not be appended after another leader's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// The entry before them is missing or another: not an error, the leader goes back further.
    NotHere,
    /// They contradict a committed entry: Raft's promise is broken, here or at the sender.
    ContradictsCommitted,
}

/// The log.
///
/// - The entries follow each other without a gap, from `base + 1` on; their terms never fall.
/// - `base <= snapshot.index <= handed_out <= commit <= last`.
/// - `stable <= submitted <= last`: what is durable was submitted to the driver before.
/// - Nothing at or before `commit` is ever changed.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    base: (Index, Term),
    entries: VecDeque<Entry>,
    snapshot: SnapshotMeta,
    commit: Index,
    handed_out: Index,
    submitted: Index,
    stable: Index,
    /// What was submitted and is not known to be durable: with the ticket that will tell, and up to
    /// where the entries of then still are the log's.
    in_flight: VecDeque<(Ticket, Index)>,
}

impl Log {
    /// The log as the disk has it: all of it durable. `entries` follow the snapshot.
    pub(crate) fn recover(snapshot: SnapshotMeta, entries: Vec<Entry>, commit: Index) -> Self {
        let base = (snapshot.index, snapshot.term);
        let last = Index(base.0.0 + entries.len() as u64);
        assert!(
            snapshot.index <= commit && commit <= last,
            "the commit is in the log"
        );
        Self {
            base,
            entries: entries.into(),
            commit,
            handed_out: snapshot.index,
            snapshot,
            submitted: last,
            stable: last,
            in_flight: VecDeque::new(),
        }
    }

    /// The first entry still in memory.
    pub(crate) const fn first_index(&self) -> Index {
        self.base.0.next()
    }

    pub(crate) fn last_index(&self) -> Index {
        Index(self.base.0.0 + self.entries.len() as u64)
    }

    pub(crate) fn last_term(&self) -> Term {
        self.entries.back().map_or(self.base.1, |entry| entry.term)
    }

    /// Index and term of the end, in the order in which logs are compared.
    pub(crate) fn end(&self) -> (Term, Index) {
        (self.last_term(), self.last_index())
    }

    pub(crate) const fn commit(&self) -> Index {
        self.commit
    }

    pub(crate) const fn handed_out(&self) -> Index {
        self.handed_out
    }

    pub(crate) const fn stable(&self) -> Index {
        self.stable
    }

    pub(crate) const fn snapshot(&self) -> &SnapshotMeta {
        &self.snapshot
    }

    /// The term at a place, if the place is still, or already, in memory.
    pub(crate) fn term(&self, index: Index) -> Option<Term> {
        if index == self.base.0 {
            Some(self.base.1)
        } else {
            self.entry(index).map(|e| e.term)
        }
    }

    fn entry(&self, index: Index) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.base.0.0)?.checked_sub(1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    fn offset(&self, index: Index) -> usize {
        usize::try_from(index.0 - self.base.0.0 - 1).expect("entries in memory can be counted")
    }

    /// The entries from `from` to `to`, as many as `max_bytes` holds, but one at least.
    pub(crate) fn slice(&self, from: Index, to: Index, max_bytes: u64) -> Vec<Entry> {
        if from > to {
            return Vec::new();
        }
        let mut weight = 0;
        let range = self.offset(from)..=self.offset(to);
        let fits = |entry: &&Entry| {
            let first = weight == 0;
            weight += entry.weight();
            first || weight <= max_bytes
        };
        self.entries
            .range(range)
            .take_while(fits)
            .cloned()
            .collect()
    }

    /// The entries after `after` up to `to`, without a copy.
    pub(crate) fn between(&self, after: Index, to: Index) -> impl Iterator<Item = &Entry> {
        let end = self.offset(to.next());
        self.entries.range(self.offset(after.next()).min(end)..end)
    }

    /// Adds a leader's own entry.
    pub(crate) fn push(&mut self, term: Term, payload: Payload) -> Index {
        assert!(term >= self.last_term(), "terms never fall in the log");
        let index = self.last_index().next();
        self.entries.push_back(Entry {
            term,
            index,
            payload,
        });
        index
    }

    /// Adds what of a leader's `entries`, which follow `prev` without a gap, is missing here, and
    /// cuts off what contradicts them. Answers the first place that changed, if one did.
    pub(crate) fn append(&mut self, entries: Vec<Entry>) -> Result<Option<Index>, Misfit> {
        let known = entries
            .iter()
            .take_while(|e| self.term(e.index) == Some(e.term))
            .count();
        let Some(first) = entries.get(known).map(|entry| entry.index) else {
            return Ok(None);
        };
        if first <= self.commit {
            return Err(Misfit::ContradictsCommitted);
        }
        if first > self.last_index().next() {
            return Err(Misfit::NotHere);
        }
        self.cut_from(first);
        self.entries.extend(entries.into_iter().skip(known));
        Ok(Some(first))
    }

    fn cut_from(&mut self, index: Index) {
        assert!(index > self.commit, "a committed entry is never cut off");
        self.entries.truncate(self.offset(index));
        let left = index.previous();
        self.submitted = self.submitted.min(left);
        self.stable = self.stable.min(left);
        for (_, until) in &mut self.in_flight {
            *until = left.min(*until);
        }
    }

    /// The last place at or before `index` whose term is at most `term`, and its term: where a log
    /// that has `term` at `index` may still agree with this one. Found by halving, as terms never
    /// fall. Of places that are no more in memory nothing is known, they may all agree.
    pub(crate) fn may_agree_at(&self, index: Index, term: Term) -> (Index, Term) {
        let not_later = self.entries.partition_point(|entry| entry.term <= term) as u64;
        let at = Index(self.base.0.0 + not_later).min(index);
        (at, self.term(at).unwrap_or_default())
    }

    /// Moves the commit forward, never back.
    pub(crate) fn commit_to(&mut self, index: Index) {
        assert!(
            index <= self.last_index(),
            "only what is in the log can be committed"
        );
        self.commit = self.commit.max(index);
    }

    /// Committed entries up to `until` that were not handed out yet, as many as `max_bytes` holds,
    /// but one at least.
    pub(crate) fn hand_out(&mut self, until: Index, max_bytes: u64) -> Vec<Entry> {
        let entries = self.slice(self.handed_out.next(), until.min(self.commit), max_bytes);
        if let Some(last) = entries.last() {
            self.handed_out = last.index;
        }
        entries
    }

    /// Whether there are entries to submit.
    pub(crate) fn has_unsubmitted(&self) -> bool {
        self.submitted < self.last_index()
    }

    /// Entries to be made durable under `ticket`.
    pub(crate) fn submit(&mut self, ticket: Ticket) -> Vec<Entry> {
        let entries = self.slice(self.submitted.next(), self.last_index(), u64::MAX);
        if let Some(last) = entries.last() {
            self.submitted = last.index;
            self.in_flight.push_back((ticket, last.index));
        }
        entries
    }

    /// Everything submitted up to `ticket` is durable.
    pub(crate) fn persisted(&mut self, ticket: Ticket) {
        while let Some(&(oldest, until)) = self.in_flight.front() {
            if oldest > ticket {
                break;
            }
            self.stable = self.stable.max(until);
            self.in_flight.pop_front();
        }
    }

    /// There is a checkpoint: forgets entries up to it, but for the last `keep`, and of these all but `keep_bytes`.
    pub(crate) fn compact(&mut self, snapshot: SnapshotMeta, keep: u64, keep_bytes: u64) {
        assert!(
            snapshot.index <= self.handed_out,
            "a checkpoint holds only what was handed out"
        );
        let oldest = Index(snapshot.index.0.saturating_sub(keep)).max(self.base.0);
        let until = self.lightest(oldest, snapshot.index, keep_bytes);
        if let Some(term) = self.term(until)
            && until > self.base.0
        {
            self.entries.drain(..=self.offset(until));
            self.base = (until, term);
        }
        self.snapshot = snapshot;
    }

    /// The first place from `after` on behind which the entries up to `to` are not heavier than `max_bytes`.
    fn lightest(&self, after: Index, to: Index, max_bytes: u64) -> Index {
        let mut weight = 0;
        let mut first = to;
        while first > after
            && let Some(entry) = self.entry(first)
        {
            weight += entry.weight();
            if weight > max_bytes {
                break;
            }
            first = first.previous();
        }
        first
    }

    /// A snapshot takes the place of everything.
    pub(crate) fn restore(&mut self, snapshot: SnapshotMeta) {
        assert!(
            snapshot.index > self.commit,
            "a snapshot never takes a committed entry back"
        );
        *self = Self::recover(snapshot.clone(), Vec::new(), snapshot.index);
    }
}

#[cfg(test)]
mod tests;
