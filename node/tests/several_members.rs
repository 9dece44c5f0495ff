//! Several members change in one call: three replicas become three others, whatever crashes in between; see `world`.

#![allow(
    clippy::unwrap_used,
    reason = "what the world cannot do fails the test"
)]

mod world;

use std::collections::BTreeSet;

use quorate_node::event::{Outcome, Request};
use quorate_node::refusal::{Electorate, Refusal};
use raft::{PeerId, Role};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use store::{Command, Member, MemberChanges, MemberRemove, MemberStep, Response, SeveralError};
use world::{TIMEOUT, World, put};

const OLD: [u64; 3] = [1, 2, 3];
const NEW: [u64; 3] = [4, 5, 6];

fn change(steps: impl IntoIterator<Item = MemberStep>) -> Request {
    Request::Reconfigure(Command::MemberChanges(MemberChanges {
        changes: steps.into_iter().map(Into::into).collect(),
        max_learners: 3,
    }))
}

fn add(id: u64, is_learner: bool) -> MemberStep {
    MemberStep::Add(Member {
        id,
        peer_urls: vec![format!("http://m{id}:1")],
        is_learner,
        ..Member::default()
    })
}

/// The newcomers vote, the old ones go.
fn replacement() -> Request {
    let removals = OLD.map(MemberStep::Remove);
    change(NEW.map(MemberStep::Promote).into_iter().chain(removals))
}

/// Those in the answer; none if there is none, or a refusal.
fn members_told(world: &World, client: u64) -> Option<Vec<u64>> {
    match world.answered().get(&client)? {
        Outcome::Applied(Response::Members(answer)) => {
            Some(answer.members.iter().map(|member| member.id).collect())
        }
        _ => None,
    }
}

fn refusal(world: &World, client: u64) -> Refusal {
    match world.answered().get(&client) {
        Some(Outcome::Refused(refusal)) => *refusal,
        other => panic!("no refusal: {other:?}"),
    }
}

fn members(world: &World, id: u64) -> Vec<u64> {
    let members = world.store(id).members();
    members.iter().map(|member| member.id).collect()
}

/// The table and Raft's membership say the same of whoever is in them.
fn assert_tables_fit(world: &World) {
    for id in world.running() {
        let (configuration, members) =
            (&world.applied(id).configuration, world.store(id).members());
        let ids = |members: Vec<&Member>| members.iter().map(|it| PeerId(it.id)).collect();
        let voters: BTreeSet<PeerId> = ids(members.voters().collect());
        assert_eq!(&voters, configuration.voters(), "at {id}");
        assert_eq!(members.transition().is_some(), configuration.is_joint());
        if configuration.is_joint() {
            let old: BTreeSet<PeerId> = ids(members.old_voters().collect());
            assert_eq!(&old, configuration.outgoing(), "at {id}");
        }
        let all: BTreeSet<PeerId> = ids(members.iter().collect());
        assert_eq!(all, configuration.peers().collect(), "at {id}");
    }
}

/// Three members, and three learners beside them that have all of their log; who leads.
fn grown(world: &mut World) -> u64 {
    let leader = world.elect();
    world.ask(leader, put("before", "v"), 100);
    world.ask(leader, change(NEW.map(|id| add(id, true))), 101);
    world.tick_all(5);
    assert_eq!(members_told(world, 101).unwrap(), [1, 2, 3, 4, 5, 6]);
    NEW.into_iter().for_each(|id| world.join(id));
    world.tick_all(30);
    world.leading().unwrap()
}

