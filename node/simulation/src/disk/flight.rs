//! What was asked of a disk, and how much of it has been carried out.
//!
//! What this module deliberately does not do: show anything. Whoever asks sees everything done at once.

use super::SimulatedDisk;
use super::operation::Operation;
use super::platter::{Platter, View};
use rand::Rng;
use rand::rngs::SmallRng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Operations that are on their way together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flight(u64);

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    platter: Platter,
    /// In the order in which they were asked for, each with the flight that it belongs to.
    waiting: VecDeque<(Option<Flight>, Operation)>,
    in_air: BTreeSet<Flight>,
    current: Option<Flight>,
    flights: u64,
}

impl SimulatedDisk {
    /// Whatever is asked for inside of `work` is in flight until it is landed, or cut off by the end of the process.
    pub fn fly<R>(&self, work: impl FnOnce() -> R) -> (R, Flight) {
        let flight = self.state().journal.depart();
        let outcome = work();
        self.state().journal.current = None;
        (outcome, flight)
    }

    /// Everything of a flight has been carried out. One that was cut off does not matter any more.
    pub fn land(&self, flight: Flight) {
        self.state().journal.land(flight);
    }
}

impl Journal {
    pub(super) fn of(platter: Platter) -> Self {
        Self {
            platter,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, operation: Operation) {
        if self.current.is_none() && self.waiting.is_empty() {
            self.platter.apply(&operation);
        } else {
            self.waiting.push_back((self.current, operation));
        }
    }

    /// What a process sees that starts now.
    pub(super) fn view(&self) -> View {
        self.platter.view()
    }

    pub(super) fn platter(&self) -> &Platter {
        &self.platter
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = &Operation> {
        self.waiting.iter().map(|(_, operation)| operation)
    }

    fn depart(&mut self) -> Flight {
        assert!(
            self.current.is_none(),
            "a flight begins when the one before has been asked for whole"
        );
        self.flights += 1;
        let flight = Flight(self.flights);
        self.in_air.insert(flight);
        self.current = Some(flight);
        flight
    }

    fn land(&mut self, flight: Flight) {
        self.in_air.remove(&flight);
        while let Some((of, operation)) = self.waiting.front() {
            if of.is_some_and(|of| self.in_air.contains(&of)) {
                break;
            }
            self.platter.apply(operation);
            self.waiting.pop_front();
        }
    }

    /// Carries out what is drawn of each flight, and forgets the rest.
    fn cut_flights(&mut self, rng: &mut SmallRng) {
        let mut counts: BTreeMap<Flight, u64> = BTreeMap::new();
        for flight in self.waiting.iter().filter_map(|(flight, _)| *flight) {
            *counts.entry(flight).or_default() += 1;
        }
        let landed = |flight: &Flight| !self.in_air.contains(flight);
        let mut left: BTreeMap<Flight, u64> = counts
            .into_iter()
            .map(|(flight, count)| {
                let done = if landed(&flight) {
                    count
                } else {
                    rng.random_range(0..=count)
                };
                (flight, done)
            })
            .collect();
        for (flight, operation) in std::mem::take(&mut self.waiting) {
            if let Some(flight) = flight {
                let left = left.entry(flight).or_default();
                if *left == 0 {
                    continue;
                }
                *left -= 1;
            }
            self.platter.apply(&operation);
        }
        self.in_air.clear();
        self.current = None;
    }

    pub(super) fn cut_power(&mut self, rng: &mut SmallRng) {
        self.cut_flights(rng);
        self.platter = self.platter.cut_power(rng);
    }

    pub(super) fn kill(&mut self, rng: &mut SmallRng) {
        self.cut_flights(rng);
        self.platter.kill(rng);
    }
}
