//! Prints how many puts a second one thread applies, and what a revision and an image cost.
//!
//! `cargo run --release -p store --example throughput -- [puts] [keys]`, by default a million puts over a million keys of
//! 8 bytes with values of 256.

use std::time::Instant;

use bytes::Bytes;
use store::{Command, PutRequest, Store};

const VALUE_LEN: usize = 256;

fn main() -> Result<(), std::num::ParseIntError> {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<u64>());
    let puts = numbers.next().transpose()?.unwrap_or(1_000_000);
    let keys = numbers.next().transpose()?.unwrap_or(1_000_000).max(1);

    let entries: Vec<Bytes> = commands(puts, keys)
        .map(|command| command.to_bytes())
        .collect();
    let mut store = Store::new();
    let start = Instant::now();
    for (index, entry) in (1..).zip(&entries) {
        let command = Command::from_bytes(entry).expect("it was just encoded");
        store.apply(index, &command);
    }
    let seconds = start.elapsed().as_secs_f64();
    let rate = puts as f64 / seconds;
    println!("{puts} puts over {keys} keys: {rate:.0} puts/s, decoding included");

    let size = store.size();
    let each = size.bytes / size.records.max(1) as u64;
    println!(
        "{} keys, {} records, about {each} B a record",
        size.keys, size.records
    );

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
    println!(
        "decode: {:?}, digest {}",
        start.elapsed(),
        again.digest() == store.digest()
    );
    Ok(())
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
