//! A simulation that never fails may be blind. Here each promise is broken in turn, at the edge of the members, and somebody must
//! notice within a bounded number of worlds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use simulation::{Bug, Run};

/// In how many worlds each must be noticed. Most show in the first few.
const WORLDS: u64 = 400;

#[test]
fn every_planted_bug_is_noticed() {
    let unnoticed: Vec<Bug> = Bug::ALL
        .into_iter()
        .filter(|bug| !is_noticed(*bug))
        .collect();
    assert!(unnoticed.is_empty(), "nobody noticed {unnoticed:?}");
}

/// Searches for a world in which the bug shows, and says where and how it did.
fn is_noticed(bug: Bug) -> bool {
    let found = (0..WORLDS).find_map(|seed| Some((seed, symptom(bug, seed)?)));
    if let Some((seed, symptom)) = &found {
        let symptom: String = symptom
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .take(120)
            .collect();
        eprintln!("{bug:?}: seed {seed}: {symptom}");
    }
    found.is_some()
}

/// What went wrong, if anything: a broken promise, or an assertion of the member itself.
fn symptom(bug: Bug, seed: u64) -> Option<String> {
    let run = Run {
        bug: Some(bug),
        ..Run::honest(seed)
    };
    match catch_unwind(AssertUnwindSafe(|| run.go())) {
        Ok(Ok(_)) => None,
        Ok(Err(violation)) => Some(violation.to_string()),
        Err(_) => Some("an assertion of the member itself".to_owned()),
    }
}
