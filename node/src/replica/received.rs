//! Which proposals of other members have come here before: a wire may bring one twice, and it must not be in the log twice.
//!
//! 1. A batch, which its starter and its first number name for all time, is new once in the life of a process.
//! 2. Bounded: the newest [`WINDOW`] batches of each of the [`STARTERS`] starters last heard of. What is older than a starter's window
//!    counts as come before, so that nothing is ever taken in twice for want of room there.
//!
//! What this module deliberately does not do: outlive the process, or be a part of the state machine. What was sent to an earlier process
//! reaches no later one, as a connection ends with either end (`docs/decisions/0018-proposals-that-come-twice.md`).

use std::collections::{BTreeMap, BTreeSet};

/// Batches known of one starter. They come in order but for those that a former leader passes on, which keeps no more than this.
const WINDOW: usize = 1_024;
/// Starters known: each start of each member is one, and only the last of each speaks.
const STARTERS: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Received {
    windows: BTreeMap<u64, Window>,
    /// Counts what was asked, to know who was heard of last.
    asked: u64,
}

#[derive(Debug, Default)]
struct Window {
    /// First numbers of batches.
    firsts: BTreeSet<u64>,
    /// Up to here nothing is new any more; numbers begin with 1.
    closed: u64,
    heard: u64,
}

impl Received {
    /// Whether this batch has come before; from now on it has.
    pub(super) fn note(&mut self, starter: u64, first: u64) -> bool {
        self.asked += 1;
        if !self.windows.contains_key(&starter) && self.windows.len() >= STARTERS {
            self.forget_one();
        }
        let window = self.windows.entry(starter).or_default();
        window.heard = self.asked;
        if first <= window.closed || !window.firsts.insert(first) {
            return true;
        }
        if window.firsts.len() > WINDOW {
            window.closed = window.firsts.pop_first().unwrap_or(window.closed);
        }
        false
    }

    /// Forgets whoever was not heard of for the longest time.
    fn forget_one(&mut self) {
        let silent = self.windows.iter().min_by_key(|(_, window)| window.heard);
        if let Some(starter) = silent.map(|(starter, _)| *starter) {
            self.windows.remove(&starter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_new_once_whatever_comes_between() {
        let mut received = Received::default();
        assert!(!received.note(7, 1));
        assert!(!received.note(7, 9), "a later one overtakes");
        assert!(!received.note(8, 1), "another starter's");
        assert!(!received.note(7, 4), "it was late, not old");
        for first in [1, 4, 9] {
            assert!(received.note(7, first));
        }
    }

    #[test]
    fn what_is_too_old_to_know_is_not_new() {
        let mut received = Received::default();
        let last = WINDOW as u64 + 10;
        for first in 1..=last {
            assert!(!received.note(7, first));
        }
        assert!((1..=last).all(|first| received.note(7, first)));
        assert_eq!(received.windows[&7].firsts.len(), WINDOW);
    }

    #[test]
    fn the_longest_silent_starter_is_forgotten() {
        let mut received = Received::default();
        for starter in 0..STARTERS as u64 {
            received.note(starter, 1);
        }
        received.note(0, 2);
        received.note(1_000, 1);
        assert_eq!(received.windows.len(), STARTERS);
        assert!(received.note(0, 1), "heard of lately");
        assert!(!received.windows.contains_key(&1));
    }
}
