//! The replica alone, in a world of its own: three of them, disks that are vectors, a network that is a queue, clients that
//! are numbers. What it promises to those who wait is checked here to the letter.

#![allow(
    clippy::unwrap_used,
    reason = "what the world cannot do fails the test"
)]

mod world;

use bytes::Bytes;
use quorate_node::event::{Outcome, Read, Request};
use quorate_node::refusal::Refusal;
use quorate_node::replica::Retention;
use raft::{Body, Message, Payload, PeerId};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use store::{Command, PutRequest, RangeRequest, Response};
use world::{World, put};

fn range(key: &str) -> Request {
    let key = Bytes::from(key.to_owned());
    Request::Read(Read::Range(RangeRequest {
        key,
        ..RangeRequest::default()
    }))
}

fn revision(outcome: &Outcome) -> i64 {
    match outcome {
        Outcome::Applied(Response::Put(answer)) => answer.revision,
        other => panic!("not the answer to a put: {other:?}"),
    }
}

#[test]
fn what_gathers_between_two_turns_is_one_entry_one_write_and_one_message_per_follower() {
    let mut world = World::new(3);
    let leader = world.elect();
    let before = world.disk(leader).entries.len();
    for client in 0..1_000 {
        world.ask(leader, put(&format!("key-{client}"), "value"), client);
    }
    let turn = world.begin_turn(leader);
    assert_eq!(turn, 1, "entries in the one write");
    assert_eq!(
        world.take_answers(leader).len(),
        0,
        "nothing is durable yet"
    );
    let is_append = |message: &&raft::Message| matches!(&message.body, Body::Append { entries, .. } if entries.len() == 1);
    assert_eq!(world.on_its_way().filter(is_append).count(), 2);
    world.finish_turn(leader);
    world.settle();
    assert_eq!(world.disk(leader).entries.len(), before + 1);
    let answers = world.answered();
    assert_eq!(answers.len(), 1_000);
    let revisions: Vec<i64> = (0..1_000)
        .map(|client| revision(&answers[&client]))
        .collect();
    assert!(revisions.is_sorted(), "in the order in which they asked");
}

#[test]
fn a_large_gathering_is_cut_into_entries_of_bounded_size() {
    let mut world = World::new(1);
    let leader = world.elect();
    let value = "x".repeat(10_000);
    for client in 0..20 {
        world.ask(leader, put("key", &value), client);
    }
    let entries = world.begin_turn(leader);
    assert!((3..=5).contains(&entries), "about 64 KiB each: {entries}");
    world.finish_turn(leader);
    world.settle();
    assert_eq!(world.answered().len(), 20);
}

#[test]
fn a_follower_passes_proposals_and_reads_on_and_answers_from_its_own_store() {
    let mut world = World::new(3);
    let leader = world.elect();
    let follower = world.another(leader);
    world.ask(follower, put("k", "v"), 1);
    world.settle();
    world.ask(follower, range("k"), 2);
    world.settle();
    let answers = world.answered();
    assert_eq!(revision(&answers[&1]), 2);
    assert!(
        matches!(&answers[&2], Outcome::Range(answer) if answer.count == 1),
        "{answers:?}"
    );
}

#[test]
fn a_read_is_not_answered_without_a_quorum_and_is_tried_again_with_one() {
    let mut world = World::new(3);
    let leader = world.elect();
    world.cut_off(leader);
    world.ask(leader, range("k"), 1);
    world.settle();
    assert!(world.answered().is_empty(), "another may lead by now");
    world.tick_all(30);
    let next = world.leader().unwrap();
    assert_ne!(next, leader);
    world.ask(next, put("k", "v"), 2);
    world.settle();
    world.heal();
    world.tick_all(10);
    let answers = world.answered();
    assert!(
        matches!(&answers[&1], Outcome::Range(answer) if answer.count == 1),
        "{answers:?}"
    );
}

#[test]
fn losing_leadership_answers_everybody_and_claims_nothing() {
    let mut world = World::new(3);
    let leader = world.elect();
    world.cut_off(leader);
    for client in 0..5 {
        world.ask(leader, put("lost", "?"), client);
    }
    world.settle();
    world.tick_all(30);
    assert!(world.answered().is_empty(), "they may still be done");
    world.heal();
    world.tick_all(10);
    let answers = world.answered();
    assert_eq!(answers.len(), 5);
    for outcome in answers.values() {
        let Outcome::Refused(refusal) = outcome else {
            panic!("nobody did it: {outcome:?}")
        };
        assert_eq!(*refusal, Refusal::LeaderChanged);
        assert!(refusal.is_unknown());
    }
}

