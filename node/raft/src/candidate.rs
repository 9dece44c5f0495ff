//! The candidate: counts votes, in a trial run first if pre-votes are on.
//!
//! What this module does not do: ask for the votes or act on the outcome; [`crate::raft`] does.

use crate::core::Core;
use crate::ids::PeerId;
use crate::message::VoteKind;
use crate::quorum::Tally;
use std::collections::BTreeMap;

/// A candidate, or a pre-candidate.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// Whether this is the election or the trial.
    pub(crate) kind: VoteKind,
    votes: BTreeMap<PeerId, bool>,
    elapsed: u32,
    patience: u32,
}

impl Candidate {
    /// Stands. Its own vote counts at once in the trial, where nothing is promised; in the election
    /// only when it is durable.
    pub(crate) fn new(core: &mut Core, kind: VoteKind) -> Self {
        let votes = match kind {
            VoteKind::PreVote => BTreeMap::from([(core.id(), true)]),
            VoteKind::Vote => BTreeMap::new(),
        };
        Self {
            kind,
            votes,
            elapsed: 0,
            patience: core.draw_patience(),
        }
    }

    /// One tick. Says whether patience has ended and it is time to begin anew.
    pub(crate) const fn tick(&mut self) -> bool {
        self.elapsed += 1;
        self.elapsed >= self.patience
    }

    /// An answer came. A grant stands; a refusal may be late news of an earlier trial, before this
    /// peer borrowed what its log lacked.
    pub(crate) fn answered(&mut self, from: PeerId, granted: bool) {
        *self.votes.entry(from).or_insert(granted) |= granted;
    }

    pub(crate) fn tally(&self, core: &Core) -> Tally {
        core.tally(&self.votes)
    }
}
