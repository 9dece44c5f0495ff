//! What the state machine reads: images, commands and their batches, and etcd's snapshots.

use bytes::Bytes;
use quorate_node::replica::Batch;
use quorate_node::snapshot::{self, Export, HashCheck};
use sha2::{Digest, Sha256};
use store::{Authored, Store};

use crate::{Target, seal, seeds};

/// A store's image. What is read must be what is written again.
#[must_use]
pub fn image() -> Target {
    let seeds = [Store::new(), seeds::store()].map(|store| encoded(&store));
    let decode = |input: &[u8]| {
        let read = Store::decode(input);
        let Ok(store) = read else { return false };
        allocation_counter::opt_out(|| {
            let again = Store::decode(&encoded(&store)).expect("what was written is read");
            assert_eq!(again.revision(), store.revision(), "after being written");
            assert_eq!(again.digest(), store.digest(), "after being written");
        });
        true
    };
    Target::new("image", seeds.to_vec(), |bytes| seal::image(bytes), decode)
}

fn encoded(store: &Store) -> Vec<u8> {
    store.snapshot().frames().flatten().collect()
}

/// A command of the log, applied to a store that has everything.
#[must_use]
pub fn command() -> Target {
    let author = seeds::author();
    let commands = seeds::commands().into_iter().enumerate();
    let seeds = commands.map(|(place, command)| {
        let author = (place % 2 == 0).then_some(&author);
        command.to_bytes_by(author).to_vec()
    });
    let store = seeds::store();
    let decode = move |input: &[u8]| {
        let Ok(Authored { command, author }) = Authored::from_bytes(&Bytes::copy_from_slice(input))
        else {
            return false;
        };
        let mut store = store.clone();
        drop(store.apply_by(store.applied_index() + 1, &command, author.as_ref()));
        let again = Authored::from_bytes(&command.to_bytes_by(author.as_ref()));
        assert_eq!(
            again,
            Ok(Authored { command, author }),
            "after being written"
        );
        true
    };
    Target::new(
        "command",
        seeds.collect(),
        |bytes| seal::command(bytes),
        decode,
    )
    .bounded(128, 256 << 10)
}

/// The commands of an entry.
#[must_use]
pub fn batch() -> Target {
    let batch = |commands: &[&'static [u8]]| Batch {
        starter: 7,
        first: 9,
        commands: commands
            .iter()
            .map(|bytes| Bytes::from_static(bytes))
            .collect(),
    };
    let batches = [batch(&[]), batch(&[b"one", b"", b"three"])];
    let seeds = batches.map(|batch| batch.encode().to_vec());
    let decode = |input: &[u8]| {
        let read = Batch::decode(Bytes::copy_from_slice(input));
        read.is_ok_and(|batch| {
            assert_eq!(batch.encode(), input, "after being written");
            true
        })
    };
    Target::new("batch", seeds.to_vec(), seal::nothing, decode)
}

/// A file of bbolt's with etcd's buckets.
fn exported(store: &Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    let export = Export::new(store.snapshot(), 3).unwrap();
    let write = |page: &[u8]| -> Result<(), std::convert::Infallible> {
        bytes.extend(page);
        Ok(())
    };
    let Ok(()) = export.write(write);
    bytes
}

/// A file of bbolt's, whatever is in it.
#[must_use]
pub fn database() -> Target {
    let seeds = vec![exported(&Store::new()), exported(&seeds::store())];
    let decode = |input: &[u8]| {
        let walk = |file: bolt::File<&[u8]>| file.walk(|_| Ok::<_, bolt::Error>(()));
        bolt::File::open(input).and_then(walk).is_ok()
    };
    Target::new("database", seeds, seal::database, decode)
        .bounded(4, 64 << 10)
        .runs(1_500)
}

/// A snapshot of etcd's: `snapshot status`, and what `snapshot restore` makes of it.
#[must_use]
pub fn snapshot() -> Target {
    let mut hashed = exported(&seeds::store());
    let hash = Sha256::digest(&hashed);
    hashed.extend(hash);
    let folder = seeds::folder();
    let decode = move |input: &[u8]| {
        let path = folder.path().join("snapshot.db");
        std::fs::write(&path, input).unwrap();
        let told = snapshot::status(&path).map(|status| (status.table(), status.json()));
        let restored = snapshot::open(&path, HashCheck::IfThere)
            .is_ok_and(|opened| snapshot::import(&opened, Box::new(|_| {})).is_ok());
        told.is_ok() && restored
    };
    // A mebibyte of the file is hashed at once.
    Target::new(
        "snapshot",
        vec![exported(&seeds::store()), hashed],
        seal::database,
        decode,
    )
    .bounded(32, 2 << 20)
    .runs(700)
}
