use super::*;

const CLOCK: LeaseClock = LeaseClock {
    tick_ms: 100,
    checkpoint_every: None,
};

fn lease(id: i64, ttl: i64) -> Lease {
    Lease {
        id,
        ttl,
        remaining_ttl: 0,
    }
}

fn lessor(leases: &[Lease]) -> Lessor {
    lessor_with(CLOCK, leases)
}

fn lessor_with(clock: LeaseClock, leases: &[Lease]) -> Lessor {
    let mut lessor = Lessor::new(clock, 10, 70);
    lessor.promote(Term(1), 0, leases.iter());
    lessor
}

/// The first tick at which it is due.
fn due_at(lessor: &Lessor, id: i64) -> u64 {
    let mut ticks = 0..1_000_000;
    ticks.find(|now| lessor.due(*now).contains(&id)).unwrap()
}

#[test]
fn a_new_leader_gives_everybody_his_time_and_an_election_timeout_more() {
    let checkpointed = Lease {
        remaining_ttl: 5,
        ..lease(2, 60)
    };
    let lessor = lessor(&[lease(1, 60), checkpointed]);
    assert_eq!(due_at(&lessor, 1), 600 + 10 + 1);
    assert_eq!(due_at(&lessor, 2), 50 + 10 + 1);
}

#[test]
fn a_lease_lives_for_its_ttl_from_its_last_renewal() {
    let mut lessor = lessor(&[]);
    lessor.granted(100, &lease(1, 2));
    assert_eq!(due_at(&lessor, 1), 121);
    lessor.renewed(115, &lease(1, 2));
    assert_eq!(due_at(&lessor, 1), 136);
    assert!(!lessor.has_ended(135, 1) && lessor.has_ended(136, 1));
}

#[test]
fn what_is_left_is_told_in_whole_seconds_as_of_a_moment_after_the_tick() {
    let mut lessor = lessor(&[]);
    lessor.granted(0, &lease(1, 10));
    let left: Vec<_> = [0, 9, 10, 99, 100, 101, 121]
        .map(|now| lessor.left(now, 1).unwrap())
        .into();
    assert_eq!(left, [9, 9, 8, 0, 0, 0, -2]);
    assert_eq!(lessor.left(0, 2), None);
}

#[test]
fn an_end_is_asked_for_until_it_is_applied() {
    let mut lessor = lessor(&[]);
    lessor.granted(0, &lease(1, 1));
    assert_eq!(lessor.due(11), [1]);
    assert_eq!(
        lessor.due(12),
        [1],
        "its revocation did not go into the log"
    );
    lessor.mark_ending(12, &[1]);
    assert_eq!(lessor.due(81), [0; 0]);
    assert_eq!(lessor.due(82), [1]);
    assert!(lessor.revoked(83, 1));
    assert_eq!(lessor.due(1_000), [0; 0]);
    assert!(!lessor.revoked(83, 1), "it is gone");
}

#[test]
fn a_lease_revoked_before_its_end_has_not_expired() {
    let mut lessor = lessor(&[]);
    lessor.granted(0, &lease(1, 1));
    assert!(!lessor.revoked(10, 1));
}

#[test]
fn a_thousand_end_within_a_second_and_no_more() {
    let mut lessor = lessor(&[]);
    (1..=5_000).for_each(|id| lessor.granted(0, &lease(id, 1)));
    let mut ended = Vec::new();
    for now in 11..=60 {
        let due = lessor.due(now);
        assert_eq!(due.len(), 100, "at {now}");
        lessor.mark_ending(now, &due);
        assert!(due.iter().all(|id| lessor.revoked(now, *id)));
        ended.extend(due);
    }
    assert_eq!(ended, (1..=5_000).collect::<Vec<_>>());
}

#[test]
fn after_a_change_of_leader_ends_are_spread() {
    let leases: Vec<Lease> = (1..=3_000).map(|id| lease(id, 10)).collect();
    let ends = |leases: &[Lease]| {
        let spans = lessor(leases).office.unwrap().spans;
        spans.values().map(|span| span.ends_at).collect::<Vec<_>>()
    };
    assert!(
        ends(&leases[..999]).iter().all(|end| *end == 111),
        "few enough to end at once"
    );
    let spread = ends(&leases);
    for (number, end) in spread.iter().enumerate() {
        assert_eq!(*end, 111 + 10 * (number as u64 / 750));
    }
}

