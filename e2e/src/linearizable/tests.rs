//! The checker against planted violations, and against a checker too dumb to be wrong.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::history::Moment;

const A: Value = Value(1);
const B: Value = Value(2);

fn moment(order: u64) -> Moment {
    Moment {
        order,
        at: Duration::from_millis(order),
    }
}

fn done(span: (u64, u64), action: Action, answer: Answer) -> Operation {
    ended(span, action, Outcome::Done(answer))
}

fn ended((from, to): (u64, u64), action: Action, outcome: Outcome) -> Operation {
    Operation {
        client: 1,
        key: "k".to_owned(),
        action,
        invoked: moment(from),
        returned: moment(to),
        outcome,
        revision: None,
    }
}

fn unknown(span: (u64, u64), action: Action) -> Operation {
    ended(span, action, Outcome::Unknown("lost".to_owned()))
}

fn put(span: (u64, u64), value: Value) -> Operation {
    done(span, Action::Put(value), Answer::Written)
}

fn get(span: (u64, u64), seen: Option<Value>) -> Operation {
    done(span, Action::Get, Answer::Saw(seen))
}

fn verdict(operations: &[Operation]) -> Result<(), Violation> {
    check(&History {
        operations: operations.to_vec(),
    })
}

#[test]
fn concurrent_reads_may_see_either_side_of_a_write() {
    verdict(&[
        put((0, 1), A),
        get((3, 4), Some(A)),
        get((5, 6), Some(B)),
        put((2, 9), B),
    ])
    .unwrap();
}

#[test]
fn a_stale_read_is_caught() {
    let stale = [put((0, 1), A), put((2, 3), B), get((4, 5), Some(A))];
    let story = verdict(&stale).unwrap_err().to_string();
    assert!(story.contains("cannot be next  #4..#5"), "{story}");
}

#[test]
fn a_read_that_goes_back_in_time_is_caught() {
    verdict(&[
        put((0, 1), A),
        put((2, 9), B),
        get((3, 4), Some(B)),
        get((5, 6), Some(A)),
    ])
    .unwrap_err();
}

#[test]
fn a_lost_write_is_caught() {
    verdict(&[put((0, 1), A), get((2, 3), None)]).unwrap_err();
}

#[test]
fn a_phantom_is_caught() {
    verdict(&[put((0, 1), A), get((2, 3), Some(Value::FOREIGN))]).unwrap_err();
}

#[test]
fn a_refused_write_that_is_read_is_caught() {
    let refused = ended(
        (0, 1),
        Action::Put(A),
        Outcome::Failed("too large".to_owned()),
    );
    verdict(&[refused, get((2, 3), Some(A))]).unwrap_err();
}

#[test]
fn an_unknown_write_may_take_effect_late_or_never() {
    verdict(&[
        unknown((0, 1), Action::Put(A)),
        get((2, 3), None),
        get((4, 5), Some(A)),
    ])
    .unwrap();
    verdict(&[unknown((0, 1), Action::Put(A)), get((2, 3), None)]).unwrap();
}

#[test]
fn an_unknown_write_takes_effect_once() {
    let back = [
        unknown((0, 1), Action::Put(A)),
        get((2, 3), Some(A)),
        put((4, 5), B),
        get((6, 7), Some(A)),
    ];
    verdict(&back).unwrap_err();
}

#[test]
fn an_unknown_write_is_not_seen_before_it_was_asked_for() {
    verdict(&[get((0, 1), Some(A)), unknown((2, 3), Action::Put(A))]).unwrap_err();
}

#[test]
fn two_swaps_cannot_both_win() {
    let swap = |span, to| done(span, Action::Swap { expect: None, to }, Answer::Swapped);
    verdict(&[swap((0, 3), A), swap((1, 2), B)]).unwrap_err();
    let kept = done(
        (1, 2),
        Action::Swap {
            expect: None,
            to: B,
        },
        Answer::Kept(Some(A)),
    );
    verdict(&[swap((0, 3), A), kept]).unwrap();
}

#[test]
fn an_unknown_delete_explains_an_absence() {
    verdict(&[
        put((0, 1), A),
        unknown((2, 3), Action::Delete),
        get((4, 5), Some(A)),
        get((6, 7), None),
    ])
    .unwrap();
}

#[test]
fn revisions_that_run_against_time_are_caught() {
    let at = |operation: Operation, revision| Operation {
        revision: Some(revision),
        ..operation
    };
    let other = Operation {
        key: "other".to_owned(),
        ..get((2, 3), None)
    };
    let fine = [at(put((0, 1), A), 5), at(other.clone(), 5)];
    verdict(&fine).unwrap();
    let stale = [at(put((0, 1), A), 5), at(other, 4)];
    let story = verdict(&stale).unwrap_err().to_string();
    assert!(story.contains("at revision 5"), "{story}");
    let shared = [at(put((0, 1), A), 5), at(put((2, 3), B), 5)];
    verdict(&shared).unwrap_err();
}

