//! One rule of etcd's each.

use super::*;

/// What is there to be read, as one line each.
fn drain(world: &mut World, stream: u64, pipe: &Pipe) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(response) = world.read(stream, pipe) {
        lines.push(show(&response));
        world.settle();
    }
    lines
}

fn show(response: &Response) -> String {
    let Response { id, revision, body } = response;
    let what = match body {
        Body::Created => "created".to_owned(),
        Body::Refused(reason) => format!("refused: {reason}"),
        Body::Canceled => "canceled".to_owned(),
        Body::Compacted(revision) => format!("compacted {revision}"),
        Body::Progress => "progress".to_owned(),
        Body::Events(events, _) => {
            let events: Vec<String> = events.iter().map(show_event).collect();
            events.join(" ")
        }
    };
    format!("{} at {revision}: {what}", id.0)
}

fn show_event(event: &Event) -> String {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let kv = event.change.kv();
    let (key, revision) = (text(&kv.key), kv.mod_revision);
    let now = if event.change.is_delete() {
        format!("-{key}@{revision}")
    } else {
        format!("{key}={}@{revision}", text(&kv.value))
    };
    match &event.previous {
        Some(before) => format!("{now}(was {})", text(&before.value)),
        None => now,
    }
}

#[test]
fn a_watcher_hears_what_comes_after_it_and_what_it_missed() {
    let mut world = World::new();
    world.put("a", "1");
    let pipe = world.open(1, 10);
    world.create(1, Create::new(key("a"), 0));
    world.create(1, Create::new(key("a"), 2));
    world.put("a", "2");
    world.put("b", "3");
    let heard = [
        "0 at 2: created",
        "1 at 2: created",
        "0 at 3: a=2@3",
        "1 at 3: a=1@2 a=2@3",
    ];
    assert_eq!(drain(&mut world, 1, &pipe), heard);
}

#[test]
fn nothing_earlier_than_a_future_start_is_told_not_even_progress() {
    let mut world = World::new();
    let pipe = world.open(1, 10);
    let create = Create {
        progress_notify: true,
        ..Create::new(key("a"), 4)
    };
    world.create(1, create);
    for _ in 0..3 {
        world.ask(Ask::Tick(StreamId(1)));
        world.ask(Ask::Progress(StreamId(1)));
        world.round();
        world.put("a", "x");
    }
    world.ask(Ask::Tick(StreamId(1)));
    world.round();
    world.ask(Ask::Tick(StreamId(1)));
    world.ask(Ask::Progress(StreamId(1)));
    world.round();
    let heard = [
        "0 at 1: created",
        "0 at 4: a=x@4",
        "0 at 4: progress",
        "-1 at 4: progress",
    ];
    assert_eq!(drain(&mut world, 1, &pipe), heard);
}

#[test]
fn ids_are_the_clients_or_the_next_free_ones() {
    let mut world = World::new();
    let pipe = world.open(1, 10);
    for id in [1, 0, 0, 1, -7] {
        let id = WatchId(id);
        world.create(
            1,
            Create {
                id,
                ..Create::new(key("a"), 0)
            },
        );
    }
    world.ask(Ask::Cancel(StreamId(1), WatchId(9)));
    world.ask(Ask::Cancel(StreamId(1), WatchId(0)));
    world.create(1, Create::new(key("a"), 0));
    let heard = [
        "1 at 1: created",
        "0 at 1: created",
        "2 at 1: created",
        "-1 at 1: refused: mvcc: duplicate watch ID provided on the WatchStream",
        "-7 at 1: created",
        "0 at 1: canceled",
        "3 at 1: created",
    ];
    assert_eq!(drain(&mut world, 1, &pipe), heard);
}

