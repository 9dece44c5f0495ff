//! What a damaged log still says: its sound beginning, and what stands sound behind the last damage.
//!
//! Every record can be told valid by itself, and each names the checksum of the one before. So behind damage the reading begins
//! again with the next valid record, and what is chained to it up to the end of the log is the log's last word:
//!
//! 1. The last hard state there is the last that was durable: each is written whole.
//! 2. The last entries there are where the log ended: entries are written after those before them are cut off.
//! 3. All entries from the first index there on are those of the log as it was at the end.
//!
//! What this module does not do: repair, or judge whether that is enough to go on with; `recovery::salvage` does.

use super::{Content, Files, Path, PathBuf, Position, Record, VecDeque};
use super::{HardState, Identity, Index, Log, Reading, Source, StorageError, Term};
use super::{head, newest_beginning, record, sequence_of};

/// What was found.
pub(in crate::storage) struct Salvaged {
    pub(in crate::storage) identity: Identity,
    /// The number of the newest segment.
    pub(in crate::storage) sequence: u64,
    /// The number of the last batch.
    pub(in crate::storage) batch: u64,
    /// The last hard state.
    pub(in crate::storage) promised: HardState,
    /// Where the log ended last.
    pub(in crate::storage) end: (Index, Term),
    /// Where it ended before an earlier damage that was not got over.
    pub(in crate::storage) lost: Option<(Index, Term)>,
    /// The log and the hard state before the first damage; none if that is where the log begins.
    pub(in crate::storage) beginning: Option<(Log, HardState)>,
    /// The log as far as it is known from behind the last damage.
    pub(in crate::storage) behind: Log,
}

/// Reads all there is. The error is one of the system's, or says in words what is not known any more.
pub(in crate::storage) fn salvage(
    files: &dyn Files,
    folder: &Path,
    paths: &[PathBuf],
) -> Result<Salvaged, Failed> {
    let (_, paths) = paths.split_at(newest_beginning(files, paths));
    let mut pieces = Pieces::default();
    for (number, path) in paths.iter().enumerate() {
        let bytes = files
            .read(path)
            .map_err(StorageError::attempt("read", path))?;
        let sequence =
            sequence_of(path).ok_or(Failed::Unknown("which file of the log is which"))?;
        let segment = Source {
            path,
            bytes: &bytes,
            sequence,
        };
        let folder = (number + 1 == paths.len()).then_some(folder);
        pieces.walk(&segment, folder)?;
        pieces.sequence = sequence;
    }
    pieces.finish()
}

/// Why nothing can be salvaged.
#[derive(Debug)]
pub(in crate::storage) enum Failed {
    /// The system refused, or the files are no member's of ours.
    Refused(StorageError),
    /// The damage took this.
    Unknown(&'static str),
}

impl From<StorageError> for Failed {
    fn from(error: StorageError) -> Self {
        Self::Refused(error)
    }
}

/// A reading that began somewhere in the log.
struct Piece {
    reading: Reading,
    knows_hard_state: bool,
    /// Whether it is known what was lost before: a head says it, and later only less can be.
    knows_loss: bool,
}

/// What was read so far.
struct Pieces {
    identity: Option<Identity>,
    sequence: u64,
    beginning: Option<Piece>,
    /// Whether `current` is the beginning, as nothing was found damaged yet.
    is_beginning: bool,
    current: Option<Piece>,
}

impl Default for Pieces {
    fn default() -> Self {
        Self {
            identity: None,
            sequence: 0,
            beginning: None,
            is_beginning: true,
            current: None,
        }
    }
}

impl Pieces {
    /// Reads a segment; the last one with the folder, as its end may be torn.
    fn walk(&mut self, segment: &Source<'_>, last_in: Option<&Path>) -> Result<(), StorageError> {
        if !self.enters(segment)? {
            self.break_off();
            self.resume(segment, 0)?;
        }
        while let Some(piece) = &mut self.current {
            piece.read(segment)?;
            let Some(damaged) = piece.damage(segment, last_in)? else {
                return Ok(());
            };
            self.break_off();
            self.resume(segment, damaged)?;
        }
        Ok(())
    }