#[test]
fn a_hand_over_loses_no_proposal() {
    let mut world = World::new(3);
    let leader = world.elect();
    let heir = world.another(leader);
    world.ask(leader, put("before", "v"), 1);
    world.ask(leader, Request::MoveLeader(PeerId(heir)), 2);
    world.ask(leader, put("during", "v"), 3);
    world.settle();
    world.tick_all(2);
    world.ask(leader, put("after", "v"), 4);
    world.settle();
    world.tick_all(5);
    assert_eq!(world.leader(), Some(heir));
    let answers = world.answered();
    assert!(matches!(answers[&2], Outcome::Done));
    for client in [1, 3, 4] {
        assert!(revision(&answers[&client]) > 1);
    }
}

#[test]
fn a_hand_over_loses_no_proposal_that_a_follower_passed_on() {
    let mut world = World::new(3);
    let leader = world.elect();
    let heir = world.another(leader);
    let third = 6 - leader - heir;
    world.ask(leader, Request::MoveLeader(PeerId(heir)), 1);
    world.begin_turn(leader);
    for client in 2..10 {
        world.ask(third, put("k", "v"), client);
        world.turn(third);
        world.turn(third);
        world.deliver_to(leader);
    }
    world.settle();
    world.tick_all(5);
    assert_eq!(world.leader(), Some(heir));
    let answers = world.answered();
    assert!(
        (2..10).all(|client| revision(&answers[&client]) > 1),
        "{answers:?}"
    );
}

#[test]
fn a_leader_whose_disk_stalls_is_replaced_and_knows_it() {
    let mut world = World::new(3);
    let leader = world.elect();
    world.stall(leader);
    world.ask(leader, put("k", "v"), 1);
    world.settle();
    // Its entries went ahead of its disk, so that the others have them; but it says nothing more, not even that it is alive.
    world.tick_all(30);
    let next = world.leader().unwrap();
    assert_ne!(next, leader);
    assert_ne!(
        world.role(leader),
        raft::Role::Leader,
        "it heard from nobody either"
    );
    world.ask(next, put("k", "w"), 2);
    world.settle();
    assert_eq!(
        revision(&world.answered()[&2]),
        3,
        "what was stored by a quorum is kept"
    );
    world.heal();
    world.tick_all(10);
    assert_eq!(
        revision(&world.answered()[&1]),
        2,
        "and answered when its own disk has it"
    );
}

#[test]
fn a_crash_before_the_leaders_disk_has_what_a_quorum_has_loses_nothing() {
    let mut world = World::new(3);
    let leader = world.elect();
    world.stall(leader);
    world.ask(leader, put("k", "v"), 1);
    world.settle();
    world.crash(leader);
    world.heal();
    world.tick_all(30);
    world.restart(leader);
    world.tick_all(30);
    for id in 1..=3 {
        assert_eq!(world.store(id).revision(), 2, "at {id}");
    }
}

#[test]
fn without_a_leader_clients_wait_and_then_are_told() {
    let mut world = World::new(3);
    let leader = world.elect();
    let left = world.another(leader);
    for id in 1..=3 {
        if id != left {
            world.crash(id);
        }
    }
    world.tick_all(40);
    world.ask(left, put("k", "v"), 1);
    world.ask(left, range("k"), 2);
    world.ask(left, Request::ReadLocal(Read::Nothing), 3);
    world.ask(left, Request::MoveLeader(PeerId(left)), 4);
    world.tick_all(world::TIMEOUT - 1);
    let early = world.answered();
    assert_eq!(early.len(), 2, "{early:?}");
    assert!(matches!(early[&4], Outcome::Refused(Refusal::NotLeader)));
    world.tick_all(2);
    let answers = world.answered();
    for client in [1, 2] {
        let is_timeout = matches!(
            answers[&client],
            Outcome::Refused(Refusal::Timeout | Refusal::TimeoutLeaderFailed)
        );
        assert!(is_timeout, "{:?}", answers[&client]);
    }
}