#[test]
fn filters_leave_out_and_what_was_before_is_told_where_it_can_be_read() {
    let mut world = World::new();
    let pipe = world.open(1, 100);
    let filtered = |filter| Create {
        filters: vec![filter],
        prev_kv: true,
        ..Create::new(key("a"), 0)
    };
    world.create(1, filtered(Filter::NoPut));
    world.create(1, filtered(Filter::NoDelete));
    world.put("a", "1");
    world.put("a", "2");
    world.apply(&Command::DeleteRange(delete_request("a", "")));
    world.put("a", "3");
    world.compact(5);
    world.create(
        1,
        Create {
            prev_kv: true,
            ..Create::new(key("a"), 5)
        },
    );
    world.settle();
    let heard = [
        "0 at 1: created",
        "1 at 1: created",
        "1 at 2: a=1@2",
        "1 at 3: a=2@3(was 1)",
        "0 at 4: -a@4(was 2)",
        "1 at 5: a=3@5",
        "2 at 5: created",
        "2 at 5: a=3@5",
    ];
    assert_eq!(drain(&mut world, 1, &pipe), heard);
}

#[test]
fn a_compacted_start_ends_the_watcher_whose_id_stays_taken_until_it_is_canceled() {
    let mut world = World::new();
    let pipe = world.open(1, 10);
    for value in ["1", "2", "3"] {
        world.put("a", value);
    }
    world.compact(3);
    world.create(1, Create::new(key("a"), 2));
    world.create(1, Create::new(key("a"), 3));
    world.settle();
    world.create(
        1,
        Create {
            id: WatchId(1),
            ..Create::new(key("b"), 0)
        },
    );
    world.ask(Ask::Progress(StreamId(1)));
    world.ask(Ask::Cancel(StreamId(1), WatchId(0)));
    world.settle();
    let heard = [
        "0 at 4: created",
        "1 at 4: created",
        "0 at 0: compacted 3",
        "1 at 4: a=2@3 a=3@4",
        "-1 at 4: refused: mvcc: duplicate watch ID provided on the WatchStream",
        "0 at 4: canceled",
        "-1 at 4: progress",
    ];
    assert_eq!(drain(&mut world, 1, &pipe), heard);
}

#[test]
fn progress_waits_until_all_watchers_of_the_stream_have_everything() {
    let mut world = World::new();
    let pipe = world.open(1, 1);
    world.ask(Ask::Progress(StreamId(1)));
    world.round();
    assert_eq!(drain(&mut world, 1, &pipe), Vec::<String>::new());
    world.create(1, Create::new(key("a"), 0));
    world.create(1, Create::new(key("b"), 0));
    assert_eq!(world.read(1, &pipe).map(|it| it.id), Some(WatchId(0)));
    assert_eq!(world.read(1, &pipe).map(|it| it.id), Some(WatchId(1)));
    world.apply(&put("a", "1"));
    world.apply(&put("b", "2"));
    world.round();
    world.ask(Ask::Progress(StreamId(1)));
    world.ask(Ask::Progress(StreamId(1)));
    world.round();
    assert_eq!(world.hub.figures().slow, 1);
    let heard = ["0 at 2: a=1@2", "1 at 3: b=2@3", "-1 at 3: progress"];
    assert_eq!(drain(&mut world, 1, &pipe), heard);
}

#[test]
fn a_notice_of_progress_is_left_out_after_an_event() {
    let mut world = World::new();
    let pipe = world.open(1, 10);
    let create = Create {
        progress_notify: true,
        ..Create::new(key("a"), 0)
    };
    world.create(1, create);
    world.create(1, Create::new(key("b"), 0));
    world.put("a", "1");
    for _ in 0..2 {
        world.ask(Ask::Tick(StreamId(1)));
        world.round();
    }
    let heard = [
        "0 at 1: created",
        "1 at 1: created",
        "0 at 2: a=1@2",
        "0 at 2: progress",
    ];
    assert_eq!(drain(&mut world, 1, &pipe), heard);
}

#[test]
fn a_slow_stream_keeps_nobody_waiting_and_loses_nothing() {
    let mut world = World::new();
    let (slow, quick) = (world.open(1, 2), world.open(2, 1_000));
    world.create(1, Create::new(key("a"), 0));
    world.create(2, Create::new(key("a"), 0));
    for _ in 0..100 {
        world.put("a", "v");
    }
    assert_eq!(quick.0.borrow().responses.len(), 101);
    assert_eq!(slow.0.borrow().responses.len(), 2, "one of them an event");
    assert!(!world.hub.is_behind(), "nobody can go on");
    let mut revisions = Vec::new();
    while let Some(response) = world.read(1, &slow) {
        let events = response.events().iter();
        revisions.extend(events.map(|event| event.change.revision().main));
        world.settle();
    }
    assert_eq!(revisions, (2..=101).collect::<Vec<_>>());
    assert_eq!(world.hub.figures().slow, 0);
}

