//! Leases in the replicas' own world: who may renew and who may end them when leaders change, stall and come back.

#![allow(
    clippy::unwrap_used,
    reason = "what the world cannot do fails the test"
)]

mod world;

use quorate_node::event::{LeaseRead, LeaseState, Outcome, Read, Request};
use quorate_node::refusal::Refusal;
use quorate_node::replica::Batch;
use raft::{Body, Payload, PeerId};
use store::{
    AuthRequest, Command, LeaseGrant, LeaseRevoke, Nothing, PutRequest, Response, RoleName, Secret,
    StoreError, UserAdd, UserRole,
};
use world::{TICK_MS, TIMEOUT, World};

/// What a new leader adds, and one tick.
const GRACE: u64 = 10 + 1;

fn ticks(seconds: u64) -> u64 {
    seconds * 1_000 / TICK_MS
}

fn grant(id: i64, ttl: i64) -> Request {
    Request::Propose(Command::LeaseGrant(LeaseGrant { id, ttl }).to_bytes())
}

fn put(key: &'static str, lease: i64) -> Request {
    let put = PutRequest {
        key: key.into(),
        lease,
        ..PutRequest::default()
    };
    Request::Propose(Command::Put(put).to_bytes())
}

fn renew(id: i64) -> Request {
    Request::Read(Read::Lease(LeaseRead::Renew { id }))
}

fn time_to_live(id: i64) -> Request {
    Request::Read(Read::Lease(LeaseRead::TimeToLive { id, keys: true }))
}

/// Asks, and gives the others time; the answer.
fn ask(world: &mut World, member: u64, request: Request) -> Option<Outcome> {
    let client = 1_000 + world.answered().len() as u64;
    world.ask(member, request, client);
    world.settle();
    world.answered().get(&client).cloned()
}

