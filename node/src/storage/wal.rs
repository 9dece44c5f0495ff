//! The log while it is written: batches go to the end of the last segment, full segments are closed, covered ones go.
//!
//! A segment counts from the moment it has its name, and it gets its name when its first batch is durable. So a crash leaves
//! either no new segment or a whole one, and a segment whose beginning is damaged *is* damaged.
//!
//! What this module does not do: threads (`writer`) or reading (`replay`).

use super::directory::{self, DataDir, sync_folder};
use super::error::StorageError;
use super::files::Files;
use super::log::still_lost;
use super::record::{self, Batch, Head, Position, SEAL_BYTES};
use super::segment::{self, Segment};
use super::vitals::{Observer, Vitals};
use super::worker::Execution;
use super::{Identity, Options, codec};
use raft::{HardState, Index, Persist, Term};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// One thing to make durable.
#[derive(Debug)]
pub(super) enum Write {
    Persist(Persist),
    /// A checkpoint of this place takes the place of the log.
    Installed((Index, Term)),
}

/// A segment that is full and stays until checkpoints cover it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) sequence: u64,
    /// The newest index that anything in it speaks of.
    pub(super) newest: Index,
    /// The bytes in use.
    pub(super) bytes: u64,
}

/// What is at the end of the log, and what came before.
pub(super) struct State {
    pub(super) identity: Identity,
    pub(super) position: Position,
    pub(super) hard_state: HardState,
    pub(super) last: (Index, Term),
    /// As [`Head::lost`].
    pub(super) lost: Option<(Index, Term)>,
    pub(super) closed: VecDeque<Closed>,
    /// As [`Closed::newest`], of the segment that is written to.
    pub(super) newest: Index,
}

/// The log of one member.
pub(super) struct Wal {
    files: Arc<dyn Files>,
    folder: PathBuf,
    segment: Segment,
    state: State,
    /// A hard state that was not worth an `fdatasync` of its own.
    lazy: Option<HardState>,
    sealed: bool,
    next: Option<Ahead>,
    execution: Execution,
    segment_bytes: u64,
    observer: Arc<dyn Observer>,
    vitals: Arc<Vitals>,
}

/// The next segment, made while this one is written to.
enum Ahead {
    Coming(JoinHandle<Result<Segment, StorageError>>),
    /// None where it could not be made.
    Made(Option<Segment>),
}

impl Ahead {
    fn wait(self) -> Option<Segment> {
        match self {
            Self::Coming(thread) => thread.join().ok()?.ok(),
            Self::Made(segment) => segment,
        }
    }
}

/// What a record takes besides its payload, from above.
const RECORD_BYTES: usize = 40;
/// The payload of a head, a hard state or an installed place, from above.
const SMALL_BYTES: usize = 128;

impl Wal {
    /// Founds the log with its first segment.
    pub(super) fn create(
        directory: &DataDir,
        identity: Identity,
        first: &Persist,
        options: &Options,
        vitals: Arc<Vitals>,
    ) -> Result<Self, StorageError> {
        directory::sweep(directory.files(), directory.wal())?;
        let state = State {
            identity,
            position: Position {
                sequence: 0,
                offset: 0,
                batch: 0,
                checksum: 0,
            },
            hard_state: HardState::default(),
            last: (Index(0), Term(0)),
            lost: None,
            closed: VecDeque::new(),
            newest: Index(0),
        };
        Self::begin(directory, state, first.clone(), false, options, vitals)
    }

    /// Begins the log anew after the place `state.last`, in a segment after all that are there.
    pub(super) fn anew(
        directory: &DataDir,
        state: State,
        first: Persist,
        options: &Options,
        vitals: Arc<Vitals>,
    ) -> Result<Self, StorageError> {
        Self::begin(directory, state, first, true, options, vitals)
    }

    fn begin(
        directory: &DataDir,
        state: State,
        first: Persist,
        anew: bool,
        options: &Options,
        vitals: Arc<Vitals>,
    ) -> Result<Self, StorageError> {
        let writes = [Write::Persist(first)];
        let capacity = options
            .segment_bytes
            .max((weight(&writes) + SEAL_BYTES) as u64);
        let sequence = state.position.sequence + 1;
        let segment = Segment::prepare(directory.files(), directory.wal(), sequence, capacity)?;
        let mut wal = Self::at(directory, segment, state, options, vitals);
        wal.begin_segment(&writes, anew)?;
        wal.count_bytes();
        Ok(wal)
    }

