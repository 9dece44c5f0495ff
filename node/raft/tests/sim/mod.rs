//! A whole cluster in one thread, with everything around it broken on purpose.
//!
//! One seed decides the run: the world's dangers, each delay, each loss, each act of a client.
//! After every event the [`checker`] looks at the peer that was touched. At the end the faults
//! stop, and within bounded time there must be a leader, and every member must have everything.
//!
//! What it does not do: run real code of disks or sockets. Those have tests of their own.

pub(crate) mod checker;
mod clients;
pub(crate) mod disk;
mod faults;
mod peer;
mod profile;
mod world;

use checker::Violation;
use disk::Honesty;
use raft::Rules;

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    /// The rules the peers follow: Raft's, unless a bug is planted.
    pub(crate) rules: Rules,
    pub(crate) disk: Honesty,
    /// Whether to print every event.
    pub(crate) told: bool,
}

/// What happened, to know that a run was worth something.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) events: u64,
    pub(crate) elections: u64,
    pub(crate) commits: u64,
    pub(crate) changes: u64,
    pub(crate) transfers: u64,
    pub(crate) reads: u64,
    pub(crate) forwarded_reads: u64,
    pub(crate) checkpoints: u64,
    pub(crate) installs: u64,
    pub(crate) crashes: u64,
    pub(crate) cuts: u64,
    pub(crate) pauses: u64,
    pub(crate) damages: u64,
    pub(crate) losses: u64,
}

impl Run {
    /// A run of Raft as it is.
    pub(crate) const fn honest(seed: u64) -> Self {
        Self {
            seed,
            rules: Rules::RAFT,
            disk: Honesty::Honest,
            told: false,
        }
    }

    /// Runs it.
    pub(crate) fn go(self) -> Result<Summary, Violation> {
        world::World::new(self).run()
    }
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.elections += other.elections;
        self.commits += other.commits;
        self.changes += other.changes;
        self.transfers += other.transfers;
        self.reads += other.reads;
        self.forwarded_reads += other.forwarded_reads;
        self.checkpoints += other.checkpoints;
        self.installs += other.installs;
        self.crashes += other.crashes;
        self.cuts += other.cuts;
        self.pauses += other.pauses;
        self.damages += other.damages;
        self.losses += other.losses;
    }
}
