//! The bytes of the log.
//!
//! A segment is a sequence of records, each beginning at a multiple of 8 and followed by zeros to the next:
//!
//! ```text
//!  0  magic     u32
//!  4  checksum  u32   CRC-32 over the segment's number, everything from byte 8 on, and the padding
//!  8  length    u32   of the payload
//! 12  kind      u8
//! 13  ends      u8    1 on the last record of a batch
//! 14  -         u16   0
//! 16  batch     u64   counts the batches of the whole log from 1
//! 24  previous  u32   the checksum of the record before, also across segments: the chain
//! 28  offset    u32   of this record in its segment
//! 32  payload
//! ```
//!
//! A *batch* is what one `fdatasync` makes durable, and is written only after the batch before it *is* durable. A record can
//! be told valid without its neighbours, at its one place in its one segment, so that a reader finds sound records behind
//! damage.
//!
//! What this module does not do: say which records may follow which; that is `replay`'s.

use super::Identity;
use super::codec::{self, Reader, put_u32, put_u64};
use raft::{Entry, HardState, Index, Term};

/// The newest format that is read. A change of anything above or of a payload raises it. What is written says the oldest that
/// can say it, so that an older version reads on what is no news to it.
pub(super) const FORMAT: u32 = 2;

/// Before a head could say that the log begins anew, or that a part of it was lost.
const FORMAT_WITHOUT_LOSS: u32 = 1;

const MAGIC: u32 = u32::from_le_bytes(*b"qwal");
const HEADER_BYTES: usize = 32;
const ALIGNMENT: usize = 8;

/// What a [`Content::Seal`] takes: a header and one byte, padded.
pub(super) const SEAL_BYTES: usize = HEADER_BYTES + ALIGNMENT;

/// The first record of a segment: enough to read the log from here when the segments before are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) identity: Identity,
    pub(super) sequence: u64,
    /// Where the log ends before this segment.
    pub(super) last: (Index, Term),
    pub(super) hard_state: HardState,
    /// Whether the log begins here, after `last`, and the segments before do not count any more.
    pub(super) anew: bool,
    /// Where the log once ended, if damage took a part that is not got back yet.
    pub(super) lost: Option<(Index, Term)>,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Head(Head),
    HardState(HardState),
    /// Successive entries; the log is cut at the first one's index before.
    Entries(Vec<Entry>),
    /// A checkpoint of this place took the place of the log.
    Installed((Index, Term)),
    /// Not part of the chain, and overwritten by the next batch: the batch it names is durable. With `continues`, so is the
    /// next segment.
    Seal {
        continues: bool,
    },
}

/// A record that is valid by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    kind: u8,
    payload: &'a [u8],
    pub(super) checksum: u32,
    pub(super) previous: u32,
    pub(super) batch: u64,
    pub(super) ends_batch: bool,
    /// Where the next record begins.
    pub(super) end: usize,
}

const HEAD: u8 = 1;
const HARD_STATE: u8 = 2;
const ENTRIES: u8 = 3;
const INSTALLED: u8 = 4;
const SEAL: u8 = 5;

/// Why the payload of a valid record cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    Newer(u32),
    Senseless,
}

impl<'a> Record<'a> {
    /// The record at `offset` of a segment, if a valid one is there.
    pub(super) fn at(segment: &'a [u8], offset: usize, sequence: u64) -> Option<Self> {
        let header = segment.get(offset..offset.checked_add(HEADER_BYTES)?)?;
        let mut reader = Reader(header);
        let magic = reader.u32()?;
        let checksum = reader.u32()?;
        let length = reader.u32()? as usize;
        let (kind, ends) = (reader.u8()?, reader.u8()?);
        reader.bytes(2)?;
        let (batch, previous) = (reader.u64()?, reader.u32()?);
        if magic != MAGIC || reader.u32()? as usize != offset {
            return None;
        }
        let end = (offset + HEADER_BYTES)
            .checked_add(length)?
            .next_multiple_of(ALIGNMENT);
        let covered = segment.get(offset + 8..end)?;
        if checksum != checksum_of(sequence, covered) {
            return None;
        }
        Some(Self {
            kind,
            payload: &segment[offset + HEADER_BYTES..][..length],
            checksum,
            previous,
            batch,
            ends_batch: ends == 1,
            end,
        })
    }

