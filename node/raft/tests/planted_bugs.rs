//! A simulation that never fails may be blind. Here each rule of Raft is broken in turn, and the
//! simulation must notice, within a bounded number of worlds. How the bugs are planted, and why so:
//! `docs/decisions/0002-planted-bugs.md`.

mod sim;

use raft::Rules;
use sim::disk::Honesty;
use sim::{Run, Summary};
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// In how many worlds each bug must be found. Most show in the first hundred, the rarest in the
/// first few thousand.
const WORLDS: u64 = 10_000;

/// Searches for a world in which the bug shows, and says where and how it did.
fn caught(bug: &str, plant: impl Fn(Run) -> Run) {
    let found = (0..WORLDS).find_map(|seed| {
        let symptom = run(plant(Run::honest(seed)))?;
        Some((seed, symptom))
    });
    let (seed, symptom) = found.unwrap_or_else(|| panic!("nobody noticed: {bug}"));
    eprintln!(
        "{bug}: seed {seed}: {}",
        symptom.lines().next().unwrap_or_default()
    );
}

/// What went wrong, if anything: a broken promise, or an assertion of the core itself.
fn run(run: Run) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| run.go())) {
        Ok(Ok(Summary { .. })) => None,
        Ok(Err(violation)) => Some(violation.to_string()),
        Err(_) => Some(String::from("the core's own assertion")),
    }
}

fn caught_rule(bug: &str, break_it: impl Fn(&mut Rules)) {
    caught(bug, |mut run| {
        break_it(&mut run.rules);
        run
    });
}

fn caught_disk(bug: &str, disk: Honesty) {
    caught(bug, |run| Run { disk, ..run });
}

#[test]
fn a_quorum_that_is_no_majority() {
    caught_rule("half of the voters decide", |rules| {
        rules.quorum = |voters| voters.div_ceil(2)
    });
}

#[test]
fn a_learner_that_counts_as_a_voter() {
    caught_rule("a learner's acknowledgement counts", |rules| {
        rules.acknowledges = |voters, learners| Cow::Owned(voters | learners);
    });
}

#[test]
fn a_vote_for_a_log_that_lacks_entries() {
    caught_rule("votes do not look at the log", |rules| {
        rules.up_to_date = |_, _| true
    });
}

#[test]
fn a_log_compared_by_length_alone() {
    caught_rule("the longer log wins whatever its term", |rules| {
        rules.up_to_date = |candidate, own| candidate.1 >= own.1;
    });
}

#[test]
fn a_commit_of_an_earlier_term_by_counting() {
    caught_rule(
        "entries of earlier terms are committed by counting",
        |rules| {
            rules.counts_for_commit = |_, _| true;
        },
    );
}

#[test]
fn a_leader_that_counts_what_is_not_durable() {
    caught_rule("a leader counts what its disk has not got", |rules| {
        rules.own_match = |_durable, last| last;
    });
}

#[test]
fn two_changes_of_membership_in_flight() {
    caught_rule("changes do not wait for each other", |rules| {
        rules.may_change = |_, _| true
    });
}

#[test]
fn a_joint_change_that_the_new_voters_decide_alone() {
    caught_rule("one electorate of two is enough", |rules| {
        rules.together = |old, new| old.max(new)
    });
}

#[test]
fn a_new_leader_that_trusts_its_commit() {
    caught_rule("a leader acts before it committed anything", |rules| {
        rules.term_established = |_, _| true;
    });
}

#[test]
fn a_read_without_a_quorum() {
    caught_rule("a leader serves reads unasked", |rules| {
        rules.read_confirmed = |_, _| true
    });
}

#[test]
fn a_read_confirmed_by_an_answer_to_an_older_round() {
    caught_rule("an answer from before the read confirms it", |rules| {
        rules.read_confirmed = |began_after, answered| began_after <= answered;
    });
}

#[test]
fn entries_appended_where_they_do_not_fit() {
    caught_rule("a follower does not compare what is before", |rules| {
        rules.fits = |_, _| true
    });
}

#[test]
fn two_votes_in_one_term() {
    caught_rule("a voter votes for all who ask", |rules| {
        rules.may_vote = |_| true
    });
}

#[test]
fn an_acknowledgement_before_it_is_durable() {
    caught_disk(
        "the disk says durable too early",
        Honesty::SaysDurableTooEarly,
    );
}

#[test]
fn a_vote_that_a_crash_forgets() {
    caught_disk("the vote is not on disk", Honesty::ForgetsTheVote);
}

#[test]
fn a_damaged_peer_that_votes_at_once() {
    caught_rule("a vote by what damage left of the log", |rules| {
        rules.vouched_end = |own, _lost| own;
    });
}

#[test]
fn damage_that_passes_for_the_end_of_the_log() {
    caught_disk(
        "damage is cut like a torn end",
        Honesty::TakesDamageForTheEnd,
    );
}

#[test]
fn a_damaged_peer_that_goes_on_in_its_term() {
    caught_disk(
        "a leader counts what damage took",
        Honesty::KeepsTheTermOfDamage,
    );
}