    /// Goes on where a log that was read ends.
    pub(super) fn resume(
        directory: &DataDir,
        state: State,
        options: &Options,
        vitals: Arc<Vitals>,
    ) -> Result<Self, StorageError> {
        let path = segment::path_of(directory.wal(), state.position.sequence);
        let segment = Segment::open(directory.files(), &path)?;
        let wal = Self::at(directory, segment, state, options, vitals);
        wal.count_bytes();
        Ok(wal)
    }

    fn at(
        directory: &DataDir,
        segment: Segment,
        state: State,
        options: &Options,
        vitals: Arc<Vitals>,
    ) -> Self {
        Self {
            files: directory.share_files(),
            folder: directory.wal().to_owned(),
            segment,
            state,
            lazy: None,
            sealed: false,
            next: None,
            execution: options.execution,
            segment_bytes: options.segment_bytes,
            observer: Arc::clone(&options.observer),
            vitals,
        }
    }

    /// Makes all of it durable with one `fdatasync`.
    pub(super) fn commit(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        let wanted = self.state.position.offset + weight(writes) + SEAL_BYTES;
        if wanted as u64 > self.segment.capacity() {
            self.roll(writes)?;
        } else {
            let batch = Batch::new(self.state.position);
            let (bytes, after) = self.encode(batch, writes);
            self.put(&bytes, self.state.position.offset)?;
            self.state.position = after;
        }
        self.sealed = false;
        self.count_bytes();
        self.prepare_ahead();
        Ok(())
    }

    /// Notes what may be written with the next batch.
    pub(super) const fn note(&mut self, hard_state: HardState) {
        self.lazy = Some(hard_state);
    }

    /// Writes what was only noted.
    pub(super) fn flush(&mut self) -> Result<(), StorageError> {
        if self.lazy.is_some() {
            self.commit(&[])?;
        }
        Ok(())
    }

    /// Says behind the last batch that it is durable. Not made durable itself: it is evidence against later damage, and
    /// lacking it is no fault.
    pub(super) fn seal(&mut self) -> Result<(), StorageError> {
        if self.sealed {
            return Ok(());
        }
        self.sealed = true;
        let seal = record::seal(self.state.position, false);
        self.segment.write(&seal, self.state.position.offset)
    }

    /// Removes the segments that speak of nothing after `through`, oldest first.
    pub(super) fn release(&mut self, through: Index) -> Result<(), StorageError> {
        let mut released = false;
        while let Some(oldest) = self.state.closed.front() {
            if oldest.newest > through {
                break;
            }
            let path = segment::path_of(&self.folder, oldest.sequence);
            self.files
                .remove(&path)
                .map_err(StorageError::attempt("remove the log file", &path))?;
            self.observer.step("segment released");
            self.state.closed.pop_front();
            released = true;
        }
        if released {
            sync_folder(self.files.as_ref(), &self.folder)?;
        }
        self.count_bytes();
        Ok(())
    }

    /// Begins a new segment with these writes, and closes the one before once the new one is durable.
    fn roll(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        let needed = (weight(writes) + SEAL_BYTES) as u64;
        let next = self.next_segment(needed)?;
        let mut old = std::mem::replace(&mut self.segment, next);
        let end = self.state.position;
        let closed = Closed {
            sequence: end.sequence,
            newest: self.state.newest,
            bytes: end.offset as u64,
        };
        self.begin_segment(writes, false)?;
        self.state.closed.push_back(closed);
        old.write(&record::seal(end, true), end.offset)
    }

    fn next_segment(&mut self, needed: u64) -> Result<Segment, StorageError> {
        // What could not be made ahead is tried again here: nothing of the log has failed by it, and a disk that was full
        // then may have room now.
        let prepared = match self.next.take().and_then(Ahead::wait) {
            Some(segment) => segment,
            None => self.prepare(needed)?,
        };
        if prepared.capacity() >= needed {
            Ok(prepared)
        } else {
            self.prepare(needed)
        }
    }

    fn prepare(&self, needed: u64) -> Result<Segment, StorageError> {
        let sequence = self.state.position.sequence + 1;
        let bytes = self.segment_bytes.max(needed);
        Segment::prepare(self.files.as_ref(), &self.folder, sequence, bytes)
    }