#[test]
fn three_members_are_replaced_by_three_others_in_one_call() {
    let mut world = World::new(3);
    let leader = grown(&mut world);
    world.ask(leader, replacement(), 1);
    world.tick_all(20);
    assert_eq!(members_told(&world, 1).unwrap(), NEW);
    assert_tables_fit(&world);
    let next = world.leading().unwrap();
    assert!(NEW.contains(&next), "{next} leads");
    world.ask(next, put("after", "v"), 2);
    for (client, old) in (10..).zip(OLD) {
        assert!(world.store(old).members().was_removed(old));
        world.ask(old, put("late", "v"), client);
    }
    world.tick_all(2 * TIMEOUT);
    assert!(matches!(world.answered()[&2], Outcome::Applied(_)));
    for client in 10..13 {
        refusal(&world, client);
    }
    world.ask(next, change([add(1, true)]), 3);
    world.tick_all(5);
    let used_up = SeveralError::Removed { place: 1, id: 1 };
    assert_eq!(refusal(&world, 3), Refusal::Store(used_up.into()));
}

#[test]
fn nobody_hears_of_it_before_it_is_through() {
    let mut world = World::new(3);
    let leader = grown(&mut world);
    world.ask(leader, replacement(), 1);
    let is_joint = |world: &World| world.store(leader).members().transition().is_some();
    let mut was_joint = false;
    for _ in 0..200 {
        for id in world.running() {
            world.turn(id);
        }
        if is_joint(&world) {
            was_joint = true;
            assert_eq!(
                members(&world, leader),
                [1, 2, 3, 4, 5, 6],
                "all are needed"
            );
            assert!(!world.answered().contains_key(&1));
        }
        assert_tables_fit(&world);
        world
            .running()
            .into_iter()
            .for_each(|id| world.deliver_to(id));
    }
    assert!(was_joint);
    assert_eq!(members_told(&world, 1).unwrap(), NEW);
}

/// Breaks something, and mends it later.
fn fault(world: &mut World, rng: &mut SmallRng) {
    let leader = world.leading().unwrap_or(1);
    let other = rng.random_range(1..=6);
    match rng.random_range(0..6) {
        0 => world.crash(leader),
        1 => world.crash_after_write(leader),
        2 => world.cut_off(leader),
        3 => world.lose_messages(),
        4 => {
            world.checkpoint(other);
            world.crash(other);
        }
        _ => world.crash_after_write(other),
    }
    world.tick_all(rng.random_range(0..30));
    world.heal();
    (1..=6).for_each(|id| world.restart(id));
}

fn play(seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut world = World::new(3);
    let mut leader = grown(&mut world);
    let mut client = 1_000;
    while members(&world, leader) != NEW {
        assert!(client < 1_050, "seed {seed}: it never gets through");
        client += 1;
        world.ask(leader, replacement(), client);
        for put_by in 0..3 {
            let key = format!("{client}-{put_by}");
            world.ask_if_up(
                rng.random_range(1..=6),
                put(&key, "v"),
                client * 10 + put_by,
            );
        }
        for _ in 0..rng.random_range(0..60) {
            world.step_some(&mut rng);
            assert_tables_fit(&world);
        }
        fault(&mut world, &mut rng);
        world.tick_all(40);
        assert_tables_fit(&world);
        leader = world.leading().expect("somebody leads");
        if members_told(&world, client).is_some() {
            assert_eq!(
                members(&world, leader),
                NEW,
                "seed {seed}: what was told is so"
            );
        }
        let transition = world.store(leader).members().transition();
        assert_eq!(transition, None, "seed {seed}: whoever leads finishes it");
    }
    assert!(NEW.contains(&leader), "seed {seed}: {leader} leads");
    world.tick_all(2 * TIMEOUT);
    assert_eq!(world.unanswered(), [0_u64; 0], "seed {seed}");
    let acknowledged = (1_001..=client).flat_map(|client| (0..3).map(move |by| (client, by)));
    let all = |world: &World, key: &str| {
        let key = key.to_owned().into();
        let range = store::RangeRequest {
            key,
            ..store::RangeRequest::default()
        };
        NEW.iter()
            .all(|id| world.store(*id).range(&range).unwrap().count == 1)
    };
    for (client, by) in acknowledged {
        if let Some(Outcome::Applied(_)) = world.answered().get(&(client * 10 + by)) {
            let key = format!("{client}-{by}");
            assert!(all(&world, &key), "seed {seed}: {key} is lost");
        }
    }
}

