//! How bad this run's world is. Drawn from the seed, so that some runs are calm enough to get far and some are hopeless, and
//! each kind of fault is also met alone.
//!
//! What this module deliberately does not do: happen.

use quorate_node::replica::Retention;
use rand::Rng;
use rand::rngs::SmallRng;

/// A tick of a sound clock, in milliseconds, as in production.
pub(crate) const TICK_MS: u64 = 100;
/// How long a client's request may wait at a member, in ticks, as in production: 5 s and two election timeouts.
pub(crate) const REQUEST_TICKS: u64 = 70;
/// The smallest time to live of a lease, in seconds: one and a half election timeouts, rounded up.
pub(crate) const MIN_LEASE_TTL: i64 = 2;

/// The dangers of one run. Probabilities are per occasion, times in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) members: u64,
    pub(crate) clients: usize,
    pub(crate) watchers: usize,
    pub(crate) keys: u64,
    /// Between two acts of one client, at most.
    pub(crate) pause_ms: u64,
    pub(crate) loss: f64,
    pub(crate) doubling: f64,
    /// The longest usual delay of a message, and the chance of one ten times as long.
    pub(crate) delay_ms: u64,
    pub(crate) long_delay: f64,
    /// The longest usual write, and the chance of one twenty times as long.
    pub(crate) disk_ms: u64,
    pub(crate) slow_disk: f64,
    /// Between two faults, about; none in a run without.
    pub(crate) fault_every_ms: Option<u64>,
    pub(crate) crashes: bool,
    pub(crate) cuts: bool,
    pub(crate) pauses: bool,
    pub(crate) clocks: bool,
    pub(crate) disks: bool,
    pub(crate) flips: bool,
    /// The chance that the administrator wants another size when nothing else is to be done.
    pub(crate) resizing: f64,
    pub(crate) transfers: f64,
    /// The chance that it begins to put several new members in the place of old ones.
    pub(crate) exchanges: f64,
    pub(crate) checkpoint_entries: u64,
    pub(crate) catchup_entries: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) retention: Option<Retention>,
    pub(crate) lease_checkpoint_ticks: Option<u64>,
    pub(crate) pre_vote: bool,
    /// Responses with events that may wait for a watcher's stream.
    pub(crate) watch_room: usize,
}

impl Profile {
    pub(crate) fn draw(rng: &mut SmallRng) -> Self {
        let mut one_of = |choices: &[f64]| choices[rng.random_range(0..choices.len())];
        let loss = one_of(&[0.0, 0.0, 0.01, 0.05, 0.2]);
        let doubling = one_of(&[0.0, 0.02, 0.1]);
        let long_delay = one_of(&[0.0, 0.02, 0.1]);
        let slow_disk = one_of(&[0.0, 0.02, 0.1]);
        let resizing = one_of(&[0.0, 0.1, 0.4]);
        let transfers = one_of(&[0.0, 0.02, 0.1]);
        let exchanges = one_of(&[0.0, 0.05, 0.2]);
        let is_troubled = rng.random_bool(0.9);
        let leases_checkpointed = rng.random_bool(0.5);
        Self {
            members: [1, 2, 3, 3, 3, 3, 4, 5, 5][rng.random_range(0..9)],
            clients: rng.random_range(2..=5),
            watchers: rng.random_range(1..=3),
            keys: rng.random_range(2..=8),
            pause_ms: [200, 600, 2_000][rng.random_range(0..3)],
            loss,
            doubling,
            delay_ms: [2, 10, 40][rng.random_range(0..3)],
            long_delay,
            disk_ms: [1, 5, 25][rng.random_range(0..3)],
            slow_disk,
            fault_every_ms: is_troubled.then(|| rng.random_range(500..5_000)),
            crashes: rng.random_bool(0.7),
            cuts: rng.random_bool(0.7),
            pauses: rng.random_bool(0.5),
            clocks: rng.random_bool(0.4),
            disks: rng.random_bool(0.5),
            flips: rng.random_bool(0.4),
            resizing,
            transfers,
            exchanges,
            checkpoint_entries: rng.random_range(8..80),
            catchup_entries: rng.random_range(0..20),
            segment_bytes: [4 << 10, 16 << 10, 64 << 10][rng.random_range(0..3)],
            retention: Self::draw_retention(rng),
            lease_checkpoint_ticks: leases_checkpointed.then(|| rng.random_range(10..40)),
            pre_vote: rng.random_bool(0.85),
            watch_room: rng.random_range(1..=4),
        }
    }

    /// The dangers of a run whose members somebody else starts, stops and takes the disks of: wires and clocks that are as bad as in any
    /// other run, cuts, pauses and crashes, and no disk that fails by itself.
    pub(crate) fn of_stage(rng: &mut SmallRng) -> Self {
        Self {
            members: 0,
            watchers: 0,
            disks: false,
            flips: false,
            ..Self::draw(rng)
        }
    }

    fn draw_retention(rng: &mut SmallRng) -> Option<Retention> {
        match rng.random_range(0..4) {
            0 => Some(Retention::Revisions {
                keep: rng.random_range(5..50),
                every: rng.random_range(20..100),
            }),
            1 => Some(Retention::Window {
                ticks: rng.random_range(30..100),
                hour: 200,
            }),
            _ => None,
        }
    }

    /// The same run, when the faults have stopped.
    pub(crate) fn calm(&mut self) {
        (self.loss, self.doubling, self.long_delay, self.slow_disk) = (0.0, 0.0, 0.0, 0.0);
        (self.delay_ms, self.disk_ms, self.fault_every_ms) = (5, 5, None);
        (self.resizing, self.transfers, self.exchanges) = (0.0, 0.0, 0.0);
    }
}
