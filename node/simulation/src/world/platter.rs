//! What of a member survives: its log and checkpoints.
//!
//! What this module deliberately does not do: decide when anything is written.

use std::path::PathBuf;

use bytes::Bytes;
use quorate_node::storage::StorageError;
use raft::{Entry, HardState, Index, Persist, Recovered, SnapshotMeta};
use rand::Rng;
use rand::rngs::SmallRng;

use super::bench::Job;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Platter {
    hard_state: HardState,
    entries: Vec<Entry>,
    snapshot: Option<(SnapshotMeta, Bytes)>,
    is_damaged: bool,
    fails_next: bool,
    is_full: bool,
}

impl Platter {
    /// A new member's, with its first log.
    pub(crate) fn new(_id: u64, first: &Persist, _segment_bytes: u64) -> Self {
        Self {
            hard_state: first.hard_state.unwrap_or_default(),
            entries: first.entries.clone(),
            ..Self::default()
        }
    }

    /// What a start finds, and the image of its checkpoint.
    pub(crate) fn open(&mut self) -> Result<(Recovered, Option<Bytes>), StorageError> {
        if self.is_damaged {
            return Err(StorageError::Corrupt {
                path: PathBuf::from("wal"),
                offset: 0,
                what: "a bit was flipped".to_owned(),
            });
        }
        let (snapshot, image) = self.snapshot.clone().unzip();
        let snapshot = snapshot.unwrap_or_default();
        let mut hard_state = self.hard_state;
        if hard_state.term < snapshot.term {
            (hard_state.term, hard_state.vote) = (snapshot.term, None);
        }
        hard_state.commit = hard_state.commit.max(snapshot.index);
        let after = |entry: &&Entry| entry.index > snapshot.index;
        let recovered = Recovered {
            hard_state,
            entries: self.entries.iter().filter(after).cloned().collect(),
            snapshot,
        };
        Ok((recovered, image))
    }

    /// Writes, with one sync behind them.
    pub(crate) fn write(&mut self, jobs: impl Iterator<Item = Job>) -> Result<(), StorageError> {
        self.fail_if_due()?;
        jobs.for_each(|job| self.carry_out(job));
        Ok(())
    }

    /// Writes a checkpoint, own or received.
    pub(crate) fn checkpoint(&mut self, job: Job) -> Result<(), StorageError> {
        self.fail_if_due()?;
        self.carry_out(job);
        Ok(())
    }

    /// The power fails while these were on their way.
    pub(crate) fn crash(&mut self, unfinished: impl Iterator<Item = Job>, rng: &mut SmallRng) {
        for job in unfinished {
            if rng.random_bool(0.5) {
                break;
            }
            self.carry_out(job);
        }
    }

    /// The next write fails.
    pub(crate) fn fail_next(&mut self) {
        self.fails_next = true;
    }

    /// There is no space any more, or there is again.
    pub(crate) const fn fill(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// Nothing fails any more.
    pub(crate) const fn mend(&mut self) {
        (self.fails_next, self.is_full) = (false, false);
    }

    /// Whether what it promised to keep is lost.
    pub(crate) const fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// A bit flips where it is noticed.
    pub(crate) fn flip(&mut self, _rng: &mut SmallRng) {
        self.is_damaged = true;
    }

    fn fail_if_due(&mut self) -> Result<(), StorageError> {
        if std::mem::take(&mut self.fails_next) || self.is_full {
            return Err(StorageError::Stopped);
        }
        Ok(())
    }

    fn carry_out(&mut self, job: Job) {
        match job {
            Job::Write(persist) => {
                if let Some(first) = persist.entries.first().map(|first| first.index) {
                    self.entries.retain(|entry| entry.index < first);
                }
                self.entries.extend(persist.entries);
                self.hard_state = persist.hard_state.unwrap_or(self.hard_state);
            }
            Job::Install(meta, image) => {
                self.entries.clear();
                self.snapshot = Some((meta, image));
            }
            Job::Checkpoint(meta, image) | Job::Renew(meta, image) => {
                let newest = self
                    .snapshot
                    .as_ref()
                    .map_or(Index(0), |(meta, _)| meta.index);
                if meta.index > newest {
                    self.snapshot = Some((meta, image.encode().into()));
                }
            }
        }
    }
}
