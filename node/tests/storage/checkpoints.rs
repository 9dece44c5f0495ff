//! Checkpoints: a crash between any two steps, damage to either of the two that are kept, installs that were interrupted.

use crate::lab::{
    Contents, IDENTITY, checkpoints, contents, copy, create, entries, fresh_copy, meta, open,
    persist, recover, segments, small_segments, state,
};
use bytes::Bytes;
use quorate_node::storage::{Identity, Observer, Options, Storage, StorageError, read_checkpoint};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Copies the directory at every step that is reached.
struct Camera {
    data: PathBuf,
    album: PathBuf,
    steps: Mutex<Vec<&'static str>>,
}

impl Observer for Camera {
    fn step(&self, reached: &'static str) {
        let mut steps = self.steps.lock().unwrap();
        copy(&self.data, &self.album.join(format!("{:04}", steps.len())));
        steps.push(reached);
    }
}

fn image(index: u64) -> Bytes {
    Bytes::from(format!("the state after entry {index}").repeat(20))
}

/// Takes a checkpoint of `index` and waits until the log that it covers is gone, too.
fn take(storage: &Storage, index: u64, term: u64) {
    let bytes = image(index);
    storage
        .checkpoint(meta(index, term), move |out| out.write_all(&bytes))
        .wait()
        .unwrap();
    storage
        .submit(persist(Vec::new(), Some(state(term, index))))
        .wait()
        .unwrap();
}

fn append(storage: &Storage, indexes: std::ops::RangeInclusive<u64>) {
    for index in indexes {
        storage
            .submit(persist(entries(1, index..=index), Some(state(1, index))))
            .wait()
            .unwrap();
    }
}

#[test]
fn a_crash_between_any_two_steps_loses_nothing() {
    let folder = crate::lab::folder();
    let camera = Arc::new(Camera {
        data: folder.path().join("data"),
        album: folder.path().join("album"),
        steps: Mutex::default(),
    });
    let options = Options {
        observer: Arc::clone(&camera) as Arc<dyn Observer>,
        ..small_segments()
    };
    let storage = create(&camera.data, options);
    // What was acknowledged when the n-th picture was taken: the last of these at or before it.
    let mut acknowledged = vec![(0, 0)];
    let note = |index: u64, acknowledged: &mut Vec<(usize, u64)>| {
        acknowledged.push((camera.steps.lock().unwrap().len(), index));
    };
    for round in 0..6 {
        for index in round * 10 + 1..=round * 10 + 10 {
            append(&storage, index..=index);
            note(index, &mut acknowledged);
        }
        take(&storage, round * 10 + 7, 1);
    }
    storage.close().unwrap();
    let steps = camera.steps.lock().unwrap().clone();
    for step in [
        "segment named",
        "checkpoint begun",
        "checkpoint synced",
        "checkpoint named",
        "checkpoint durable",
        "checkpoint removed",
        "segment released",
    ] {
        assert!(steps.contains(&step), "{step} was not reached: {steps:?}");
    }
    for (picture, step) in steps.iter().enumerate() {
        let path = camera.album.join(format!("{picture:04}"));
        if segments(&path).is_empty() {
            continue;
        }
        let durable = acknowledged
            .iter()
            .rev()
            .find(|(at, _)| *at <= picture)
            .unwrap()
            .1;
        check(&path, durable, &format!("picture {picture}, {step}"));
    }
}

/// Everything up to `durable` is there, as entries or in the checkpoint, and at most the batch in flight besides.
fn check(path: &Path, durable: u64, when: &str) {
    let found = contents(path).unwrap_or_else(|error| panic!("{when}: {error}"));
    let base = found.snapshot.index.0;
    let last = found.entries.last().map_or(base, |entry| entry.index.0);
    assert!(
        last == durable || last == durable + 1,
        "{when}: {last} after {durable}"
    );
    assert_eq!(found.entries, entries(1, base + 1..=last), "{when}");
    assert_eq!(found.image, (base > 0).then(|| image(base)), "{when}");
}

/// Checkpoints at 40 and 60 of 70 entries, of which the last ten are not committed.
fn two_checkpoints() -> (tempfile::TempDir, PathBuf) {
    let folder = crate::lab::folder();
    let path = folder.path().join("data");
    let storage = create(&path, small_segments());
    append(&storage, 1..=20);
    take(&storage, 20, 1);
    append(&storage, 21..=40);
    take(&storage, 40, 1);
    append(&storage, 41..=60);
    take(&storage, 60, 1);
    storage
        .submit(persist(entries(1, 61..=70), None))
        .wait()
        .unwrap();
    let (newest, file) = storage.newest_checkpoint().unwrap();
    assert_eq!(newest, meta(60, 1));
    assert_eq!(read_checkpoint(&file).unwrap(), (meta(60, 1), image(60)));
    storage.close().unwrap();
    (folder, path)
}

