//! Every byte of a recorded log: cut there, torn there, flipped there.

use crate::lab::{
    Contents, IDENTITY, Recorded, Recording, contents, create, entries, entry, fingerprint,
    fresh_copy, persist, recover, segments, small_segments, state,
};
use quorate_node::storage::{DataDir, Options, Storage, StorageError};
use std::fs;
use std::path::Path;

/// What a crash can leave of the batch that was being written.
#[derive(Clone, Copy, Debug)]
enum Torn {
    /// The file ends there.
    Truncated,
    /// The rest never arrived and reads as zeros.
    Zeros,
    /// The rest of the batch arrived as garbage.
    Garbage,
    /// The rest of the batch arrived, and what comes before did not.
    OnlyTheRest,
}

const TORN: [Torn; 4] = [
    Torn::Truncated,
    Torn::Zeros,
    Torn::Garbage,
    Torn::OnlyTheRest,
];

/// A segment as a crash at byte `at` of its batch leaves it.
fn torn(whole: &[u8], batch: &Recorded, at: usize, how: Torn) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    match how {
        Torn::Truncated => bytes.truncate(at),
        Torn::Zeros => bytes[at..].fill(0),
        Torn::Garbage => {
            bytes[at..].fill(0);
            let mut noise = at as u64 + 1;
            for byte in &mut bytes[at..batch.to] {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                *byte = (noise >> 56) as u8 | 1;
            }
        }
        Torn::OnlyTheRest => {
            bytes[batch.from..at].fill(0);
            bytes[batch.to..].fill(0);
        }
    }
    bytes
}

/// The directory as it was when `batch` was being written: later segments are not there, and a segment that the batch begins
/// has no name yet. Also says whether nothing of the batch is missing: bytes that were lost may have been zeros anyway.
fn crash(
    recording: &Recording,
    batch: &Recorded,
    at: usize,
    how: Torn,
) -> (tempfile::TempDir, std::path::PathBuf, bool) {
    let (folder, path) = fresh_copy(&recording.path);
    let files = segments(&path);
    for later in &files[batch.segment + 1..] {
        fs::remove_file(later).unwrap();
    }
    let file = &files[batch.segment];
    let whole = fs::read(file).unwrap();
    let bytes = torn(&whole, batch, at, how);
    let range = batch.from..batch.to;
    let complete = bytes.get(range.clone()) == Some(&whole[range]);
    if batch.from != 0 {
        fs::write(file, bytes).unwrap();
        return (folder, path, complete);
    }
    fs::remove_file(file).unwrap();
    fs::write(file.with_extension("tmp"), bytes).unwrap();
    remove_seal(&files[batch.segment - 1]);
    (folder, path, false)
}

