//! What goes wrong.
//!
//! What this module deliberately does not do: what the members could not survive. A disk loses what it promised to keep only where
//! a majority of the voters is left that has everything.

use rand::Rng;

use super::checker::Checked;
use super::member::{Alive, Fate};
use super::{Event, World, one};

/// After a change of the membership was asked for, for how long it may still come, in milliseconds.
const CHANGE_MS: u64 = 15_000;

impl World {
    pub(super) fn plan_fault(&mut self) {
        if let Some(every) = self.profile.fault_every_ms {
            let pause = self.rng.random_range(1..=2 * every);
            self.plan(pause, Event::Fault);
        }
    }

    pub(super) fn fault_comes(&mut self) -> Checked {
        if self.is_calm {
            return Ok(());
        }
        if !self.is_any_well() {
            self.plan_fault();
            return Ok(());
        }
        let victim = self.victim();
        match self.rng.random_range(0..18) {
            0..=2 if self.profile.crashes => self.crash_for_a_while(victim),
            3 if self.profile.cuts && self.chance(0.5) => self.cut_in_two(),
            3 if self.profile.cuts => self.cut_off(victim),
            4 if self.profile.cuts => self.cut_one_way(victim),
            5 if self.profile.cuts => self.cut_some_pairs(),
            6 | 7 => self.blocks.clear(),
            8 | 9 if self.profile.pauses => self.pause(victim),
            10 if self.profile.clocks => self.jump(victim),
            11 if self.profile.disks => self.stall(victim),
            12 if self.profile.disks => self.fail_disk(victim),
            13 if self.profile.disks => self.fill_disk(victim),
            14..=17 if self.profile.flips => self.flip(victim),
            _ => {}
        }
        self.plan_fault();
        Ok(())
    }

    /// The leader as often as not: losing it is what changes most.
    fn victim(&mut self) -> u64 {
        let leader = self.leader().filter(|_| self.rng.random_bool(0.5));
        leader.unwrap_or_else(|| self.some_member())
    }

    /// The process ends, and is started again after a while.
    pub(super) fn crash(&mut self, id: u64) {
        one(&mut self.members, id).crash(&mut self.rng);
        self.break_calls(id);
        // What failed before the faults stopped can be told after it.
        let is_short = self.is_calm || self.chance(0.5);
        let longest = if is_short { 500 } else { 8_000 };
        let down = self.rng.random_range(1..longest);
        self.plan(down, Event::Start(id));
    }

    fn crash_for_a_while(&mut self, id: u64) {
        if self.members[&id].alive.is_some() {
            self.summary.note("crashes");
            self.crash(id);
        }
    }

    fn pause(&mut self, id: u64) {
        self.summary.note("pauses");
        let pause = self.rng.random_range(1..4_000);
        one(&mut self.members, id).paused_until = self.now + pause;
    }

    fn jump(&mut self, id: u64) {
        self.summary.note("clock jumps");
        one(&mut self.members, id).clock.jump(&mut self.rng);
    }

    fn stall(&mut self, id: u64) {
        self.summary.note("stalled disks");
        let stall = self.rng.random_range(100..6_000);
        one(&mut self.members, id).stalled_until = self.now + stall;
    }

    fn fail_disk(&mut self, id: u64) {
        self.summary.note("failing syncs");
        let platter = &mut one(&mut self.members, id).platter;
        platter.fail_sync(&mut self.rng);
    }

    fn fill_disk(&mut self, id: u64) {
        self.summary.note("full disks");
        let spare = self.rng.random_range(0..2 * self.profile.segment_bytes);
        let spare = self.rng.random_bool(0.5).then_some(spare);
        one(&mut self.members, id).platter.fill(spare);
    }

    /// A bit flips on a disk. Its member goes on, and may find that in time, or ends, and finds it when it starts.
    fn flip(&mut self, id: u64) {
        if !self.may_lose(id) || !self.members[&id].platter.may_flip() {
            return;
        }
        let flipped = one(&mut self.members, id).platter.flip();
        self.note(|| format!("{id}: {flipped:?}"));
        self.summary
            .add("flipped bits", u64::from(flipped.is_some()));
        if self.members[&id].alive.is_some() && self.chance(0.5) {
            let pause = self.rng.random_range(1..3_000);
            self.plan(pause, Event::Scrub(id));
        } else {
            self.crash(id);
        }
    }

    /// Whether all others are well, and enough of them to go on without this one.
    fn may_lose(&mut self, id: u64) -> bool {
        let is_quiet = self.now > self.changed_at + CHANGE_MS || self.changed_at == 0;
        let Some((leader, table)) = self.table() else {
            return false;
        };
        let decides_alone =
            |alive: &mut Alive| !alive.driver.replica().raft().configuration().is_joint();
        let is_quiet = is_quiet && self.alive(leader).is_some_and(decides_alone);
        let voters = table.members.values().filter(|member| !member.is_learner);
        let well = |id: &u64| {
            let member = self.members.get(id);
            member.is_some_and(|it| matches!(it.fate, Fate::Well) && it.platter.is_whole())
        };
        let is_member = table.members.contains_key(&id);
        is_quiet && is_member && voters.count() >= 3 && table.members.keys().all(well)
    }

    fn cut_in_two(&mut self) {
        self.summary.note("cuts in two");
        let everyone: Vec<u64> = self.members.keys().copied().collect();
        let (here, there): (Vec<u64>, Vec<u64>) = everyone
            .into_iter()
            .partition(|_| self.rng.random_bool(0.5));
        for &one in &here {
            for &other in &there {
                self.blocks.block(one, other);
                self.blocks.block(other, one);
            }
        }
    }

    /// Alone, but for clients: if it leads, it learns last that it does no more.
    fn cut_off(&mut self, id: u64) {
        self.summary.note("cuts of one");
        let everyone: Vec<u64> = self.members.keys().copied().collect();
        for other in everyone.into_iter().filter(|other| *other != id) {
            self.blocks.block(id, other);
            self.blocks.block(other, id);
        }
    }

    fn cut_one_way(&mut self, id: u64) {
        self.summary.note("cuts one way");
        let others: Vec<u64> = self.members.keys().copied().collect();
        let (all, deaf) = (self.chance(0.5), self.chance(0.5));
        for other in others {
            if all || self.chance(0.5) {
                let (from, to) = if deaf { (other, id) } else { (id, other) };
                self.blocks.block(from, to);
            }
        }
    }

    /// Some reach each other only through others.
    fn cut_some_pairs(&mut self) {
        self.summary.note("cuts of some pairs");
        let everyone: Vec<u64> = self.members.keys().copied().collect();
        for &one in &everyone {
            for &other in everyone.iter().filter(|other| **other > one) {
                if self.chance(0.4) {
                    self.blocks.block(one, other);
                    self.blocks.block(other, one);
                }
            }
        }
    }
}
