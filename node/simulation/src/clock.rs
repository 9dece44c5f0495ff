//! A member's clock: when its next tick comes, as true time has it.
//!
//! Clocks run at their own pace, stop for a while and make up for it, or not. A process counts ticks of a monotonic clock and
//! never two for one (`MissedTickBehavior::Delay`), but a machine that slept, or a counter that is stepped, shows as either.
//!
//! What this module deliberately does not do: pause the member, which is another fault.

use rand::Rng;
use rand::rngs::SmallRng;

use crate::profile::TICK_MS;

/// How much faster or slower than true time a bad clock goes, in thousandths.
pub(crate) const DRIFT_PERMILLE: u64 = 50;
/// The most ticks that a clock jumps ahead at once.
pub(crate) const JUMP_TICKS: u64 = 5;

/// See the module.
#[derive(Debug)]
pub(crate) struct Clock {
    /// True time that a thousand ticks take, in ticks.
    pace_permille: u64,
    /// What of a millisecond the last tick left over, in microseconds.
    rest_us: u64,
    /// Ticks that come at once.
    due: u64,
    /// True time for which it stands still, in milliseconds.
    stands_ms: u64,
    jumps: u64,
}

impl Clock {
    pub(crate) fn draw(rng: &mut SmallRng, drifts: bool) -> Self {
        let drift = if drifts { DRIFT_PERMILLE } else { 1 };
        Self {
            pace_permille: rng.random_range(1_000 - drift..=1_000 + drift),
            rest_us: 0,
            due: 0,
            stands_ms: 0,
            jumps: 0,
        }
    }

    /// How long until the next tick, in milliseconds.
    pub(crate) fn next(&mut self, rng: &mut SmallRng) -> u64 {
        if self.due > 0 {
            self.due -= 1;
            return 0;
        }
        let jitter = rng.random_range(0..=4);
        let tick_us = TICK_MS * self.pace_permille + self.rest_us;
        self.rest_us = tick_us % 1_000;
        tick_us / 1_000 - 2 + jitter + std::mem::take(&mut self.stands_ms)
    }

    /// How much time it has jumped over, in milliseconds.
    pub(crate) const fn jumped_ms(&self) -> u64 {
        self.jumps * TICK_MS
    }

    /// It jumps ahead, or stands still for a while.
    pub(crate) fn jump(&mut self, rng: &mut SmallRng) {
        let ticks = rng.random_range(1..=JUMP_TICKS);
        if rng.random_bool(0.5) {
            self.due += ticks;
            self.jumps += ticks;
        } else {
            self.stands_ms += ticks * TICK_MS;
        }
    }
}
