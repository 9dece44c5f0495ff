//! What a device holds for certain, and what it only may hold.
//!
//! A sector holds one of the states that it had in memory since it was last made durable, each sector by itself: so writes are
//! torn at sectors and arrive in any order, but within one sector never a later one without an earlier one. Names in a folder
//! become durable in the order in which they changed, each folder by itself, at the latest when it is synced.
//!
//! What this module deliberately does not do: time, handles, or space.

use super::operation::{Change, FileId, NameChange, Node, Operation, put};
use super::tree::Tree;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the operating system remembers and forgets at a time.
pub(super) const PAGE_BYTES: usize = 4096;

/// Sizes of what a device writes whole. The last two are those of real ones; with the others every tear inside of a small
/// batch is met, too.
const SECTOR_BYTES: [usize; 4] = [8, 64, 512, 4096];

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Platter {
    durable: Tree,
    names: BTreeMap<PathBuf, Vec<NameChange>>,
    files: BTreeMap<FileId, Content>,
}

/// One file.
#[derive(Clone, Debug, Default)]
struct Content {
    durable: Arc<Vec<u8>>,
    /// What a reader sees.
    cached: Arc<Vec<u8>>,
    /// What may become durable at any time, in the order in which it was written.
    pending: Vec<Change>,
    /// Pages that can be read and that nobody will ever write: a sync of them has failed.
    lost: BTreeSet<usize>,
}

/// What is left to a process: the names, and what each file holds.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) tree: Tree,
    pub(super) files: BTreeMap<FileId, Arc<Vec<u8>>>,
}

impl View {
    /// Carries out what a process sees of an operation.
    pub(super) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Name { folder, change } => {
                self.tree.apply(folder, change);
                if let NameChange::Put(_, Node::File(file)) = change {
                    self.files.entry(*file).or_default();
                }
            }
            Operation::Content { file, change } => {
                change.apply(Arc::make_mut(self.files.entry(*file).or_default()));
            }
            Operation::Flip { file, offset, mask } => {
                flip(self.files.get_mut(file), *offset, *mask)
            }
            Operation::SyncFolder(_) | Operation::Sync(_) | Operation::FailSync { .. } => {}
        }
    }
}

fn flip(bytes: Option<&mut Arc<Vec<u8>>>, offset: usize, mask: u8) {
    if let Some(byte) = bytes.and_then(|bytes| Arc::make_mut(bytes).get_mut(offset)) {
        *byte ^= mask;
    }
}

impl Platter {
    /// Carries an operation out.
    pub(super) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Name { folder, change } => {
                let pending = self.names.entry(folder.clone()).or_default();
                pending.push(change.clone());
                if let NameChange::Put(_, Node::File(file)) = change {
                    self.files.entry(*file).or_default();
                }
            }
            Operation::SyncFolder(folder) => self.sync_folder(folder),
            Operation::Content { file, change } => {
                self.files.entry(*file).or_default().write(change.clone());
            }
            Operation::Sync(file) => self.files.entry(*file).or_default().sync(),
            Operation::FailSync { file, seed } => {
                let content = self.files.entry(*file).or_default();
                content.fail_sync(&mut SmallRng::seed_from_u64(*seed));
            }
            Operation::Flip { file, offset, mask } => {
                let content = self.files.entry(*file).or_default();
                flip(Some(&mut content.durable), *offset, *mask);
                flip(Some(&mut content.cached), *offset, *mask);
            }
        }
    }

    fn sync_folder(&mut self, folder: &Path) {
        for change in self.names.remove(folder).unwrap_or_default() {
            self.durable.apply(folder, &change);
        }
        self.drop_nameless();
    }

    /// Files go when neither a durable name nor one that may become durable is left.
    fn drop_nameless(&mut self) {
        let mut named: BTreeSet<_> = self.durable.files().map(|(_, file)| file).collect();
        named.extend(
            self.names
                .values()
                .flatten()
                .filter_map(|change| match change {
                    NameChange::Put(_, Node::File(file)) => Some(*file),
                    _ => None,
                }),
        );
        self.files.retain(|file, _| named.contains(file));
    }

    /// What is there after the power failed and came back.
    pub(super) fn cut_power(&self, rng: &mut SmallRng) -> Self {
        let sector_bytes = SECTOR_BYTES[rng.random_range(0..SECTOR_BYTES.len())];
        let mood = Mood::draw(rng);
        let mut tree = self.durable.clone();
        for (folder, changes) in &self.names {
            let kept = mood.kept(rng, changes.len());
            for change in &changes[..kept] {
                tree.apply(folder, change);
            }
        }
        tree.prune();
        let mut files = BTreeMap::new();
        for (_, file) in tree.files() {
            if let Some(content) = self.files.get(&file) {
                let left = content.cut_power(rng, sector_bytes, mood);
                files.insert(file, Content::at_rest(left));
            }
        }
        Self {
            durable: tree,
            names: BTreeMap::new(),
            files,
        }
    }

    /// The process has ended and the operating system goes on. It may have forgotten pages that it could not write.
    pub(super) fn kill(&mut self, rng: &mut SmallRng) {
        for content in self.files.values_mut() {
            if rng.random() {
                content.forget_lost();
            }
        }
    }

    /// What a process sees that starts now.
    pub(super) fn view(&self) -> View {
        let mut tree = self.durable.clone();
        for (folder, changes) in &self.names {
            changes.iter().for_each(|change| tree.apply(folder, change));
        }
        let named: BTreeSet<_> = tree.files().map(|(_, file)| file).collect();
        let files = self.files.iter().filter(|(file, _)| named.contains(file));
        View {
            files: files
                .map(|(file, content)| (*file, Arc::clone(&content.cached)))
                .collect(),
            tree,
        }
    }
}

