//! Damage that others can make good: what is kept, what is remembered, and when it is refused all the same.

use crate::lab::{
    Contents, IDENTITY, Recording, checkpoints, copy, create, end_of_batches, entry, fingerprint,
    folder, fresh_copy, meta, persist, segments, small_segments, state,
};
use quorate_node::storage::{DataDir, Observer, Options, Recovered, Storage, StorageError};
use raft::{Configuration, Entry, HardState, Index, PeerId, SnapshotMeta, Term};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

fn salvage_with(path: &Path, options: Options) -> Result<(Storage, Recovered), StorageError> {
    Storage::open_or_salvage(DataDir::open(path)?, options)
}

/// What is left, with the directory closed again.
fn salvage(path: &Path) -> Result<Recovered, StorageError> {
    let (storage, recovered) = salvage_with(path, small_segments())?;
    storage.close()?;
    Ok(recovered)
}

fn flip(file: &Path, byte: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[byte] ^= 0x10;
    fs::write(file, bytes).unwrap();
}

fn end(contents: &Contents) -> (Term, Index) {
    let last = contents.entries.last().unwrap();
    (last.term, last.index)
}

fn set_aside(path: &Path) -> usize {
    let names = fs::read_dir(path.join("wal")).unwrap();
    let names = names.map(|item| item.unwrap().file_name());
    names
        .filter(|name| name.to_str().unwrap().ends_with(".damaged"))
        .count()
}

/// The next term, nobody's vote, and the commit of what is kept.
fn reborn(promised: HardState, commit: Index) -> HardState {
    HardState {
        term: promised.term.next(),
        vote: None,
        commit,
    }
}

#[test]
fn a_flipped_byte_anywhere_costs_no_more_than_what_came_after_it_and_no_promise() {
    let recording = Recording::make();
    let whole = &recording.batches.last().unwrap().contents;
    let (mut salvaged, mut beyond) = (0, 0);
    for (number, segment) in segments(&recording.path).iter().enumerate() {
        for byte in (0..end_of_batches(&fs::read(segment).unwrap())).step_by(3) {
            let (_folder, path) = fresh_copy(&recording.path);
            flip(&segments(&path)[number], byte);
            let before = fingerprint(&path);
            match salvage(&path) {
                Ok(found) => {
                    check_salvaged(&recording, (number, byte), &found);
                    let again = salvage(&path).unwrap();
                    assert!(again.salvaged.is_none(), "it is salvaged once");
                    assert_eq!(again.lost, found.lost);
                    assert_eq!(Contents::from(again), Contents::from(found));
                    salvaged += 1;
                }
                Err(StorageError::BeyondRepair { refused, .. }) => {
                    assert!(refused.is_damage());
                    assert!(fingerprint(&path) == before, "a refusal changes nothing");
                    let last = recording.batches.len() - 3;
                    let near_the_end = recording.batches[last..]
                        .iter()
                        .any(|it| it.segment == number && byte >= it.from);
                    assert!(near_the_end, "byte {byte} of segment {number}: {refused}");
                    beyond += 1;
                }
                Err(other) => panic!("byte {byte} of segment {number}: {other}"),
            }
        }
    }
    assert!(
        salvaged > 1_000 && beyond > 10 && !whole.entries.is_empty(),
        "{salvaged} salvaged, {beyond} beyond repair"
    );
}

/// What is kept is what was durable at some time before the damaged batch; what was promised last is still promised.
fn check_salvaged(recording: &Recording, damaged: (usize, usize), found: &Recovered) {
    let whole = &recording.batches.last().unwrap().contents;
    assert!(found.salvaged.is_some());
    assert_eq!(found.lost, Some(end(whole)));
    let of_nothing = found.entries.is_empty() && found.hard_state.commit == Index(0);
    let former = recording
        .batches
        .iter()
        .filter(|it| (it.segment, it.from) <= damaged);
    let former = former
        .map(|it| &it.contents)
        .find(|former| former.entries == found.entries);
    assert!(of_nothing || former.is_some(), "{damaged:?}");
    let commit = found.hard_state.commit;
    assert_eq!(found.hard_state, reborn(whole.hard_state, commit));
    assert!(commit <= former.map_or(Index(0), |former| former.hard_state.commit.max(commit)));
    assert!(commit.0 <= found.entries.len() as u64);
}

