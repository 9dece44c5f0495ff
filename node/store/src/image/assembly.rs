//! Reading an image: its frames, and the store that is put together from them.
//!
//! They are two because they cost about as much: whoever has a large image and a second processor reads the frames on one and
//! puts them together on the other. [`decode`] does both in turn.
//!
//! It deliberately starts no thread: see `decode` of the node.

use prost::Message;

use super::{
    END, FRAME_HEADER_LEN, HEADER, Header, MAGIC, RECORDS, Records, VERSION, WHAT, checksum,
    empty_store, malformed,
};
use crate::record::{Record, Revision};
use crate::{DecodeError, Store};

/// Reads an image; see [`Store::decode`].
pub(crate) fn decode(bytes: &[u8]) -> Result<Store, DecodeError> {
    let mut assembly = Assembly::default();
    for frame in Frames::of(bytes) {
        assembly.take(frame?)?;
    }
    assembly.finish()
}

/// One frame of an image, decoded.
#[derive(Debug)]
pub struct Frame(Content);

#[derive(Debug)]
enum Content {
    Header(Box<Header>),
    Records(Vec<Record>),
    End,
}

/// The frames of an image from front to back, each checked by itself; an error is the last that comes.
#[derive(Debug)]
pub struct Frames<'a> {
    at: At,
    reader: Reader<'a>,
}

#[derive(Debug, PartialEq, Eq)]
enum At {
    Start,
    Records,
    End,
}

impl<'a> Frames<'a> {
    /// Those of `bytes`, which need not be an image.
    #[must_use]
    pub const fn of(bytes: &'a [u8]) -> Self {
        Self {
            at: At::Start,
            reader: Reader {
                rest: bytes,
                offset: 0,
            },
        }
    }

    fn read(&mut self) -> Result<Content, DecodeError> {
        if self.at == At::Start {
            self.reader.start()?;
            self.at = At::Records;
            return Ok(Content::Header(Box::new(self.reader.message(HEADER)?)));
        }
        if self.reader.next_kind() == Some(RECORDS) {
            let frame: Records = self.reader.message(RECORDS)?;
            return Ok(Content::Records(frame.records));
        }
        self.at = At::End;
        self.reader.body(END)?;
        match self.reader.rest.len() {
            0 => Ok(Content::End),
            left => Err(malformed(format!("{left} bytes after its end"))),
        }
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<Frame, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == At::End {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.at = At::End;
        }
        Some(read.map(Frame))
    }
}

/// A store that is put together from an image's frames, in their order.
#[derive(Debug, Default)]
pub struct Assembly {
    store: Option<Store>,
    /// As the header announces them.
    announced: u64,
    newest: i64,
    last: Revision,
    records: u64,
    ended: bool,
}

impl Assembly {
    /// Takes the next frame.
    ///
    /// # Errors
    /// It says what no store can hold.
    pub fn take(&mut self, frame: Frame) -> Result<(), DecodeError> {
        match frame.0 {
            Content::Header(header) => {
                self.store = Some(empty_store(&header)?);
                (self.announced, self.newest) = (header.records, header.revision);
            }
            Content::Records(records) => {
                for record in records {
                    self.keep(record)?;
                }
            }
            Content::End => self.ended = true,
        }
        Ok(())
    }

    fn keep(&mut self, record: Record) -> Result<(), DecodeError> {
        check_record(&record, self.last, self.newest)?;
        self.last = record.revision();
        self.records += 1;
        if let Some(store) = &mut self.store {
            store.keyspace.restore(record);
        }
        Ok(())
    }

    /// The store, once all frames were taken.
    ///
    /// # Errors
    /// Frames or records are missing.
    pub fn finish(self) -> Result<Store, DecodeError> {
        if self.records != self.announced {
            return Err(malformed(format!(
                "{} records where {} are announced",
                self.records, self.announced
            )));
        }
        let whole = self.store.filter(|_| self.ended);
        whole.ok_or_else(|| malformed("it has no end".to_owned()))
    }
}

fn check_record(record: &Record, last: Revision, newest: i64) -> Result<(), DecodeError> {
    let at = record.revision();
    if at > last && at.main <= newest {
        return Ok(());
    }
    let rule = format!(
        "ascend from {}.{} and not exceed {newest}",
        last.main, last.sub
    );
    Err(malformed(format!(
        "a record of revision {}.{}, which must {rule}",
        at.main, at.sub
    )))
}

/// Takes frames off the front of an image.
#[derive(Debug)]
struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn start(&mut self) -> Result<(), DecodeError> {
        const START_LEN: usize = MAGIC.len() + 1;
        let start = self.take(START_LEN)?;
        if start[..MAGIC.len()] != MAGIC {
            return Err(malformed("it does not start as one".to_owned()));
        }
        match start[MAGIC.len()] {
            VERSION => Ok(()),
            found => Err(DecodeError::Version {
                what: WHAT,
                found,
                known: VERSION,
            }),
        }
    }

    fn next_kind(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn message<M: Message + Default>(&mut self, kind: u8) -> Result<M, DecodeError> {
        let offset = self.offset;
        let body = self.body(kind)?;
        // Decoding from a slice copies keys and values into allocations of their own.
        M::decode(body).map_err(|error| malformed(format!("frame at byte {offset}: {error}")))
    }

    fn body(&mut self, kind: u8) -> Result<&'a [u8], DecodeError> {
        let offset = self.offset;
        let header = self.take(FRAME_HEADER_LEN)?;
        let number = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (found_kind, len, expected) = (header[0], number(1), number(5));
        if found_kind != kind {
            return Err(malformed(format!(
                "frame at byte {offset} is {found_kind}, not {kind}"
            )));
        }
        let body = self.take(len as usize)?;
        let found = checksum(kind, body);
        if found != expected {
            return Err(DecodeError::Checksum {
                what: WHAT,
                offset,
                found,
                expected,
            });
        }
        Ok(body)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let have = self.offset + self.rest.len();
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(DecodeError::Truncated {
                what: WHAT,
                have,
                need: self.offset + len,
            });
        };
        self.rest = rest;
        self.offset += len;
        Ok(taken)
    }
}