#[test]
fn the_changes_of_a_transaction_come_together() {
    let mut world = World::new();
    let pipe = world.open(1, 10);
    world.create(
        1,
        Create::new(KeyRange::new("a".into(), "c".into()).unwrap(), 0),
    );
    world.apply(&txn(vec![
        Op::Put(put_request("b", "1")),
        Op::Put(put_request("c", "2")),
        Op::Put(put_request("a", "3")),
    ]));
    world.round();
    let heard = ["0 at 1: created", "0 at 2: b=1@2 a=3@2"];
    assert_eq!(drain(&mut world, 1, &pipe), heard);
}

#[test]
fn a_snapshot_in_the_stores_place_is_caught_up_with_or_said_to_be_compacted() {
    let mut world = World::new();
    let pipe = world.open(1, 10);
    world.create(1, Create::new(key("a"), 0));
    world.create(1, Create::new(key("a"), 9));
    world.put("a", "1");
    let mut leader = World::new();
    for value in ["1", "2", "3"] {
        leader.put("a", value);
    }
    let install = |world: &mut World, leader: &World| {
        world.store = Store::decode(&leader.store.snapshot().encode()).unwrap();
        world.is_replaced = true;
        world.settle();
    };
    install(&mut world, &leader);
    leader.put("a", "4");
    leader.put("a", "5");
    leader.compact(6);
    install(&mut world, &leader);
    let heard = [
        "0 at 1: created",
        "1 at 1: created",
        "0 at 2: a=1@2",
        "0 at 4: a=2@3 a=3@4",
        "0 at 0: compacted 6",
    ];
    assert_eq!(drain(&mut world, 1, &pipe), heard);
}

#[test]
fn a_stream_has_only_so_many_watchers() {
    let mut world = World::new();
    let pipe = world.open(1, 0);
    for _ in 0..=hub::WATCHERS_MAX {
        world.create(1, Create::new(key("a"), 0));
    }
    let last = pipe.0.borrow().responses.back().cloned().unwrap();
    assert_eq!(last.body, Body::Refused(Reason::TooMany(hub::WATCHERS_MAX)));
    assert_eq!(world.hub.figures().refused, 1);
    world.ask(Ask::Close(StreamId(1)));
    assert_eq!(world.hub.figures().watchers, 0);
}

#[test]
fn one_step_is_bounded_however_much_there_is_to_tell() {
    let mut world = World::new();
    let pipe = world.open(1, usize::MAX);
    for _ in 0..100 {
        world.create(1, Create::new(key("a"), 0));
    }
    for _ in 0..1_000 {
        world.apply(&put("a", "v"));
    }
    world.round();
    let told = world.hub.figures().events as usize;
    assert!(told <= hub::LIVE_PER_STEP + 100, "{told}");
    assert!(world.hub.is_behind());
    world.settle();
    assert_eq!(pipe.0.borrow().responses.len(), 100 + 100 * 1_000);
}

#[test]
fn what_cannot_be_published_in_time_is_read_from_history() {
    let mut world = World::new();
    let pipe = world.open(1, usize::MAX);
    world.create(1, Create::new(key("a"), 0));
    world.create(1, Create::new(key("a"), 200_000));
    let many = hub::PENDING_MAX + 1;
    for _ in 0..many {
        world.apply(&put("a", "v"));
    }
    world.publish();
    assert_eq!(world.hub.figures().slow, 1);
    world.settle();
    let mut revisions = Vec::new();
    while let Some(response) = world.read(1, &pipe) {
        let events = response.events().iter();
        revisions.extend(events.map(|event| event.change.revision().main));
    }
    assert!(revisions.iter().copied().eq(2..=many as i64 + 1));
}
