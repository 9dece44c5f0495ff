//! The membership along the log: what it was at each place, what it is, and what is proposed.
//!
//! A change takes effect when it is committed, not when it is appended: a cluster of one can add a
//! second voter that does not run yet, as etcd's API wants it. What makes that safe is one rule
//! (thesis 4.1, in the form that fits): a leader appends a change only when every change before it
//! is committed. So whoever has two changes in its log knows that the first is committed, and the
//! memberships that peers act on never differ by more than one step. A joint change is two entries and
//! two such steps: every majority of old and new together shares a peer with one of the old, and with
//! one of the new.
//!
//! The price: a peer that has the change but has not heard of its commit acts on the membership
//! before. If the leader is lost for good in that moment, the others may wait for a quorum of the
//! old membership. Votes carry the voter's commit to make the moment short.
//!
//! What this module does not do: decide whether a change may be proposed. The leader does.

use crate::configuration::Configuration;
use crate::ids::Index;
use crate::message::{Alteration, Entry};
use std::collections::VecDeque;

/// The membership along the log.
///
/// - `history` is never empty, its indexes rise; its last element is in effect.
/// - `pending` are the changes after the commit, in order.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    history: VecDeque<(Index, Configuration)>,
    pending: VecDeque<(Index, Alteration)>,
}

impl Membership {
    /// The membership of a snapshot, with nothing after it.
    pub(crate) fn at_snapshot(index: Index, configuration: Configuration) -> Self {
        Self {
            history: VecDeque::from([(index, configuration)]),
            pending: VecDeque::new(),
        }
    }

    /// The membership in effect.
    pub(crate) fn current(&self) -> &Configuration {
        &self
            .history
            .back()
            .expect("there is always a membership, be it empty")
            .1
    }

    /// The membership after the entry at `index`, which is committed and not before the oldest
    /// place still known.
    pub(crate) fn at(&self, index: Index) -> Option<&Configuration> {
        let known = self.history.iter().rev().find(|(since, _)| *since <= index);
        known.map(|(_, configuration)| configuration)
    }

    /// Takes note of an entry that was appended.
    pub(crate) fn appended(&mut self, entry: &Entry) {
        if let Some(alteration) = entry.payload.alteration() {
            self.pending.push_back((entry.index, alteration));
        }
    }

    /// The log was cut off from `index` on.
    pub(crate) fn cut_from(&mut self, index: Index) {
        self.pending.retain(|(at, _)| *at < index);
    }

    /// Where the newest change stands that is appended and not committed.
    pub(crate) fn newest_pending(&self) -> Option<Index> {
        self.pending.back().map(|(index, _)| *index)
    }

    /// Where the oldest change stands that is appended and not committed.
    pub(crate) fn oldest_pending(&self) -> Option<Index> {
        self.pending.front().map(|(index, _)| *index)
    }

    /// The commit that follows from the log alone: of several changes, all but the last are
    /// committed.
    pub(crate) fn implied_commit(&self) -> Index {
        self.pending
            .iter()
            .rev()
            .nth(1)
            .map_or(Index(0), |(index, _)| *index)
    }

    /// The log is committed up to `index`: changes up to there take effect. Says whether one did.
    pub(crate) fn commit_to(&mut self, index: Index) -> bool {
        let before = self.history.len();
        while let Some((at, alteration)) = self.pending.pop_front_if(|(at, _)| *at <= index) {
            // A leader refuses a change that leaves no voter, so one in the log is without effect.
            if let Some(next) = self.current().after(&alteration) {
                self.history.push_back((at, next));
            }
        }
        self.history.len() > before
    }

    /// Forgets what was before `index`, except what was in effect there.
    pub(crate) fn forget_before(&mut self, index: Index) {
        while self
            .history
            .get(1)
            .is_some_and(|(since, _)| *since <= index)
        {
            self.history.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, ChangeKind, Payload, PeerId, Term};

    fn change(index: u64, kind: ChangeKind) -> Entry {
        let payload = Payload::Change(Change {
            kind,
            context: bytes::Bytes::new(),
        });
        Entry {
            term: Term(1),
            index: Index(index),
            payload,
        }
    }

    fn voters(ids: &[u64]) -> Configuration {
        Configuration::new(ids.iter().map(|&id| PeerId(id)), [])
    }

    #[test]
    fn a_change_takes_effect_when_committed() {
        let mut membership = Membership::at_snapshot(Index(0), voters(&[1]));
        membership.appended(&change(3, ChangeKind::AddVoter(PeerId(2))));
        assert!(!membership.commit_to(Index(2)));
        assert_eq!(membership.current(), &voters(&[1]));
        assert!(membership.commit_to(Index(3)));
        assert_eq!(membership.current(), &voters(&[1, 2]));
        assert_eq!(membership.at(Index(2)), Some(&voters(&[1])));
    }

    #[test]
    fn a_cut_takes_a_change_back() {
        let mut membership = Membership::at_snapshot(Index(0), voters(&[1]));
        membership.appended(&change(3, ChangeKind::AddVoter(PeerId(2))));
        membership.cut_from(Index(3));
        assert_eq!(membership.newest_pending(), None);
    }

    #[test]
    fn all_but_the_last_change_are_committed() {
        let mut membership = Membership::at_snapshot(Index(0), voters(&[1]));
        membership.appended(&change(3, ChangeKind::AddVoter(PeerId(2))));
        assert_eq!(membership.implied_commit(), Index(0));
        membership.appended(&change(7, ChangeKind::AddVoter(PeerId(3))));
        assert_eq!(membership.implied_commit(), Index(3));
    }

    #[test]
    fn the_last_voter_stays() {
        let mut membership = Membership::at_snapshot(Index(0), voters(&[1]));
        membership.appended(&change(3, ChangeKind::Remove(PeerId(1))));
        assert!(!membership.commit_to(Index(3)));
        assert_eq!(membership.current(), &voters(&[1]));
    }

    #[test]
    fn what_a_snapshot_covers_is_forgotten() {
        let mut membership = Membership::at_snapshot(Index(0), voters(&[1]));
        membership.appended(&change(3, ChangeKind::AddVoter(PeerId(2))));
        membership.commit_to(Index(5));
        membership.forget_before(Index(4));
        assert_eq!(membership.at(Index(2)), None);
        assert_eq!(membership.at(Index(4)), Some(&voters(&[1, 2])));
    }
}
