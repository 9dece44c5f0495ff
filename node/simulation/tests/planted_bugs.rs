//! A simulation that never fails may be blind. Here each promise is broken in turn, at the edge of the members, and the judge whose
//! matter it is must notice within a bounded number of worlds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use simulation::{Bug, Run};

/// In how many worlds each must be noticed. Most show in the first few.
const WORLDS: u64 = 400;

const ELECTIONS: &str = "election safety";
const LOGS: &str = "log matching";
const COMPLETE: &str = "leader completeness";
const STATES: &str = "state machine safety";
const DURABLE: &str = "what is said is durable";
const SOUND: &str = "members understand each other";
const DISKS: &str = "a disk that kept its promises recovers";
const EQUAL: &str = "a member finds that it differs from the others";
const LIVES: &str = "when faults stop, all goes on";
const CLIENTS: &str = "clients see one store, in the order of true time";
const WATCHERS: &str = "watchers are told everything, in order, once, and whole revisions";
const LEASES: &str = "leases live as long as promised, and are seen to";
const ITSELF: &str = "an assertion of the member itself";

/// Whose matter each is.
const fn judges(bug: Bug) -> &'static [&'static str] {
    match bug {
        Bug::HalfQuorum | Bug::BlindVote => &[ELECTIONS, COMPLETE, STATES],
        Bug::ReadWithoutQuorum | Bug::TrustedOffice => &[CLIENTS, LEASES],
        Bug::LearnerCounts => &[COMPLETE, STATES],
        Bug::ApplyDiffers => &[EQUAL],
        Bug::StaleRead | Bug::UnknownAsRefused | Bug::CompactionTakesLive => &[CLIENTS],
        Bug::DoneTwice | Bug::TakenTwice => &[CLIENTS],
        Bug::ReleaseBeforeSync => &[DURABLE],
        Bug::UnwrittenVote | Bug::ForgottenTerm => &[DURABLE, DISKS],
        // Who forgot the change that left him alone waits for those who are gone.
        Bug::ForgottenTail => &[COMPLETE, DISKS, LIVES],
        Bug::SnapshotAhead => &[STATES, LOGS, SOUND],
        Bug::ForgedEntry => &[LOGS, STATES],
        Bug::WatchSkips | Bug::WatchRepeats | Bug::WatchSplits => &[WATCHERS],
        Bug::ResumeSkips | Bug::ProgressAhead => &[WATCHERS],
        Bug::EarlyExpiry | Bug::EmptyRenewal | Bug::LocalLeases => &[LEASES],
        Bug::NoExpiry => &[LEASES, LIVES],
    }
}

#[test]
fn every_planted_bug_is_noticed() {
    let unnoticed: Vec<Bug> = Bug::ALL
        .into_iter()
        .filter(|bug| !is_noticed(*bug))
        .collect();
    assert!(
        unnoticed.is_empty(),
        "nobody noticed, or only another judge did: {unnoticed:?}"
    );
}

/// Searches for a world in which the bug shows, and says who noticed and where.
fn is_noticed(bug: Bug) -> bool {
    let found = (0..WORLDS).find_map(|seed| {
        let judge = noticed_by(bug, seed)?;
        let is_asked = !is_left_to_members(bug) || judges(bug).contains(&judge);
        is_asked.then_some((seed, judge))
    });
    match &found {
        Some((seed, judge)) => {
            eprintln!("{:<20} {:>3} worlds  {judge}", format!("{bug:?}"), seed + 1)
        }
        None => eprintln!("{:<20} {WORLDS:>3} worlds  nobody", format!("{bug:?}")),
    }
    found.is_some_and(|(_, judge)| judges(bug).contains(&judge))
}

/// Whether only the members are asked. Two that differ cannot tell who is right, and then others see at the end what came of it.
fn is_left_to_members(bug: Bug) -> bool {
    bug == Bug::ApplyDiffers
}

/// The judge who notices, if anybody does.
fn noticed_by(bug: Bug, seed: u64) -> Option<&'static str> {
    let run = Run {
        bug: Some(bug),
        ..Run::honest(seed)
    };
    match catch_unwind(AssertUnwindSafe(|| run.go())) {
        Ok(Ok(_)) => None,
        Ok(Err(violation)) => Some(violation.property),
        Err(_) => Some(ITSELF),
    }
}