/// The seal that says that the next segment exists is written after it does.
fn remove_seal(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let end = crate::lab::end_of_batches(&bytes);
    bytes[end..].fill(0);
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_crash_at_every_byte_leaves_what_was_acknowledged() {
    let recording = Recording::make();
    assert!(segments(&recording.path).len() >= 4, "the log rolls");
    let (mut crashes, mut cuts) = (0, 0);
    for (number, batch) in recording.batches.iter().enumerate().skip(1) {
        let before = &recording.batches[number - 1].contents;
        for at in batch.from..=batch.to {
            for how in TORN {
                let (_folder, path, whole) = crash(&recording, batch, at, how);
                let expected = if whole { &batch.contents } else { before };
                let found = recover(&path).unwrap_or_else(|error| panic!("{at} {how:?}: {error}"));
                cuts += usize::from(found.cut.is_some());
                assert_eq!(&Contents::from(found), expected, "byte {at}, {how:?}");
                let again = recover(&path).unwrap();
                assert_eq!(again.cut, None, "a cut is made once");
                assert_eq!(&Contents::from(again), expected);
                crashes += 1;
            }
        }
    }
    assert!(
        crashes > 10_000 && cuts > crashes / 2,
        "{crashes} crashes, {cuts} cuts"
    );
}

/// Found by the simulation: taken for a torn end, it left a member that had forgotten its votes.
#[test]
fn damage_in_the_first_batch_of_a_log_is_refused_without_a_seal_too() {
    let folder = crate::lab::folder();
    let path = folder.path();
    let first = persist(entries(1, 1..=3), Some(state(1, 3)));
    let directory = DataDir::open(path).unwrap();
    let storage = Storage::create(directory, IDENTITY, &first, small_segments()).unwrap();
    storage.close().unwrap();
    let segment = &segments(path)[0];
    remove_seal(segment);
    let whole = fs::read(segment).unwrap();
    for at in 0..crate::lab::end_of_batches(&whole) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(segment, bytes).unwrap();
        assert!(recover(path).is_err(), "byte {at}");
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused_with_its_place_or_changes_nothing() {
    let recording = Recording::make();
    let expected = &recording.batches.last().unwrap().contents;
    let (mut refused, mut harmless) = (0, 0);
    for (number, segment) in segments(&recording.path).iter().enumerate() {
        let whole = fs::read(segment).unwrap();
        let end = crate::lab::end_of_batches(&whole);
        for bit in (0..whole.len() * 8).step_by(5) {
            let (_folder, path) = fresh_copy(&recording.path);
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&segments(&path)[number], bytes).unwrap();
            let before = fingerprint(&path);
            match contents(&path) {
                Ok(found) => {
                    assert_eq!(
                        &found, expected,
                        "bit {bit} of segment {number} changed something"
                    );
                    assert!(
                        bit / 8 >= end,
                        "bit {bit} of segment {number} was not noticed"
                    );
                    harmless += 1;
                }
                Err(StorageError::Corrupt {
                    path: file, offset, ..
                }) => {
                    assert!(fingerprint(&path) == before, "a refusal changes nothing");
                    assert!(offset as usize <= bit / 8, "{offset} is behind bit {bit}");
                    assert_eq!(file.file_name(), segment.file_name());
                    refused += 1;
                }
                Err(other) => panic!("bit {bit} of segment {number}: {other}"),
            }
        }
    }
    assert!(
        refused > 3_000 && harmless > 100,
        "{refused} refused, {harmless} harmless"
    );
}

/// The one case that the module says cannot be told: the last batch, with no seal behind it. It is cut, and nothing else is
/// lost.
#[test]
fn damage_to_an_unsealed_last_batch_costs_that_batch_alone() {
    let recording = Recording::make();
    let [.., before, last] = &recording.batches[..] else {
        panic!("there are batches");
    };
    assert_ne!(
        last.from, 0,
        "a segment that has a name has its first batch"
    );
    for at in last.from..last.to {
        let (_folder, path) = fresh_copy(&recording.path);
        let file = &segments(&path)[last.segment];
        remove_seal(file);
        let mut bytes = fs::read(file).unwrap();
        bytes[at] ^= 0x40;
        fs::write(file, bytes).unwrap();
        let found = recover(&path).unwrap();
        assert!(found.cut.is_some());
        assert_eq!(Contents::from(found), before.contents);
    }
}

#[test]
fn a_missing_segment_is_named() {
    let recording = Recording::make();
    let count = segments(&recording.path).len();
    for missing in 1..count {
        let (_folder, path) = fresh_copy(&recording.path);
        let file = segments(&path)[missing].clone();
        fs::remove_file(&file).unwrap();
        match recover(&path) {
            Err(StorageError::Missing { path }) => assert_eq!(path, file),
            other => panic!("segment {missing}: {other:?}"),
        }
    }
}

#[test]
fn a_log_that_begins_in_the_middle_without_a_checkpoint_is_refused() {
    let recording = Recording::make();
    let (_folder, path) = fresh_copy(&recording.path);
    fs::remove_file(&segments(&path)[0]).unwrap();
    let error = recover(&path).unwrap_err();
    assert!(matches!(error, StorageError::Gap { .. }), "{error}");
    assert!(error.to_string().contains("remove this member"), "{error}");
}

/// More than what zeros are written ahead of: what a torn batch left must not be found behind the batches that come there.
#[test]
fn a_torn_tail_of_megabytes_is_cut_whole() {
    let folder = crate::lab::folder();
    let path = folder.path().join("data");
    let options = || Options {
        segment_bytes: 8 << 20,
        ..Options::default()
    };
    let storage = create(&path, options());
    let large = entry(1, 1, &"large ".repeat(500_000));
    storage
        .submit(persist(vec![large], Some(state(1, 0))))
        .wait()
        .unwrap();
    storage.close().unwrap();
    let file = segments(&path).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let end = crate::lab::end_of_batches(&bytes);
    let begins = bytes[8..]
        .windows(4)
        .position(|four| four == b"qwal")
        .unwrap()
        + 8;
    bytes[begins..begins + 64].fill(0);
    bytes[end..].fill(0);
    fs::write(&file, bytes).unwrap();
    let cut = recover(&path).unwrap().cut.unwrap();
    assert_eq!(cut.offset, begins as u64);
    let last = cut.offset + cut.bytes;
    assert!(
        (end as u64 - 40..=end as u64).contains(&last),
        "up to the last byte that is not zero"
    );
    for index in 1..=3 {
        let (storage, found) = crate::lab::open(&path).unwrap();
        assert_eq!((found.cut, found.entries.len() as u64), (None, index - 1));
        storage
            .submit(persist(vec![entry(2, index, "small")], None))
            .wait()
            .unwrap();
        storage.close().unwrap();
    }
}
