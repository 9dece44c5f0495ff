//! Prints how many puts a second one thread applies and publishes beside 0, 1,000 and 10,000 idle watchers of single keys, the
//! same for ranges, and beside as many that hear of every put.
//!
//! `cargo run --release -p quorate-node --example watchers -- [puts]`, by default 200,000 over as many keys, values of 256
//! bytes.

use std::time::Instant;

use bytes::Bytes;
use quorate_node::watch::{Ask, Create, Hub, KeyRange, Outlet, Response, StreamId};
use store::{Command, PutRequest, Store};

const VALUE_LEN: usize = 256;

/// A client that reads everything at once.
struct Reader;

impl Outlet for Reader {
    fn has_room(&mut self) -> bool {
        true
    }

    fn send(&mut self, response: Response) {
        drop(response);
    }
}

fn main() -> Result<(), std::num::ParseIntError> {
    let puts = std::env::args().nth(1).map(|puts| puts.parse());
    let puts = puts.transpose()?.unwrap_or(200_000);
    let idle_key = |n: u64| KeyRange::One(key("idle", n));
    let idle_range = |n: u64| KeyRange::prefix(key("idle", n));
    let everything = |_| KeyRange::Span(Bytes::from_static(&[0]), None);
    for watchers in [0, 1_000, 10_000] {
        report("idle watchers of a key", watchers, puts, idle_key);
    }
    for watchers in [1_000, 10_000] {
        report("idle watchers of a range", watchers, puts, idle_range);
    }
    for watchers in [1, 100, 1_000] {
        report(
            "watchers of everything",
            watchers,
            puts / watchers,
            everything,
        );
    }
    Ok(())
}

fn report(what: &str, watchers: u64, puts: u64, range: impl Fn(u64) -> KeyRange) {
    let mut store = Store::new();
    let mut hub = Hub::new(store.revision());
    hub.on(Ask::Open(StreamId(1), Reader), &store);
    for n in 0..watchers {
        let create = Create::new(range(n), 0);
        hub.on(Ask::Create(StreamId(1), create), &store);
    }
    let commands: Vec<Command> = (0..puts).map(put).collect();
    let start = Instant::now();
    for command in &commands {
        let applied = store.apply(store.applied_index() + 1, command);
        hub.publish(applied.changes, false, &store);
        hub.step(&store);
    }
    let rate = puts as f64 / start.elapsed().as_secs_f64();
    let events = hub.figures().events;
    println!("{watchers} {what}: {rate:.0} puts/s, {events} events");
}

fn key(kind: &str, n: u64) -> Bytes {
    format!("{kind}/{n:08}").into()
}

fn put(n: u64) -> Command {
    Command::Put(PutRequest {
        key: key("busy", n),
        value: vec![n as u8; VALUE_LEN].into(),
        ..PutRequest::default()
    })
}
