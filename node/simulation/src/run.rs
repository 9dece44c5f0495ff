//! One run: what it is drawn from, what is planted in it, and what came of it.
//!
//! What this module deliberately does not do: run. The world does.

use std::collections::BTreeMap;
use std::fmt;

use crate::bug::Bug;
use crate::world::World;

/// One run. The same value gives the same run, event for event.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Everything is drawn from it.
    pub seed: u64,
    /// What is wrong with the members.
    pub bug: Option<Bug>,
    /// Whether to print every event.
    pub told: bool,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub property: &'static str,
    /// How it shows.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.what)
    }
}

/// What happened, to know that a run was worth something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    counts: BTreeMap<&'static str, u64>,
    /// A hash of every event in its order, and of what the members were after it.
    pub trace: u64,
}

impl Run {
    /// A run of members as they are.
    #[must_use]
    pub const fn honest(seed: u64) -> Self {
        Self {
            seed,
            bug: None,
            told: false,
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn go(self) -> Result<Summary, Violation> {
        World::new(self).run()
    }
}

impl Summary {
    /// Counts one more.
    pub(crate) fn note(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    /// Counts some more.
    pub(crate) fn add(&mut self, what: &'static str, count: u64) {
        *self.counts.entry(what).or_default() += count;
    }

    /// How often something happened.
    #[must_use]
    pub fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or_default()
    }
}

#[expect(
    clippy::suspicious_op_assign_impl,
    reason = "hashes are mixed, not added"
)]
impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        for (what, count) in other.counts {
            self.add(what, count);
        }
        self.trace = self.trace.rotate_left(1) ^ other.trace;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.counts {
            writeln!(f, "{count:>12} {what}")?;
        }
        Ok(())
    }
}
