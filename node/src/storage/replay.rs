//! Reads the log back, and tells a torn tail from damage.
//!
//! A batch is written only after the batch before it is durable. So when the bytes stop making sense inside batch *n*:
//!
//! - If anything proves that *n* was durable, those bytes were damaged later: a valid record of a batch after *n* in the same
//!   segment, a later segment, or a seal of *n* or later. That is refused.
//! - If nothing does, *n* is the last batch that was begun. A crash may leave any part of it, in any order, and it was never
//!   acknowledged without its seal being written next. It is cut: everything from its beginning on is overwritten with zeros.
//!
//! The first batch of a segment needs no such proof: the segment got its name when that batch was durable.
//!
//! What cannot be told: a last batch that *was* acknowledged and then damaged, if its seal is gone too. The seal follows
//! within microseconds but is made durable only by the next batch (or by the operating system, within some thirty seconds),
//! so this needs a power failure right after the last `fdatasync` *and* damage to exactly that batch. The same holds for the
//! last segment being removed as a whole, while the seal that says it exists is missing from the one before.
//!
//! A log may begin anew in a later segment, after a salvage (`replay::salvage`); those before it then do not count.
//!
//! What this module does not do: change anything. `recovery` writes the zeros.

mod salvage;

pub(super) use salvage::{Failed, Salvaged, salvage};

use super::Identity;
use super::error::StorageError;
use super::files::Files;
use super::log::{Log, still_lost};
use super::record::{self, Content, FORMAT, Head, Position, Record, Unreadable};
use super::segment::{path_of, sequence_of};
use super::wal::{Closed, State};
use raft::{HardState, Index, Term};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// What the log says.
pub(super) struct Replayed {
    pub(super) state: State,
    pub(super) log: Log,
    /// What the last segment holds behind its last whole batch, up to the last byte that is not zero.
    pub(super) tail: Option<Tail>,
    pub(super) last: LastBatch,
    /// Segments that do not count any more.
    pub(super) superseded: Vec<PathBuf>,
}

/// The last whole batch, as it was read. The process before may have ended before it was durable, or because it could not be
/// made durable.
#[derive(Debug)]
pub(super) struct LastBatch {
    pub(super) path: PathBuf,
    pub(super) offset: usize,
    pub(super) bytes: Vec<u8>,
}

/// Bytes of a batch that never became durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) path: PathBuf,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// Reads all segments of a folder that has at least one.
pub(super) fn replay(
    files: &dyn Files,
    folder: &Path,
    paths: &[PathBuf],
) -> Result<Replayed, StorageError> {
    let (superseded, paths) = paths.split_at(newest_beginning(files, paths));
    let sequences = sequences(folder, paths)?;
    let mut reading: Option<Reading> = None;
    let (mut tail, mut last) = (None, None);
    for (number, (path, &sequence)) in paths.iter().zip(&sequences).enumerate() {
        let bytes = files
            .read(path)
            .map_err(StorageError::attempt("read", path))?;
        let segment = Source {
            path,
            bytes: &bytes,
            sequence,
        };
        let is_last = number + 1 == paths.len();
        let mut read = match reading.take() {
            None => Reading::begin(&segment)?,
            Some(mut reading) => {
                reading.next_segment(&segment)?;
                reading
            }
        };
        read.batches(&segment)?;
        if is_last {
            tail = read.end(folder, &segment)?;
            last = Some(read.last_batch(&segment));
        }
        reading = Some(read);
    }
    let (reading, last) = reading.zip(last).expect("there is at least one segment");
    Ok(Replayed {
        superseded: superseded.to_vec(),
        ..reading.finish(tail, last)
    })
}

/// More than a head takes.
const HEAD_BYTES: usize = 256;

/// The place of the newest segment with which the log begins anew; the first, if none does. What cannot be read is none.
fn newest_beginning(files: &dyn Files, paths: &[PathBuf]) -> usize {
    let begins = |path: &PathBuf| {
        let mut bytes = [0; HEAD_BYTES];
        let read = files.open(path).and_then(|it| it.read_at(&mut bytes, 0));
        let record = Record::at(&bytes[..read.ok()?], 0, sequence_of(path)?)?;
        match record.content() {
            Ok(Content::Head(head)) => head.anew.then_some(()),
            _ => None,
        }
    };
    paths
        .iter()
        .rposition(|path| begins(path).is_some())
        .unwrap_or(0)
}