    /// Whether it is a seal, which stands outside the chain.
    pub(super) const fn is_seal(&self) -> bool {
        self.kind == SEAL
    }

    /// What the record says.
    pub(super) fn content(&self) -> Result<Content, Unreadable> {
        let mut reader = Reader(self.payload);
        if self.kind == HEAD {
            return head(&mut reader);
        }
        let content = match self.kind {
            HARD_STATE => codec::hard_state(&mut reader).map(Content::HardState),
            ENTRIES => codec::entries(&mut reader).map(Content::Entries),
            INSTALLED => codec::place(&mut reader).map(Content::Installed),
            SEAL => reader.u8().map(|continues| Content::Seal {
                continues: continues == 1,
            }),
            _ => None,
        };
        content.ok_or(Unreadable::Senseless)
    }
}

fn head(reader: &mut Reader<'_>) -> Result<Content, Unreadable> {
    let format = reader.u32().ok_or(Unreadable::Senseless)?;
    if format > FORMAT {
        return Err(Unreadable::Newer(format));
    }
    let mut read = || {
        let head = Head {
            identity: codec::identity(reader)?,
            sequence: reader.u64()?,
            last: codec::place(reader)?,
            hard_state: codec::hard_state(reader)?,
            anew: false,
            lost: None,
        };
        if format == FORMAT_WITHOUT_LOSS {
            return Some(head);
        }
        let (anew, is_lost) = (reader.u8()? == 1, reader.u8()? == 1);
        let lost = codec::place(reader)?;
        let lost = is_lost.then_some(lost);
        Some(Head { anew, lost, ..head })
    };
    read().map(Content::Head).ok_or(Unreadable::Senseless)
}

/// The segment's number is in it, so that a record counts in its own segment only.
fn checksum_of(sequence: u64, covered: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    hasher.update(covered);
    hasher.finalize()
}

/// Where the next batch goes, and what it continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) sequence: u64,
    pub(super) offset: usize,
    /// The number of the last batch.
    pub(super) batch: u64,
    /// The checksum of its last record.
    pub(super) checksum: u32,
}

/// One batch on its way to the disk: one buffer, written with one call. Payloads are copied into it byte for byte, which
/// costs less than the thousands of small slices that a gathering write would be given.
pub(super) struct Batch {
    at: Position,
    bytes: Vec<u8>,
    starts: Vec<(usize, u8)>,
}

impl Batch {
    pub(super) const fn new(at: Position) -> Self {
        Self {
            at,
            bytes: Vec::new(),
            starts: Vec::new(),
        }
    }

    pub(super) fn push_head(&mut self, head: &Head) {
        let is_plain = !head.anew && head.lost.is_none();
        self.push(HEAD, |out| {
            put_u32(
                out,
                if is_plain {
                    FORMAT_WITHOUT_LOSS
                } else {
                    FORMAT
                },
            );
            codec::put_identity(out, head.identity);
            put_u64(out, head.sequence);
            codec::put_place(out, head.last);
            codec::put_hard_state(out, head.hard_state);
            if !is_plain {
                out.extend([u8::from(head.anew), u8::from(head.lost.is_some())]);
                codec::put_place(out, head.lost.unwrap_or_default());
            }
        });
    }

    pub(super) fn push_hard_state(&mut self, state: HardState) {
        self.push(HARD_STATE, |out| codec::put_hard_state(out, state));
    }

    pub(super) fn push_entries(&mut self, entries: &[Entry]) {
        self.bytes
            .reserve(HEADER_BYTES + codec::entries_bytes(entries));
        self.push(ENTRIES, |out| codec::put_entries(out, entries));
    }

    pub(super) fn push_installed(&mut self, place: (Index, Term)) {
        self.push(INSTALLED, |out| codec::put_place(out, place));
    }

    fn push(&mut self, kind: u8, payload: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.starts.push((start, kind));
        self.bytes.resize(start + HEADER_BYTES, 0);
        payload(&mut self.bytes);
        let length = self.bytes.len() - start - HEADER_BYTES;
        self.bytes[start + 8..start + 12].copy_from_slice(&narrow(length).to_le_bytes());
        let padded = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(padded, 0);
    }