#[test]
fn the_log_goes_up_to_the_older_of_two_checkpoints() {
    let (_folder, path) = two_checkpoints();
    assert_eq!(checkpoints(&path).len(), 2);
    let first = segments(&path).remove(0);
    assert!(
        !first.ends_with("0000000000000001.wal"),
        "covered segments go"
    );
    let found = contents(&path).unwrap();
    assert_eq!(found.snapshot, meta(60, 1));
    assert_eq!(found.entries, entries(1, 61..=70));
}

#[test]
fn a_damaged_checkpoint_is_put_aside_and_the_one_before_serves() {
    let (_folder, path) = two_checkpoints();
    let newest = checkpoints(&path).pop().unwrap();
    hurt(&newest);
    let found = recover(&path).unwrap();
    assert_eq!(found.snapshot, meta(40, 1));
    assert_eq!(found.image, Some(image(40)));
    assert_eq!(found.entries, entries(1, 41..=70));
    assert_eq!(found.damaged.len(), 1);
    assert!(
        found.damaged[0]
            .to_string()
            .contains(newest.to_str().unwrap())
    );
    assert!(newest.with_extension("damaged").exists());
    // Afterwards all is as if it had never been, and new checkpoints may be taken.
    let (storage, found) = open(&path).unwrap();
    assert_eq!((found.snapshot, found.damaged.len()), (meta(40, 1), 0));
    take(&storage, 65, 1);
    storage.close().unwrap();
    assert_eq!(recover(&path).unwrap().snapshot, meta(65, 1));
}