    /// Whether the segment goes on where the reading is, or is the first and sound at its beginning.
    fn enters(&mut self, segment: &Source<'_>) -> Result<bool, StorageError> {
        let entered = match &mut self.current {
            Some(piece) => {
                if self.identity.is_none() {
                    self.identity = head(segment).ok().map(|(_, head)| head.identity);
                    piece.reading.identity = self.identity.unwrap_or(piece.reading.identity);
                }
                let entered = piece.reading.next_segment(segment);
                // A head says both, and has said the same.
                piece.knows_hard_state |= entered.is_ok();
                piece.knows_loss |= entered.is_ok();
                entered
            }
            None if self.is_beginning => Reading::begin(segment).map(|reading| {
                self.identity = Some(reading.identity);
                self.current = Some(Piece {
                    reading,
                    knows_hard_state: true,
                    knows_loss: true,
                });
            }),
            None => return Ok(false),
        };
        match entered {
            Ok(()) => Ok(true),
            Err(error) if error.is_damage() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// There is damage behind what was read.
    fn break_off(&mut self) {
        let current = self.current.take();
        if std::mem::take(&mut self.is_beginning) {
            self.beginning = current;
        }
    }

    /// Begins again with the next valid record, if there is one.
    fn resume(&mut self, segment: &Source<'_>, from: usize) -> Result<(), StorageError> {
        let found = valid(segment, from).next();
        self.current = match found {
            Some((0, _)) => self.at_head(segment)?,
            Some((place, record)) => Some(self.amid(segment, place, &record)),
            None => None,
        };
        Ok(())
    }

    fn at_head(&mut self, segment: &Source<'_>) -> Result<Option<Piece>, StorageError> {
        let (record, head) = head(segment)?;
        let identity = *self.identity.get_or_insert(head.identity);
        if identity != head.identity {
            return Err(StorageError::Foreign {
                path: segment.path.to_owned(),
                cluster: head.identity.cluster_id,
                member: head.identity.member_id,
            });
        }
        let mut piece = self.amid(segment, 0, &record);
        piece.reading.hard_state = head.hard_state;
        piece.reading.log = Log::released_up_to(head.last);
        piece.reading.lost = head.lost;
        (piece.knows_hard_state, piece.knows_loss) = (true, true);
        Ok(Some(piece))
    }

    fn amid(&self, segment: &Source<'_>, place: usize, record: &Record<'_>) -> Piece {
        let beginning = self.beginning.as_ref();
        let reading = Reading {
            identity: self.identity.unwrap_or(Identity {
                cluster_id: 0,
                member_id: 0,
            }),
            position: Position {
                sequence: segment.sequence,
                offset: place,
                batch: record.batch.saturating_sub(1),
                checksum: record.previous,
            },
            begins: place,
            hard_state: HardState::default(),
            log: Log::unknown(),
            lost: beginning.and_then(|piece| piece.reading.lost),
            closed: VecDeque::new(),
            newest: Index(0),
            stopped: (segment.path.to_owned(), place),
        };
        Piece {
            reading,
            knows_hard_state: false,
            knows_loss: beginning.is_some(),
        }
    }

    fn finish(mut self) -> Result<Salvaged, Failed> {
        let last = self.current.take();
        let last = last.ok_or(Failed::Unknown(
            "its last term and vote, and where it ended",
        ))?;
        if !last.knows_hard_state {
            return Err(Failed::Unknown("its last term and vote"));
        }
        if last.reading.log.is_unknown() {
            return Err(Failed::Unknown("where it ended"));
        }
        if !last.knows_loss {
            return Err(Failed::Unknown("what was lost before"));
        }
        let identity = self.identity.ok_or(Failed::Unknown("whose it is"))?;
        let beginning = self.beginning.map(|piece| piece.reading);
        Ok(Salvaged {
            identity,
            sequence: self.sequence,
            batch: last.reading.position.batch,
            promised: last.reading.hard_state,
            end: last.reading.log.last(),
            lost: last.reading.lost,
            beginning: beginning.map(|reading| (reading.log, reading.hard_state)),
            behind: last.reading.log,
        })
    }
}

impl Piece {
    fn read(&mut self, segment: &Source<'_>) -> Result<(), StorageError> {
        let from = self.reading.position.offset;
        self.reading.batches(segment)?;
        let read = from..self.reading.position.offset;
        let mut records = valid(segment, from).take_while(|(place, _)| read.contains(place));
        self.knows_hard_state |= records.any(|(_, record)| {
            matches!(
                record.content(),
                Ok(Content::HardState(_) | Content::Head(_))
            )
        });
        Ok(())
    }

    /// Where the segment is damaged behind what was read, if it is: where something valid follows that this does not lead to.
    /// A damaged end shows with the next segment.
    fn damage(
        &self,
        segment: &Source<'_>,
        last_in: Option<&Path>,
    ) -> Result<Option<usize>, StorageError> {
        let stopped = self.reading.stopped.1;
        if let Some(folder) = last_in {
            return match self.reading.end(folder, segment) {
                Ok(_) => Ok(None),
                Err(error) if error.is_damage() => Ok(Some(stopped)),
                Err(error) => Err(error),
            };
        }
        let follows = valid(segment, stopped).next().is_some();
        Ok(follows.then_some(stopped))
    }
}

/// Valid records from a place on, but for seals, which stand outside the chain.
fn valid<'a>(
    segment: &'a Source<'a>,
    from: usize,
) -> impl Iterator<Item = (usize, Record<'a>)> + 'a {
    record::places(from, segment.bytes).filter_map(|place| {
        let record = Record::at(segment.bytes, place, segment.sequence)?;
        (!record.is_seal()).then_some((place, record))
    })
}
