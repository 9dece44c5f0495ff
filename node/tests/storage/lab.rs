//! Logs that are recorded batch by batch, and directories that are copied and hurt.

use bytes::Bytes;
use quorate_node::storage::{DataDir, Identity, Options, Recovered, Storage, StorageError};
use raft::{
    Change, ChangeKind, Configuration, Entry, HardState, Index, JointChange, Payload, PeerId,
    Persist, SnapshotMeta, Term, Ticket,
};
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) const IDENTITY: Identity = Identity {
    cluster_id: 0xc1,
    member_id: 0x31,
};

/// Segments so small that a few batches fill one.
pub(crate) fn small_segments() -> Options {
    Options {
        segment_bytes: 1500,
        ..Options::default()
    }
}

pub(crate) fn entry(term: u64, index: u64, payload: &str) -> Entry {
    let payload = match payload {
        "" => Payload::Empty,
        "add" => Payload::Change(Change {
            kind: ChangeKind::AddLearner(PeerId(index)),
            context: Bytes::from_static(b"context"),
        }),
        "joint" => Payload::EnterJoint(JointChange {
            steps: vec![
                ChangeKind::AddVoter(PeerId(index)),
                ChangeKind::Remove(PeerId(2)),
            ],
            context: Bytes::from_static(b"context"),
        }),
        "leave" => Payload::LeaveJoint,
        text => Payload::Command(Bytes::copy_from_slice(text.as_bytes())),
    };
    Entry {
        term: Term(term),
        index: Index(index),
        payload,
    }
}

pub(crate) fn entries(term: u64, indexes: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    indexes
        .map(|index| {
            let text = match index % 4 {
                0 => String::new(),
                1 => ["add", "joint", "leave"][(index / 4 % 3) as usize].to_owned(),
                _ => format!("command {index} of term {term}"),
            };
            entry(term, index, &text)
        })
        .collect()
}

pub(crate) fn state(term: u64, commit: u64) -> HardState {
    HardState {
        term: Term(term),
        vote: (term % 2 == 1).then_some(PeerId(term)),
        commit: Index(commit),
    }
}

pub(crate) fn persist(entries: Vec<Entry>, hard_state: Option<HardState>) -> Persist {
    Persist {
        ticket: Ticket(1),
        entries,
        hard_state,
        must_sync: true,
    }
}

pub(crate) fn meta(index: u64, term: u64) -> SnapshotMeta {
    SnapshotMeta {
        index: Index(index),
        term: Term(term),
        configuration: Configuration::new([PeerId(0x31)], [PeerId(5)]),
    }
}

pub(crate) fn create(path: &Path, options: Options) -> Storage {
    let directory = DataDir::open(path).unwrap();
    assert!(directory.is_new());
    Storage::create(directory, IDENTITY, &persist(Vec::new(), None), options).unwrap()
}

pub(crate) fn open(path: &Path) -> Result<(Storage, Recovered), StorageError> {
    Storage::open(DataDir::open(path)?, small_segments())
}

/// What is there, read and closed again.
pub(crate) fn recover(path: &Path) -> Result<Recovered, StorageError> {
    let (storage, recovered) = open(path)?;
    storage.close()?;
    Ok(recovered)
}

/// What recovery must give back, without what it says about damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) hard_state: HardState,
    pub(crate) snapshot: SnapshotMeta,
    pub(crate) image: Option<Bytes>,
    pub(crate) entries: Vec<Entry>,
}

impl From<Recovered> for Contents {
    fn from(recovered: Recovered) -> Self {
        Self {
            hard_state: recovered.hard_state,
            snapshot: recovered.snapshot,
            image: recovered.image,
            entries: recovered.entries,
        }
    }
}

pub(crate) fn contents(path: &Path) -> Result<Contents, StorageError> {
    recover(path).map(Contents::from)
}

/// Copies a data directory into an empty one.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &target);
        } else {
            fs::copy(item.path(), target).unwrap();
        }
    }
}

/// A folder in memory where there is one: these tests open thousands of directories, and a real disk would spend minutes on
/// syncs that prove nothing here.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.unwrap()
}

pub(crate) fn fresh_copy(from: &Path) -> (tempfile::TempDir, PathBuf) {
    let folder = folder();
    let path = folder.path().join("data");
    copy(from, &path);
    (folder, path)
}

pub(crate) fn segments(path: &Path) -> Vec<PathBuf> {
    listed(&path.join("wal"), "wal")
}

pub(crate) fn checkpoints(path: &Path) -> Vec<PathBuf> {
    listed(&path.join("checkpoints"), "checkpoint")
}

fn listed(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    found.sort();
    found
}

/// Everything about a file that the storage must not have touched.
pub(crate) fn fingerprint(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = segments(path)
        .into_iter()
        .chain(checkpoints(path))
        .map(|file| (file.clone(), fs::read(&file).unwrap()))
        .collect();
    files.sort();
    files
}

/// A log as it was written: after each batch, which segment it ended in, where, and what was then durable.
pub(crate) struct Recording {
    _folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
    pub(crate) batches: Vec<Recorded>,
}

pub(crate) struct Recorded {
    pub(crate) segment: usize,
    /// The batch's bytes in its segment.
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) contents: Contents,
}

/// Appends, overwrites, votes and lazy commits over several segments; each step is one batch.
pub(crate) fn steps() -> Vec<Persist> {
    let mut steps = vec![
        persist(entries(1, 1..=3), Some(state(1, 0))),
        persist(Vec::new(), Some(state(1, 2))),
        persist(entries(1, 4..=9), None),
        persist(entries(2, 7..=8), Some(state(2, 3))),
        persist(Vec::new(), Some(state(3, 3))),
        persist(entries(3, 9..=9), None),
    ];
    for round in 0..10 {
        let first = 10 + 3 * round;
        steps.push(persist(
            entries(3, first..=first + 2),
            Some(state(3, first)),
        ));
    }
    steps.push(persist(entries(4, 20..=22), Some(state(4, 19))));
    steps.push(persist(vec![entry(4, 23, &"large ".repeat(40))], None));
    steps.push(persist(entries(4, 24..=25), Some(state(5, 23))));
    steps
}

impl Recording {
    pub(crate) fn make() -> Self {
        let folder = folder();
        let path = folder.path().join("data");
        let storage = create(&path, small_segments());
        let mut recording = Self {
            _folder: folder,
            path,
            batches: Vec::new(),
        };
        recording.note();
        for step in steps() {
            storage.submit(step).wait().unwrap();
            recording.note();
        }
        storage.close().unwrap();
        recording
    }

    /// Reads a copy of the directory, and finds where its last batch lies.
    fn note(&mut self) {
        let (_folder, copied) = fresh_copy(&self.path);
        let segments = segments(&copied);
        let bytes = fs::read(segments.last().unwrap()).unwrap();
        let contents = contents(&copied).unwrap();
        let segment = segments.len() - 1;
        let to = end_of_batches(&bytes);
        let from = match self.batches.last() {
            Some(last) if last.segment == segment => last.to,
            _ => 0,
        };
        self.batches.push(Recorded {
            segment,
            from,
            to,
            contents,
        });
    }
}

/// Walks the records by their lengths up to the seal or the zeros: a second reader of the format, without checksums.
pub(crate) fn end_of_batches(segment: &[u8]) -> usize {
    const SEAL: u8 = 5;
    let mut at = 0;
    while segment[at..].starts_with(b"qwal") && segment[at + 12] != SEAL {
        let length = u32::from_le_bytes(segment[at + 8..at + 12].try_into().unwrap());
        at = (at + 32 + length as usize).next_multiple_of(8);
    }
    at
}
