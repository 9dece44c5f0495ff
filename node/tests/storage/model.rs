//! Random lives against a naive model: the last acknowledged state, or with a crash the one in flight.

use crate::lab::{
    IDENTITY, entry, fresh_copy, meta, open, persist, segments, small_segments, state,
};
use bytes::Bytes;
use proptest::prelude::*;
use quorate_node::storage::{DataDir, Recovered, Storage};
use raft::{Entry, HardState, Persist, SnapshotMeta};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::path::{Path, PathBuf};

/// What a member would be: a checkpoint, entries after it, and a hard state.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Model {
    hard_state: HardState,
    snapshot: SnapshotMeta,
    image: Option<Bytes>,
    entries: Vec<Entry>,
}

impl Model {
    fn last(&self) -> u64 {
        self.entries
            .last()
            .map_or(self.snapshot.index.0, |entry| entry.index.0)
    }

    fn append(&mut self, persist: &Persist) {
        if let Some(first) = persist.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend(persist.entries.iter().cloned());
        }
        if let Some(state) = persist.hard_state {
            self.hard_state = state;
        }
    }

    fn base(&mut self, snapshot: SnapshotMeta, image: Bytes) {
        self.entries.retain(|entry| entry.index > snapshot.index);
        self.snapshot = snapshot;
        self.image = Some(image);
    }

    fn term_at(&self, index: u64) -> u64 {
        let found = self.entries.iter().find(|entry| entry.index.0 == index);
        found.map_or(self.snapshot.term.0, |entry| entry.term.0)
    }
}

impl From<Recovered> for Model {
    fn from(found: Recovered) -> Self {
        Self {
            hard_state: found.hard_state,
            snapshot: found.snapshot,
            image: found.image,
            entries: found.entries,
        }
    }
}

struct Life {
    rng: SmallRng,
    path: PathBuf,
    _folder: tempfile::TempDir,
    storage: Option<Storage>,
    model: Model,
    term: u64,
}

impl Life {
    fn begin(seed: u64) -> Self {
        let folder = crate::lab::folder();
        let path = folder.path().join("data");
        let directory = DataDir::open(&path).unwrap();
        let first = persist(Vec::new(), None);
        Self {
            rng: SmallRng::seed_from_u64(seed),
            storage: Some(Storage::create(directory, IDENTITY, &first, small_segments()).unwrap()),
            path,
            _folder: folder,
            model: Model::default(),
            term: 1,
        }
    }

