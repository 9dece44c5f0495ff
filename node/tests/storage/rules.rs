//! The rules around the log: one owner, sentences, overwrites, lazy commits, failure, segments.

use crate::lab::{
    Contents, contents, create, entries, entry, open, persist, recover, segments, small_segments,
    state,
};
use quorate_node::storage::{DataDir, Observer, Options, Storage, StorageError};
use raft::{Index, Persist};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_founded_member_has_its_first_batch_whole() {
    let folder = crate::lab::folder();
    let path = folder.path().join("deep/data");
    let first = persist(entries(1, 1..=3), Some(state(1, 3)));
    let directory = DataDir::open(&path).unwrap();
    assert!(directory.is_new());
    let storage =
        Storage::create(directory, crate::lab::IDENTITY, &first, Options::default()).unwrap();
    assert_eq!(fs::metadata(&segments(&path)[0]).unwrap().len(), 64 << 20);
    storage.close().unwrap();
    let recovered = recover(&path).unwrap();
    assert_eq!(recovered.identity, crate::lab::IDENTITY);
    assert_eq!(recovered.entries, entries(1, 1..=3));
    assert_eq!(recovered.hard_state, state(1, 3));
    assert_eq!((recovered.image, recovered.cut), (None, None));
    assert!(!DataDir::open(&path).unwrap().is_new());
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "a store holds other people's secrets");
}

#[test]
fn a_founding_that_a_crash_interrupted_never_was() {
    let folder = crate::lab::folder();
    let path = folder.path();
    drop(DataDir::open(path).unwrap());
    fs::write(path.join("wal/0000000000000001.tmp"), b"half a head").unwrap();
    create(path, small_segments()).close().unwrap();
    assert_eq!(recover(path).unwrap().entries, []);
}