fn refusal(outcome: Option<&Outcome>) -> Refusal {
    match outcome {
        Some(Outcome::Refused(refusal)) => *refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn gone() -> Refusal {
    StoreError::LeaseNotFound.into()
}

fn renewed(outcome: Option<&Outcome>) -> i64 {
    match outcome {
        Some(Outcome::Renewed { ttl }) => *ttl,
        other => panic!("not renewed: {other:?}"),
    }
}

fn exists(world: &World, member: u64, lease: i64) -> bool {
    world.store(member).leases().find(lease).is_some()
}

/// Whether a command that is such a one stands in the log on this member's disk.
fn in_log(world: &World, member: u64, is_it: impl Fn(&Command) -> bool) -> bool {
    world.disk(member).entries.iter().any(|entry| {
        let Payload::Command(bytes) = &entry.payload else {
            return false;
        };
        let commands = Batch::decode(bytes.clone()).unwrap().commands;
        commands
            .iter()
            .any(|bytes| is_it(&Command::from_bytes(bytes).unwrap()))
    })
}

/// How many ticks pass until the lease is gone at this member.
fn outlives(world: &mut World, member: u64, lease: i64) -> u64 {
    let most = 10_000;
    let until_gone = (0..most).find(|_| {
        let is_gone = !exists(world, member, lease);
        if !is_gone {
            world.tick_all(1);
        }
        is_gone
    });
    until_gone.unwrap_or_else(|| panic!("it lives for {most} ticks"))
}

/// Three members, a lease of ten seconds with a key on it, and who leads.
fn world_with_lease() -> (World, u64) {
    let mut world = World::new(3);
    let leader = world.elect();
    ask(&mut world, leader, grant(7, 10)).unwrap();
    ask(&mut world, leader, put("k", 7)).unwrap();
    (world, leader)
}

/// The leader is cut off and another takes over; which.
fn replace(world: &mut World, leader: u64) -> u64 {
    world.cut_off(leader);
    world.tick_all(30);
    let next = world.leader().unwrap();
    assert_ne!(next, leader);
    next
}

#[test]
fn a_lease_that_nobody_renews_ends_at_every_member_and_takes_its_keys() {
    let (mut world, leader) = world_with_lease();
    let lived = outlives(&mut world, leader, 7);
    assert!((ticks(10)..=ticks(10) + 2).contains(&lived), "{lived}");
    for member in 1..=3 {
        assert!(!exists(&world, member, 7));
        assert_eq!(
            world.store(member).size().keys,
            1,
            "the deletion is history"
        );
        assert_eq!(world.store(member).revision(), 3);
    }
}

#[test]
fn a_lease_that_is_renewed_lives_and_one_that_is_not_there_is_not_renewed() {
    let (mut world, leader) = world_with_lease();
    for _ in 0..10 {
        world.tick_all(ticks(9));
        let answer = ask(&mut world, leader, renew(7));
        assert_eq!(renewed(answer.as_ref()), 10);
    }
    assert!(outlives(&mut world, leader, 7) >= ticks(10));
    let answer = ask(&mut world, leader, renew(7));
    assert_eq!(refusal(answer.as_ref()), gone());
}

#[test]
fn only_the_leader_says_what_it_measures() {
    let (mut world, leader) = world_with_lease();
    let follower = world.another(leader);
    for request in [renew(7), time_to_live(7)] {
        let answer = ask(&mut world, follower, request);
        assert_eq!(refusal(answer.as_ref()), Refusal::NotLeader);
    }
    let Some(Outcome::Lease(state)) = ask(&mut world, leader, time_to_live(7)) else {
        panic!("the leader knows")
    };
    let expected = LeaseState {
        granted_ttl: 10,
        left: 9,
        keys: vec!["k".into()],
    };
    assert_eq!(state, expected);
    let answer = ask(&mut world, leader, time_to_live(8));
    assert_eq!(refusal(answer.as_ref()), gone());
}

#[test]
fn leases_are_listed_by_everybody_and_by_their_ends_at_the_leader() {
    let (mut world, leader) = world_with_lease();
    ask(&mut world, leader, grant(8, 5)).unwrap();
    let mut list = |member| match ask(&mut world, member, Request::ReadLocal(Read::Leases)) {
        Some(Outcome::Leases(ids)) => ids,
        other => panic!("not a list: {other:?}"),
    };
    assert_eq!(list(leader), [8, 7]);
    assert_eq!(list(leader % 3 + 1), [7, 8]);
}

#[test]
fn a_new_leader_gives_leases_their_whole_time() {
    let (mut world, leader) = world_with_lease();
    world.tick_all(ticks(8));
    ask(
        &mut world,
        leader,
        Request::MoveLeader(PeerId(leader % 3 + 1)),
    );
    world.tick_all(1);
    let next = world.leader().unwrap();
    assert_ne!(next, leader);
    let lived = outlives(&mut world, next, 7);
    assert!(
        (ticks(10)..=ticks(10) + GRACE + 2).contains(&lived),
        "{lived}"
    );
}

/// etcd's issue 13527 and 15247: a leader that was stalled renewed leases that its successor had ended long ago.
#[test]
fn a_leader_that_was_replaced_unawares_renews_nothing() {
    let (mut world, leader) = world_with_lease();
    world.cut_off(leader);
    let answer = ask(&mut world, leader, renew(7));
    assert!(answer.is_none(), "no quorum says that it leads: {answer:?}");
    assert_eq!(
        world.role(leader),
        raft::Role::Leader,
        "it believes that it does"
    );
    world.tick_all(30);
    let next = world.leader().unwrap();
    assert_ne!(next, leader);
    let answer = ask(&mut world, leader, renew(7));
    assert_eq!(refusal(answer.as_ref()), Refusal::NotLeader);
    let waited = world.answered().values().next_back();
    assert_eq!(refusal(waited), Refusal::NotLeader, "who waited was told");
}

/// The other half of it: when it woke up, the stalled leader revoked every lease that its clients had renewed elsewhere since.
#[test]
fn a_leader_that_was_replaced_unawares_ends_nothing() {
    let (mut world, leader) = world_with_lease();
    // Cut off, it goes on to believe for up to an election timeout. Its lease ends within that.
    world.tick_all(ticks(10) - 2);
    world.cut_off(leader);
    world.tick_all(4);
    assert_eq!(world.role(leader), raft::Role::Leader);
    let is_end = |command: &Command| matches!(command, Command::LeaseRevoke(_));
    assert!(
        in_log(&world, leader, is_end),
        "by its own measure it has ended"
    );
    world.tick_all(30);
    let next = world.leader().unwrap();
    assert_ne!(next, leader);
    let answer = ask(&mut world, next, renew(7));
    assert_eq!(renewed(answer.as_ref()), 10);
    world.heal();
    world.tick_all(20);
    for member in 1..=3 {
        assert!(exists(&world, member, 7), "member {member} has lost it");
    }
}

#[test]
fn an_end_is_never_passed_on_to_another_leader() {
    let (mut world, leader) = world_with_lease();
    world.tick_all(ticks(10) - 1);
    // The lease ends while leadership is on its way.
    world.ask(leader, Request::MoveLeader(PeerId(leader % 3 + 1)), 1);
    for _ in 0..5 {
        world.tick_all(1);
        let passes_on = |message: &&raft::Message| matches!(message.body, Body::Propose { .. });
        assert_eq!(world.on_its_way().filter(passes_on).count(), 0);
    }
    let next = world.leader().unwrap();
    assert_ne!(next, leader);
    assert!(
        exists(&world, next, 7),
        "its new leader has just given it its time"
    );
}

#[test]
fn a_renewal_of_a_lease_that_is_ending_waits_for_the_end() {
    let (mut world, leader) = world_with_lease();
    world.tick_all(ticks(10));
    // The revocation is in the log and not on any disk.
    world.stall(leader);
    world.tick_all(2);
    assert!(exists(&world, leader, 7));
    world.ask(leader, renew(7), 1);
    world.settle();
    assert!(
        world.answered().get(&1).is_none(),
        "it is neither alive nor gone"
    );
    world.heal();
    world.settle();
    assert_eq!(refusal(world.answered().get(&1)), gone());
}

#[test]
fn a_renewal_that_waits_for_an_end_waits_no_longer_than_others() {
    let (mut world, leader) = world_with_lease();
    world.tick_all(ticks(10));
    world.stall(leader);
    world.tick_all(2);
    world.ask(leader, renew(7), 1);
    world.tick_all(TIMEOUT + 1);
    let told = refusal(world.answered().get(&1));
    assert!(
        matches!(told, Refusal::NotLeader | Refusal::Timeout),
        "{told:?}"
    );
}

/// Checkpoints every five minutes, a lease of an hour, an hour less four minutes of which have passed.
fn world_with_checkpoints() -> (World, u64) {
    let mut world = World::new(3);
    world.checkpoint_leases(ticks(300));
    let leader = world.elect();
    ask(&mut world, leader, grant(7, 3_600)).unwrap();
    world.tick_all(ticks(3_600 - 240));
    (world, leader)
}

#[test]
fn a_checkpointed_lease_does_not_begin_anew_with_every_leader() {
    let (mut world, leader) = world_with_checkpoints();
    let remaining = world.store(leader).leases().find(7).unwrap().remaining_ttl;
    assert_eq!(remaining, 300);
    let next = replace(&mut world, leader);
    let lived = outlives(&mut world, next, 7);
    assert!(lived <= ticks(300) + GRACE + 2, "{lived}");
}

#[test]
fn a_renewal_takes_a_checkpoint_back_before_it_counts() {
    let (mut world, leader) = world_with_checkpoints();
    let answer = ask(&mut world, leader, renew(7));
    assert_eq!(renewed(answer.as_ref()), 3_600);
    for member in 1..=3 {
        let lease = world.store(member).leases().find(7).unwrap();
        assert_eq!(lease.remaining_ttl, 0, "at {member}");
    }
    let next = replace(&mut world, leader);
    world.tick_all(ticks(3_000));
    assert!(
        exists(&world, next, 7),
        "the next leader gives what the owner was told"
    );
}

#[test]
fn a_renewal_beside_a_checkpoint_is_not_forgotten_by_it() {
    let mut world = World::new(3);
    world.checkpoint_leases(ticks(300));
    let leader = world.elect();
    ask(&mut world, leader, grant(7, 3_600)).unwrap();
    world.tick_all(ticks(300) - 5);
    // The checkpoint goes into the leader's log and is lost on the way to the others, so that the renewal overtakes it.
    let is_checkpoint = |command: &Command| matches!(command, Command::LeaseCheckpoint(_));
    for _ in 0..8 {
        world.tick(leader);
        world.turn(leader);
        world.turn(leader);
        world.lose_messages();
    }
    assert!(in_log(&world, leader, is_checkpoint));
    let lease = |world: &World| *world.store(leader).leases().find(7).unwrap();
    assert_eq!(lease(&world).remaining_ttl, 0, "it is not applied");
    let answer = ask(&mut world, leader, renew(7));
    assert_eq!(renewed(answer.as_ref()), 3_600);
    world.tick_all(5);
    assert_eq!(lease(&world).remaining_ttl, 0, "it was, and was taken back");
}

/// Found by the simulation: the checkpoint came behind the renewal, and the next leader went by it.
#[test]
fn a_checkpoint_that_falls_due_beside_a_renewal_does_not_undo_it() {
    let mut world = World::new(3);
    world.checkpoint_leases(ticks(300));
    let leader = world.elect();
    ask(&mut world, leader, grant(7, 3_600)).unwrap();
    world.tick_all(ticks(600) - 3);
    // The renewal takes the first checkpoint back, and that is not decided yet when the second falls due.
    world.ask(leader, renew(7), 99);
    for _ in 0..8 {
        world.tick(leader);
        world.turn(leader);
        world.turn(leader);
        world.lose_messages();
    }
    world.tick_all(10);
    assert_eq!(renewed(world.answered().get(&99)), 3_600);
    let lease = world.store(leader).leases().find(7).unwrap();
    assert_eq!(lease.remaining_ttl, 0);
}

/// Whoever may not write a key may hang none on a lease; but the lease ends all the same.
#[test]
fn the_cluster_ends_leases_whoever_may_write_their_keys() {
    let (mut world, leader) = world_with_lease();
    let root = || "root".to_owned();
    let requests = [
        AuthRequest::UserAdd(UserAdd {
            name: root(),
            password: Secret::default(),
            no_password: true,
        }),
        AuthRequest::RoleAdd(RoleName { name: root() }),
        AuthRequest::UserGrantRole(UserRole {
            user: root(),
            role: root(),
        }),
        AuthRequest::Enable(Nothing {}),
    ];
    for request in requests {
        let command = Command::from(request).to_bytes();
        ask(&mut world, leader, Request::Propose(command)).unwrap();
    }
    assert!(world.store(leader).auth().is_enabled());
    let revoke = Command::LeaseRevoke(LeaseRevoke { id: 7 }).to_bytes();
    let nobody = ask(&mut world, leader, Request::Propose(revoke));
    assert!(
        matches!(nobody, Some(Outcome::Applied(Response::Refused(_)))),
        "{nobody:?}"
    );
    assert!(outlives(&mut world, leader, 7) <= ticks(10) + 2);
}

#[test]
fn a_restart_of_everybody_keeps_leases_and_what_hangs_on_them() {
    let (mut world, _) = world_with_lease();
    for member in 1..=3 {
        world.checkpoint(member);
        world.crash(member);
    }
    (1..=3).for_each(|member| world.restart(member));
    let leader = world.elect();
    let keys: Vec<_> = world.store(leader).leases().keys(7).cloned().collect();
    assert_eq!(keys, ["k"]);
    let lived = outlives(&mut world, leader, 7);
    assert!(
        (ticks(10) - 5..=ticks(10) + GRACE).contains(&lived),
        "{lived}"
    );
}

#[test]
fn a_member_that_stops_answers_renewals_that_wait() {
    let (mut world, leader) = world_with_lease();
    world.tick_all(ticks(10));
    world.stall(leader);
    world.tick_all(2);
    world.ask(leader, renew(7), 1);
    world.settle();
    world.stop(leader);
    assert_eq!(refusal(world.answered().get(&1)), Refusal::Stopped);
}
