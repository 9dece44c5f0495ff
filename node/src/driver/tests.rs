//! When a member that was removed leaves.

#![allow(
    clippy::unwrap_used,
    reason = "what the test needs and cannot have fails it"
)]

use bytes::Bytes;
use raft::{
    Change, ChangeKind, Entry, HardState, Payload, PeerId, Persist, Raft, Recovered, SnapshotMeta,
    Term,
};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use store::{Command, Image, Member, MemberAttributes, MemberRemove, Store};

use super::*;
use crate::event::{Digests, Outcome, Read, Request};
use crate::refusal::Refusal;
use crate::replica::{Batch, LeaseClock, Settings, founding_entries};
use crate::watch::Response;

/// A disk that never has anything to do, a network that reaches nobody, and nobody who watches.
struct Nothing;

impl Disk for Nothing {
    type Completion = ();
    fn write(&self, _: Persist) {}
    fn install(&self, _: SnapshotMeta, _: Bytes) {}
    fn checkpoint(&self, _: SnapshotMeta, _: Image) {}
    fn renew(&self, _: SnapshotMeta, _: Image) {}
    fn checkpoint_bytes(&self) -> u64 {
        0
    }

    fn damage_found(&self) -> u64 {
        0
    }
}

impl Network for Nothing {
    fn send(&mut self, _: Vec<Message>, _: impl Fn() -> (SnapshotMeta, Image)) -> Vec<PeerId> {
        Vec::new()
    }
    fn tell(&mut self, _: &Digests) {}
    fn update(&mut self, _: &Membership) {}
    fn meet(&mut self, _: PeerId, _: &[String]) {}
}

impl Outlet for Nothing {
    fn has_room(&mut self) -> bool {
        true
    }
    fn send(&mut self, _: Response) {}
}

/// The log of two founders, whose third entry removes the first of them.
fn removed() -> Recovered {
    let member = |id| Member {
        id,
        ..Member::default()
    };
    let mut entries = founding_entries(&[member(1), member(2)]);
    let remove = Command::MemberRemove(MemberRemove { id: 1 });
    let batch = Batch {
        starter: 0,
        first: 0,
        commands: vec![remove.to_bytes()],
    };
    entries.push(Entry {
        term: Term(1),
        index: Index(3),
        payload: Payload::Change(Change {
            kind: ChangeKind::Remove(PeerId(1)),
            context: batch.encode(),
        }),
    });
    Recovered {
        hard_state: HardState {
            term: Term(1),
            vote: None,
            commit: Index(3),
        },
        entries,
        ..Recovered::default()
    }
}

fn driver() -> Driver<u64, Nothing, Nothing, Nothing> {
    let settings = Settings {
        raft: raft::Config::new(PeerId(1)),
        request_timeout_ticks: 70,
        strict_reconfig_check: true,
        attributes: MemberAttributes::default(),
        retention: None,
        quota_bytes: 1 << 20,
        leases: LeaseClock {
            tick_ms: 100,
            checkpoint_every: None,
        },
        starter: 1,
    };
    let rng = SmallRng::seed_from_u64(1);
    let raft = Raft::recover(settings.raft.clone(), removed(), rng).unwrap();
    let applied = SnapshotMeta::default();
    let replica = Replica::new(raft, Store::new(), applied, Index(3), settings);
    let schedule = Schedule {
        farewell_ticks: 10,
        checkpoint_entries: 100,
    };
    Driver::new(1, replica, Nothing, Nothing, schedule)
}

fn tick(driver: &mut Driver<u64, Nothing, Nothing, Nothing>, ticks: u64) {
    for _ in 0..ticks {
        driver.tick();
        driver.take_turns();
        driver.apply().unwrap();
    }
}

/// Found by the simulation: a leader that removed itself and crashed came back, saw that it was removed, and left before the
/// last voter had heard from it that this was committed. Nobody could ever lead again.
#[test]
fn a_removed_member_stays_while_nobody_leads_and_leaves_when_told() {
    let mut driver = driver();
    tick(&mut driver, 90);
    assert!(driver.membership().removed.contains(&1));
    assert!(!driver.is_leaving(), "a candidate may need its word");
    driver.leave_soon();
    tick(&mut driver, 9);
    assert!(!driver.has_left());
    tick(&mut driver, 1);
    assert!(driver.has_left());
}

/// Its clients waited for its whole farewell, a second, for what it would never hear of; all of them, if all had come to it.
#[test]
fn whoever_asks_a_removed_member_is_sent_away_at_once() {
    let mut driver = driver();
    let ask = |driver: &mut Driver<_, _, _, _>, from: u64| {
        let change = Command::MemberRemove(MemberRemove { id: 2 });
        let propose = Request::Propose(change.to_bytes());
        driver.on(Event::Ask(propose, from));
        driver.on(Event::Ask(Request::Read(Read::Members), from + 1));
    };
    ask(&mut driver, 1);
    assert!(driver.take_answers().is_empty(), "it knows nothing yet");
    tick(&mut driver, 1);
    ask(&mut driver, 3);
    let refused = |it| matches!(it, (_, Outcome::Refused(Refusal::Stopped)));
    let answers = driver.take_answers();
    assert_eq!(answers.len(), 4, "{answers:?}");
    assert!(answers.into_iter().all(refused));
}

#[test]
fn a_removed_member_that_nobody_tells_of_a_leader_leaves_in_the_end() {
    let mut driver = driver();
    tick(&mut driver, 120);
    assert!(driver.has_left());
}