#[test]
fn spreading_ends_nothing_early_and_nobody_before_an_earlier_one() {
    let mut ends: Vec<(u64, i64)> = (0..5_000).map(|id| (100 + id as u64 / 90, id)).collect();
    let before = ends.clone();
    spread(&mut ends, 10);
    assert!(ends.is_sorted());
    assert!(
        before
            .iter()
            .zip(&ends)
            .all(|(before, after)| before <= after)
    );
    let last = ends.last().unwrap().0;
    assert!(
        last <= 155 + 10,
        "nobody waits much longer than those before him take: {last}"
    );
}

#[test]
fn nothing_is_measured_outside_of_an_office() {
    let mut lessor = lessor(&[lease(1, 1)]);
    assert_eq!(lessor.term(), Some(Term(1)));
    lessor.demote();
    lessor.granted(0, &lease(2, 1));
    assert_eq!(lessor.due(10_000), [0; 0]);
    assert_eq!(
        (lessor.term(), lessor.by_end(), lessor.left(0, 1)),
        (None, None, None)
    );
}

#[test]
fn the_next_to_end_comes_first() {
    let lessor = lessor(&[lease(1, 30), lease(2, 10), lease(3, 20)]);
    assert_eq!(lessor.by_end().unwrap(), [2, 3, 1]);
}

#[test]
fn long_leases_are_checkpointed_and_short_ones_are_not() {
    let clock = LeaseClock {
        checkpoint_every: Some(3_000),
        ..CLOCK
    };
    let mut lessor = lessor_with(clock, &[]);
    lessor.granted(0, &lease(1, 300));
    lessor.granted(0, &lease(2, 900));
    assert_eq!(lessor.checkpoints_due(2_999), []);
    let due = lessor.checkpoints_due(3_000);
    let checkpoint = |remaining_ttl| LeaseRemaining {
        id: 2,
        remaining_ttl,
    };
    assert_eq!(due, [checkpoint(600)]);
    lessor.mark_checkpointing(&due);
    assert!(lessor.is_being_checkpointed(2) && !lessor.is_being_checkpointed(1));
    assert_eq!(lessor.checkpoints_due(10_000), []);
    let mut applied = lease(2, 900);
    applied.remaining_ttl = 600;
    lessor.checkpointed(3_001, &applied);
    assert!(!lessor.is_being_checkpointed(2));
    assert_eq!(lessor.checkpoints_due(6_001), [checkpoint(300)]);
    applied.remaining_ttl = 300;
    lessor.checkpointed(6_001, &applied);
    assert_eq!(
        lessor.checkpoints_due(8_999),
        [],
        "what is left needs no checkpoint"
    );
}

/// Found by the simulation: a leader that restarted alone ended a lease by a checkpoint that was taken back in what it had
/// still to apply.
#[test]
fn a_renewal_that_a_new_leader_applies_late_gives_the_whole_time() {
    let checkpointed = Lease {
        remaining_ttl: 5,
        ..lease(1, 60)
    };
    let mut lessor = lessor(&[checkpointed]);
    lessor.checkpointed(3, &lease(1, 60));
    assert_eq!(due_at(&lessor, 1), 3 + 600 + 1);
    lessor.checkpointed(700, &lease(1, 60));
    assert!(
        lessor.has_ended(700, 1),
        "what has ended is not brought back"
    );
}

#[test]
fn the_longest_lease_overflows_nothing() {
    let mut lessor = lessor(&[
        lease(1, i64::MAX),
        lease(2, store::MAX_LEASE_TTL),
        lease(3, i64::MIN),
    ]);
    lessor.renewed(5, &lease(1, store::MAX_LEASE_TTL));
    assert_eq!(lessor.left(5, 1), Some(store::MAX_LEASE_TTL - 1));
    assert_eq!(due_at(&lessor, 3), 11);
}
