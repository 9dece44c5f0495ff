//! Linearizable reads without a log entry (thesis 6.4, "ReadIndex").
//!
//! The leader notes its commit when a read arrives, and answers once a quorum has answered a round
//! of heartbeats that *began after* that: then no newer leader can have committed anything before
//! the read came. Rounds are numbered, upwards and within one term; a follower's answer carries the
//! number. So a late or doubled answer to an older round proves nothing about a younger read, and
//! one round confirms every read that waited for it. No context of the caller is ever the key.
//!
//! What this module does not do: leases. A read never rests on a clock.

use crate::ids::{Index, PeerId, ReadId};
use std::collections::VecDeque;

/// A read that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// Who asked: this peer or a follower.
    pub(crate) origin: PeerId,
    /// The try.
    pub(crate) id: ReadId,
    /// The commit when it came.
    pub(crate) index: Index,
    /// The newest round that had begun when it came.
    pub(crate) began_after: u64,
}

/// The reads that wait at a leader, oldest first.
///
/// - `waiting` is ordered by `began_after`, and by `index`.
/// - `early` came before an entry of the leader's term was committed; their index is not known yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reads {
    round: u64,
    waiting: VecDeque<Waiting>,
    early: Vec<(PeerId, ReadId)>,
}

impl Reads {
    /// A read came before the leader knows what is committed.
    pub(crate) fn add_early(&mut self, origin: PeerId, id: ReadId) {
        self.early.push((origin, id));
    }

    /// A read came.
    pub(crate) fn add(&mut self, origin: PeerId, id: ReadId, index: Index) {
        self.waiting.push_back(Waiting {
            origin,
            id,
            index,
            began_after: self.round,
        });
    }

    /// The leader knows now what is committed: reads that came early begin here.
    pub(crate) fn admit_early(&mut self, index: Index) {
        for (origin, id) in std::mem::take(&mut self.early) {
            self.add(origin, id, index);
        }
    }

    /// Begins a round; its number goes out with the heartbeats.
    pub(crate) const fn begin_round(&mut self) -> u64 {
        self.round += 1;
        self.round
    }

    /// Whether reads wait for a round that has not begun, and none that has is still open for
    /// others: they would only compete.
    pub(crate) fn want_round(&self) -> bool {
        self.waiting
            .front()
            .is_some_and(|oldest| oldest.began_after == self.round)
    }

    /// Whether a read waits for confirmation.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The newest round, to tell an answer to it from nonsense.
    pub(crate) const fn round(&self) -> u64 {
        self.round
    }

    /// Takes out the next read that is confirmed, as `confirmed` says of its `began_after`.
    pub(crate) fn pop_confirmed(&mut self, confirmed: impl Fn(u64) -> bool) -> Option<Waiting> {
        if confirmed(self.waiting.front()?.began_after) {
            self.waiting.pop_front()
        } else {
            None
        }
    }

    /// The leader leads no more: who waited in vain.
    pub(crate) fn abandon(self) -> impl Iterator<Item = (PeerId, ReadId)> {
        let waiting = self.waiting.into_iter().map(|read| (read.origin, read.id));
        waiting.chain(self.early)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_an_older_round_confirms_nothing() {
        let mut reads = Reads::default();
        let old = reads.begin_round();
        reads.add(PeerId(1), ReadId(7), Index(3));
        assert!(reads.want_round());
        assert!(
            reads
                .pop_confirmed(|began_after| began_after < old)
                .is_none()
        );
        let new = reads.begin_round();
        let read = reads.pop_confirmed(|began_after| began_after < new);
        assert_eq!(read.map(|r| (r.id, r.index)), Some((ReadId(7), Index(3))));
    }

    #[test]
    fn a_read_during_a_round_waits_for_the_next() {
        let mut reads = Reads::default();
        reads.add(PeerId(1), ReadId(1), Index(3));
        let first = reads.begin_round();
        reads.add(PeerId(1), ReadId(2), Index(4));
        assert!(!reads.want_round(), "the first round is still open");
        assert!(
            reads
                .pop_confirmed(|began_after| began_after < first)
                .is_some()
        );
        assert!(
            reads
                .pop_confirmed(|began_after| began_after < first)
                .is_none()
        );
        assert!(reads.want_round());
    }

    #[test]
    fn early_reads_begin_with_the_first_commit() {
        let mut reads = Reads::default();
        reads.add_early(PeerId(2), ReadId(1));
        assert!(!reads.is_waiting());
        reads.admit_early(Index(9));
        assert_eq!(
            reads.pop_confirmed(|_| true).map(|r| r.index),
            Some(Index(9))
        );
    }

    #[test]
    fn nobody_is_forgotten_at_the_end() {
        let mut reads = Reads::default();
        reads.add(PeerId(1), ReadId(1), Index(3));
        reads.add_early(PeerId(2), ReadId(2));
        let left: Vec<_> = reads.abandon().collect();
        assert_eq!(left, [(PeerId(1), ReadId(1)), (PeerId(2), ReadId(2))]);
    }
}
