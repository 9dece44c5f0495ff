//! A disk that loses what a real one may lose, drawn from a seed.
//!
//! It takes the place of the operating system's files under the storage of a member ([`quorate_node::storage::Files`]). What it may
//! do, and nothing else:
//!
//! - Lose at a failure of power what was written and not synced: any sectors, in any order, the length, and the names of files
//!   in folders that were not synced.
//! - Fail a sync, after which what was written can still be read, for a while, and is lost for good unless it is written again.
//! - Be full, have bits flip at rest, and be slow.
//!
//! Slow is what is *in flight*: the operations of [`SimulatedDisk::fly`] have been asked for, whoever asked sees them done, and
//! how many of them have really been carried out is drawn if the power fails or the process dies before [`SimulatedDisk::land`].
//! Flights that are in the air at the same time are cut each at a place of its own, as those of two threads would be: they must
//! not stand on each other.
//!
//! Time is not known here: who flies says when it lands. What no disk could be blamed for is not simulated either: a disk that
//! lies about a sync, and bits that flip in memory.

mod files;
mod flight;
mod operation;
mod platter;
mod recording;
#[cfg(test)]
mod tests;
mod tree;

pub use files::Crashed;
pub use flight::Flight;
pub use recording::Recording;

use flight::Journal;
use operation::{Change, FileId, Node, Operation};
use platter::View;
use quorate_node::storage::Files;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rng: SmallRng,
    view: View,
    journal: Journal,
    /// Counts the processes that this disk has seen end: what they had open is of no use to the next.
    life: u64,
    locks: BTreeSet<PathBuf>,
    /// How often each file is open.
    open: BTreeMap<FileId, usize>,
    next_file: u64,
    limit_bytes: Option<u64>,
    /// How many syncs of files go well before one fails.
    syncs_before_failure: Option<u64>,
    operations: u64,
}

/// A bit that was flipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flipped {
    /// The file.
    pub path: PathBuf,
    /// The byte.
    pub offset: usize,
}