/// The same, with somebody else who has a vote.
fn shared(index: u64, term: u64) -> SnapshotMeta {
    SnapshotMeta {
        configuration: Configuration::new([0x31, 2, 3].map(PeerId), []),
        ..meta(index, term)
    }
}

fn commands(indexes: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    indexes.map(|index| entry(1, index, "a command")).collect()
}

/// Forty entries, and checkpoints of two of them.
fn lived(path: &Path, meta: fn(u64, u64) -> SnapshotMeta, taken: [u64; 2]) {
    let storage = create(path, small_segments());
    for index in 1..=40 {
        let commit = index - 1;
        let written = persist(commands(index..=index), Some(state(1, commit)));
        storage.submit(written).wait().unwrap();
        if taken.contains(&index) {
            let image = |out: &mut dyn std::io::Write| out.write_all(b"the state");
            storage.checkpoint(meta(index, 1), image).wait().unwrap();
        }
    }
    storage.close().unwrap();
}

fn middle_of(file: &Path) -> usize {
    end_of_batches(&fs::read(file).unwrap()) / 2
}

#[test]
fn damage_that_a_checkpoint_covers_costs_nothing() {
    let folder = folder();
    let path = folder.path().join("data");
    lived(&path, shared, [10, 30]);
    let first = segments(&path).remove(0);
    flip(&first, middle_of(&first));
    let found = salvage(&path).unwrap();
    assert!(found.salvaged.is_some());
    assert_eq!((found.lost, found.hard_state), (None, state(1, 39)));
    assert_eq!(found.snapshot, shared(30, 1));
    assert_eq!(found.entries, commands(31..=40));
    let again = salvage(&path).unwrap();
    assert_eq!(Contents::from(again), Contents::from(found));
    assert_eq!(set_aside(&path), 0, "nothing is missing any more");
}

#[test]
fn damage_behind_the_checkpoint_is_remembered_until_it_is_got_over() {
    let folder = folder();
    let path = folder.path().join("data");
    lived(&path, shared, [5, 10]);
    let files = segments(&path);
    let damaged = &files[files.len() - 2];
    flip(damaged, middle_of(damaged));
    let (storage, found) = salvage_with(&path, small_segments()).unwrap();
    assert_eq!(found.lost, Some((Term(1), Index(40))));
    assert_eq!(found.snapshot, shared(10, 1));
    let kept = found.entries.last().unwrap().index.0;
    assert!((11..40).contains(&kept), "{kept}");
    assert_eq!(found.entries, commands(11..=kept));
    let commit = found.hard_state.commit;
    assert_eq!(found.hard_state, reborn(state(1, 39), commit));
    assert!(set_aside(&path) > 0);
    // Over several segments, up to the last but one that is missing.
    for index in kept + 1..40 {
        let written = persist(commands(index..=index), Some(state(3, kept)));
        storage.submit(written).wait().unwrap();
    }
    storage.close().unwrap();
    assert!(segments(&path).len() > 1, "the log rolls");
    assert_eq!(salvage(&path).unwrap().lost, Some((Term(1), Index(40))));
    assert!(set_aside(&path) > 0);
    let (storage, _) = salvage_with(&path, small_segments()).unwrap();
    let written = persist(commands(40..=40), None);
    storage.submit(written).wait().unwrap();
    storage.close().unwrap();
    let found = salvage(&path).unwrap();
    assert_eq!((found.lost, set_aside(&path)), (None, 0));
    assert_eq!(found.entries, commands(11..=40));
}