    /// The bytes to write at the position that was given, and the position after them.
    pub(super) fn finish(mut self) -> (Vec<u8>, Position) {
        assert!(!self.starts.is_empty(), "a batch says something");
        let batch = self.at.batch + 1;
        let mut previous = self.at.checksum;
        let ends = self.starts.iter().skip(1).map(|(start, _)| *start);
        let ends: Vec<_> = ends.chain([self.bytes.len()]).collect();
        for (&(start, kind), &end) in self.starts.iter().zip(&ends) {
            let record = &mut self.bytes[start..end];
            let last = end == *ends.last().expect("a batch says something");
            let place = Place {
                kind,
                last,
                batch,
                previous,
                offset: self.at.offset + start,
            };
            previous = place.stamp(record, self.at.sequence);
        }
        let after = Position {
            sequence: self.at.sequence,
            offset: self.at.offset + self.bytes.len(),
            batch,
            checksum: previous,
        };
        (self.bytes, after)
    }
}

/// The record that says that the batch before `at` is durable.
pub(super) fn seal(at: Position, continues: bool) -> Vec<u8> {
    let mut record = vec![0; SEAL_BYTES];
    record[8..12].copy_from_slice(&1_u32.to_le_bytes());
    record[HEADER_BYTES] = u8::from(continues);
    let place = Place {
        kind: SEAL,
        last: true,
        batch: at.batch,
        previous: at.checksum,
        offset: at.offset,
    };
    place.stamp(&mut record, at.sequence);
    record
}

/// What a record's header says besides its payload's length.
struct Place {
    kind: u8,
    last: bool,
    batch: u64,
    previous: u32,
    offset: usize,
}

impl Place {
    /// Fills the header of a whole record and returns its checksum.
    fn stamp(&self, record: &mut [u8], sequence: u64) -> u32 {
        record[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        record[12] = self.kind;
        record[13] = u8::from(self.last);
        record[16..24].copy_from_slice(&self.batch.to_le_bytes());
        record[24..28].copy_from_slice(&self.previous.to_le_bytes());
        record[28..32].copy_from_slice(&narrow(self.offset).to_le_bytes());
        let checksum = checksum_of(sequence, &record[8..]);
        record[4..8].copy_from_slice(&checksum.to_le_bytes());
        checksum
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number)
        .expect("a segment is under 4 GiB: requests and what may be in flight are bounded")
}

/// The places where a record could begin, from `from` on.
pub(super) fn places(from: usize, segment: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let magic = MAGIC.to_le_bytes();
    (from.next_multiple_of(ALIGNMENT)..segment.len())
        .step_by(ALIGNMENT)
        .filter(move |&place| segment[place..].starts_with(&magic))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Position = Position {
        sequence: 7,
        offset: 64,
        batch: 3,
        checksum: 99,
    };

    #[test]
    fn a_record_is_valid_only_in_its_place() {
        let mut batch = Batch::new(START);
        batch.push_hard_state(HardState::default());
        batch.push_installed((Index(5), Term(2)));
        let (bytes, after) = batch.finish();
        let mut segment = vec![0; 64];
        segment.extend(&bytes);
        let first = Record::at(&segment, 64, 7).unwrap();
        assert_eq!(
            (first.batch, first.previous, first.ends_batch),
            (4, 99, false)
        );
        let second = Record::at(&segment, first.end, 7).unwrap();
        assert_eq!(second.previous, first.checksum);
        assert!(second.ends_batch);
        assert_eq!(
            second.content(),
            Ok(Content::Installed((Index(5), Term(2))))
        );
        assert_eq!(
            (after.offset, after.checksum),
            (second.end, second.checksum)
        );
        assert!(Record::at(&segment, 64, 8).is_none(), "another segment's");
        assert!(Record::at(&segment[8..], 56, 7).is_none(), "moved");
        assert_eq!(places(0, &segment).collect::<Vec<_>>(), [64, first.end]);
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed() {
        let record = seal(Position { offset: 0, ..START }, true);
        assert_eq!(record.len(), SEAL_BYTES);
        assert!(Record::at(&record, 0, 7).unwrap().is_seal());
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::at(&flipped, 0, 7).is_none(), "bit {bit}");
        }
    }
}
