//! Who votes, who learns, and what a change makes of it.
//!
//! What this module does not do: joint consensus. The type keeps its fields to itself and answers
//! questions (who takes part, what a majority is) rather than showing one list, so that a second
//! list of outgoing voters can join it.

use crate::ids::PeerId;
use crate::message::ChangeKind;
use std::collections::BTreeSet;

/// The membership at one place of the log.
///
/// - No peer is both voter and learner.
/// - A change never takes the last voter away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    voters: BTreeSet<PeerId>,
    learners: BTreeSet<PeerId>,
}

impl Configuration {
    /// A membership of these voters and learners; who is named as both votes.
    #[must_use]
    pub fn new(
        voters: impl IntoIterator<Item = PeerId>,
        learners: impl IntoIterator<Item = PeerId>,
    ) -> Self {
        let voters: BTreeSet<_> = voters.into_iter().collect();
        let learners = learners
            .into_iter()
            .filter(|peer| !voters.contains(peer))
            .collect();
        Self { voters, learners }
    }

    /// Those whose votes and acknowledgements count.
    #[must_use]
    pub const fn voters(&self) -> &BTreeSet<PeerId> {
        &self.voters
    }

    /// Those who only receive the log.
    #[must_use]
    pub const fn learners(&self) -> &BTreeSet<PeerId> {
        &self.learners
    }

    /// Everyone who receives the log.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.voters.iter().chain(&self.learners).copied()
    }

    /// Whether the peer votes.
    #[must_use]
    pub fn is_voter(&self, peer: PeerId) -> bool {
        self.voters.contains(&peer)
    }

    /// Whether the peer is a learner.
    #[must_use]
    pub fn is_learner(&self, peer: PeerId) -> bool {
        self.learners.contains(&peer)
    }

    /// Whether the peer takes part at all.
    #[must_use]
    pub fn contains(&self, peer: PeerId) -> bool {
        self.is_voter(peer) || self.is_learner(peer)
    }

    /// The membership after a change, or none if the change would leave no voter.
    #[must_use]
    pub fn after(&self, change: ChangeKind) -> Option<Self> {
        let mut next = self.clone();
        next.voters.remove(&change.peer());
        next.learners.remove(&change.peer());
        match change {
            ChangeKind::AddVoter(peer) => drop(next.voters.insert(peer)),
            ChangeKind::AddLearner(peer) => drop(next.learners.insert(peer)),
            ChangeKind::Remove(_) => {}
        }
        let orphaned = next.voters.is_empty() && !self.voters.is_empty();
        (!orphaned).then_some(next)
    }
}