#[test]
fn waiters_are_answered_when_the_member_stops() {
    let mut world = World::new(3);
    let leader = world.elect();
    world.cut_off(leader);
    world.ask(leader, put("k", "v"), 1);
    world.ask(leader, range("k"), 2);
    world.settle();
    world.ask(leader, put("k", "v"), 3);
    world.stop(leader);
    let answers = world.answered();
    assert_eq!(answers.len(), 3);
    let all = answers
        .values()
        .all(|outcome| matches!(outcome, Outcome::Refused(Refusal::Stopped)));
    assert!(all, "{answers:?}");
}

#[test]
fn changes_of_membership_are_done_one_after_the_other() {
    let mut world = World::new(1);
    let leader = world.elect();
    let add = |id: u64| {
        let member = store::Member {
            id,
            peer_urls: vec![format!("http://member-{id}:2380")],
            is_learner: true,
            ..store::Member::default()
        };
        Request::Reconfigure(Command::MemberAdd(store::MemberAdd {
            member,
            max_learners: 2,
        }))
    };
    world.ask(leader, add(8), 1);
    world.ask(leader, add(9), 2);
    world.ask(leader, add(10), 3);
    world.settle();
    world.tick_all(2);
    let answers = world.answered();
    let sizes: Vec<usize> = [1, 2]
        .map(|client| match &answers[&client] {
            Outcome::Applied(Response::Members(answer)) => answer.members.len(),
            other => panic!("{other:?}"),
        })
        .to_vec();
    assert_eq!(sizes, [2, 3]);
    let refusal = Refusal::Store(store::StoreError::TooManyLearners);
    assert!(matches!(answers[&3], Outcome::Refused(refused) if refused == refusal));
}

#[test]
fn a_member_whose_log_is_gone_is_given_the_store() {
    let mut world = World::new(3);
    let leader = world.elect();
    let behind = world.another(leader);
    world.cut_off(behind);
    for client in 0..50 {
        world.ask(leader, put(&format!("key-{client}"), "v"), client);
        world.settle();
    }
    world.checkpoint(leader);
    world.was_told_of_members(behind);
    world.heal();
    world.tick_all(10);
    assert_eq!(world.snapshots_sent(), 1);
    assert!(
        world.was_told_of_members(behind),
        "a snapshot brings a membership too"
    );
    assert_eq!(world.store(behind).digest(), world.store(leader).digest());
    world.crash(behind);
    world.restart(behind);
    world.tick_all(5);
    assert_eq!(world.store(behind).digest(), world.store(leader).digest());
}

#[test]
fn what_no_member_could_apply_is_not_taken_from_a_peer() {
    let mut world = World::new(3);
    let leader = world.elect();
    let from = PeerId(world.another(leader));
    let before = world.disk(leader).entries.len();
    let change = raft::Change {
        kind: raft::ChangeKind::Remove(from),
        context: Bytes::new(),
    };
    let junk = [
        Payload::Command(Bytes::from_static(b"junk")),
        Payload::Command(Bytes::new()),
        Payload::Change(change),
    ];
    for payload in junk {
        let body = Body::Propose {
            payloads: vec![payload],
        };
        let (to, term) = (PeerId(leader), world.disk(leader).hard_state.term);
        world.receive(Message {
            from,
            to,
            term,
            body,
        });
    }
    world.settle();
    assert_eq!(world.disk(leader).entries.len(), before);
    world.ask(leader, put("k", "v"), 1);
    world.settle();
    assert_eq!(revision(&world.answered()[&1]), 2);
}

#[test]
fn history_is_forgotten_by_the_leader_alone_and_everywhere() {
    let retention = Retention::Window {
        ticks: 40,
        hour: 1_000_000,
    };
    let mut world = World::with_retention(3, Some(retention));
    let leader = world.elect();
    for client in 0..100 {
        world.ask(leader, put("k", "v"), client);
        world.tick_all(1);
    }
    let compacted: Vec<i64> = (1..=3)
        .map(|id| world.store(id).compact_revision())
        .collect();
    assert!(compacted[0] > 1, "{compacted:?}");
    assert!(
        compacted.iter().all(|revision| *revision == compacted[0]),
        "{compacted:?}"
    );
    assert!(
        compacted[0] < world.store(leader).revision() - 30,
        "the window is kept"
    );
}