    /// Makes the next segment's file beside the running log, from the middle of this one on.
    fn prepare_ahead(&mut self) {
        let half = self.segment.capacity() / 2;
        if self.next.is_some() || (self.state.position.offset as u64) < half {
            return;
        }
        let (files, folder) = (Arc::clone(&self.files), self.folder.clone());
        let bytes = self.segment_bytes;
        let sequence = self.state.position.sequence + 1;
        if self.execution == Execution::Inline {
            let made = Segment::prepare(files.as_ref(), &folder, sequence, bytes);
            self.next = Some(Ahead::Made(made.ok()));
            return;
        }
        let thread = std::thread::Builder::new().name("wal-prepare".to_owned());
        // Where no thread can be had, the roll itself makes the file.
        self.next = thread
            .spawn(move || Segment::prepare(files.as_ref(), &folder, sequence, bytes))
            .ok()
            .map(Ahead::Coming);
    }

    /// Fills the segment that has no name yet, and gives it its name once that is durable.
    fn begin_segment(&mut self, writes: &[Write], anew: bool) -> Result<(), StorageError> {
        let start = Position {
            sequence: self.state.position.sequence + 1,
            offset: 0,
            ..self.state.position
        };
        let mut batch = Batch::new(start);
        batch.push_head(&Head {
            identity: self.state.identity,
            sequence: start.sequence,
            last: self.state.last,
            hard_state: self.state.hard_state,
            anew,
            lost: self.state.lost,
        });
        self.state.newest = Index(0);
        let (bytes, after) = self.encode(batch, writes);
        self.observer.step("segment prepared");
        self.put(&bytes, 0)?;
        self.observer.step("segment written");
        let files = self.files.as_ref();
        self.segment.publish(files, &self.folder, start.sequence)?;
        self.observer.step("segment named");
        sync_folder(self.files.as_ref(), &self.folder)?;
        self.state.position = after;
        Ok(())
    }

    /// Puts the writes into a batch, and takes note of where the log will then end.
    fn encode(&mut self, mut batch: Batch, writes: &[Write]) -> (Vec<u8>, Position) {
        if let Some(state) = self.lazy.take() {
            batch.push_hard_state(state);
            self.state.hard_state = state;
        }
        for write in writes {
            match write {
                Write::Persist(persist) => self.encode_persist(&mut batch, persist),
                Write::Installed(place) => {
                    batch.push_installed(*place);
                    self.ends_at(*place);
                    self.state.newest = self.state.newest.max(place.0);
                }
            }
        }
        batch.finish()
    }

    fn encode_persist(&mut self, batch: &mut Batch, persist: &Persist) {
        if let Some(last) = persist.entries.last() {
            let first = persist.entries[0].index;
            assert!(
                first <= self.state.last.0.next(),
                "entries follow the log: {first} is beyond {}",
                self.state.last.0
            );
            batch.push_entries(&persist.entries);
            self.ends_at((last.index, last.term));
            self.state.newest = self.state.newest.max(last.index);
        }
        if let Some(state) = persist.hard_state {
            batch.push_hard_state(state);
            self.state.hard_state = state;
        }
    }

    fn ends_at(&mut self, last: (Index, Term)) {
        self.state.last = last;
        self.state.lost = still_lost(self.state.lost, last);
    }

    /// Writes and makes durable.
    fn put(&mut self, bytes: &[u8], offset: usize) -> Result<(), StorageError> {
        self.vitals.write_begins();
        let begun = Instant::now();
        self.segment.write(bytes, offset)?;
        let written = Instant::now();
        self.observer.wrote(bytes.len() as u64, written - begun);
        self.segment.sync()?;
        self.observer.synced(written.elapsed());
        self.vitals.write_ends();
        Ok(())
    }

    fn count_bytes(&self) {
        let closed: u64 = self.state.closed.iter().map(|closed| closed.bytes).sum();
        self.vitals
            .set_log_bytes(closed + self.state.position.offset as u64);
    }
}

impl Drop for Wal {
    /// The file made ahead must not appear in a directory that somebody else has locked since.
    fn drop(&mut self) {
        drop(self.next.take().and_then(Ahead::wait));
    }
}

/// The bytes that a batch of these takes, from above, with a head and a lazy hard state.
fn weight(writes: &[Write]) -> usize {
    const FIXED: usize = 2 * (RECORD_BYTES + SMALL_BYTES);
    let weights = writes.iter().map(|write| match write {
        Write::Persist(persist) => {
            2 * RECORD_BYTES + SMALL_BYTES + codec::entries_bytes(&persist.entries)
        }
        Write::Installed(_) => RECORD_BYTES + SMALL_BYTES,
    });
    FIXED + weights.sum::<usize>()
}
