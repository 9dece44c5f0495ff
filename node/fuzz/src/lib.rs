//! Every decoder of the node against bytes that nobody meant.
//!
//! A [`Target`] is a decoder with sound inputs, made by the encoders of the node itself. What is tried are mutations of those,
//! with checksums made right again ([`seal`]), because a decoder that was only ever shown broken checksums was never shown anything.
//! Of each input is asked:
//!
//! - nothing panics, on any thread of the decoder's;
//! - it ends;
//! - it takes no more memory at once than the target's [`Bound`] grants an input of that length.
//!
//! Under `cargo test` each target runs so many mutations drawn from a seed: the same every time. `FUZZ_RUNS=N` tries more of them and
//! `FUZZ_SEED=N` others. Under a fuzzing engine the same targets are looked for by coverage:
//!
//! ```text
//! cargo install cargo-bolero
//! cargo bolero test --package fuzz --profile release --sanitizer NONE image
//! ```
//!
//! What is found is written into a file, and belongs into `regressions/TARGET/` from the moment it is mended: whatever lies there is
//! tried first.
//!
//! What this package deliberately does not do: say what a decoder must make of an input; tests beside the decoders do.

#![allow(
    clippy::unwrap_used,
    reason = "sound inputs that cannot be made fail the run"
)]

pub mod mutation;
pub mod seal;
mod seeds;
pub mod targets;
mod watchdog;

use std::cell::Cell;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use bolero::TypeGenerator as _;
use bolero::generator::bolero_generator::driver::{Options, Rng};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use mutation::Mutation;
use watchdog::Watchdog;

/// The most memory that a decoder may hold at once, above what it held before.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Bytes for each byte of the input.
    pub per_byte: u64,
    /// Bytes whatever the input is.
    pub beside: u64,
}

/// Says whether it took the input.
type Decode = Box<dyn Fn(&[u8]) -> bool>;

/// A decoder, and what to show it.
pub struct Target {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    seal: fn(&mut Vec<u8>),
    decode: Decode,
    bound: Bound,
    runs: u64,
}

thread_local! {
    /// Panics of this thread. Whoever spawns tasks catches theirs, so that nobody would hear of them.
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

impl Target {
    /// A decoder that says whether it took the input, and inputs that it takes.
    fn new(
        name: &'static str,
        seeds: Vec<Vec<u8>>,
        seal: fn(&mut Vec<u8>),
        decode: impl Fn(&[u8]) -> bool + 'static,
    ) -> Self {
        Self {
            name,
            seeds,
            seal,
            decode: Box::new(decode),
            bound: Bound {
                per_byte: 64,
                beside: 64 << 10,
            },
            runs: 2_000,
        }
    }

    fn bounded(self, per_byte: u64, beside: u64) -> Self {
        let bound = Bound { per_byte, beside };
        Self { bound, ..self }
    }

    fn runs(self, runs: u64) -> Self {
        Self { runs, ..self }
    }

    /// The input that a mutation makes.
    #[must_use]
    pub fn input(&self, mutation: &Mutation) -> Vec<u8> {
        let mut input = mutation.of(&self.seeds);
        if mutation.seal > 0 {
            (self.seal)(&mut input);
        }
        input
    }

    /// Shows an input to the decoder, and says whether it took it.
    ///
    /// # Panics
    /// It did what no input may make it do.
    pub fn show(&self, input: &[u8]) -> bool {
        let mut taken = false;
        let before = PANICS.get();
        let memory = allocation_counter::measure(|| taken = (self.decode)(input));
        assert_eq!(PANICS.get(), before, "a task of the decoder panicked");
        let Bound { per_byte, beside } = self.bound;
        let (len, held) = (input.len() as u64, memory.bytes_max);
        assert!(
            held <= per_byte * len + beside,
            "{held} bytes of memory for an input of {len}: more than {per_byte} for each byte and {beside} beside"
        );
        taken
    }

    /// The short run: sound inputs, what was found once, and mutations from a seed.
    ///
    /// # Panics
    /// On the first input that does what no input may do; the message says where it was written.
    pub fn run(&self) {
        count_panics();
        let watchdog = Watchdog::over(self.name, found(self.name, "hang"));
        for seed in &self.seeds {
            let mut sealed = seed.clone();
            (self.seal)(&mut sealed);
            assert!(
                sealed == *seed,
                "{}: sealing changes a sound input",
                self.name
            );
            assert!(
                self.try_one(seed, &watchdog),
                "{}: a sound input is refused",
                self.name
            );
        }
        for path in regressions(self.name) {
            self.try_one(&fs::read(path).unwrap(), &watchdog);
        }
        let runs = variable("FUZZ_RUNS").unwrap_or(self.runs);
        let mut rng = SmallRng::seed_from_u64(variable("FUZZ_SEED").unwrap_or(0));
        let mut taken = 0;
        for _ in 0..runs {
            let mutation = Mutation::generate(&mut Rng::new(&mut rng, &Options::default()));
            let input = self.input(&mutation.expect("entropy does not end"));
            taken += u64::from(self.try_one(&input, &watchdog));
        }
        println!("{}: {taken} of {runs} mutations were taken", self.name);
    }

    fn try_one(&self, input: &[u8], watchdog: &Watchdog) -> bool {
        watchdog.begins(input);
        let shown = panic::catch_unwind(AssertUnwindSafe(|| self.show(input)));
        watchdog.ends();
        shown.unwrap_or_else(|panic| {
            let path = found(self.name, "input");
            fs::write(&path, input).unwrap();
            eprintln!("{}: what did it lies in {}", self.name, path.display());
            panic::resume_unwind(panic)
        })
    }
}

fn count_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            before(panic);
        }));
    });
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

fn regressions(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("regressions")
        .join(name);
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Where an input is written that did it.
fn found(name: &str, how: &str) -> PathBuf {
    std::env::temp_dir().join(format!("fuzz-{name}-{}.{how}", std::process::id()))
}
