//! Two lead, and the one that was replaced does not know it yet. Whatever it says by itself is worth nothing, so that is when to ask it:
//! a visitor writes at the new leader and asks the old one, again and again until that one knows.
//!
//! What this module deliberately does not do: make two lead, which cuts and pauses do; or judge what is said.

use rand::Rng;
use store::PutRequest;

use super::checker::Checked;
use super::{Event, World};
use crate::clients::{all_keys, key};
use crate::history::Asked;

/// How often the old leader is visited at the most, and how long after one another, in milliseconds.
const VISITS: u32 = 8;
const PAUSE_MS: u64 = 400;

impl World {
    /// Notes who leads. Whoever did before and still does, in his eyes, is to be asked.
    pub(super) fn note_office(&mut self, id: u64) {
        let Some(alive) = self.alive(id) else {
            return;
        };
        let raft = alive.driver.replica().raft();
        let now = (raft.term(), id);
        if raft.role() != raft::Role::Leader || self.office >= Some(now) {
            return;
        }
        let before = self.office.replace(now);
        if let Some((_, old)) = before.filter(|(_, old)| *old != id)
            && self.leads(old)
        {
            self.summary.note("leaders in doubt");
            self.plan(1, Event::Doubt(old, VISITS));
        }
    }

    /// Visits the old leader, unless it knows, or is the new one again.
    pub(super) fn doubt(&mut self, old: u64, visits: u32) -> Checked {
        let new = self.office.map(|(_, new)| new).filter(|new| *new != old);
        let Some(new) = new.filter(|_| visits > 0 && !self.is_over && self.leads(old)) else {
            return Ok(());
        };
        let visitor = self.clients.len() + 1;
        let lease = self.some_lease();
        let put = self.scribble(lease);
        self.ask_at(new, visitor, Asked::Put(put));
        let question = match lease {
            Some(id) if self.chance(0.5) => Asked::TimeToLive(id),
            Some(id) if self.chance(0.5) => Asked::Renew(id),
            _ => Asked::Range(all_keys()),
        };
        self.ask_at(old, visitor, question);
        let pause = self.rng.random_range(1..PAUSE_MS);
        self.plan(pause, Event::Doubt(old, visits - 1));
        Ok(())
    }

    fn some_lease(&mut self) -> Option<i64> {
        let leases = self.truth.living_leases();
        (!leases.is_empty()).then(|| leases[self.rng.random_range(0..leases.len())])
    }

    /// Something to write that nobody else writes.
    fn scribble(&mut self, lease: Option<i64>) -> PutRequest {
        let which = self.rng.random_range(0..self.profile.keys);
        PutRequest {
            key: key(which).into(),
            value: format!("doubt-{}", self.history.operations.len()).into(),
            lease: lease.unwrap_or_default(),
            ..PutRequest::default()
        }
    }
}