    fn storage(&self) -> &Storage {
        self.storage.as_ref().unwrap()
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..70 => self.submit(),
            70..82 => self.checkpoint(),
            82..86 => self.install(),
            86..93 => self.reopen(),
            _ => self.crash(),
        }
    }

    /// Entries at the end or over uncommitted ones, and a state that never goes back.
    fn next_persist(&mut self) -> Persist {
        let commit = self
            .model
            .hard_state
            .commit
            .0
            .max(self.model.snapshot.index.0);
        self.term += u64::from(self.rng.random_ratio(1, 5));
        let first = if self.rng.random_ratio(1, 4) {
            self.rng.random_range(commit + 1..=self.model.last() + 1)
        } else {
            self.model.last() + 1
        };
        let count = self.rng.random_range(0..6);
        let entries: Vec<_> = (first..first + count)
            .map(|index| {
                let text = "x".repeat(self.rng.random_range(0..60));
                entry(self.term, index, &text)
            })
            .collect();
        let last = entries
            .last()
            .map_or(self.model.last(), |entry| entry.index.0);
        let commit = self.rng.random_range(commit..=last.max(commit));
        let hard_state = self
            .rng
            .random_ratio(2, 3)
            .then(|| state(self.term, commit));
        persist(entries, hard_state)
    }

    fn submit(&mut self) {
        let persists: Vec<_> = (0..self.rng.random_range(1..4))
            .map(|_| {
                let mut next = self.next_persist();
                next.must_sync = self.rng.random_ratio(4, 5);
                self.model.append(&next);
                next
            })
            .collect();
        let waiting: Vec<_> = persists
            .into_iter()
            .map(|each| self.storage().submit(each))
            .collect();
        waiting.into_iter().for_each(|each| each.wait().unwrap());
    }

    fn checkpoint(&mut self) {
        let index = self.model.hard_state.commit.0;
        if index <= self.model.snapshot.index.0 {
            return;
        }
        let snapshot = meta(index, self.model.term_at(index));
        let image = Bytes::from(format!("image {index}").repeat(self.rng.random_range(0..50)));
        let bytes = image.clone();
        self.storage()
            .checkpoint(snapshot.clone(), move |out| out.write_all(&bytes))
            .wait()
            .unwrap();
        self.model.base(snapshot, image);
    }

    fn install(&mut self) {
        self.term += 1;
        let snapshot = meta(self.model.last() + self.rng.random_range(1..20), self.term);
        let image = Bytes::from_static(b"received");
        self.storage()
            .install(snapshot.clone(), image.clone())
            .wait()
            .unwrap();
        self.model.entries.clear();
        let index = snapshot.index.0;
        self.model.base(snapshot, image);
        // As the core does: the term is persisted with the install's Ready.
        let after = persist(Vec::new(), Some(state(self.term, index)));
        self.model.append(&after);
        self.storage().submit(after).wait().unwrap();
    }

    fn reopen(&mut self) {
        self.storage.take().unwrap().close().unwrap();
        self.open();
    }

    fn open(&mut self) {
        let (storage, found) = open(&self.path).unwrap();
        self.storage = Some(storage);
        assert_eq!(Model::from(found), self.model);
    }

    /// Dies in the middle of a batch: the directory is left with some of its bytes.
    fn crash(&mut self) {
        // What was lazy would be lost with the process, which is allowed; closing writes it, to keep one expectation.
        self.storage.take().unwrap().close().unwrap();
        let (_folder, before) = fresh_copy(&self.path);
        let (storage, _) = open(&self.path).unwrap();
        let mut next = self.next_persist();
        next.entries.push(entry(
            self.term,
            next.entries
                .last()
                .map_or(self.model.last(), |entry| entry.index.0)
                + 1,
            "torn",
        ));
        storage.submit(next.clone()).wait().unwrap();
        storage.close().unwrap();
        let in_place = segments(&before).len() == segments(&self.path).len();
        if in_place && self.rng.random_ratio(3, 4) {
            self.tear(&before);
        } else {
            self.model.append(&next);
        }
        self.open();
    }

    /// Takes a random stretch of what the last batch wrote back to what was there before it.
    fn tear(&mut self, before: &Path) {
        let file = segments(&self.path).pop().unwrap();
        let old = std::fs::read(segments(before).pop().unwrap()).unwrap();
        let mut new = std::fs::read(&file).unwrap();
        let from = crate::lab::end_of_batches(&old);
        let to = crate::lab::end_of_batches(&new);
        new[to..].fill(0);
        let first = self.rng.random_range(from..to);
        let last = self.rng.random_range(first + 1..=to);
        let lost = &mut new[first..last];
        if lost.iter().all(|byte| *byte == 0) {
            lost.fill(1);
        } else {
            lost.fill(0);
        }
        std::fs::write(&file, new).unwrap();
    }
}

#[test]
fn random_lives_agree_with_the_model() {
    for seed in 0..60 {
        let mut life = Life::begin(seed);
        for step in 0..60 {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| life.step()));
            assert!(outcome.is_ok(), "seed {seed}, step {step}");
        }
        life.reopen();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_written_is_read(batches in prop::collection::vec((prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5), 0u64..4), 1..12)) {
        let folder = crate::lab::folder();
        let storage = crate::lab::create(folder.path(), small_segments());
        let mut expected = Model::default();
        for (payloads, back) in batches {
            let first = expected.last().saturating_sub(back) + 1;
            let entries = payloads.into_iter().zip(first..).map(|(bytes, index)| {
                let mut made = entry(2, index, "x");
                made.payload = raft::Payload::Command(bytes.into());
                made
            }).collect();
            let next = persist(entries, Some(state(2, 0)));
            expected.append(&next);
            storage.submit(next).wait().unwrap();
        }
        storage.close().unwrap();
        let (_storage, found) = open(folder.path()).unwrap();
        prop_assert_eq!(Model::from(found), expected);
    }
}