/// Tries every order of every subset of unknown operations: right by being dumb.
fn dumb(done: u32, held: Option<Value>, operations: &[Operation]) -> bool {
    let open: Vec<usize> = (0..operations.len())
        .filter(|i| done & (1 << i) == 0)
        .collect();
    let answered = |i: &&usize| operations[**i].answer().is_some();
    if !open.iter().any(|i| answered(&i)) {
        return true;
    }
    let first_return = open
        .iter()
        .filter(answered)
        .map(|i| operations[*i].returned.order)
        .min();
    open.iter().any(|i| {
        let next = &operations[*i];
        !matches!(next.outcome, Outcome::Failed(_))
            && next.invoked.order < first_return.unwrap_or(u64::MAX)
            && apply(next, held).is_some_and(|held| dumb(done | (1 << i), held, operations))
    })
}

/// A register served at random moments to overlapping clients, sometimes with a lie.
fn random_history(random: &mut SmallRng) -> Vec<Operation> {
    let count = random.random_range(2..=6);
    let mut held = None;
    (1..=count)
        .map(|n| {
            let written = Value(n);
            let expect = if random.random_bool(0.5) {
                held
            } else {
                Some(Value(random.random_range(1..=count)))
            };
            let action = match random.random_range(0..8) {
                0..3 => Action::Put(written),
                3..6 => Action::Get,
                6 => Action::Swap {
                    expect,
                    to: written,
                },
                _ => Action::Delete,
            };
            let answer = serve(action, &mut held);
            let at = n * 10;
            let span = (
                at - random.random_range(0..25).min(at),
                at + random.random_range(1..25),
            );
            let outcome = match random.random_range(0..6) {
                0 => Outcome::Unknown("lost".to_owned()),
                1 => Outcome::Done(lie(answer, random, count)),
                _ => Outcome::Done(answer),
            };
            ended((span.0 * 10 + n, span.1 * 10 + n), action, outcome)
        })
        .collect()
}

fn serve(action: Action, held: &mut Option<Value>) -> Answer {
    let seen = *held;
    match action {
        Action::Get => return Answer::Saw(seen),
        Action::Swap { expect, .. } if expect != seen => return Answer::Kept(seen),
        Action::Put(value) | Action::Swap { to: value, .. } => *held = Some(value),
        Action::Delete => *held = None,
    }
    match action {
        Action::Delete => Answer::Deleted(seen),
        Action::Swap { .. } => Answer::Swapped,
        Action::Put(_) | Action::Get => Answer::Written,
    }
}

fn lie(answer: Answer, random: &mut SmallRng, count: u64) -> Answer {
    let other = Some(Value(random.random_range(1..=count)));
    match answer {
        Answer::Saw(_) => Answer::Saw(other),
        Answer::Kept(_) => Answer::Swapped,
        Answer::Deleted(_) => Answer::Deleted(None),
        Answer::Written | Answer::Swapped => answer,
    }
}

#[test]
fn agrees_with_the_dumb_checker_on_random_histories() {
    let (mut sound, mut broken) = (0, 0);
    for seed in 0..20_000 {
        let operations = random_history(&mut SmallRng::seed_from_u64(seed));
        let expected = dumb(0, None, &operations);
        let found = verdict(&operations);
        assert_eq!(
            found.is_ok(),
            expected,
            "seed {seed}: {}\n{found:?}",
            operations
                .iter()
                .map(|o| format!("\n{o}"))
                .collect::<String>()
        );
        *(if expected { &mut sound } else { &mut broken }) += 1;
    }
    assert!(
        sound > 2_000 && broken > 2_000,
        "{sound} sound, {broken} broken: the generator is lopsided"
    );
}

#[test]
fn a_long_history_with_many_unknown_writes_is_searched_quickly() {
    let mut random = SmallRng::seed_from_u64(7);
    let mut held = None;
    let operations: Vec<_> = (1..20_000_u64)
        .map(|n| {
            let action = if random.random_bool(0.5) {
                Action::Put(Value(n))
            } else {
                Action::Get
            };
            let answer = serve(action, &mut held);
            let lost = random.random_range(0..50) == 0;
            let span = (
                n * 10 - random.random_range(0..=5),
                n * 10 + random.random_range(1..=120),
            );
            let span = (span.0 * 100_000 + n, span.1 * 100_000 + n);
            if lost {
                unknown(span, action)
            } else {
                done(span, action, answer)
            }
        })
        .collect();
    verdict(&operations).unwrap();
}
