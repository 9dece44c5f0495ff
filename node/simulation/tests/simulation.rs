//! Clusters of whole members in broken worlds, each from one number: whatever happens, what was promised holds.
//!
//! `QUORATE_SIM_SEEDS=100000` runs more, `QUORATE_SIM_FIRST=n` begins elsewhere, `QUORATE_SIM_SEED=n` runs one and tells every
//! event; `QUORATE_SIM_BUG=name` plants a bug in it.

use std::time::{Duration, Instant};

use simulation::{Bug, Run, Summary};

/// Worlds beyond the first ones that found something, once.
const FOUND: [u64; 2] = [1_824, 2_062];

/// About a minute of one core.
const SEEDS: u64 = 1_500;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number in the environment"))
}

#[test]
fn whole_members_keep_their_promises() {
    if let Some(seed) = number("QUORATE_SIM_SEED") {
        let bug = std::env::var("QUORATE_SIM_BUG").ok();
        let bug = bug.map(|name| Bug::named(&name).expect("a planted bug's name"));
        let told = true;
        let summary = Run { seed, bug, told }.go();
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
    run(FOUND.into_iter());
    let (total, took) = run(first..first + seeds);
    let per_hour = seeds as f64 / took.as_secs_f64() * 3_600.0;
    eprintln!("{seeds} seeds in {took:.1?}, {per_hour:.0} an hour:\n{total}");
    if seeds >= 1_000 {
        assert_everything_happened(&total, seeds);
    }
}

fn run(seeds: impl Iterator<Item = u64>) -> (Summary, Duration) {
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

/// A simulation in which nothing goes wrong proves nothing. How often each happens in a thousand runs, at the least: half of what
/// was seen when this was written, or less.
const EVERYTHING: &[(&str, u64)] = &[
    ("elections", 2_000),
    ("commits", 100_000),
    ("crashes", 800),
    ("pauses", 600),
    ("clock jumps", 150),
    ("cuts in two", 150),
    ("cuts of one", 150),
    ("leaders in doubt", 100),
    ("cuts one way", 300),
    ("cuts of some pairs", 300),
    ("messages lost", 100_000),
    ("messages doubled", 50_000),
    ("stalled disks", 250),
    ("failing syncs", 250),
    ("full disks", 200),
    ("ends for a failed write", 250),
    ("torn ends", 20),
    ("flipped bits", 50),
    ("damage found at rest", 10),
    ("starts refused for damage", 4),
    ("damage set aside", 45),
    ("members repaired", 30),
    ("checkpoints", 5_000),
    ("snapshots sent", 600),
    ("members added", 600),
    ("members promoted", 500),
    ("members removed", 500),
    ("learners added in one call", 500),
    ("members exchanged in one call", 300),
    ("members that left", 500),
    ("hand-overs", 200),
    ("puts done", 40_000),
    ("deletions done", 9_000),
    ("transactions done", 15_000),
    ("linearizable reads done", 18_000),
    ("serializable reads done", 5_000),
    ("compactions done", 1_200),
    ("grants done", 6_000),
    ("renewals done", 7_000),
    ("revocations done", 1_000),
    ("questions about leases done", 2_000),
    ("watches created", 4_000),
    ("watches cancelled", 1_000),
    ("watches left", 1_000),
    ("watches broken", 800),
    ("watches of compacted history", 200),
    ("watches that had no room", 1_500),
    ("events watched", 50_000),
    ("progress told", 3_000),
    ("whole histories", 800),
];

fn assert_everything_happened(total: &Summary, seeds: u64) {
    for (what, least) in EVERYTHING {
        let count = total.count(what);
        assert!(
            count * 1_000 >= least * seeds,
            "{count} {what} in {seeds} runs are too few"
        );
    }
}