#[test]
fn a_file_where_a_directory_should_be_is_named_once_and_left_alone() {
    let folder = crate::lab::folder();
    let file = folder.path().join("data");
    fs::write(&file, b"a file").unwrap();
    for path in [file.clone(), file.join("deeper")] {
        let error = DataDir::open(&path).err().unwrap();
        let named = matches!(&error, StorageError::InTheWay { path: named } if *named == path);
        assert!(named, "{error}");
        assert!(error.to_string().contains("move the file away"), "{error}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"a file");
}

#[test]
fn two_processes_never_share_a_directory() {
    let folder = crate::lab::folder();
    let storage = create(folder.path(), small_segments());
    let error = open(folder.path()).err().unwrap();
    assert!(matches!(error, StorageError::Locked { .. }));
    assert!(
        error.to_string().contains("in use by another process"),
        "{error}"
    );
    storage.close().unwrap();
    recover(folder.path()).unwrap();
}

#[test]
fn a_directory_that_is_not_ours_is_refused_by_name() {
    for (entry, said) in [("member", "etcd's own data"), ("photos", "photos")] {
        let folder = crate::lab::folder();
        fs::create_dir(folder.path().join(entry)).unwrap();
        let error = DataDir::open(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains(said) && error.contains("--data-dir"),
            "{error}"
        );
    }
    let volume = crate::lab::folder();
    fs::create_dir(volume.path().join("lost+found")).unwrap();
    assert!(DataDir::open(volume.path()).unwrap().is_new());
}

#[test]
fn what_the_system_refuses_is_a_sentence_with_the_path() {
    let folder = crate::lab::folder();
    let path = folder.path().join("n".repeat(300));
    let error = DataDir::open(&path).unwrap_err();
    let told = error.to_string();
    let beginning = format!("cannot create the directory {}: ", path.display());
    assert!(told.starts_with(&beginning), "{told}");
    let source = std::error::Error::source(&error);
    assert!(source.is_none(), "{told}: a chain would say it twice");
}

#[test]
fn overwritten_entries_are_gone_and_the_rest_stays() {
    let folder = crate::lab::folder();
    let storage = create(folder.path(), small_segments());
    for step in [entries(1, 1..=40), entries(2, 30..=50), entries(3, 10..=12)] {
        storage.submit(persist(step, None)).wait().unwrap();
    }
    storage.close().unwrap();
    let mut expected = entries(1, 1..=9);
    expected.extend(entries(3, 10..=12));
    assert_eq!(recover(folder.path()).unwrap().entries, expected);
}

#[test]
fn a_commit_that_need_not_be_durable_costs_no_write_and_comes_with_the_next() {
    let folder = crate::lab::folder();
    let (options, syncs) = counting();
    let storage = create(folder.path(), options);
    storage
        .submit(persist(entries(1, 1..=3), Some(state(1, 0))))
        .wait()
        .unwrap();
    let before = syncs.load(Ordering::Relaxed);
    let lazy = Persist {
        must_sync: false,
        ..persist(Vec::new(), Some(state(1, 2)))
    };
    storage.submit(lazy).wait().unwrap();
    assert_eq!(syncs.load(Ordering::Relaxed), before);
    storage
        .submit(persist(entries(1, 4..=4), None))
        .wait()
        .unwrap();
    storage.close().unwrap();
    assert_eq!(recover(folder.path()).unwrap().hard_state, state(1, 2));
}

#[test]
fn a_lazy_commit_is_written_when_the_storage_closes() {
    let folder = crate::lab::folder();
    let storage = create(folder.path(), small_segments());
    storage
        .submit(persist(entries(1, 1..=3), Some(state(1, 0))))
        .wait()
        .unwrap();
    let lazy = Persist {
        must_sync: false,
        ..persist(Vec::new(), Some(state(1, 3)))
    };
    storage.submit(lazy).wait().unwrap();
    storage.close().unwrap();
    assert_eq!(recover(folder.path()).unwrap().hard_state, state(1, 3));
}

struct Count(Arc<AtomicU64>);

impl Observer for Count {
    fn synced(&self, _took: Duration) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counting() -> (Options, Arc<AtomicU64>) {
    let syncs = Arc::new(AtomicU64::new(0));
    let observer = Arc::new(Count(Arc::clone(&syncs)));
    (
        Options {
            observer,
            ..Options::default()
        },
        syncs,
    )
}

/// Holds the first `fdatasync` until everything else was submitted.
struct Gate {
    syncs: AtomicU64,
    open: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Observer for Gate {
    fn synced(&self, _took: Duration) {
        if self.syncs.fetch_add(1, Ordering::SeqCst) == 1 {
            self.open.lock().unwrap().recv().unwrap();
        }
    }
}

#[test]
fn what_waits_while_the_disk_works_shares_one_sync() {
    let folder = crate::lab::folder();
    let (open_gate, open) = std::sync::mpsc::channel();
    let gate = Arc::new(Gate {
        syncs: AtomicU64::new(0),
        open: open.into(),
    });
    let options = Options {
        observer: Arc::clone(&gate) as Arc<dyn Observer>,
        ..Options::default()
    };
    let storage = create(folder.path(), options);
    let submit = |index| storage.submit(persist(vec![entry(1, index, "x")], None));
    let first = submit(1);
    let deadline = Instant::now() + Duration::from_secs(60);
    while gate.syncs.load(Ordering::SeqCst) < 2 {
        assert!(Instant::now() < deadline, "the first sync ends");
        std::thread::yield_now();
    }
    let rest: Vec<_> = (2..=100).map(submit).collect();
    assert!(
        storage.vitals().waiting_for().is_some(),
        "a disk that works shows"
    );
    open_gate.send(()).unwrap();
    first.wait().unwrap();
    rest.into_iter().for_each(|each| each.wait().unwrap());
    assert_eq!(
        gate.syncs.load(Ordering::SeqCst),
        3,
        "founding, the first, and all the others"
    );
    assert!(storage.vitals().last_sync_age().is_some());
    storage.close().unwrap();
    assert_eq!(recover(folder.path()).unwrap().entries.len(), 100);
}

#[test]
fn a_failed_write_is_final() {
    let folder = crate::lab::folder();
    let storage = create(folder.path(), small_segments());
    storage
        .submit(persist(entries(1, 1..=3), Some(state(1, 0))))
        .wait()
        .unwrap();
    // The next roll cannot make its file.
    fs::remove_dir_all(folder.path().join("wal")).unwrap();
    let big = persist(vec![entry(1, 4, &"large ".repeat(400))], None);
    let error = storage.submit(big).wait().unwrap_err().to_string();
    assert!(error.starts_with("cannot create the log file"), "{error}");
    fs::create_dir(folder.path().join("wal")).unwrap();
    let later = storage
        .submit(persist(entries(1, 4..=4), None))
        .wait()
        .unwrap_err();
    assert_eq!(later.to_string(), error, "nothing is tried again");
    assert_eq!(storage.close().unwrap_err().to_string(), error);
}

#[test]
fn a_batch_larger_than_a_segment_has_a_segment_of_its_own() {
    let folder = crate::lab::folder();
    let storage = create(folder.path(), small_segments());
    let big = "large ".repeat(10_000);
    storage
        .submit(persist(vec![entry(1, 1, &big)], None))
        .wait()
        .unwrap();
    storage
        .submit(persist(vec![entry(1, 2, "small")], None))
        .wait()
        .unwrap();
    storage.close().unwrap();
    assert_eq!(
        recover(folder.path()).unwrap().entries,
        [entry(1, 1, &big), entry(1, 2, "small")]
    );
    assert_eq!(segments(folder.path()).len(), 3);
}

#[test]
fn a_newer_format_is_left_alone() {
    let folder = crate::lab::folder();
    create(folder.path(), small_segments()).close().unwrap();
    let file = segments(folder.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[32] = 3;
    let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    let end = (32 + length).next_multiple_of(8);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&1_u64.to_le_bytes());
    hasher.update(&bytes[8..end]);
    let checksum = hasher.finalize().to_le_bytes();
    bytes[4..8].copy_from_slice(&checksum);
    fs::write(&file, bytes).unwrap();
    let error = recover(folder.path()).unwrap_err();
    assert!(
        matches!(
            error,
            StorageError::Newer {
                found: 3,
                known: 2,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn what_was_read_back_can_be_gone_on_with() {
    let folder = crate::lab::folder();
    create(folder.path(), small_segments()).close().unwrap();
    let mut expected = Vec::new();
    for life in 0..12 {
        let (storage, recovered) = open(folder.path()).unwrap();
        assert_eq!(recovered.entries, expected);
        let more = entries(life + 1, life * 4 + 1..=life * 4 + 4);
        storage
            .submit(persist(more.clone(), Some(state(life + 1, life * 4))))
            .wait()
            .unwrap();
        expected.extend(more);
        if life % 2 == 0 {
            storage.close().unwrap();
        }
    }
    let found: Contents = contents(folder.path()).unwrap();
    assert_eq!(
        (found.entries, found.hard_state.commit),
        (expected, Index(44))
    );
}
