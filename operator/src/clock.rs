//! The operator's one clock: wall time for what is written down, monotonic time for what is measured.
//!
//! Wall time stands in resources (a condition's transition, a lease's renewal, a latched deadline) and is never used
//! to measure how long something took. Monotonic time is tokio's, so that a test with paused time controls both.
//!
//! It deliberately offers no sleeping: tokio does that, and the same pause governs it.

use jiff::Timestamp;
use tokio::time::Instant;

/// Where every other module takes its time from.
pub trait Clock: Send + Sync {
    /// Wall time, as it is written into resources.
    fn now(&self) -> Timestamp;

    /// Monotonic time, for deadlines and durations; unrelated to any other process's clock.
    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
