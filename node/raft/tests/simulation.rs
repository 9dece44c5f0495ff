//! Thousands of broken worlds, each from one number: whatever happens, Raft's promises hold.
//!
//! `RAFT_SIM_SEEDS=100000` runs more, `RAFT_SIM_FIRST=n` begins elsewhere, `RAFT_SIM_SEED=n` runs
//! one and tells every event.

mod sim;

use sim::{Run, Summary};

/// About half a minute of one core.
const SEEDS: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number in the environment"))
}

#[test]
fn raft_keeps_its_promises() {
    if let Some(seed) = number("RAFT_SIM_SEED") {
        let summary = Run {
            told: true,
            ..Run::honest(seed)
        }
        .go();
        eprintln!("seed {seed}: {summary:#?}");
        assert!(summary.is_ok());
        return;
    }
    let first = number("RAFT_SIM_FIRST").unwrap_or(0);
    let seeds = number("RAFT_SIM_SEEDS").unwrap_or(SEEDS);
    let mut total = Summary::default();
    for seed in first..first + seeds {
        match Run::honest(seed).go() {
            Ok(summary) => total += summary,
            Err(violation) => panic!(
                "seed {seed} breaks {violation}\n\
                 replay: RAFT_SIM_SEED={seed} cargo test -p raft --test simulation -- --nocapture"
            ),
        }
    }
    eprintln!("{seeds} seeds: {total:#?}");
    if seeds >= 100 {
        assert_everything_happened(&total, seeds);
    }
}

/// A simulation in which nothing goes wrong proves nothing.
fn assert_everything_happened(total: &Summary, seeds: u64) {
    let kinds = [
        ("elections", total.elections, 2),
        ("commits", total.commits, 20),
        ("changes", total.changes, 1),
        ("reads", total.reads, 5),
        ("forwarded reads", total.forwarded_reads, 2),
        ("checkpoints", total.checkpoints, 1),
        ("crashes", total.crashes, 1),
        ("cuts", total.cuts, 1),
        ("pauses", total.pauses, 1),
        ("losses", total.losses, 10),
    ];
    for (kind, count, least) in kinds {
        assert!(
            count >= least * seeds,
            "{count} {kind} in {seeds} seeds are too few"
        );
    }
    assert!(
        total.installs >= seeds / 10,
        "{} snapshots installed are too few",
        total.installs
    );
    assert!(
        total.damages >= seeds / 10,
        "{} damaged logs are too few",
        total.damages
    );
    assert!(
        total.transfers >= seeds / 10,
        "{} hand-overs are too few",
        total.transfers
    );
}