/// Checks every byte of a segment that is closed, by itself.
pub(super) fn verify(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let sequence = sequence_of(path)
        .ok_or_else(|| StorageError::corrupt(path, 0, "its name is no segment's name"))?;
    let segment = Source {
        path,
        bytes,
        sequence,
    };
    let mut read = Reading::begin(&segment)?;
    read.batches(&segment)?;
    let end = read.position.offset;
    let seal = Record::at(bytes, end, sequence).filter(Record::is_seal);
    let rest = seal.map_or(end, |seal| seal.end).min(bytes.len());
    if bytes[rest..].iter().any(|byte| *byte != 0) {
        return Err(segment.corrupt(read.stopped.1, "what stands here is no record"));
    }
    Ok(())
}

/// The segments' numbers, which must be successive.
fn sequences(folder: &Path, paths: &[PathBuf]) -> Result<Vec<u64>, StorageError> {
    let mut found: Vec<u64> = Vec::new();
    for path in paths {
        let sequence = sequence_of(path)
            .ok_or_else(|| StorageError::corrupt(path, 0, "its name is no segment's name"))?;
        if let Some(last) = found.last()
            && sequence != last + 1
        {
            return Err(StorageError::Missing {
                path: path_of(folder, last + 1),
            });
        }
        found.push(sequence);
    }
    Ok(found)
}

struct Source<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    sequence: u64,
}

impl Source<'_> {
    fn corrupt(&self, offset: usize, what: impl Into<String>) -> StorageError {
        StorageError::corrupt(self.path, offset as u64, what)
    }

    fn content(&self, record: &Record<'_>, offset: usize) -> Result<Content, StorageError> {
        record.content().map_err(|unreadable| match unreadable {
            Unreadable::Newer(found) => StorageError::Newer {
                path: self.path.to_owned(),
                found,
                known: FORMAT,
            },
            Unreadable::Senseless => self.corrupt(
                offset,
                "the record's checksum is right, but it makes no sense",
            ),
        })
    }
}

/// What was read so far, up to the last whole batch.
struct Reading {
    identity: Identity,
    position: Position,
    /// Where the last whole batch begins in its segment.
    begins: usize,
    hard_state: HardState,
    log: Log,
    lost: Option<(Index, Term)>,
    closed: VecDeque<Closed>,
    newest: Index,
    /// Where reading stopped in the segment, and in which file, for a complaint that comes with the next one.
    stopped: (PathBuf, usize),
}

impl Reading {
    /// Takes the first segment that is left at its word about what came before it.
    fn begin(segment: &Source<'_>) -> Result<Self, StorageError> {
        let (record, head) = head(segment)?;
        if segment.sequence == 1 && (record.batch, record.previous) != (1, 0) {
            return Err(segment.corrupt(0, "the first segment does not begin the log"));
        }
        Ok(Self {
            identity: head.identity,
            position: Position {
                sequence: segment.sequence,
                offset: 0,
                batch: record.batch.saturating_sub(1),
                checksum: record.previous,
            },
            begins: 0,
            hard_state: head.hard_state,
            lost: head.lost,
            log: if segment.sequence == 1 || head.anew {
                Log::after(head.last)
            } else {
                Log::released_up_to(head.last)
            },
            closed: VecDeque::new(),
            newest: Index(0),
            stopped: (segment.path.to_owned(), 0),
        })
    }

    /// The next segment must continue exactly where the one before ended; else that one lost its end.
    fn next_segment(&mut self, segment: &Source<'_>) -> Result<(), StorageError> {
        let (record, head) = head(segment)?;
        let Identity {
            cluster_id: cluster,
            member_id: member,
        } = head.identity;
        if head.identity != self.identity {
            let path = segment.path.to_owned();
            return Err(StorageError::Foreign {
                path,
                cluster,
                member,
            });
        }
        let continues = record.batch == self.position.batch + 1
            && record.previous == self.position.checksum
            && !head.anew
            && head.lost == self.lost
            && head.last == self.log.last()
            && head.hard_state == self.hard_state;
        if !continues {
            let (path, offset) = &self.stopped;
            let what = format!(
                "the log goes on in {}, but not from what stands here",
                segment.path.display()
            );
            return Err(StorageError::corrupt(path, *offset as u64, what));
        }
        self.closed.push_back(Closed {
            sequence: self.position.sequence,
            newest: self.newest,
            bytes: self.position.offset as u64,
        });
        self.newest = Index(0);
        self.position.sequence = segment.sequence;
        self.position.offset = 0;
        self.begins = 0;
        Ok(())
    }

