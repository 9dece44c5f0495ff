//! The gate that every write of the operator passes: open while this process may write, and never a moment longer.
//!
//! Invariants:
//! - A gate that was shut for good (`Shut::Lost`, `Shut::Stopping`) never opens again: the process ends instead.
//! - A permit is given only while `now < deadline`, and the deadline is counted from *before* the lease's renewal was
//!   sent. With a per-write timeout no longer than `lease duration - renew deadline`, a write that passed has ended or was
//!   abandoned before any other process may believe itself leader.
//!
//! It deliberately fences nothing at the API server: a request that was abandoned may still arrive there. That is what the
//! uid and resourceVersion preconditions of the writes are for.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// Why a write was refused before it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Shut {
    /// The lease is not, or not yet, held.
    #[error("this process does not hold the lease")]
    NotLeading,
    /// The lease was held and was not renewed in time, or was taken over.
    #[error("this process has lost its lease")]
    Lost,
    /// The process was asked to end: what is begun ends at an action's boundary.
    #[error("this process is stopping")]
    Stopping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Always,
    Until(Instant),
    Shut(Shut),
}

/// A handle to the one gate of the process; clones share it.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Mutex<State>>);

impl Gate {
    /// A gate that is open until it is shut: for a single operator without leader election, and for tests.
    #[must_use]
    pub fn always() -> Self {
        Self(Arc::new(Mutex::new(State::Always)))
    }

    /// A gate that opens with the first lease.
    #[must_use]
    pub fn leased() -> Self {
        Self(Arc::new(Mutex::new(State::Shut(Shut::NotLeading))))
    }

    /// Passes one write at `now`, or says why not.
    ///
    /// # Errors
    /// [`Shut`], when this process must not write.
    pub fn pass(&self, now: Instant) -> Result<(), Shut> {
        match *self.state() {
            State::Always => Ok(()),
            State::Until(deadline) if now < deadline => Ok(()),
            State::Until(_) => Err(Shut::Lost),
            State::Shut(why) => Err(why),
        }
    }

    /// Opens the gate until `deadline`, or moves the deadline of an open one. A gate shut for good stays shut.
    pub fn open_until(&self, deadline: Instant) {
        let mut state = self.state();
        match *state {
            State::Until(_) | State::Shut(Shut::NotLeading) => *state = State::Until(deadline),
            State::Always | State::Shut(Shut::Lost | Shut::Stopping) => {}
        }
    }

    /// Shuts the gate for good.
    pub fn shut(&self, why: Shut) {
        let mut state = self.state();
        if !matches!(*state, State::Shut(Shut::Lost | Shut::Stopping)) {
            *state = State::Shut(why);
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is one word, always whole: a panic elsewhere cannot have left it half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn nothing_passes_before_the_first_lease_or_after_its_deadline() {
        let (gate, start) = (Gate::leased(), Instant::now());
        assert_eq!(gate.pass(start), Err(Shut::NotLeading));
        gate.open_until(start + Duration::from_secs(10));
        assert_eq!(gate.pass(start + Duration::from_millis(9_999)), Ok(()));
        assert_eq!(gate.pass(start + Duration::from_secs(10)), Err(Shut::Lost));
    }

    #[test]
    fn a_gate_shut_for_good_never_opens_again() {
        let (gate, start) = (Gate::leased(), Instant::now());
        gate.open_until(start + Duration::from_secs(10));
        gate.shut(Shut::Lost);
        gate.open_until(start + Duration::from_secs(20));
        gate.shut(Shut::Stopping);
        assert_eq!(
            gate.pass(start),
            Err(Shut::Lost),
            "the first reason is the one that is told"
        );
    }

    #[test]
    fn a_gate_without_a_lease_shuts_when_the_process_stops() {
        let gate = Gate::always();
        assert_eq!(gate.pass(Instant::now()), Ok(()));
        gate.shut(Shut::Stopping);
        assert_eq!(gate.pass(Instant::now()), Err(Shut::Stopping));
    }
}