impl SimulatedDisk {
    /// An empty one.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::holding(seed, Journal::default())
    }

    fn holding(seed: u64, journal: Journal) -> Self {
        let view = journal.view();
        let newest = view.files.keys().next_back().map_or(0, |file| file.0);
        Self(Arc::new(Mutex::new(State {
            rng: SmallRng::seed_from_u64(seed),
            view,
            journal,
            life: 0,
            locks: BTreeSet::new(),
            open: BTreeMap::new(),
            next_file: newest + 1,
            limit_bytes: None,
            syncs_before_failure: None,
            operations: 0,
        })))
    }

    /// The disk as the storage of one process sees it: until [`SimulatedDisk::cut_power`] or [`SimulatedDisk::kill`] ends that.
    #[must_use]
    pub fn files(&self) -> Arc<dyn Files> {
        Arc::new(self.living())
    }

    /// How many operations were asked for.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The power fails and comes back: what was in flight is cut, what was not synced is lost in part. Whoever had something
    /// open gets [`Crashed`] from now on.
    pub fn cut_power(&self) {
        self.state().end_process(Journal::cut_power);
    }

    /// The process ends and the operating system goes on: what was in flight is cut, and nothing else is lost. Whoever had
    /// something open gets [`Crashed`] from now on.
    pub fn kill(&self) {
        self.state().end_process(Journal::kill);
    }

    /// From now on the disk holds no more than so many bytes; none: as many as there are.
    pub fn limit(&self, bytes: Option<u64>) {
        self.state().limit_bytes = bytes;
    }

    /// The bytes that its files have reserved.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// After so many syncs of files that go well, one fails.
    pub fn fail_sync_after(&self, count: u64) {
        self.state().syncs_before_failure = Some(count);
    }

    /// The files below a folder, with what each holds.
    #[must_use]
    pub fn holds(&self, folder: &Path) -> Vec<(PathBuf, Arc<Vec<u8>>)> {
        let state = self.state();
        let files = state
            .view
            .tree
            .files()
            .filter(|(path, _)| path.starts_with(folder));
        files
            .map(|(path, file)| {
                (
                    path,
                    state.view.files.get(&file).cloned().unwrap_or_default(),
                )
            })
            .collect()
    }

    /// Flips bits of a byte at rest; false if there is none.
    pub fn flip(&self, path: &Path, offset: usize, mask: u8) -> bool {
        let mut state = self.state();
        let Some(Node::File(file)) = state.view.tree.node(path) else {
            return false;
        };
        let is_there = state
            .view
            .files
            .get(&file)
            .is_some_and(|bytes| offset < bytes.len());
        if is_there {
            state.run(Operation::Flip { file, offset, mask });
        }
        is_there
    }

    /// Flips a drawn bit, among those that are used, of a drawn file below a folder; none if there is no such file.
    pub fn flip_somewhere(&self, folder: &Path) -> Option<Flipped> {
        let held = self.holds(folder);
        let used = held.into_iter().filter_map(|(path, bytes)| {
            let used = bytes.iter().rposition(|byte| *byte != 0)? + 1;
            Some((path, used))
        });
        let mut used: Vec<_> = used.collect();
        if used.is_empty() {
            return None;
        }
        let (path, offset, mask) = {
            let rng = &mut self.state().rng;
            let (path, used) = used.swap_remove(rng.random_range(0..used.len()));
            (path, rng.random_range(0..used), 1 << rng.random_range(0..8))
        };
        self.flip(&path, offset, mask);
        Some(Flipped { path, offset })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Carries out what was asked for, as far as whoever asked can see.
    fn run(&mut self, operation: Operation) {
        self.operations += 1;
        self.view.apply(&operation);
        self.journal.push(operation);
    }

    fn end_process(&mut self, how: impl FnOnce(&mut Journal, &mut SmallRng)) {
        how(&mut self.journal, &mut self.rng);
        self.view = self.journal.view();
        self.life += 1;
        self.locks.clear();
        self.open.clear();
    }

    fn used_bytes(&self) -> u64 {
        self.view
            .files
            .values()
            .map(|bytes| bytes.len() as u64)
            .sum()
    }

    /// How far a file may grow.
    fn room(&self, file: FileId) -> usize {
        let Some(limit) = self.limit_bytes else {
            return usize::MAX;
        };
        let own = self.view.files.get(&file).map_or(0, |bytes| bytes.len());
        let others = self.used_bytes() - own as u64;
        usize::try_from(limit.saturating_sub(others))
            .unwrap_or(usize::MAX)
            .max(own)
    }

    fn reserve(&mut self, file: FileId, length: usize) -> io::Result<()> {
        if length > self.room(file) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let change = Change::Length(length);
        self.run(Operation::Content { file, change });
        Ok(())
    }

    /// Writes what there is room for.
    fn write(&mut self, file: FileId, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let room = self.room(file).saturating_sub(offset);
        let fitting = &bytes[..bytes.len().min(room)];
        if !fitting.is_empty() {
            let change = Change::Bytes(offset, fitting.into());
            self.run(Operation::Content { file, change });
        }
        if fitting.len() < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self, file: FileId) -> io::Result<()> {
        let fails = self.syncs_before_failure == Some(0);
        self.syncs_before_failure = match self.syncs_before_failure {
            Some(0) | None => None,
            Some(count) => Some(count - 1),
        };
        if fails {
            let seed = self.rng.random();
            self.run(Operation::FailSync { file, seed });
            return Err(io::Error::other("input/output error (simulated EIO)"));
        }
        self.run(Operation::Sync(file));
        Ok(())
    }

    /// Forgets what a file held that has neither a name nor a reader.
    fn close(&mut self, file: FileId) {
        let still_open = self.open.get_mut(&file).map_or(0, |count| {
            *count = count.saturating_sub(1);
            *count
        });
        if still_open == 0 {
            self.open.remove(&file);
            self.drop_if_nameless(file);
        }
    }

    fn drop_if_nameless(&mut self, file: FileId) {
        let is_named = self.view.tree.files().any(|(_, named)| named == file);
        if !is_named && !self.open.contains_key(&file) {
            self.view.files.remove(&file);
        }
    }
}
