//! Who votes, who learns, and what a change makes of it.
//!
//! What this module does not do: count. It says who forms an electorate; [`crate::quorum`] counts.

use crate::ids::PeerId;
use crate::message::{Alteration, ChangeKind};
use std::collections::BTreeSet;

/// The membership at one place of the log.
///
/// - No peer is both voter, of either electorate, and learner.
/// - A change never takes the last voter away.
/// - `outgoing` is empty, but between the two entries of a joint change; so is `next_learners`, whose
///   peers are all in `outgoing`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    voters: BTreeSet<PeerId>,
    outgoing: BTreeSet<PeerId>,
    learners: BTreeSet<PeerId>,
    next_learners: BTreeSet<PeerId>,
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
        Self {
            voters,
            learners,
            ..Self::default()
        }
    }

    /// A membership in joint consensus: besides what [`Configuration::new`] takes, the voters that
    /// are on their way out, and who of them is to be a learner afterwards. With no outgoing voters
    /// it is the same as there.
    #[must_use]
    pub fn joint(
        voters: impl IntoIterator<Item = PeerId>,
        outgoing: impl IntoIterator<Item = PeerId>,
        learners: impl IntoIterator<Item = PeerId>,
        next_learners: impl IntoIterator<Item = PeerId>,
    ) -> Self {
        let outgoing: BTreeSet<_> = outgoing.into_iter().collect();
        let simple = Self::new(voters, learners);
        let next = next_learners.into_iter();
        Self {
            learners: &simple.learners - &outgoing,
            next_learners: next
                .filter(|peer| outgoing.contains(peer) && !simple.voters.contains(peer))
                .collect(),
            voters: simple.voters,
            outgoing,
        }
    }

    /// Those whose votes and acknowledgements count, once a joint change is through.
    #[must_use]
    pub const fn voters(&self) -> &BTreeSet<PeerId> {
        &self.voters
    }

    /// Those whose votes and acknowledgements count as well, as long as a joint change is not
    /// through; empty otherwise.
    #[must_use]
    pub const fn outgoing(&self) -> &BTreeSet<PeerId> {
        &self.outgoing
    }

    /// Those who only receive the log.
    #[must_use]
    pub const fn learners(&self) -> &BTreeSet<PeerId> {
        &self.learners
    }

    /// Outgoing voters that stay as learners.
    #[must_use]
    pub const fn next_learners(&self) -> &BTreeSet<PeerId> {
        &self.next_learners
    }

    /// Whether old and new voters decide together.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Every set of voters of which a majority is needed: one, or two in joint consensus.
    pub(crate) fn electorates(&self) -> impl Iterator<Item = &BTreeSet<PeerId>> {
        let outgoing = Some(&self.outgoing).filter(|outgoing| !outgoing.is_empty());
        std::iter::once(&self.voters).chain(outgoing)
    }

    /// Everyone who votes now, of either electorate.
    pub fn electors(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.voters.union(&self.outgoing).copied()
    }

    /// Everyone who receives the log.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.electors().chain(self.learners.iter().copied())
    }

    /// Whether the peer votes now, in either electorate.
    #[must_use]
    pub fn is_voter(&self, peer: PeerId) -> bool {
        self.voters.contains(&peer) || self.outgoing.contains(&peer)
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

    /// The membership after an entry that concerns it; none if the entry is without effect: it
    /// would leave no voter, is not for the state of joint consensus that this is in, or names a
    /// peer twice.
    #[must_use]
    pub fn after(&self, alteration: &Alteration) -> Option<Self> {
        match alteration {
            Alteration::Step(_) | Alteration::EnterJoint(_) if self.is_joint() => None,
            Alteration::Step(step) => {
                let mut next = self.clone();
                next.take(*step);
                next.keeps_a_voter_of(self)
            }
            Alteration::EnterJoint(steps) => self.entered(steps),
            Alteration::LeaveJoint => self.left(),
        }
    }

    fn entered(&self, steps: &[ChangeKind]) -> Option<Self> {
        let named: BTreeSet<PeerId> = steps.iter().map(|step| step.peer()).collect();
        if named.len() != steps.len() || steps.is_empty() || self.voters.is_empty() {
            return None;
        }
        let mut next = self.clone();
        steps.iter().for_each(|step| next.take(*step));
        next.outgoing.clone_from(&self.voters);
        next.next_learners = &next.learners & &next.outgoing;
        next.learners = &next.learners - &next.outgoing;
        next.keeps_a_voter_of(self)
    }

    fn left(&self) -> Option<Self> {
        let next = || Self::new(self.voters.clone(), &self.learners | &self.next_learners);
        self.is_joint().then(next)
    }

    fn take(&mut self, step: ChangeKind) {
        self.voters.remove(&step.peer());
        self.learners.remove(&step.peer());
        match step {
            ChangeKind::AddVoter(peer) => drop(self.voters.insert(peer)),
            ChangeKind::AddLearner(peer) => drop(self.learners.insert(peer)),
            ChangeKind::Remove(_) => {}
        }
    }

    fn keeps_a_voter_of(self, before: &Self) -> Option<Self> {
        let orphaned = self.voters.is_empty() && !before.voters.is_empty();
        (!orphaned).then_some(self)
    }
}
