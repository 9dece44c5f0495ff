//! Proposals of other members: a leader that cannot take them now, as it is handing over or has its hands full, keeps them
//! for a moment, and one that leads no more passes them on to its successor. So a hand-over costs no client an error.
//!
//! 1. A proposal goes into one log or onto one wire at most once: it is kept only while the core has refused it, and not taken in again
//!    if a wire brings it twice ([`super::received`]).
//! 2. It is never passed back to where it came from.
//! 3. What cannot be read is thrown away: once it stood in the log, no member could go on.
//!
//! What this module deliberately does not do: answer. Who proposed waits for the entry, or for his deadline.

use std::collections::VecDeque;

use raft::{Input, Payload, PeerId};
use store::Command;

use super::Replica;
use super::batch::Batch;
use super::received::Received;

/// Proposals that wait here; beyond that they vanish, as on a wire that breaks.
const KEPT_MAX: usize = 1_024;

/// One message of another member's proposals.
#[derive(Debug)]
struct Kept {
    from: PeerId,
    payloads: Vec<Payload>,
    until: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Relay {
    kept: VecDeque<Kept>,
    received: Received,
}

impl<W> Replica<W> {
    /// Takes another member's proposals in.
    pub(super) fn relay(&mut self, from: PeerId, payloads: Vec<Payload>) {
        let Some(batches) = payloads.iter().map(readable).collect::<Option<Vec<_>>>() else {
            self.unsound += 1;
            tracing::error!(from = %format!("{:x}", from.0), "a peer passed on a proposal that cannot be read");
            return;
        };
        let payloads = self.new_ones(payloads, &batches);
        if payloads.is_empty() {
            return;
        }
        let until = self.now + u64::from(self.settings.raft.election_ticks);
        let kept = Kept {
            from,
            payloads,
            until,
        };
        if let Some(kept) = self.try_relay(kept)
            && self.relay.kept.len() < KEPT_MAX
        {
            self.relay.kept.push_back(kept);
        }
    }

    /// Without those that came here before.
    fn new_ones(&mut self, payloads: Vec<Payload>, batches: &[Batch]) -> Vec<Payload> {
        let (received, takes_in) = (&mut self.relay.received, self.rules.takes_in);
        let named = payloads.into_iter().zip(batches);
        let new = named.filter(|(_, it)| takes_in(received.note(it.starter, it.first)));
        new.map(|(payload, _)| payload).collect()
    }

    /// Tries again with what is kept, in order; to be asked at every turn.
    pub(super) fn relay_kept(&mut self) {
        while let Some(kept) = self.relay.kept.pop_front() {
            if kept.until <= self.now {
                continue;
            }
            if let Some(kept) = self.try_relay(kept) {
                self.relay.kept.push_front(kept);
                return;
            }
        }
    }

    /// Gives back what must wait.
    fn try_relay(&mut self, kept: Kept) -> Option<Kept> {
        let has_way = self.raft.leader().is_some_and(|leader| leader != kept.from);
        let taken = has_way
            && self
                .raft
                .step(Input::Propose(kept.payloads.clone()))
                .is_ok();
        (!taken).then_some(kept)
    }
}

/// What members pass on: commands alone, each whole. Changes of membership come by a call of their own.
fn readable(payload: &Payload) -> Option<Batch> {
    let Payload::Command(bytes) = payload else {
        return None;
    };
    let is_whole = |command: &bytes::Bytes| Command::from_bytes(command).is_ok();
    let batch = Batch::decode(bytes.clone()).ok()?;
    batch.commands.iter().all(is_whole).then_some(batch)
}
