//! How bad this run's world is. Drawn from the seed, so that some runs are calm enough to get far
//! and some are hopeless, and each kind of fault is also met alone.
//!
//! What this module does not do: happen.

use raft::{Config, PeerId};
use rand::Rng;
use rand::rngs::SmallRng;

/// Time units from one tick to the next, about.
pub(crate) const TICK: u64 = 10;

/// The dangers of one run. Probabilities are per occasion.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) peers: u64,
    pub(crate) loss: f64,
    pub(crate) doubling: f64,
    /// The longest usual delay of a message, and the chance of one twenty times as long.
    pub(crate) delay: u64,
    pub(crate) long_delay: f64,
    /// The longest usual write, and the chance of one twenty times as long.
    pub(crate) disk: u64,
    pub(crate) slow_disk: f64,
    /// How many `Ready`s may wait for the disk.
    pub(crate) writes_at_once: usize,
    /// The chance that a driver gathers more before it asks for a `Ready`.
    pub(crate) batching: f64,
    /// Time units between two faults, about; none in a run without.
    pub(crate) fault_every: Option<u64>,
    pub(crate) crashes: bool,
    pub(crate) cuts: bool,
    pub(crate) pauses: bool,
    pub(crate) damage: bool,
    /// The chance that a client's act is a change of membership, or a hand-over.
    pub(crate) changes: f64,
    pub(crate) transfers: f64,
    /// The chance of a checkpoint after applying.
    pub(crate) checkpoints: f64,
    heartbeat_ticks: u32,
    pub(crate) pre_vote: bool,
    pub(crate) check_quorum: bool,
    catchup_entries: u64,
    max_append_bytes: u64,
    max_inflight_messages: usize,
    max_inflight_bytes: u64,
    max_committed_bytes: u64,
}

impl Profile {
    pub(crate) fn draw(rng: &mut SmallRng) -> Self {
        let mut one_of = |choices: &[f64]| choices[rng.random_range(0..choices.len())];
        let loss = one_of(&[0.0, 0.0, 0.02, 0.1, 0.3]);
        let doubling = one_of(&[0.0, 0.02, 0.2]);
        let long_delay = one_of(&[0.0, 0.02, 0.1]);
        let slow_disk = one_of(&[0.0, 0.02, 0.1]);
        let batching = one_of(&[0.0, 0.3, 0.8]);
        let changes = one_of(&[0.0, 0.05, 0.2]);
        let transfers = one_of(&[0.0, 0.02, 0.1]);
        let checkpoints = one_of(&[0.0, 0.02, 0.1, 0.3]);
        let drawn = Self {
            peers: rng.random_range(1..=5),
            loss,
            doubling,
            delay: rng.random_range(1..=15),
            long_delay,
            disk: rng.random_range(1..=10),
            slow_disk,
            writes_at_once: rng.random_range(1..=3),
            batching,
            fault_every: rng.random_bool(0.9).then(|| rng.random_range(50..600)),
            crashes: rng.random_bool(0.7),
            cuts: rng.random_bool(0.7),
            pauses: rng.random_bool(0.5),
            changes,
            transfers,
            checkpoints,
            heartbeat_ticks: rng.random_range(1..=3),
            pre_vote: rng.random_bool(0.75),
            check_quorum: rng.random_bool(0.75),
            catchup_entries: rng.random_range(0..20),
            max_append_bytes: rng.random_range(1..300),
            max_inflight_messages: rng.random_range(1..6),
            max_inflight_bytes: rng.random_range(1..1000),
            max_committed_bytes: rng.random_range(1..1000),
            damage: rng.random_bool(0.5),
        };
        if rng.random_bool(0.3) {
            drawn.stormy(rng)
        } else {
            drawn
        }
    }

    /// Nothing but elections, one upon another, and entries that travel one by one: leaders come
    /// and go before their entries are everywhere, as in figure 8 of the paper.
    fn stormy(self, rng: &mut SmallRng) -> Self {
        Self {
            peers: 5,
            loss: self.loss.min(0.1),
            delay: rng.random_range(1..5),
            disk: rng.random_range(1..5),
            fault_every: Some(rng.random_range(20..100)),
            crashes: true,
            cuts: true,
            changes: 0.0,
            checkpoints: 0.0,
            max_append_bytes: 1,
            max_inflight_messages: 1,
            ..self
        }
    }

    /// The same run, when the faults have stopped.
    pub(crate) fn calm(&mut self) {
        (self.loss, self.doubling, self.long_delay, self.slow_disk) = (0.0, 0.0, 0.0, 0.0);
        (self.delay, self.disk, self.fault_every) = (3, 2, None);
        (self.changes, self.transfers) = (0.0, 0.0);
        self.batching = self.batching.min(0.2);
    }

    pub(crate) fn config(&self, id: PeerId) -> Config {
        Config {
            heartbeat_ticks: self.heartbeat_ticks,
            pre_vote: self.pre_vote,
            check_quorum: self.check_quorum,
            catchup_entries: self.catchup_entries,
            max_append_bytes: self.max_append_bytes,
            max_inflight_messages: self.max_inflight_messages,
            max_inflight_bytes: self.max_inflight_bytes,
            max_uncommitted_bytes: 2_000,
            max_committed_bytes: self.max_committed_bytes,
            ..Config::new(id)
        }
    }
}
