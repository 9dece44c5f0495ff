//! When a member's disk is done with what it was given, and what becomes of a member whose disk fails.
//!
//! What this module deliberately does not do: write.

use quorate_node::storage::StorageError;
use rand::Rng;

use super::checker::Checked;
use super::member::Member;
use super::{Event, World, one};

impl World {
    pub(super) fn plan_disk(&mut self, id: u64) {
        let member = one(&mut self.members, id);
        let life = member.life;
        let Some(alive) = &mut member.alive else {
            return;
        };
        let (writes, checkpoint) = alive.bench.take_begun();
        if writes {
            let delay = self.disk_delay(id);
            self.plan(delay, Event::WritesDone(id, life));
        }
        if checkpoint {
            let delay = self.disk_delay(id) + self.disk_delay(id);
            self.plan(delay, Event::CheckpointDone(id, life));
        }
    }

    fn disk_delay(&mut self, id: u64) -> u64 {
        let is_slow = self.rng.random_bool(self.profile.slow_disk);
        let longest = self.profile.disk_ms * if is_slow { 20 } else { 1 };
        let stalled = self.members[&id].stalled_until.saturating_sub(self.now);
        stalled + self.rng.random_range(1..=longest)
    }

    /// A pass over what lies at rest.
    pub(super) fn scrub(&mut self, id: u64) -> Checked {
        let found = self.alive(id).map_or(0, |alive| alive.bench.scrub());
        self.summary.add("damage found at rest", found);
        self.go_on(id)
    }

    pub(super) fn writes_done(&mut self, id: u64, life: u64) -> Checked {
        self.disk_done(id, life, Event::WritesDone(id, life), Member::finish_writes)
    }

    pub(super) fn checkpoint_done(&mut self, id: u64, life: u64) -> Checked {
        let again = Event::CheckpointDone(id, life);
        self.summary.note("checkpoints");
        self.disk_done(id, life, again, Member::finish_checkpoint)
    }

    fn disk_done(
        &mut self,
        id: u64,
        life: u64,
        again: Event,
        finish: impl Fn(&mut Member) -> Result<(), StorageError>,
    ) -> Checked {
        let wait = self.until_awake(id);
        let member = one(&mut self.members, id);
        if member.life != life || member.alive.is_none() {
            return Ok(());
        }
        if wait > 0 {
            self.plan(wait, again);
            return Ok(());
        }
        match finish(member) {
            Ok(()) => self.go_on(id),
            Err(error) => {
                // As in production: a member that cannot write has nothing to say.
                self.note(|| format!("{id} ends: {error}"));
                self.summary.note("ends for a failed write");
                self.crash(id);
                Ok(())
            }
        }
    }
}
