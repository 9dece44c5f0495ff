//! Prints how many puts a second one thread applies, and what a revision, an image and a compaction cost.
//!
//! `cargo run --release -p store --example throughput -- [puts] [keys]`, by default a million puts over a million keys of
//! 8 bytes with values of 256.

use std::time::Instant;

use bytes::Bytes;
use store::{Command, CompactionRequest, PutRequest, Store};

const VALUE_LEN: usize = 256;

fn main() -> Result<(), std::num::ParseIntError> {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<u64>());
    let puts = numbers.next().transpose()?.unwrap_or(1_000_000);
    let keys = numbers.next().transpose()?.unwrap_or(1_000_000).max(1);
    let entries: Vec<Bytes> = commands(puts, keys)
        .map(|command| command.to_bytes())
        .collect();

    let mut store = Store::new();
    let rate = apply(&mut store, &entries);
    println!("{puts} puts over {keys} keys: {rate:.0} puts/s, decoding included");
    let size = store.size();
    let each = size.bytes / size.records.max(1) as u64;
    println!(
        "{} keys, {} records, about {each} B a record",
        size.keys, size.records
    );
    report_image(&store);
    report_compaction(&mut store, &entries);
    Ok(())
}

/// Applies `entries`; how many a second.
fn apply(store: &mut Store, entries: &[Bytes]) -> f64 {
    let start = Instant::now();
    for entry in entries {
        let command = Command::from_bytes(entry).expect("it was just encoded");
        store.apply(store.applied_index() + 1, &command);
    }
    entries.len() as f64 / start.elapsed().as_secs_f64()
}

fn report_image(store: &Store) {
    let start = Instant::now();
    let image = store.snapshot();
    println!("snapshot: {:?}", start.elapsed());
    let start = Instant::now();
    let bytes = image.encode();
    let mib = bytes.len() as f64 / f64::from(1 << 20);
    println!("encode: {:?} for {mib:.0} MiB", start.elapsed());
    let start = Instant::now();
    let hash = image
        .hash_kv(0)
        .expect("the newest revision is always readable")
        .hash;
    println!("hash_kv: {:?} ({hash:08x})", start.elapsed());
    let start = Instant::now();
    let again = Store::decode(&bytes).expect("it was just encoded");
    let same = if again.digest() == store.digest() {
        "the same"
    } else {
        "another"
    };
    println!("decode: {:?}, {same} digest", start.elapsed());
}

/// Gives all history up and goes on writing, while the sweep takes its share of every put.
fn report_compaction(store: &mut Store, entries: &[Bytes]) {
    let before = store.size().records;
    let all = CompactionRequest {
        revision: store.revision(),
        physical: false,
    };
    let start = Instant::now();
    store.apply(store.applied_index() + 1, &Command::Compact(all));
    println!("compaction: {:?}", start.elapsed());
    // Four records are visited with each put, and every put adds one.
    let swept_in = (before / 4).min(entries.len());
    let rate = apply(store, &entries[..swept_in]);
    let left = store.size().records;
    println!("{swept_in} puts while it is swept: {rate:.0} puts/s; {left} records are left");
}

/// Puts on keys in an order without pattern, the same in every run.
fn commands(puts: u64, keys: u64) -> impl Iterator<Item = Command> {
    let mut state = 88_172_645_463_325_252_u64;
    (0..puts).map(move |n| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let key = Bytes::copy_from_slice(&(state % keys).to_be_bytes());
        let value = Bytes::from(vec![n as u8; VALUE_LEN]);
        Command::Put(PutRequest {
            key,
            value,
            ..PutRequest::default()
        })
    })
}
