//! Damage at rest: found with file and byte, and made good from what is in memory.

use crate::lab::{
    checkpoints, create, entries, folder, meta, persist, recover, segments, small_segments, state,
};
use quorate_node::storage::{Observer, Options, Scrubbing, Storage, StorageError};
use raft::Index;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Remembers what was damaged.
#[derive(Default)]
struct Inspector {
    found: Mutex<Vec<(PathBuf, u64)>>,
    bytes: Mutex<u64>,
}

impl Observer for Inspector {
    fn damaged(&self, error: &StorageError) {
        let StorageError::Corrupt { path, offset, .. } = error else {
            panic!("{error}");
        };
        self.found.lock().unwrap().push((path.clone(), *offset));
    }

    fn scrubbed(&self, bytes: u64) {
        *self.bytes.lock().unwrap() += bytes;
    }
}

/// Waits on a condition, for ten seconds at most.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::yield_now();
    }
}

fn checkpoint(storage: &Storage, index: u64, renew: bool) {
    let encode = move |out: &mut dyn std::io::Write| {
        out.write_all(format!("the state after entry {index}").as_bytes())
    };
    let meta = meta(index, 1);
    let done = if renew {
        storage.renew(meta, encode)
    } else {
        storage.checkpoint(meta, encode)
    };
    done.wait().unwrap();
}

/// Forty entries in several segments, checkpoints of the tenth and the twentieth; scrubbed all the time.
fn lived(path: &Path) -> (Storage, Arc<Inspector>) {
    let inspector = Arc::new(Inspector::default());
    let scrub = Scrubbing {
        bytes_per_second: u64::MAX,
        pause: Duration::from_millis(1),
    };
    let options = Options {
        observer: Arc::clone(&inspector) as Arc<dyn Observer>,
        scrub: Some(scrub),
        ..small_segments()
    };
    let storage = create(path, options);
    for index in 1..=40 {
        let written = storage.submit(persist(entries(1, index..=index), Some(state(1, index))));
        written.wait().unwrap();
        if index == 10 || index == 20 {
            checkpoint(&storage, index, false);
        }
    }
    (storage, inspector)
}

fn flip(path: &Path, offset: u64) {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

fn repaired(storage: Storage, path: &Path, damaged: &Path, inspector: &Inspector) {
    until("the damage is found", || {
        let found = inspector.found.lock().unwrap();
        found.iter().any(|(file, _)| file == damaged)
    });
    assert!(storage.vitals().damage_found() > 0);
    checkpoint(&storage, 40, true);
    until("the damaged file is gone", || !damaged.exists());
    let found = inspector.found.lock().unwrap().len();
    let read = *inspector.bytes.lock().unwrap();
    until("there were further passes", || {
        *inspector.bytes.lock().unwrap() > read + 20_000
    });
    assert!(inspector.found.lock().unwrap().len() <= found + 1);
    storage.close().unwrap();
    let recovered = recover(path).unwrap();
    assert_eq!(recovered.snapshot.index, Index(40));
}

#[test]
fn sound_files_are_read_again_and_again_and_nothing_is_found() {
    let folder = folder();
    let (storage, inspector) = lived(folder.path());
    until("some passes", || *inspector.bytes.lock().unwrap() > 100_000);
    assert_eq!(*inspector.found.lock().unwrap(), []);
    assert_eq!(storage.vitals().damage_found(), 0);
}

#[test]
fn damage_in_the_log_is_found_where_it_is_and_goes_with_a_renewal() {
    let folder = folder();
    let (storage, inspector) = lived(folder.path());
    let all = segments(folder.path());
    assert!(all.len() >= 3, "{all:?}");
    let damaged = all[1].clone();
    flip(&damaged, 700);
    until("found", || !inspector.found.lock().unwrap().is_empty());
    let (file, offset) = inspector.found.lock().unwrap()[0].clone();
    assert_eq!(file, damaged);
    assert!((400..=700).contains(&offset), "in the record at {offset}");
    repaired(storage, folder.path(), &damaged, &inspector);
}

#[test]
fn damage_in_a_checkpoint_is_found_and_goes_with_a_renewal() {
    for which in [0, 1] {
        let folder = folder();
        let (storage, inspector) = lived(folder.path());
        let all = checkpoints(folder.path());
        assert_eq!(all.len(), 2, "{all:?}");
        let length = fs::metadata(&all[which]).unwrap().len();
        flip(&all[which], length / 2);
        repaired(storage, folder.path(), &all[which], &inspector);
    }
}