#[test]
fn crashes_at_any_step_lose_nothing_and_leave_nothing_half_done() {
    (0..60).for_each(play);
}

#[test]
fn what_would_leave_nobody_to_decide_is_refused() {
    let mut world = World::new(3);
    let leader = world.elect();
    let swap = || {
        change(
            NEW.map(|id| add(id, false))
                .into_iter()
                .chain(OLD.map(MemberStep::Remove)),
        )
    };
    world.ask(leader, swap(), 1);
    world.settle();
    let new = refusal(&world, 1);
    let expected = Refusal::TooFewVoters {
        which: Electorate::New,
        voters: 3,
        have: 0,
        id: 4,
    };
    assert_eq!(new, expected);
    let text = new.to_string();
    assert!(
        text.contains("0 of 3 new voters") && text.contains("member 4"),
        "{text}"
    );

    // A learner that has nothing may not vote yet.
    world.ask(leader, change([add(4, true)]), 2);
    world.settle();
    world.ask(leader, change([MemberStep::Promote(4)]), 3);
    world.settle();
    let behind = refusal(&world, 3);
    assert!(
        matches!(behind, Refusal::LearnerBehind { id: 4, .. }),
        "{behind}"
    );

    // Of the voters left one is down.
    let others: Vec<u64> = OLD.into_iter().filter(|id| *id != leader).collect();
    world.crash(others[0]);
    world.tick_all(20);
    let removal = || change([MemberStep::Remove(others[1]), MemberStep::Remove(4)]);
    world.ask(leader, removal(), 4);
    world.settle();
    let silent = refusal(&world, 4);
    let expected = Refusal::TooFewVoters {
        which: Electorate::New,
        voters: 2,
        have: 1,
        id: others[0],
    };
    assert_eq!(silent, expected);
    assert_eq!(members(&world, leader), [1, 2, 3, 4], "nothing was changed");
}

#[test]
fn a_change_waits_for_newcomers_through_restarts_and_nothing_else_begins() {
    let mut world = World::new(3);
    world.be_lenient();
    let leader = world.elect();
    let swap = NEW
        .map(|id| add(id, false))
        .into_iter()
        .chain(OLD.map(MemberStep::Remove));
    world.ask(leader, change(swap), 1);
    world.tick_all(5);
    assert!(world.store(leader).members().transition().is_some());
    assert_eq!(members(&world, leader), [1, 2, 3, 4, 5, 6]);
    let remove = Command::MemberRemove(MemberRemove { id: 1 });
    world.ask(leader, Request::Reconfigure(remove), 2);
    world.tick_all(TIMEOUT);
    assert!(refusal(&world, 1).is_unknown());
    // Without a majority of the newcomers the leader steps down; what still waited behind its change was not begun.
    let second = refusal(&world, 2);
    assert!(
        second.is_unknown() || second == Refusal::NotLeader,
        "{second:?}"
    );
    world.checkpoint(1);
    for id in OLD {
        world.crash(id);
        world.restart(id);
    }
    world.tick_all(30);
    assert_tables_fit(&world);
    NEW.into_iter().for_each(|id| world.join(id));
    world.tick_all(60);
    let next = world.leading().unwrap();
    assert_eq!(members(&world, next), NEW);
    assert_tables_fit(&world);
}

#[test]
fn a_leader_becomes_a_learner() {
    let mut world = World::new(3);
    let leader = grown(&mut world);
    let steps = [MemberStep::Demote(leader), MemberStep::Promote(4)];
    world.ask(leader, change(steps), 1);
    world.tick_all(20);
    assert!(members_told(&world, 1).is_some());
    assert!(
        world
            .store(leader)
            .members()
            .find(leader)
            .unwrap()
            .is_learner
    );
    assert_ne!(world.role(leader), Role::Leader);
    assert_ne!(world.leading(), Some(leader));
    assert_tables_fit(&world);
}
