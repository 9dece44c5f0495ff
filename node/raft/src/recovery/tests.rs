//! What a disk may hold, and what follows.

use super::*;
use crate::configuration::Configuration;
use crate::ids::PeerId;
use crate::message::{Change, ChangeKind, Payload};

fn entry(index: u64, term: u64) -> Entry {
    Entry {
        term: Term(term),
        index: Index(index),
        payload: Payload::Empty,
    }
}

fn add(index: u64, peer: u64) -> Entry {
    let change = Change {
        kind: ChangeKind::AddVoter(PeerId(peer)),
        context: bytes::Bytes::default(),
    };
    Entry {
        payload: Payload::Change(change),
        ..entry(index, 1)
    }
}

fn snapshot(index: u64, term: u64) -> SnapshotMeta {
    let configuration = Configuration::new([PeerId(1)], []);
    SnapshotMeta {
        index: Index(index),
        term: Term(term),
        configuration,
    }
}

fn hard_state(term: u64, commit: u64) -> HardState {
    HardState {
        term: Term(term),
        vote: Some(PeerId(2)),
        commit: Index(commit),
    }
}

#[test]
fn an_empty_disk_is_a_peer_that_never_ran() {
    let (hard_state, log, membership) = rebuild(Recovered::default()).unwrap();
    assert_eq!(hard_state, HardState::default());
    assert_eq!(log.last_index(), Index(0));
    assert_eq!(membership.current(), &Configuration::default());
}

#[test]
fn a_new_cluster_begins_with_its_members() {
    let entries = vec![add(1, 1), add(2, 2), add(3, 3)];
    let recovered = Recovered {
        hard_state: hard_state(1, 3),
        entries,
        ..Recovered::default()
    };
    let (_, _, membership) = rebuild(recovered).unwrap();
    assert_eq!(
        membership.current(),
        &Configuration::new([1, 2, 3].map(PeerId), [])
    );
}

#[test]
fn what_the_snapshot_covers_is_skipped() {
    let entries = (1..=5).map(|index| entry(index, 2)).collect();
    let recovered = Recovered {
        hard_state: hard_state(2, 4),
        snapshot: snapshot(3, 2),
        entries,
        ..Recovered::default()
    };
    let (_, log, _) = rebuild(recovered).unwrap();
    assert_eq!((log.first_index(), log.last_index()), (Index(4), Index(5)));
    assert_eq!(log.commit(), Index(4));
}

#[test]
fn a_log_that_a_snapshot_replaced_is_dropped() {
    let entries = (1..=5).map(|index| entry(index, 2)).collect();
    let recovered = Recovered {
        hard_state: hard_state(3, 1),
        snapshot: snapshot(4, 3),
        entries,
        ..Recovered::default()
    };
    let (_, log, _) = rebuild(recovered).unwrap();
    assert_eq!((log.last_index(), log.last_term()), (Index(4), Term(3)));
}

#[test]
fn a_hard_state_older_than_the_log_is_raised() {
    let entries = vec![entry(1, 1), entry(2, 4)];
    let recovered = Recovered {
        hard_state: hard_state(3, 0),
        entries,
        ..Recovered::default()
    };
    let (hard_state, ..) = rebuild(recovered).unwrap();
    assert_eq!((hard_state.term, hard_state.vote), (Term(4), None));
}

#[test]
fn all_changes_but_the_last_are_committed_whatever_the_hard_state_says() {
    let entries = vec![add(1, 1), add(2, 2), entry(3, 1), add(4, 3)];
    let recovered = Recovered {
        hard_state: hard_state(1, 1),
        entries,
        ..Recovered::default()
    };
    let (_, log, membership) = rebuild(recovered).unwrap();
    assert_eq!(log.commit(), Index(2));
    assert_eq!(
        membership.current(),
        &Configuration::new([1, 2].map(PeerId), [])
    );
}

#[test]
fn a_gap_is_refused() {
    let entries = vec![entry(5, 2)];
    let recovered = Recovered {
        hard_state: hard_state(2, 3),
        snapshot: snapshot(3, 2),
        entries,
        ..Recovered::default()
    };
    assert_eq!(
        rebuild(recovered).unwrap_err(),
        Unrecoverable::Gap { missing: Index(4) }
    );
}

#[test]
fn falling_terms_are_refused() {
    let entries = vec![entry(1, 2), entry(2, 1)];
    let recovered = Recovered {
        entries,
        ..Recovered::default()
    };
    let falls = Unrecoverable::TermFalls {
        index: Index(2),
        term: Term(1),
    };
    assert_eq!(rebuild(recovered).unwrap_err(), falls);
}

#[test]
fn a_log_shorter_than_its_commit_is_refused() {
    let recovered = Recovered {
        hard_state: hard_state(2, 7),
        entries: vec![entry(1, 2)],
        ..Recovered::default()
    };
    let lost = Unrecoverable::CommitBeyondLog {
        commit: Index(7),
        last: Index(1),
    };
    assert_eq!(rebuild(recovered).unwrap_err(), lost);
}

#[test]
fn damage_keeps_the_promises_and_forgets_the_vote_with_the_term() {
    let remains = Recovered {
        hard_state: hard_state(1, 2),
        entries: vec![add(1, 1), add(2, 2)],
        lost: Some((Term(3), Index(4))),
        ..Recovered::default()
    };
    let damaged = Recovered::damaged(remains.clone(), hard_state(5, 7), (Term(2), Index(9)));
    assert_eq!(
        damaged.hard_state,
        HardState {
            term: Term(6),
            vote: None,
            commit: Index(2)
        }
    );
    assert_eq!(
        damaged.lost,
        Some((Term(3), Index(4))),
        "the later end, by its term"
    );
    assert_eq!(damaged.entries, remains.entries);
    let configuration = damaged.configuration().unwrap();
    assert_eq!(configuration, Configuration::new([1, 2].map(PeerId), []));
}
