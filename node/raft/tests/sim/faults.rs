//! What goes wrong, and the end of it.
//!
//! What this module does not do: break promises of the disk but by damage that shows. A planted bug may.

use super::checker::{Checked, LIVENESS, ensure};
use super::world::{Event, World, one};
use raft::{Index, PeerId};
use rand::Rng;
use std::collections::BTreeSet;

/// How long everything may take to come right after the faults.
const RECOVERY: u64 = 8_000;

impl World {
    pub(super) fn plan_fault(&mut self) {
        if let Some(every) = self.profile.fault_every {
            let pause = self.rng.random_range(1..=2 * every);
            self.plan(pause, Event::Fault);
        }
    }

    pub(super) fn fault(&mut self) {
        let victim = self.victim();
        match self.rng.random_range(0..7) {
            0 | 1 if self.profile.crashes => self.crash(victim),
            2 if self.profile.cuts => self.cut_in_two(),
            3 if self.profile.cuts => self.cut_one_way(victim),
            4 => self.blocked.clear(),
            5 if self.profile.pauses => self.pause(victim),
            6 if self.profile.damage && self.may_be_damaged(victim) => self.damage(victim),
            _ => {}
        }
    }

    /// The leader as often as not: losing it is what changes most.
    fn victim(&mut self) -> PeerId {
        let leader = self.some_leader().filter(|_| self.rng.random_bool(0.5));
        leader.unwrap_or_else(|| self.some_process())
    }

    fn pause(&mut self, id: PeerId) {
        self.summary.pauses += 1;
        let pause = self.rng.random_range(1..400);
        one(&mut self.processes, id).paused_until = self.now + pause;
    }

    fn crash(&mut self, id: PeerId) {
        self.summary.crashes += 1;
        one(&mut self.processes, id).crash(&mut self.rng);
        let longest = if self.chance(0.5) { 40 } else { 400 };
        let down = self.rng.random_range(1..longest);
        self.plan(down, Event::Restart(id));
    }

    /// A peer stops, and finds less on its disk when it starts.
    fn damage(&mut self, id: PeerId) {
        self.crash(id);
        let with_checkpoint = self.rng.random_bool(0.5);
        let damaged = one(&mut self.processes, id).disk.damage(with_checkpoint);
        self.summary.damages += u64::from(damaged);
    }

    /// Whether the others can go on without it: what is damaged at a quorum may be gone for good.
    fn may_be_damaged(&self, victim: PeerId) -> bool {
        let whole = |voter: &&PeerId| {
            let process = self.processes.get(voter);
            **voter != victim && process.is_some_and(|process| !process.disk.has_lost())
        };
        let can_decide = |voters: &&BTreeSet<PeerId>| {
            voters.is_empty() || voters.iter().filter(whole).count() > voters.len() / 2
        };
        let alive = self.processes.values().filter_map(|it| it.alive.as_ref());
        // Whoever is behind knows another membership.
        let mut known = alive.map(|alive| alive.raft.configuration());
        let is_up = self.processes[&victim].alive.is_some();
        is_up && known.all(|it| [it.voters(), it.outgoing()].iter().all(can_decide))
    }

    fn cut_in_two(&mut self) {
        self.summary.cuts += 1;
        let everyone = self.processes.keys().copied();
        let (here, there): (Vec<PeerId>, Vec<PeerId>) =
            everyone.partition(|_| self.rng.random_bool(0.5));
        for &one in &here {
            for &other in &there {
                self.blocked.extend([(one, other), (other, one)]);
            }
        }
    }

    fn cut_one_way(&mut self, id: PeerId) {
        self.summary.cuts += 1;
        let others: Vec<PeerId> = self.processes.keys().copied().collect();
        let (all, deaf) = (self.chance(0.5), self.chance(0.5));
        for other in others {
            if all || self.chance(0.5) {
                self.blocked
                    .insert(if deaf { (other, id) } else { (id, other) });
            }
        }
    }

    /// The faults stop. Within bounded time everyone who belongs to the cluster has the same log,
    /// new commands in it, and nothing that was committed is gone.
    pub(super) fn come_right(&mut self) -> Checked {
        self.calm = true;
        self.profile.calm();
        self.blocked.clear();
        // With both protections on, even removed peers that go on disturb nobody.
        let harmless = self.profile.pre_vote && self.profile.check_quorum;
        let removed = self.checker.removed.clone();
        let ids: Vec<PeerId> = self.processes.keys().copied().collect();
        for id in ids {
            one(&mut self.processes, id).paused_until = self.now;
            if harmless || !removed.contains(&id) {
                self.start(id)?;
            } else {
                one(&mut self.processes, id).crash(&mut self.rng);
            }
        }
        let before = self.checker.commit();
        let end = self.now + RECOVERY;
        let right = self.until(end, |world| world.is_right(before))?;
        ensure(right, LIVENESS, || self.describe())
    }

    fn is_right(&self, before: Index) -> bool {
        let Some(leader) = self.some_leader() else {
            return false;
        };
        let Some(alive) = &self.processes[&leader].alive else {
            return false;
        };
        let commit = alive.raft.commit();
        let has_all = |peer: PeerId| {
            let process = self.processes[&peer].alive.as_ref();
            process.is_some_and(|alive| alive.state.index >= commit)
        };
        commit > Index(before.0 + 3)
            && commit == self.checker.commit()
            && alive.raft.configuration().peers().all(has_all)
    }

    fn describe(&self) -> String {
        let states = self.processes.values().map(|process| match &process.alive {
            Some(alive) => format!("{:?}", alive.raft.status()),
            None => format!("peer {} is down", process.id),
        });
        states.collect::<Vec<_>>().join("\n")
    }
}
