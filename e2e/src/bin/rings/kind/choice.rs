//! Which scenarios run: an order that turns with the commit, and a time that is kept.
//!
//! It deliberately keeps nothing between two runs: over many commits every scenario has its turn.

use std::time::Duration;

/// A scenario, as the promises list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its name.
    pub(crate) name: String,
    /// When it is ended as a failure.
    pub(crate) limit: Duration,
    /// What it takes on two calm cores.
    pub(crate) usual: Duration,
}

impl Listed {
    /// Reads a line `NAME LIMIT USUAL`, both in seconds.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        let mut seconds = || Some(Duration::from_secs(words.next()?.parse().ok()?));
        Some(Self {
            name,
            limit: seconds()?,
            usual: seconds()?,
        })
    }
}

/// The scenarios beginning with one that the commit, a hexadecimal number, decides.
pub(crate) fn turned(mut all: Vec<Listed>, commit: &str) -> Vec<Listed> {
    let digits: String = commit.chars().take(8).collect();
    let number = u32::from_str_radix(&digits, 16).unwrap_or_default();
    if !all.is_empty() {
        let first = number as usize % all.len();
        all.rotate_left(first);
    }
    all
}

/// What is left of a run's time, and how much slower than usual things go here.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Time {
    /// What all scenarios together should take; without one, as long as they need.
    pub(crate) budget: Option<Duration>,
    /// What is left until the whole run must have ended, if it must.
    pub(crate) left: Option<Duration>,
    /// What the scenarios so far have taken.
    pub(crate) played: Duration,
    /// What they usually take.
    pub(crate) usually: Duration,
}

impl Time {
    /// Whether a scenario is expected to be done in time, and would be ended in time if it hung.
    pub(crate) fn fits(&self, scenario: &Listed) -> bool {
        let expected = self.played + scenario.usual.mul_f64(self.slowness());
        self.budget.is_none_or(|it| expected <= it)
            && self.left.is_none_or(|it| scenario.limit <= it)
    }

    /// How many times longer things take here than usual; never less than once.
    fn slowness(&self) -> f64 {
        if self.usually.is_zero() {
            return 1.0;
        }
        (self.played.as_secs_f64() / self.usually.as_secs_f64()).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn listed(name: &str) -> Listed {
        Listed::read(&format!("{name} 300 60")).expect("a line of the list")
    }

    fn time() -> Time {
        Time {
            budget: Some(10 * MINUTE),
            left: Some(20 * MINUTE),
            ..Time::default()
        }
    }

    #[test]
    fn reads_the_list() {
        let read = listed("scaling/etcd");
        assert_eq!((read.limit, read.usual), (5 * MINUTE, MINUTE));
        assert_eq!(Listed::read("scaling/etcd soon"), None);
    }

    #[test]
    fn the_commit_decides_where_to_begin_and_all_have_their_turn() {
        let all: Vec<Listed> = ["a", "b", "c"].map(listed).to_vec();
        let first = |commit: &str| turned(all.clone(), commit)[0].name.clone();
        assert_eq!(first("00000000ffff"), "a");
        assert_eq!(first("00000001ffff"), "b");
        assert_eq!(first("00000005"), "c");
        assert_eq!(first("no commit"), "a");
        assert_eq!(turned(all, "00000001").len(), 3);
    }

    #[test]
    fn nothing_starts_that_is_not_expected_to_end_in_time() {
        let late = Time {
            played: 9 * MINUTE + Duration::from_secs(1),
            usually: 9 * MINUTE + Duration::from_secs(1),
            ..time()
        };
        assert!(time().fits(&listed("a")));
        assert!(!late.fits(&listed("a")));
    }

    #[test]
    fn on_a_slow_machine_less_fits() {
        let calm = Time {
            played: 8 * MINUTE,
            usually: 8 * MINUTE,
            ..time()
        };
        let slow = Time {
            usually: 3 * MINUTE,
            ..calm
        };
        assert!(calm.fits(&listed("a")));
        assert!(!slow.fits(&listed("a")));
    }

    #[test]
    fn nothing_starts_that_could_hang_beyond_the_end() {
        let near = Time {
            left: Some(5 * MINUTE - Duration::from_secs(1)),
            ..time()
        };
        assert!(!near.fits(&listed("a")));
        let open = Time { left: None, ..near };
        assert!(open.fits(&listed("a")));
    }
}
