//! Everything that was asked of a disk in one flight, to be cut at every place.
//!
//! What this module deliberately does not do: change the disk that it was taken of.

use super::SimulatedDisk;
use super::flight::Journal;
use super::operation::Operation;
use super::platter::Platter;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// A disk that is taken through its past, one operation at a time.
#[derive(Clone, Debug)]
pub struct Recording {
    platter: Platter,
    operations: std::vec::IntoIter<Operation>,
    done: u64,
}

impl SimulatedDisk {
    /// What is in flight, from its beginning on.
    #[must_use]
    pub fn recording(&self) -> Recording {
        let state = self.state();
        let operations: Vec<_> = state.journal.waiting().cloned().collect();
        Recording {
            platter: state.journal.platter().clone(),
            done: state.operations - operations.len() as u64,
            operations: operations.into_iter(),
        }
    }
}

impl Recording {
    /// How many operations of the disk have been carried out, as [`SimulatedDisk::operations`] counts them.
    #[must_use]
    pub const fn done(&self) -> u64 {
        self.done
    }

    /// Carries out the next operation; false if there is none.
    pub fn step(&mut self) -> bool {
        let Some(operation) = self.operations.next() else {
            return false;
        };
        self.platter.apply(&operation);
        self.done += 1;
        true
    }

    /// A disk of its own on which the power failed here.
    #[must_use]
    pub fn cut_power(&self, seed: u64) -> SimulatedDisk {
        let mut rng = SmallRng::seed_from_u64(seed);
        let platter = self.platter.cut_power(&mut rng);
        SimulatedDisk::holding(rng.random(), Journal::of(platter))
    }

    /// A disk of its own on which the process ended here.
    #[must_use]
    pub fn kill(&self, seed: u64) -> SimulatedDisk {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut platter = self.platter.clone();
        platter.kill(&mut rng);
        SimulatedDisk::holding(rng.random(), Journal::of(platter))
    }
}