/// Writers whose values say who wrote them, under crashes, cuts and lost messages: everybody is answered once, and every
/// write that was acknowledged stands in every store at the revision that was answered.
fn survives(seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut world = World::new(3);
    world.elect();
    let mut asked = 0;
    for _ in 0..400 {
        let id = rng.random_range(1..=3);
        match rng.random_range(0..100) {
            0 if rng.random() => world.crash(id),
            0 => world.crash_after_write(id),
            1..=4 => world.restart(id),
            5 => world.cut_off(id),
            6..=8 => world.heal(),
            9 => world.lose_messages(),
            10 if rng.random() => world.stall(id),
            10 => world.checkpoint(id),
            11 => {
                asked += 1;
                world.ask_if_up(id, Request::HandOver, asked);
            }
            12..=60 => {
                asked += 1;
                world.ask_if_up(id, put(&format!("key-{asked}"), "v"), asked);
            }
            _ => world.tick_all(1),
        }
        world.step_some(&mut rng);
    }
    world.heal();
    (1..=3).for_each(|id| world.restart(id));
    world.tick_all(2 * world::TIMEOUT);
    assert_eq!(world.unanswered(), Vec::<u64>::new(), "seed {seed}");
    let answers = world.answered();
    for (client, outcome) in answers {
        if let Outcome::Applied(Response::Put(answer)) = outcome {
            for id in 1..=3 {
                let key = Bytes::from(format!("key-{client}"));
                let request = RangeRequest {
                    key,
                    ..RangeRequest::default()
                };
                let found = world.store(id).range(&request).unwrap();
                assert_eq!(
                    found.kvs[0].mod_revision, answer.revision,
                    "seed {seed}, {client} at {id}"
                );
            }
        }
    }
    let digests: Vec<u64> = (1..=3).map(|id| world.store(id).digest()).collect();
    assert!(
        digests.iter().all(|digest| *digest == digests[0]),
        "seed {seed}: {digests:?}"
    );
}

#[test]
fn everybody_is_answered_once_and_nothing_acknowledged_is_lost() {
    (0..300).for_each(survives);
}

#[test]
fn a_put_is_what_it_says() {
    let Request::Propose(bytes) = put("k", "v") else {
        panic!("a put is a proposal")
    };
    let expected = PutRequest {
        key: "k".into(),
        value: "v".into(),
        ..PutRequest::default()
    };
    assert_eq!(Command::from_bytes(&bytes).unwrap(), Command::Put(expected));
}

#[test]
fn what_goes_over_the_quota_is_done_and_is_the_last() {
    let mut world = World::new(3);
    let leader = world.elect();
    let value = "x".repeat(100_000);
    let clients = world::QUOTA_BYTES / 100_000 + 1;
    for client in 0..clients {
        world.ask(leader, put(&format!("key-{client}"), &value), client);
    }
    world.settle();
    world.tick_all(2);
    world.ask(leader, put("small", "v"), clients);
    world.settle();
    let answers = world.answered();
    assert!((0..clients).all(|client| revision(&answers[&client]) > 1));
    let refused = Response::Refused(store::StoreError::NoSpace);
    assert!(
        matches!(&answers[&clients], Outcome::Applied(response) if *response == refused),
        "{:?}",
        answers[&clients]
    );
    for id in 1..=3 {
        assert!(world.store(id).alarms().has(store::AlarmKind::NoSpace));
    }
}

/// What a serializable read of `k` finds.
fn read_local(world: &mut World, at: u64, client: u64) -> Result<Bytes, Refusal> {
    let Request::Read(read) = range("k") else {
        panic!("a range is read")
    };
    world.ask(at, Request::ReadLocal(read), client);
    world.settle();
    match &world.answered()[&client] {
        Outcome::Range(answer) => Ok(answer.kvs[0].value.clone()),
        Outcome::Refused(refusal) => Err(*refusal),
        other => panic!("{other:?}"),
    }
}

/// Alarms at every member but those.
fn alarms(world: &World, id: u64) -> Vec<(i32, u64)> {
    let alarms = world.store(id).alarms().iter();
    alarms.map(|alarm| (alarm.kind, alarm.member)).collect()
}

const CORRUPT: Refusal = Refusal::Store(store::StoreError::Corrupt);

