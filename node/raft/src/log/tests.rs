//! The log's own rules.

use super::*;
use bytes::Bytes;

/// Entries of these terms, from `first` on.
fn entries(first: u64, terms: &[u64]) -> Vec<Entry> {
    let numbered = terms.iter().zip(first..);
    let entry = |(&term, index)| Entry {
        term: Term(term),
        index: Index(index),
        payload: Payload::Command(Bytes::from_static(b"12345678")),
    };
    numbered.map(entry).collect()
}

fn log(terms: &[u64], commit: u64) -> Log {
    Log::recover(SnapshotMeta::default(), entries(1, terms), Index(commit))
}

fn terms(log: &Log) -> Vec<u64> {
    log.between(log.first_index().previous(), log.last_index())
        .map(|e| e.term.0)
        .collect()
}

#[test]
fn entries_already_there_change_nothing() {
    let mut log = log(&[1, 1, 2], 0);
    assert_eq!(log.append(entries(1, &[1, 1])), Ok(None));
    assert_eq!(terms(&log), [1, 1, 2]);
}

#[test]
fn a_contradiction_cuts_the_rest_off() {
    let mut log = log(&[1, 1, 2, 2], 1);
    assert_eq!(log.append(entries(2, &[1, 3])), Ok(Some(Index(3))));
    assert_eq!(terms(&log), [1, 1, 3]);
}

#[test]
fn a_committed_entry_is_never_contradicted() {
    let mut log = log(&[1, 1, 2], 2);
    assert_eq!(
        log.append(entries(2, &[3])),
        Err(Misfit::ContradictsCommitted)
    );
    assert_eq!(terms(&log), [1, 1, 2]);
}

#[test]
fn a_gap_does_not_fit() {
    let mut log = log(&[1], 0);
    assert_eq!(log.append(entries(3, &[1])), Err(Misfit::NotHere));
}

#[test]
fn where_logs_may_agree_is_found_by_term() {
    let log = log(&[1, 1, 3, 3, 5], 0);
    let agree = |index, term| log.may_agree_at(Index(index), Term(term));
    assert_eq!(agree(5, 4), (Index(4), Term(3)));
    assert_eq!(agree(5, 2), (Index(2), Term(1)));
    assert_eq!(agree(3, 9), (Index(3), Term(3)));
    assert_eq!(agree(5, 0), (Index(0), Term(0)));
}

#[test]
fn a_slice_keeps_to_its_bytes_but_holds_one_entry() {
    let log = log(&[1, 1, 1], 0);
    let each = entries(1, &[1])[0].weight();
    let sliced = |bytes| log.slice(Index(1), Index(3), bytes).len();
    assert_eq!(
        (
            sliced(0),
            sliced(each * 2),
            sliced(each * 3 - 1),
            sliced(u64::MAX)
        ),
        (1, 2, 2, 3)
    );
}

#[test]
fn what_is_durable_is_known_by_ticket() {
    let mut log = log(&[], 0);
    log.append(entries(1, &[1, 1])).unwrap();
    assert_eq!(log.submit(Ticket(1)).len(), 2);
    log.append(entries(3, &[1])).unwrap();
    assert_eq!(log.submit(Ticket(2)).len(), 1);
    log.persisted(Ticket(1));
    assert_eq!(log.stable(), Index(2));
    log.persisted(Ticket(2));
    assert_eq!(log.stable(), Index(3));
}

#[test]
fn a_late_ticket_does_not_vouch_for_what_was_written_over() {
    let mut log = log(&[], 0);
    log.append(entries(1, &[1, 1, 1])).unwrap();
    drop(log.submit(Ticket(1)));
    log.append(entries(2, &[2, 2])).unwrap();
    drop(log.submit(Ticket(2)));
    log.persisted(Ticket(1));
    assert_eq!(log.stable(), Index(1));
    log.persisted(Ticket(2));
    assert_eq!(log.stable(), Index(3));
}

#[test]
fn each_committed_entry_is_handed_out_once() {
    let mut log = log(&[1, 1, 1], 0);
    log.commit_to(Index(2));
    assert_eq!(log.hand_out(Index(u64::MAX), 0).len(), 1);
    assert_eq!(log.hand_out(Index(u64::MAX), u64::MAX).len(), 1);
    assert!(log.hand_out(Index(u64::MAX), u64::MAX).is_empty());
}

#[test]
fn a_checkpoint_leaves_some_entries_for_the_slow() {
    let mut log = log(&[1, 1, 2, 2, 2], 5);
    drop(log.hand_out(Index(u64::MAX), u64::MAX));
    let meta = SnapshotMeta {
        index: Index(4),
        term: Term(2),
        ..SnapshotMeta::default()
    };
    log.compact(meta.clone(), 2, u64::MAX);
    assert_eq!(
        (log.first_index(), log.term(Index(2))),
        (Index(3), Some(Term(1)))
    );
    assert_eq!(log.term(Index(1)), None);
    log.compact(
        SnapshotMeta {
            index: Index(5),
            ..meta
        },
        0,
        u64::MAX,
    );
    assert_eq!((log.first_index(), log.last_index()), (Index(6), Index(5)));
    assert_eq!(log.last_term(), Term(2));
}

#[test]
fn heavy_entries_do_not_stay_for_the_slow() {
    let mut log = log(&[1, 1, 2, 2, 2], 5);
    drop(log.hand_out(Index(u64::MAX), u64::MAX));
    let weight = entries(1, &[1])[0].weight();
    let meta = SnapshotMeta {
        index: Index(4),
        term: Term(2),
        ..SnapshotMeta::default()
    };
    log.compact(meta, 3, 2 * weight);
    assert_eq!(log.first_index(), Index(3), "two of three fit");
    let meta = SnapshotMeta {
        index: Index(5),
        term: Term(2),
        ..SnapshotMeta::default()
    };
    log.compact(meta, 3, weight - 1);
    assert_eq!((log.first_index(), log.last_index()), (Index(6), Index(5)));
}

#[test]
fn a_snapshot_takes_the_place_of_the_log() {
    let mut log = log(&[1, 1], 1);
    let meta = SnapshotMeta {
        index: Index(9),
        term: Term(3),
        ..SnapshotMeta::default()
    };
    log.restore(meta);
    assert_eq!((log.last_index(), log.last_term()), (Index(9), Term(3)));
    assert_eq!(
        (log.commit(), log.handed_out(), log.stable()),
        (Index(9), Index(9), Index(9))
    );
    assert!(!log.has_unsubmitted());
}

proptest::proptest! {
    /// Halving finds what looking at each entry finds.
    #[test]
    fn where_logs_may_agree(
        mut terms in proptest::collection::vec(1_u64..6, 0..12),
        index in 0_u64..14,
        term in 0_u64..7
    ) {
        terms.sort_unstable();
        let log = log(&terms, 0);
        let dumb = (0..=index.min(terms.len() as u64))
            .rfind(|&at| log.term(Index(at)).is_some_and(|own| own <= Term(term)))
            .unwrap_or(0);
        proptest::prop_assert_eq!(log.may_agree_at(Index(index), Term(term)).0, Index(dumb));
    }
}