fn hurt(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn without_a_sound_checkpoint_a_log_that_was_released_is_refused() {
    let (_folder, path) = two_checkpoints();
    checkpoints(&path).iter().for_each(|file| hurt(file));
    let error = recover(&path).unwrap_err();
    assert!(matches!(error, StorageError::Gap { .. }), "{error}");
    assert_eq!(checkpoints(&path).len(), 2, "a refusal changes nothing");
    for file in checkpoints(&path) {
        fs::remove_file(file).unwrap();
    }
    assert!(matches!(recover(&path), Err(StorageError::Gap { .. })));
}

#[test]
fn a_log_that_ends_before_its_own_checkpoint_is_refused() {
    let (_folder, path) = two_checkpoints();
    let files = segments(&path);
    // Two segments lost with the seals that tell of them: only the checkpoint still knows.
    let kept = files.iter().position(|file| ends_before(file, 60)).unwrap();
    for file in &files[kept + 1..] {
        fs::remove_file(file).unwrap();
    }
    let mut bytes = fs::read(&files[kept]).unwrap();
    let end = crate::lab::end_of_batches(&bytes);
    bytes[end..].fill(0);
    fs::write(&files[kept], bytes).unwrap();
    let error = recover(&path).unwrap_err();
    assert!(matches!(error, StorageError::Gap { .. }), "{error}");
}

/// Whether no command after `index` stands in the segment.
fn ends_before(file: &Path, index: u64) -> bool {
    let bytes = fs::read(file).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    !(index..index + 40).any(|index| text.contains(&format!("command {index} ")))
}

#[test]
fn files_of_another_member_are_refused() {
    let (_folder, path) = two_checkpoints();
    let other = crate::lab::folder();
    let other_path = other.path().join("data");
    let directory = quorate_node::storage::DataDir::open(&other_path).unwrap();
    let stranger = Identity {
        member_id: 0x99,
        ..IDENTITY
    };
    let storage = Storage::create(
        directory,
        stranger,
        &persist(Vec::new(), None),
        small_segments(),
    )
    .unwrap();
    append(&storage, 1..=40);
    storage.close().unwrap();
    for file in checkpoints(&path) {
        fs::copy(
            &file,
            other_path
                .join("checkpoints")
                .join(file.file_name().unwrap()),
        )
        .unwrap();
    }
    let error = recover(&other_path).unwrap_err();
    assert!(
        matches!(error, StorageError::Foreign { member: 0x31, .. }),
        "{error}"
    );
    let (_copy, mixed) = fresh_copy(&path);
    let last = segments(&mixed).pop().unwrap();
    let foreign = other_path.join("wal").join(last.file_name().unwrap());
    if foreign.exists() {
        fs::copy(foreign, last).unwrap();
        assert!(matches!(recover(&mixed), Err(StorageError::Foreign { .. })));
    }
}

#[test]
fn a_checkpoint_that_is_not_newer_is_skipped() {
    let (_folder, path) = two_checkpoints();
    let (storage, _) = open(&path).unwrap();
    let never =
        |_: &mut dyn std::io::Write| -> std::io::Result<()> { panic!("it need not be encoded") };
    storage.checkpoint(meta(60, 1), never).wait().unwrap();
    storage.close().unwrap();
    assert_eq!(checkpoints(&path).len(), 2);
}

#[test]
fn a_checkpoint_that_fails_leaves_the_storage_sound() {
    let (_folder, path) = two_checkpoints();
    let (storage, _) = open(&path).unwrap();
    let fails = |_: &mut dyn std::io::Write| Err(std::io::ErrorKind::StorageFull.into());
    let error = storage.checkpoint(meta(70, 1), fails).wait().unwrap_err();
    assert!(error.to_string().contains("the disk is full"), "{error}");
    append(&storage, 71..=72);
    take(&storage, 71, 1);
    storage.close().unwrap();
    let found = contents(&path).unwrap();
    assert_eq!(
        (found.snapshot, found.entries),
        (meta(71, 1), entries(1, 72..=72))
    );
}

#[test]
fn an_installed_snapshot_takes_the_place_of_log_and_state() {
    let (_folder, path) = two_checkpoints();
    let (storage, _) = open(&path).unwrap();
    storage.install(meta(500, 4), image(500)).wait().unwrap();
    storage
        .submit(persist(entries(4, 501..=503), Some(state(4, 502))))
        .wait()
        .unwrap();
    storage.close().unwrap();
    let found = contents(&path).unwrap();
    assert_eq!(found.snapshot, meta(500, 4));
    assert_eq!(found.image, Some(image(500)));
    assert_eq!(found.entries, entries(4, 501..=503));
    assert_eq!(found.hard_state, state(4, 502));
}

#[test]
fn an_install_is_survived_at_each_step_and_what_follows_it_too() {
    let (_folder, before) = two_checkpoints();
    let album = crate::lab::folder();
    let data = album.path().join("data");
    copy(&before, &data);
    let camera = Arc::new(Camera {
        data: data.clone(),
        album: album.path().join("album"),
        steps: Mutex::default(),
    });
    let options = Options {
        observer: Arc::clone(&camera) as Arc<dyn Observer>,
        ..small_segments()
    };
    let directory = quorate_node::storage::DataDir::open(&data).unwrap();
    let (storage, _) = Storage::open(directory, options).unwrap();
    // At entry 65 the log has another term: what it holds from there on was never committed.
    storage.install(meta(65, 4), image(65)).wait().unwrap();
    storage.close().unwrap();
    let steps = camera.steps.lock().unwrap().clone();
    assert!(steps.contains(&"install durable"), "{steps:?}");
    let named = steps
        .iter()
        .position(|step| *step == "checkpoint named")
        .unwrap();
    for (picture, step) in steps.iter().enumerate() {
        let path = album.path().join(format!("album/{picture:04}"));
        if picture < named {
            assert_eq!(
                contents(&path).unwrap(),
                contents(&before).unwrap(),
                "{step}"
            );
            continue;
        }
        installed_at_65(&path, step);
    }
}

fn installed_at_65(path: &Path, step: &str) {
    let (storage, found) = open(path).unwrap();
    let found: Contents = found.into();
    assert_eq!(
        (found.snapshot, found.entries),
        (meta(65, 4), Vec::new()),
        "{step}"
    );
    assert_eq!(found.hard_state.term.0, 4, "{step}");
    storage
        .submit(persist(entries(4, 66..=70), Some(state(5, 66))))
        .wait()
        .unwrap();
    storage.close().unwrap();
    let found = contents(path).unwrap();
    assert_eq!(
        found.entries,
        entries(4, 66..=70),
        "{step}: what follows an install stays"
    );
    assert_eq!(found.hard_state, state(5, 66), "{step}");
}

#[test]
fn a_log_without_its_checkpoints_folder_entries_starts_from_entry_one() {
    let folder = crate::lab::folder();
    let storage = create(folder.path(), small_segments());
    append(&storage, 1..=30);
    take(&storage, 25, 1);
    storage.close().unwrap();
    // With one checkpoint nothing is released: losing it loses nothing.
    fs::remove_file(checkpoints(folder.path()).remove(0)).unwrap();
    let found = contents(folder.path()).unwrap();
    assert_eq!(
        (found.snapshot.index.0, found.entries),
        (0, entries(1, 1..=30))
    );
}

#[test]
fn checkpoints_without_a_log_are_refused() {
    let (_folder, path) = two_checkpoints();
    for file in segments(&path) {
        fs::remove_file(file).unwrap();
    }
    let error = recover(&path).unwrap_err().to_string();
    assert!(error.contains("checkpoints but no log"), "{error}");
}