#[test]
fn a_member_that_has_diverged_finds_out_and_serves_no_more() {
    let mut world = World::new(3);
    let leader = world.elect();
    world.ask(leader, put("k", "v"), 1);
    world.ask(leader, put("other", "v"), 2);
    world.settle();
    let wrong = world.another(leader);
    world.crash(wrong);
    world.plant(wrong, "k");
    world.restart(wrong);
    world.tick_all(30);
    assert!(world.has_diverged(wrong));
    for id in 1..=3 {
        assert_eq!(alarms(&world, id), [(2, wrong)], "at {id}");
    }
    assert_eq!(read_local(&mut world, wrong, 10), Err(CORRUPT));
    world.ask(wrong, put("k", "w"), 11);
    world.ask(wrong, range("k"), 12);
    world.settle();
    world.tick_all(2);
    for client in [11, 12] {
        let answer = &world.answered()[&client];
        assert!(
            matches!(answer, Outcome::Refused(refusal) if *refusal == CORRUPT),
            "{answer:?}"
        );
    }
    let right = world.leader().unwrap();
    assert_eq!(read_local(&mut world, right, 13).unwrap(), "v");
}

#[test]
fn a_leader_that_has_diverged_hands_over() {
    let mut world = World::new(3);
    let leader = world.elect();
    world.ask(leader, put("k", "v"), 1);
    world.settle();
    world.crash(leader);
    world.plant(leader, "k");
    world.tick_all(30);
    let next = world.leader().unwrap();
    world.restart(leader);
    world.tick_all(3);
    // As if it had been asked before anybody knew.
    world.ask(next, Request::MoveLeader(PeerId(leader)), 2);
    world.tick_all(60);
    assert!(world.has_diverged(leader));
    let now = world.leader().unwrap();
    assert_ne!(now, leader);
    assert_eq!(alarms(&world, now), [(2, leader)]);
}

#[test]
fn two_members_that_differ_cannot_tell_who_is_right() {
    let mut world = World::new(2);
    let leader = world.elect();
    world.ask(leader, put("k", "v"), 1);
    world.settle();
    let other = world.another(leader);
    world.crash(other);
    world.plant(other, "k");
    world.restart(other);
    world.tick_all(30);
    for id in 1..=2 {
        assert!(!world.has_diverged(id));
        assert_eq!(alarms(&world, id), [(2, 0)], "about nobody in particular");
    }
}

/// Half of it is what a leader's disk may take, the whole is when the others begin to wonder.
const ELECTION_TICKS: u64 = 10;

#[test]
fn a_leader_whose_disk_stalls_hands_over_within_an_election_timeout() {
    for seed in 0..20 {
        let mut world = World::new(3);
        let leader = world.elect();
        world.tick_all(seed % 7);
        world.stall(leader);
        world.ask(leader, put("k", "v"), 1);
        world.settle();
        world.tick_all(ELECTION_TICKS * 4 / 5);
        let next = world.leader().expect("somebody else leads");
        assert_ne!(next, leader);
        world.ask(next, put("k", "w"), 2);
        world.settle();
        assert_eq!(revision(&world.answered()[&2]), 3);
    }
}

#[test]
fn a_leader_whose_disk_is_slow_but_not_stalled_stays() {
    let mut world = World::new(3);
    let leader = world.elect();
    for client in 0..5 {
        world.stall(leader);
        world.ask(leader, put("k", "v"), client);
        world.settle();
        world.tick_all(ELECTION_TICKS / 2 - 1);
        world.heal();
        world.settle();
    }
    assert_eq!(world.leader(), Some(leader));
    assert_eq!(world.role(leader), raft::Role::Leader);
}

#[test]
fn a_leader_whose_disk_stalls_stays_where_nobody_could_follow_it() {
    let mut world = World::new(3);
    let leader = world.elect();
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    world.crash(others[0]);
    // Until it counts as away.
    world.tick_all(2 * ELECTION_TICKS);
    world.stall(leader);
    world.ask(leader, put("k", "v"), 1);
    world.settle();
    world.tick_all(ELECTION_TICKS * 4 / 5);
    let ordered = |message: &&Message| matches!(message.body, Body::TimeoutNow);
    assert_eq!(world.on_its_way().filter(ordered).count(), 0);
    assert_eq!(world.role(leader), raft::Role::Leader);
}