/// How much of what was not synced a failure of power leaves: often all or nothing, else a part.
#[derive(Clone, Copy, Debug)]
struct Mood {
    /// Of a hundred, how many changes stop at each step.
    stops: u32,
}

impl Mood {
    fn draw(rng: &mut SmallRng) -> Self {
        let stops = [0, 10, 50, 90, 100][rng.random_range(0..5)];
        Self { stops }
    }

    /// Whether it goes no further.
    fn stops(self, rng: &mut SmallRng) -> bool {
        match self.stops {
            0 => false,
            100 => true,
            stops => rng.random_ratio(stops, 100),
        }
    }

    /// How many of so many successive changes are kept.
    fn kept(self, rng: &mut SmallRng, count: usize) -> usize {
        (0..count).find(|_| self.stops(rng)).unwrap_or(count)
    }
}

impl Content {
    fn at_rest(bytes: Vec<u8>) -> Self {
        let bytes = Arc::new(bytes);
        Self {
            durable: Arc::clone(&bytes),
            cached: bytes,
            ..Self::default()
        }
    }

    fn write(&mut self, change: Change) {
        change.apply(Arc::make_mut(&mut self.cached));
        if let Change::Bytes(offset, bytes) = &change {
            self.touch(*offset, bytes.len());
        }
        self.pending.push(change);
    }

    /// A page that is written to is written whole, with what was lost in it.
    fn touch(&mut self, offset: usize, length: usize) {
        for page in offset / PAGE_BYTES..=(offset + length).saturating_sub(1) / PAGE_BYTES {
            if self.lost.remove(&page) {
                let from = page * PAGE_BYTES;
                let to = self.cached.len().min(from + PAGE_BYTES);
                let whole = Change::Bytes(from, self.cached[from..to].into());
                self.pending.push(whole);
            }
        }
    }

    fn sync(&mut self) {
        if !self.pending.is_empty() {
            let durable = Arc::make_mut(&mut self.durable);
            self.pending
                .drain(..)
                .for_each(|change| change.apply(durable));
        }
    }

    fn fail_sync(&mut self, rng: &mut SmallRng) {
        let mood = Mood::draw(rng);
        let left = self.cut_power(rng, PAGE_BYTES, mood);
        for (page, is) in self.cached.chunks(PAGE_BYTES).enumerate() {
            let from = (page * PAGE_BYTES).min(left.len());
            let to = left.len().min(from + PAGE_BYTES);
            if left[from..to] != *is {
                self.lost.insert(page);
            }
        }
        self.durable = Arc::new(left);
        self.pending.clear();
    }

    fn forget_lost(&mut self) {
        for page in std::mem::take(&mut self.lost) {
            let from = page * PAGE_BYTES;
            let cached = Arc::make_mut(&mut self.cached);
            let to = cached.len().min(from + PAGE_BYTES);
            cached[from..to].fill(0);
            if from < self.durable.len() {
                let durable = &self.durable[from..to.min(self.durable.len())];
                put(cached, from, durable);
            }
        }
    }

    /// What the device holds if nothing more is written.
    fn cut_power(&self, rng: &mut SmallRng, sector_bytes: usize, mood: Mood) -> Vec<u8> {
        let mut left = Vec::clone(&self.durable);
        let mut ended = BTreeSet::new();
        let mut length_ended = false;
        for change in &self.pending {
            match change {
                Change::Length(length) => {
                    length_ended = length_ended || mood.stops(rng);
                    if !length_ended {
                        Change::Length(*length).apply(&mut left);
                    }
                }
                Change::Bytes(offset, bytes) => {
                    for (from, part) in sectors(*offset, bytes, sector_bytes) {
                        let sector = from / sector_bytes;
                        if ended.contains(&sector) {
                            continue;
                        }
                        if mood.stops(rng) {
                            ended.insert(sector);
                        } else {
                            put(&mut left, from, part);
                        }
                    }
                }
            }
        }
        left
    }
}

/// Cuts bytes at the borders of sectors.
fn sectors(
    offset: usize,
    mut bytes: &[u8],
    sector_bytes: usize,
) -> impl Iterator<Item = (usize, &[u8])> {
    let mut from = offset;
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let room = sector_bytes - from % sector_bytes;
        let (part, rest) = bytes.split_at(room.min(bytes.len()));
        let at = from;
        from += part.len();
        bytes = rest;
        Some((at, part))
    })
}