    /// Reads whole batches until something is not one.
    fn batches(&mut self, segment: &Source<'_>) -> Result<(), StorageError> {
        let mut batch: Vec<(usize, Record<'_>)> = Vec::new();
        let (mut offset, mut previous) = (self.position.offset, self.position.checksum);
        while let Some(record) = Record::at(segment.bytes, offset, segment.sequence) {
            let fits = record.previous == previous && record.batch == self.position.batch + 1;
            if record.is_seal() || !fits {
                break;
            }
            batch.push((offset, record));
            (offset, previous) = (record.end, record.checksum);
            if record.ends_batch {
                for (place, record) in batch.drain(..) {
                    self.take(segment, place, &record)?;
                }
                self.begins = self.position.offset;
                self.position = Position {
                    sequence: segment.sequence,
                    offset,
                    batch: record.batch,
                    checksum: previous,
                };
            }
        }
        self.stopped = (segment.path.to_owned(), offset);
        Ok(())
    }

    fn take(
        &mut self,
        segment: &Source<'_>,
        offset: usize,
        record: &Record<'_>,
    ) -> Result<(), StorageError> {
        match segment.content(record, offset)? {
            Content::Head(_) if offset == 0 => {}
            Content::HardState(state) => self.hard_state = state,
            Content::Installed(place) => {
                self.log = Log::after(place);
                self.lost = still_lost(self.lost, place);
                self.newest = self.newest.max(place.0);
            }
            Content::Entries(entries) => {
                let newest = entries.last().map_or(Index(0), |entry| entry.index);
                if !self.log.append(entries) {
                    return Err(segment.corrupt(offset, "entries are missing before these"));
                }
                self.lost = still_lost(self.lost, self.log.last());
                self.newest = self.newest.max(newest);
            }
            Content::Head(_) | Content::Seal { .. } => {
                return Err(segment.corrupt(offset, "a record of this kind has no place here"));
            }
        }
        Ok(())
    }

    /// Looks behind the last whole batch of the last segment: nothing, a seal, a torn batch, or proof of damage.
    fn end(&self, folder: &Path, segment: &Source<'_>) -> Result<Option<Tail>, StorageError> {
        let from = self.position.offset;
        if from == 0 {
            let what = "the segment's first batch is not whole, and it was durable before the segment had its name";
            return Err(segment.corrupt(self.stopped.1, what));
        }
        let mut clean_from = from;
        for place in record::places(from, segment.bytes) {
            let Some(record) = Record::at(segment.bytes, place, segment.sequence) else {
                continue;
            };
            let seals_last = record.is_seal()
                && place == from
                && (record.batch, record.previous) == (self.position.batch, self.position.checksum);
            if seals_last {
                self.check_no_successor(folder, segment, &record)?;
                clean_from = record.end;
            } else if record.is_seal() || record.batch != self.position.batch + 1 {
                return Err(segment.corrupt(
                    self.stopped.1,
                    format!("what stands here is no record, yet batch {} at byte {place} was written after it", record.batch),
                ));
            }
        }
        let rest = &segment.bytes[clean_from.min(segment.bytes.len())..];
        let dirty = rest.iter().rposition(|&byte| byte != 0);
        Ok(dirty.map(|last| Tail {
            path: segment.path.to_owned(),
            from,
            to: clean_from + last + 1,
        }))
    }

    fn check_no_successor(
        &self,
        folder: &Path,
        segment: &Source<'_>,
        seal: &Record<'_>,
    ) -> Result<(), StorageError> {
        match segment.content(seal, self.position.offset)? {
            Content::Seal { continues: true } => Err(StorageError::Missing {
                path: path_of(folder, segment.sequence + 1),
            }),
            _ => Ok(()),
        }
    }

    fn last_batch(&self, segment: &Source<'_>) -> LastBatch {
        LastBatch {
            path: segment.path.to_owned(),
            offset: self.begins,
            bytes: segment.bytes[self.begins..self.position.offset].to_vec(),
        }
    }

    fn finish(self, tail: Option<Tail>, last: LastBatch) -> Replayed {
        Replayed {
            state: State {
                identity: self.identity,
                position: self.position,
                hard_state: self.hard_state,
                last: self.log.last(),
                lost: self.lost,
                closed: self.closed,
                newest: self.newest,
            },
            log: self.log,
            tail,
            last,
            superseded: Vec::new(),
        }
    }
}

/// The first record of a segment. It was durable before the segment had its name.
fn head<'a>(segment: &Source<'a>) -> Result<(Record<'a>, Head), StorageError> {
    let record = Record::at(segment.bytes, 0, segment.sequence)
        .ok_or_else(|| segment.corrupt(0, "the segment's first record is not valid"))?;
    match segment.content(&record, 0)? {
        Content::Head(head) if head.sequence == segment.sequence => Ok((record, head)),
        _ => Err(segment.corrupt(0, "the segment does not begin with its own head")),
    }
}
