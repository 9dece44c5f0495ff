//! What watchers are told.

use quorate_node::watch::{Body, Create, Event, KeyRange, Response as Told, WatchId};

use super::super::WATCHED;
use super::*;
use crate::history::WatchLog;

/// Six changes: revisions 2, 3, 4 with two, 5, and 6, which is a deletion.
fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.ask(put("k1", "a"));
    scene.ask(put("k1", "b"));
    scene.ask(guarded("k1", 3, "c", "d"));
    scene.ask(put("k2", "e"));
    scene.ask(delete("k1", ""));
    scene
}

const fn say(revision: i64, body: Body) -> Told {
    Told {
        id: WatchId(0),
        revision,
        body,
    }
}

/// The changes of these places, as they are to be told.
fn events(scene: &Scene, places: &[usize]) -> Told {
    let event = |place: &usize| {
        let change = scene.history.writes[*place].1.clone();
        let key = change.key();
        let before = scene.history.writes[..*place].iter().rev();
        let mut before = before.map(|(_, change)| change);
        let before = before.find(|change| change.key() == key && !change.is_delete());
        let previous = before.map(|change| change.kv().clone());
        Event { change, previous }
    };
    say(6, Body::Events(places.iter().map(event).collect(), false))
}

/// A watcher of everything from revision 3 on is told this, and it was all.
fn watched(told: impl FnOnce(&Scene) -> Vec<Told>) -> History {
    let mut scene = scene();
    let told = told(&scene).into_iter().map(|it| (scene.now, it)).collect();
    let range = KeyRange::prefix("k".into());
    scene.history.watches.push(WatchLog {
        watcher: 0,
        member: 1,
        create: Create {
            prev_kv: true,
            ..Create::new(range, 3)
        },
        told,
        is_complete: true,
    });
    scene.history
}

const CREATED: Told = say(6, Body::Created);

#[test]
fn a_watcher_is_told_everything() {
    assert_good(&watched(|scene| {
        let (past, now) = (events(scene, &[1, 2, 3]), events(scene, &[4, 5]));
        vec![CREATED, past, now, say(6, Body::Progress)]
    }));
    assert_good(&watched(|_| vec![CREATED, say(6, Body::Canceled)]));
}

#[test]
fn nothing_is_left_out_or_told_twice_or_in_another_order() {
    let told = [
        vec![2, 3, 4, 5],
        vec![1, 2, 3, 5],
        vec![1, 1, 2, 3, 4, 5],
        vec![1, 3, 2, 4, 5],
        vec![0, 1, 2, 3, 4, 5],
        vec![1, 2, 3, 4],
    ];
    for places in told {
        let history = watched(|scene| vec![CREATED, events(scene, &places)]);
        assert_eq!(broken(&history), WATCHED, "{places:?}");
    }
}

#[test]
fn a_revision_comes_whole() {
    let history = watched(|scene| {
        let (one, other) = (events(scene, &[1, 2]), events(scene, &[3, 4, 5]));
        vec![CREATED, one, other]
    });
    assert_eq!(broken(&history), WATCHED);
}

#[test]
fn progress_is_honest() {
    let history = watched(|scene| {
        let (past, now) = (events(scene, &[1, 2, 3]), events(scene, &[4, 5]));
        vec![CREATED, past, say(5, Body::Progress), now]
    });
    assert_eq!(broken(&history), WATCHED);
    let history = watched(|scene| {
        let all = events(scene, &[1, 2, 3, 4, 5]);
        vec![CREATED, all, say(7, Body::Progress)]
    });
    assert_eq!(broken(&history), WATCHED, "nobody has that");
}

#[test]
fn a_watcher_begins_and_ends_once() {
    let history = watched(|scene| vec![events(scene, &[1, 2, 3, 4, 5]), CREATED]);
    assert_eq!(broken(&history), WATCHED, "before it was made");
    let history = watched(|_| vec![]);
    assert_eq!(broken(&history), WATCHED, "never made");
    let history = watched(|scene| {
        let all = events(scene, &[1, 2, 3, 4, 5]);
        vec![CREATED, say(6, Body::Canceled), all]
    });
    assert_eq!(broken(&history), WATCHED, "after its end");
}

#[test]
fn headers_are_not_older_than_events() {
    let history = watched(|scene| {
        let all = events(scene, &[1, 2, 3, 4, 5]);
        vec![CREATED, Told { revision: 5, ..all }]
    });
    assert_eq!(broken(&history), WATCHED);
}

#[test]
fn what_was_before_is_told() {
    let history = watched(|scene| {
        let mut all = events(scene, &[1, 2, 3, 4, 5]);
        if let Body::Events(events, _) = &mut all.body {
            events[0].previous = None;
        }
        vec![CREATED, all]
    });
    assert_eq!(broken(&history), WATCHED);
}

#[test]
fn only_what_was_compacted_ends_a_watcher() {
    let compacted = |to: i64, really: i64| {
        let history = watched(|scene| {
            let past = events(scene, &[1, 2, 3]);
            vec![CREATED, past, say(0, Body::Compacted(to))]
        });
        History {
            compacted: really,
            ..history
        }
    };
    assert_good(&compacted(5, 5));
    assert_eq!(broken(&compacted(5, 4)), WATCHED, "not compacted");
    let mut later = compacted(4, 4);
    later.watches[0].create.start = 5;
    later.watches[0].told.remove(1);
    assert_eq!(broken(&later), WATCHED, "it wants nothing of that");
}
