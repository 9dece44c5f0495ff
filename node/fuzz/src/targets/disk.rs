//! What a member finds in its data directory.

use std::fs;
use std::path::Path;

use quorate_node::storage::{self, DataDir, Identity, Options, Recovered, Storage, StorageError};
use raft::{Configuration, Entry, HardState, Index, PeerId, Persist, SnapshotMeta, Term, Ticket};

use crate::seal::SEGMENT_BYTES;
use crate::{Target, seal, seeds};

const IDENTITY: Identity = Identity {
    cluster_id: 0xc1,
    member_id: 0x31,
};

fn options() -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES as u64,
        ..Options::default()
    }
}

fn persist(entries: Vec<Entry>, commit: u64) -> Persist {
    let hard_state = HardState {
        term: Term(2),
        vote: Some(PeerId(1)),
        commit: Index(commit),
    };
    Persist {
        ticket: Ticket(1),
        entries,
        hard_state: Some(hard_state),
        must_sync: true,
    }
}

fn joint() -> SnapshotMeta {
    let peers = |ids: &[u64]| ids.iter().map(|id| PeerId(*id)).collect::<Vec<_>>();
    let (voters, outgoing) = (peers(&[1, 2, 3]), peers(&[1, 2]));
    SnapshotMeta {
        index: Index(5),
        term: Term(2),
        configuration: Configuration::joint(voters, outgoing, peers(&[4]), peers(&[5])),
    }
}

/// A log of some segments, all of them of the same length.
fn written(path: &Path, checkpoint: Option<SnapshotMeta>) {
    let directory = DataDir::open(path).unwrap();
    let storage = Storage::create(
        directory,
        IDENTITY,
        &persist(seeds::entries(), 3),
        options(),
    );
    let storage = storage.unwrap();
    for at in 6..40 {
        let entry = Entry {
            term: Term(2),
            index: Index(at),
            payload: seeds::entries()[1].payload.clone(),
        };
        storage.submit(persist(vec![entry], at - 1)).wait().unwrap();
    }
    if let Some(meta) = checkpoint {
        let image = |out: &mut dyn std::io::Write| out.write_all(b"an image");
        storage.checkpoint(meta, image).wait().unwrap();
    }
    storage.close().unwrap();
}

/// What a directory holds; none where no member was founded yet.
fn opened(path: &Path) -> Result<Option<Recovered>, StorageError> {
    let directory = DataDir::open(path)?;
    if directory.is_new() {
        return Ok(None);
    }
    let (storage, recovered) = Storage::open(directory, options())?;
    storage.close()?;
    Ok(Some(recovered))
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A log, with its hard states, as the start reads it.
#[must_use]
pub fn log() -> Target {
    let folder = seeds::folder();
    written(folder.path(), None);
    let segments = files(&folder.path().join("wal"));
    assert!(
        segments.len() > 2
            && segments
                .iter()
                .all(|segment| segment.len() == SEGMENT_BYTES)
    );
    let decode = move |input: &[u8]| {
        let path = folder.path().join("data");
        let wal = path.join("wal");
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&wal).unwrap();
        for (segment, sequence) in input.chunks(SEGMENT_BYTES).zip(1..) {
            fs::write(wal.join(format!("{sequence:016x}.wal")), segment).unwrap();
        }
        let Ok(Some(first)) = opened(&path) else {
            return false;
        };
        // What a torn tail left behind was cut: a second look finds the same.
        let second = opened(&path).expect("what was opened once opens again");
        assert_eq!(second.unwrap().entries, first.entries, "at the second look");
        true
    };
    // Mebibytes of zeros are written ahead of the log where it is new.
    Target::new(
        "log",
        vec![segments.concat()],
        |bytes| seal::log(bytes),
        decode,
    )
    .bounded(64, 4 << 20)
}

/// A checkpoint, alone and beside a log that reaches over it.
#[must_use]
pub fn checkpoint() -> Target {
    let folder = seeds::folder();
    let data = folder.path().join("data");
    let meta = joint();
    written(&data, Some(meta));
    let checkpoints = data.join("checkpoints");
    let name = fs::read_dir(&checkpoints)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let seeds = files(&checkpoints);
    let segments = files(&data.join("wal"));
    let decode = move |input: &[u8]| {
        drop(fs::remove_dir_all(&data));
        fs::create_dir_all(&checkpoints).unwrap();
        fs::create_dir_all(data.join("wal")).unwrap();
        for (segment, sequence) in segments.iter().zip(1..) {
            fs::write(data.join(format!("wal/{sequence:016x}.wal")), segment).unwrap();
        }
        fs::write(&name, input).unwrap();
        let read = storage::read_checkpoint(&name);
        let _ = opened(&data);
        read.is_ok()
    };
    Target::new("checkpoint", seeds, seal::checkpoint, decode).bounded(64, 4 << 20)
}
