//! What is told of leases, and how long they live.

use quorate_node::event::LeaseState;
use store::StoreError;

use super::super::{LEASES, LINEARIZABLE};
use super::*;

const TTL: i64 = 3;

/// A lease of three seconds with one key.
fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.ask(Asked::Grant(LeaseGrant { id: 7, ttl: TTL }));
    scene.ask(put_with("k1", "a", 7));
    scene
}

fn end(scene: &mut Scene, at_ms: u64) {
    scene.now = at_ms;
    scene.apply(&Command::LeaseRevoke(LeaseRevoke { id: 7 }));
    scene.now += 10;
}

fn state(left: i64, keys: &[&'static str]) -> Answer {
    Answer::Lease(LeaseState {
        granted_ttl: TTL,
        left,
        keys: keys.iter().map(|key| (*key).into()).collect(),
    })
}

/// At this time somebody asks, and is told this.
fn tell(scene: &mut Scene, at_ms: u64, asked: Asked, answer: Answer) {
    scene.now = at_ms + 10;
    scene.tell(at_ms, asked, answer);
}

const fn gone() -> Answer {
    Answer::Refused(Refusal::Store(StoreError::LeaseNotFound))
}

#[test]
fn a_lease_lives_its_time() {
    let mut scene = scene();
    tell(&mut scene, 2_000, Asked::Renew(7), Answer::Renewed(TTL));
    tell(&mut scene, 2_500, Asked::TimeToLive(7), state(2, &["k1"]));
    end(&mut scene, 5_200);
    tell(&mut scene, 5_300, Asked::Renew(7), gone());
    tell(&mut scene, 5_400, Asked::TimeToLive(7), gone());
    scene.ask(all());
    assert_good(&scene.history);
}

#[test]
fn nobody_is_told_less_than_was_promised() {
    let mut scene = scene();
    tell(&mut scene, 2_000, Asked::Renew(7), Answer::Renewed(TTL));
    tell(&mut scene, 2_100, Asked::TimeToLive(7), state(1, &["k1"]));
    end(&mut scene, 5_200);
    assert_eq!(broken(&scene.history), LEASES);
    scene.history.jumped_ms = 1_000;
    assert_good(&scene.history);
}

#[test]
fn no_lease_ends_early() {
    let mut granted = scene();
    end(&mut granted, 2_500);
    assert_eq!(broken(&granted.history), LEASES);
    granted.history.jumped_ms = 1_000;
    assert_good(&granted.history);

    let mut renewed = scene();
    tell(&mut renewed, 2_000, Asked::Renew(7), Answer::Renewed(TTL));
    end(&mut renewed, 4_500);
    assert_eq!(broken(&renewed.history), LEASES);
}

#[test]
fn no_lease_lives_for_ever() {
    let mut late = scene();
    assert_eq!(broken(&late.history), LEASES);
    end(&mut late, 100_000);
    assert_eq!(broken(&late.history), LEASES);
    late.history.quiet_ms = 95_000;
    assert_good(&late.history);
}

#[test]
fn keys_go_with_their_lease() {
    let mut left = scene();
    end(&mut left, 4_000);
    left.history.writes.pop();
    assert_eq!(broken(&left.history), LEASES, "one is left");

    let mut apart = scene();
    end(&mut apart, 4_000);
    apart.history.writes.last_mut().expect("a deletion").0 += 1;
    assert_eq!(broken(&apart.history), LINEARIZABLE, "at another time");
}

#[test]
fn nothing_hangs_on_a_lease_that_has_ended() {
    let mut scene = scene();
    scene.ask(put_with("k2", "b", 7));
    scene.ask(delete("k", "l"));
    end(&mut scene, 4_000);
    assert_good(&scene.history);
    let before = &mut scene.history.leases[0].ended_ms;
    *before = Some(40);
    scene.history.jumped_ms = 9_000;
    assert_eq!(broken(&scene.history), LEASES);
}

#[test]
fn who_asks_is_told_whether_it_lives() {
    let after_its_end = [
        (Asked::Renew(7), Answer::Renewed(TTL)),
        (Asked::TimeToLive(7), state(1, &[])),
    ];
    for (asked, answer) in after_its_end {
        let mut scene = scene();
        end(&mut scene, 4_000);
        tell(&mut scene, 4_100, asked, answer);
        assert_eq!(broken(&scene.history), LEASES);
    }
    for asked in [Asked::Renew(7), Asked::TimeToLive(7), Asked::Revoke(7)] {
        let mut scene = scene();
        tell(&mut scene, 1_000, asked, gone());
        end(&mut scene, 4_000);
        assert_eq!(broken(&scene.history), LEASES);
    }
}

#[test]
fn a_revoked_lease_stays_revoked() {
    let mut scene = scene();
    scene.ask(Asked::Revoke(7));
    assert_good(&scene.history);
    let ended = &mut scene.history.leases[0].ended_ms;
    *ended = Some(scene.now + 500);
    scene.history.writes.last_mut().expect("a deletion").0 = scene.now + 500;
    assert_eq!(broken(&scene.history), LEASES);
}

#[test]
fn what_is_told_of_a_lease_is_true() {
    for answer in [
        state(TTL + 1, &["k1"]),
        state(1, &[]),
        state(1, &["k1", "k2"]),
    ] {
        let mut scene = scene();
        tell(&mut scene, 1_000, Asked::TimeToLive(7), answer);
        end(&mut scene, 4_000);
        assert_eq!(broken(&scene.history), LEASES);
    }
    let mut scene = scene();
    tell(&mut scene, 1_000, Asked::Renew(7), Answer::Renewed(TTL + 1));
    end(&mut scene, 4_100);
    assert_eq!(broken(&scene.history), LEASES);
}