#[test]
fn without_a_sound_checkpoint_everything_is_asked_for() {
    let folder = folder();
    let path = folder.path().join("data");
    lived(&path, shared, [20, 30]);
    for file in checkpoints(&path) {
        flip(&file, 100);
    }
    let found = salvage(&path).unwrap();
    assert_eq!(found.damaged.len(), 2);
    assert_eq!((found.image.clone(), found.entries.len()), (None, 0));
    assert_eq!(found.snapshot, SnapshotMeta::default());
    assert_eq!(found.lost, Some((Term(1), Index(40))));
    assert_eq!(found.hard_state, reborn(state(1, 39), Index(0)));
    let again = salvage(&path).unwrap();
    assert_eq!(again.lost, found.lost);
}

#[test]
fn damage_upon_damage_forgets_no_promise() {
    let folder = folder();
    let path = folder.path().join("data");
    lived(&path, shared, [5, 10]);
    let files = segments(&path);
    let damaged = &files[files.len() - 2];
    flip(damaged, middle_of(damaged));
    let (storage, found) = salvage_with(&path, small_segments()).unwrap();
    let kept = found.entries.last().unwrap().index.0;
    for index in [kept + 1, kept + 2, kept + 3] {
        let written = persist(commands(index..=index), Some(state(5, kept)));
        storage.submit(written).wait().unwrap();
    }
    storage.close().unwrap();
    let first = segments(&path).remove(0);
    let begins = fs::read(&first).unwrap()[8..]
        .windows(4)
        .position(|four| four == b"qwal")
        .unwrap();
    flip(&first, begins + 8 + 40);
    let found = salvage(&path).unwrap();
    assert!(found.salvaged.is_some());
    assert_eq!(found.lost, Some((Term(1), Index(40))));
    assert_eq!(found.hard_state.term, Term(6));
    // Of its first batch only the head is left, which says the commit that the batch had.
    assert_eq!(
        (found.entries.len(), found.hard_state.commit),
        (0, Index(10))
    );
}

#[test]
fn the_only_voter_is_refused_and_nothing_changes() {
    let folder = folder();
    let path = folder.path().join("data");
    lived(&path, meta, [5, 10]);
    let files = segments(&path);
    let damaged = &files[files.len() - 2];
    flip(damaged, middle_of(damaged));
    let before = fingerprint(&path);
    let error = salvage(&path).unwrap_err();
    assert!(matches!(error, StorageError::BeyondRepair { .. }));
    let text = error.to_string();
    assert!(text.contains("is damaged at byte"), "{text}");
    assert!(text.contains("there is no other voter"), "{text}");
    assert!(fingerprint(&path) == before);
}

/// Copies the directory at every step that is reached.
struct Camera {
    data: PathBuf,
    album: PathBuf,
    taken: Mutex<usize>,
}

impl Observer for Camera {
    fn step(&self, _reached: &'static str) {
        let mut taken = self.taken.lock().unwrap();
        copy(&self.data, &self.album.join(taken.to_string()));
        *taken += 1;
    }
}

#[test]
fn a_crash_during_a_salvage_repeats_it_or_finds_it_done() {
    let folder = folder();
    let path = folder.path().join("data");
    lived(&path, shared, [5, 10]);
    let files = segments(&path);
    let damaged = &files[files.len() - 2];
    flip(damaged, middle_of(damaged));
    let camera = Arc::new(Camera {
        data: path.clone(),
        album: folder.path().join("album"),
        taken: Mutex::default(),
    });
    let options = Options {
        observer: Arc::clone(&camera) as Arc<dyn Observer>,
        ..small_segments()
    };
    let (storage, found) = salvage_with(&path, options).unwrap();
    storage.close().unwrap();
    let taken = *camera.taken.lock().unwrap();
    assert!(taken >= 3, "{taken}");
    for picture in 0..taken {
        let path = camera.album.join(picture.to_string());
        let again = salvage(&path).unwrap();
        assert_eq!(again.lost, found.lost);
        assert_eq!(again.identity, IDENTITY);
        assert_eq!(Contents::from(again), Contents::from(found.clone()));
        assert!(set_aside(&path) > 0, "picture {picture}");
    }
}
