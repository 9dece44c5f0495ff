//! Which calls of one family are struck.
//!
//! It deliberately knows no call: it counts words.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// When faults of a family strike.
pub enum Strikes<F> {
    /// Never.
    Never,
    /// At the call of this number, counted from 1.
    At(u64, F),
    /// One call in so many, at random, until so many were struck.
    Drawn {
        /// Where chance comes from.
        chance: SmallRng,
        /// One call in so many.
        one_in: u32,
        /// What may happen.
        among: Vec<F>,
        /// How often.
        times: u32,
    },
}

impl<F> Strikes<F> {
    /// One call in so many at random, of these faults, at most `times`.
    #[must_use]
    pub fn drawn(seed: u64, one_in: u32, among: Vec<F>, times: u32) -> Self {
        Self::Drawn {
            chance: SmallRng::seed_from_u64(seed),
            one_in,
            among,
            times,
        }
    }
}

/// The schedule of a family, and what it has seen. Clones share it.
pub struct Schedule<F>(Arc<Mutex<State<F>>>);

struct State<F> {
    strikes: Strikes<F>,
    seen: Vec<String>,
    struck: u32,
    over: bool,
}

impl<F> Clone for Schedule<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: Copy> Default for Schedule<F> {
    fn default() -> Self {
        Self::new(Strikes::Never)
    }
}

impl<F: Copy> Schedule<F> {
    /// Strikes so.
    #[must_use]
    pub fn new(strikes: Strikes<F>) -> Self {
        Self(Arc::new(Mutex::new(State {
            strikes,
            seen: Vec::new(),
            struck: 0,
            over: false,
        })))
    }

    /// The calls so far, in words.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.state().seen.clone()
    }

    /// How many of them were struck.
    #[must_use]
    pub fn struck(&self) -> u32 {
        self.state().struck
    }

    pub(super) fn end(&self) {
        self.state().over = true;
    }

    /// Counts a call, and says what strikes it. A drawn fault that does not fit it leaves it alone.
    pub(super) fn next(&self, what: String, fits: impl Fn(F) -> bool) -> Option<F> {
        let mut state = self.state();
        if state.over {
            return None;
        }
        state.seen.push(what);
        let n = state.seen.len() as u64;
        let fault = match &mut state.strikes {
            Strikes::Never => None,
            Strikes::At(at, fault) => (*at == n).then_some(*fault),
            Strikes::Drawn {
                chance,
                one_in,
                among,
                times,
            } => {
                let hit = *times > 0 && chance.random_range(0..*one_in) == 0;
                let fault = among.choose(chance).copied().filter(|it| hit && fits(*it));
                *times -= u32::from(fault.is_some());
                fault
            }
        };
        state.struck += u32::from(fault.is_some());
        fault
    }

    fn state(&self) -> MutexGuard<'_, State<F>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
