//! What is sent to a follower, and when it is not.

use super::*;
use crate::ids::{PeerId, Term};
use crate::message::{Payload, SnapshotMeta};

const ENTRY_BYTES: u64 = 16 + 100;

fn config() -> Config {
    Config {
        max_append_bytes: 1,
        max_inflight_messages: 3,
        ..Config::new(PeerId(1))
    }
}

fn log(entries: u64) -> Log {
    let mut log = Log::recover(SnapshotMeta::default(), Vec::new(), Index(0));
    for _ in 0..entries {
        log.push(Term(1), Payload::Command(vec![0; 100].into()));
    }
    log
}

/// The last index of each message that goes out now.
fn sent(progress: &mut Progress, log: &Log, config: &Config) -> Vec<u64> {
    let messages = std::iter::from_fn(|| progress.next_message(log, config));
    let last = |body| match body {
        Body::Append {
            prev_index,
            entries,
            ..
        } => prev_index.0 + entries.len() as u64,
        body => panic!("not an append: {body:?}"),
    };
    messages.map(last).collect()
}

fn replicating(log: &Log, config: &Config) -> Progress {
    let mut progress = Progress::unknown(Index(1), true);
    assert_eq!(sent(&mut progress, log, config), [1]);
    progress.accepted(Index(1), log.first_index());
    assert_eq!(progress.mode(), ProgressMode::Replicate);
    progress
}

#[test]
fn a_probe_waits_for_its_answer() {
    let (log, config) = (log(9), config());
    let mut progress = Progress::unknown(Index(5), true);
    assert_eq!(sent(&mut progress, &log, &config), [5]);
    assert!(sent(&mut progress, &log, &config).is_empty());
    progress.rejected(Index(4), Index(2));
    assert_eq!(progress.next(), Index(3));
    assert_eq!(sent(&mut progress, &log, &config), [3]);
}

#[test]
fn replication_runs_ahead_up_to_a_number_of_messages() {
    let (log, config) = (log(9), config());
    let mut progress = replicating(&log, &config);
    assert_eq!(sent(&mut progress, &log, &config), [2, 3, 4]);
    progress.accepted(Index(3), log.first_index());
    assert_eq!(sent(&mut progress, &log, &config), [5, 6]);
}

#[test]
fn replication_runs_ahead_up_to_a_number_of_bytes() {
    let log = log(9);
    let config = Config {
        max_inflight_bytes: 2 * ENTRY_BYTES,
        ..config()
    };
    let mut progress = replicating(&log, &config);
    assert_eq!(sent(&mut progress, &log, &config), [2, 3]);
    assert_eq!(progress.in_flight(), (2, 2 * ENTRY_BYTES));
}

#[test]
fn a_full_pipe_still_asks_whether_something_was_lost() {
    let (log, config) = (log(9), config());
    let mut progress = replicating(&log, &config);
    drop(sent(&mut progress, &log, &config));
    progress.answered_heartbeat(log.last_index());
    assert_eq!(
        sent(&mut progress, &log, &config),
        [4],
        "an empty message behind the last"
    );
    progress.rejected(Index(4), Index(1));
    assert_eq!(
        (progress.mode(), progress.next()),
        (ProgressMode::Probe, Index(2))
    );
}

#[test]
fn a_late_rejection_is_ignored() {
    let (log, config) = (log(9), config());
    let mut progress = replicating(&log, &config);
    progress.rejected(Index(1), Index(0));
    assert_eq!(progress.mode(), ProgressMode::Replicate);
    assert_eq!(
        progress.next(),
        Index(2),
        "next never falls to what is known to be there"
    );
}

#[test]
fn news_of_the_commit_is_sent_once() {
    let (mut log, config) = (log(1), config());
    let mut progress = replicating(&log, &config);
    assert!(sent(&mut progress, &log, &config).is_empty());
    log.commit_to(Index(1));
    assert_eq!(sent(&mut progress, &log, &config), [1]);
    assert!(sent(&mut progress, &log, &config).is_empty());
}

#[test]
fn a_snapshot_goes_only_to_the_living_and_stops_all_else() {
    let (mut log, config) = (log(5), config());
    log.commit_to(Index(5));
    drop(log.hand_out(Index(u64::MAX), u64::MAX));
    let meta = SnapshotMeta {
        index: Index(4),
        term: Term(1),
        ..SnapshotMeta::default()
    };
    log.compact(meta, 0, 0);
    let mut progress = Progress::unknown(Index(2), false);
    assert_eq!(progress.next_message(&log, &config), None);
    progress.recently_active = true;
    let body = progress.next_message(&log, &config);
    assert!(matches!(body, Some(Body::InstallSnapshot { meta }) if meta.index == Index(4)));
    assert_eq!(progress.next_message(&log, &config), None);
    progress.answered_heartbeat(log.last_index());
    assert_eq!(progress.next_message(&log, &config), None);
    progress.accepted(Index(4), log.first_index());
    assert_eq!(sent(&mut progress, &log, &config), [5]);
}

#[test]
fn a_snapshot_that_failed_is_tried_again_after_a_sign_of_life() {
    let (mut log, config) = (log(5), config());
    log.commit_to(Index(5));
    drop(log.hand_out(Index(u64::MAX), u64::MAX));
    log.compact(
        SnapshotMeta {
            index: Index(4),
            term: Term(1),
            ..SnapshotMeta::default()
        },
        0,
        0,
    );
    let mut progress = Progress::unknown(Index(2), true);
    drop(progress.next_message(&log, &config));
    progress.snapshot_sent(false);
    assert_eq!(progress.next_message(&log, &config), None);
    progress.answered_heartbeat(log.last_index());
    assert!(matches!(
        progress.next_message(&log, &config),
        Some(Body::InstallSnapshot { .. })
    ));
}

#[test]
fn whoever_cannot_be_reached_is_not_active_until_it_speaks() {
    let mut progress = Progress::unknown(Index(5), true);
    assert!(progress.is_active());
    progress.unreachable();
    assert!(!progress.is_active());
    assert!(
        progress.recently_active,
        "a leader's office does not hang on it"
    );
    progress.heard();
    assert!(progress.is_active());
}
