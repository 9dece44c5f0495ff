//! What clients ask: taken in, gathered, given to Raft together, refused, and given up when their patience ends.
//!
//! What this module deliberately does not do: answer. What was asked is answered where it is applied, read or refused.

use raft::{Input, Payload};
use store::StoreError;

use super::Replica;
use super::reads::Pending;
use crate::event::{LeaseRead, Outcome, Read, Request};
use crate::refusal::Refusal;

impl<W> Replica<W> {
    pub(super) fn ask(&mut self, request: Request, waiter: W) {
        let deadline = self.deadline();
        match request {
            // The others do not replicate to it any more: it could only let its clients wait.
            Request::Propose(_)
            | Request::Read(_)
            | Request::Reconfigure(_)
            | Request::MoveLeader(_)
                if self.is_out() =>
            {
                self.refuse([waiter], Refusal::Stopped);
            }
            Request::Propose(_) | Request::Image if self.has_diverged() => {
                self.refuse([waiter], Refusal::Store(StoreError::Corrupt));
            }
            Request::Propose(command) => {
                if let Some(waiter) = self.proposals.gather(command, Some(waiter), deadline) {
                    self.refuse([waiter], Refusal::TooManyRequests);
                }
            }
            Request::Read(Read::Lease(_)) if !self.leads() => {
                self.refuse([waiter], Refusal::NotLeader);
            }
            Request::Read(read) => {
                if let Read::Lease(LeaseRead::Renew { id }) = read {
                    self.take_checkpoint_back(id);
                }
                let pending = Pending {
                    read,
                    waiter,
                    deadline,
                };
                if (self.rules.needs_quorum)(&pending.read) {
                    self.reads.gather(pending);
                } else {
                    self.serve(pending);
                }
            }
            Request::ReadLocal(read) => {
                let outcome = self.read(read);
                self.tally.read(&outcome);
                self.answers.push((waiter, outcome));
            }
            Request::Image => {
                self.answers
                    .push((waiter, Outcome::Image(self.store.snapshot())));
            }
            Request::Sweep(records) => {
                let more = self.store.sweep(records);
                let outcome = if more {
                    Outcome::SweptInPart
                } else {
                    Outcome::Done
                };
                self.answers.push((waiter, outcome));
            }
            Request::Reconfigure(_) if !self.leads() => self.refuse([waiter], Refusal::NotLeader),
            Request::Reconfigure(command) => self.changes.gather(command, waiter, deadline),
            Request::MoveLeader(to) => self.begin_move(to, waiter),
            Request::HandOver => self.begin_hand_over(waiter),
        }
    }

    pub(super) fn refuse(&mut self, waiters: impl IntoIterator<Item = W>, refusal: Refusal) {
        let refused = waiters
            .into_iter()
            .map(|waiter| (waiter, Outcome::Refused(refusal)));
        self.answers.extend(refused);
    }

    /// Everything that clients asked since the last turn goes into the log together.
    pub(super) fn propose_gathered(&mut self) {
        while let Some((bytes, count)) = self.proposals.next_batch() {
            match self
                .raft
                .step(Input::Propose(vec![Payload::Command(bytes)]))
            {
                Ok(_) => self.proposals.mark_sent(count, self.raft.term()),
                // No leader, a hand-over or a full log: they wait for the next turn, or their deadline.
                Err(_) => return,
            }
        }
    }

    pub(super) fn ask_gathered(&mut self) {
        if !self.reads.has_gathered() {
            return;
        }
        let id = self.reads.draw_id();
        if self.raft.step(Input::Read(id)).is_ok() {
            // Long enough for a round of heartbeats, short against a client's patience; etcd waits half a second.
            let patience = self.now + u64::from(self.settings.raft.election_ticks).div_ceil(2);
            self.reads.mark_asked(id, patience);
        }
    }

    pub(super) fn expire(&mut self) {
        let now = self.now;
        // A leader was found or lost while they waited: etcd says so.
        let began = now.saturating_sub(self.settings.request_timeout_ticks);
        let timeout = if self.leader_since > began {
            Refusal::TimeoutLeaderFailed
        } else {
            Refusal::Timeout
        };
        let mut late = self.proposals.expired(now);
        late.extend(self.reads.expired(now));
        late.extend(self.renewals.expired(now));
        late.extend(self.changes.expired(now));
        self.refuse(late, timeout);
        if let Some((term, _)) = self.overtaken.take_if(|(_, at)| *at <= now) {
            let overtaken = self.proposals.overtaken(term);
            self.refuse(overtaken, Refusal::LeaderChanged);
        }
    }
}
