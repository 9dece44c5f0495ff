//! Leadership on its way to somebody else: because a client wants it there, or because this member is about to stop.
//!
//! A move is done when the leader that was wanted leads, a hand-over when this member leads no more; nothing is reported
//! before it is so. Either ends, done or not, within two election timeouts: the core gives a transfer up after one.
//!
//! What this module deliberately does not do: insist. After a failed move the old leader goes on leading.

use raft::{Input, PeerId};

use super::Replica;
use crate::event::Outcome;
use crate::refusal::Refusal;

/// Who waits for leadership to move.
#[derive(Debug)]
pub(super) struct Handover<W> {
    moves: Vec<Move<W>>,
}

#[derive(Debug)]
struct Move<W> {
    /// None: anybody else.
    to: Option<PeerId>,
    waiter: W,
    deadline: u64,
}

impl<W> Default for Handover<W> {
    fn default() -> Self {
        Self { moves: Vec::new() }
    }
}

impl<W> Handover<W> {
    pub(super) fn drain(&mut self) -> Vec<W> {
        self.moves.drain(..).map(|wanted| wanted.waiter).collect()
    }
}

impl<W> Replica<W> {
    pub(super) fn begin_move(&mut self, to: PeerId, waiter: W) {
        if !self.leads() {
            return self.refuse([waiter], Refusal::NotLeader);
        }
        if self
            .members()
            .find(to.0)
            .is_none_or(|member| member.is_learner)
        {
            return self.refuse([waiter], Refusal::BadTransferee);
        }
        self.begin(Some(to), waiter);
    }

    pub(super) fn begin_hand_over(&mut self, waiter: W) {
        self.begin(None, waiter);
    }

    fn begin(&mut self, to: Option<PeerId>, waiter: W) {
        let deadline = self.now + 2 * u64::from(self.settings.raft.election_ticks);
        self.handover.moves.push(Move {
            to,
            waiter,
            deadline,
        });
        self.move_leadership();
    }

    /// Answers moves that are done or late, and asks the core for the others.
    pub(super) fn move_leadership(&mut self) {
        for wanted in std::mem::take(&mut self.handover.moves) {
            if self.is_moved(wanted.to) {
                self.answers.push((wanted.waiter, Outcome::Done));
            } else if wanted.deadline <= self.now {
                self.refuse([wanted.waiter], Refusal::TimeoutLeaderTransfer);
            } else {
                self.ask_core(wanted.to);
                self.handover.moves.push(wanted);
            }
        }
    }

    /// Hands over to whoever is furthest, if this member leads and there is somebody; tried again at the next call.
    pub(super) fn let_another_lead(&mut self) {
        if self.leads() {
            self.ask_core(None);
        }
    }

    fn is_moved(&self, to: Option<PeerId>) -> bool {
        let leader = self.raft.leader();
        match to {
            Some(to) => leader == Some(to),
            None => leader != Some(self.me()) || !self.has_successor(),
        }
    }

    fn has_successor(&self) -> bool {
        self.raft
            .configuration()
            .voters()
            .iter()
            .any(|voter| *voter != self.me())
    }

    fn ask_core(&mut self, to: Option<PeerId>) {
        let status = self.raft.status();
        if !self.leads() || status.transferring_to.is_some() {
            return;
        }
        let answers = |peer: &&raft::ProgressStatus| {
            peer.recently_active && status.configuration.is_voter(peer.peer)
        };
        let best = || {
            status
                .progress
                .iter()
                .filter(answers)
                .max_by_key(|peer| peer.matched)
        };
        if let Some(to) = to.or_else(|| best().map(|peer| peer.peer)) {
            self.tell(Input::TransferLeader(to));
        }
    }
}
