//! Clusters of whole members in broken worlds, each from one number: whatever happens, what was promised holds.
//!
//! `QUORATE_SIM_SEEDS=100000` runs more, `QUORATE_SIM_FIRST=n` begins elsewhere, `QUORATE_SIM_SEED=n` runs one and tells every
//! event.

use std::time::{Duration, Instant};

use simulation::{Run, Summary};

/// About a minute of one core.
const SEEDS: u64 = 300;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number in the environment"))
}

#[test]
fn whole_members_keep_their_promises() {
    if let Some(seed) = number("QUORATE_SIM_SEED") {
        let told = true;
        let summary = Run {
            told,
            ..Run::honest(seed)
        }
        .go();
        eprintln!(
            "seed {seed}: {}",
            summary
                .as_ref()
                .map_or_else(ToString::to_string, ToString::to_string)
        );
        assert!(summary.is_ok());
        return;
    }
    let first = number("QUORATE_SIM_FIRST").unwrap_or(0);
    let seeds = number("QUORATE_SIM_SEEDS").unwrap_or(SEEDS);
    let (total, took) = run(first..first + seeds);
    let per_hour = seeds as f64 / took.as_secs_f64() * 3_600.0;
    eprintln!("{seeds} seeds in {took:.1?}, {per_hour:.0} an hour:\n{total}");
    if seeds >= 100 {
        assert_everything_happened(&total, seeds);
    }
}

fn run(seeds: std::ops::Range<u64>) -> (Summary, Duration) {
    let began = Instant::now();
    let mut total = Summary::default();
    for seed in seeds {
        match Run::honest(seed).go() {
            Ok(summary) => total += summary,
            Err(violation) => panic!(
                "seed {seed} breaks {violation}\n\
                 replay: QUORATE_SIM_SEED={seed} cargo test -p simulation --test simulation -- --nocapture"
            ),
        }
    }
    (total, began.elapsed())
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..3 {
        let (one, other) = (Run::honest(seed).go(), Run::honest(seed).go());
        assert_eq!(one, other, "seed {seed}");
    }
}

/// A simulation in which nothing goes wrong proves nothing. How often each happens in ten runs, at the least.
const EVERYTHING: &[(&str, u64)] = &[("elections", 20), ("commits", 1_000)];

fn assert_everything_happened(total: &Summary, seeds: u64) {
    for (what, least) in EVERYTHING {
        let count = total.count(what);
        assert!(
            count * 10 >= least * seeds,
            "{count} {what} in {seeds} runs are too few"
        );
    }
}
