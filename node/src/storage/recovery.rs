//! From what lies in a directory to what a member was.
//!
//! The newest sound checkpoint counts, and the log must reach from it on. A damaged checkpoint is put aside (and said) where
//! the one before and the log still say everything. A received checkpoint that the log does not know is an install that a
//! crash interrupted: it is completed here, before anything is appended that would otherwise look like a part of the old log.
//!
//! Where that is refused because of damage, `salvage` may keep what is sound and say what the others must give back.
//!
//! What this module does not do: repair. What is missing has to come from the other members.

mod salvage;

pub(super) use salvage::salvage;

use super::checkpoint::{self, Header, Kept, Origin};
use super::directory::{DataDir, list, sweep, sync_folder};
use super::error::StorageError;
use super::files::Files;
use super::log::{Log, still_lost};
use super::replay::{self, LastBatch, Tail};
use super::vitals::Vitals;
use super::wal::{Wal, Write};
use super::{Identity, Options};
use bytes::Bytes;
use raft::{Entry, HardState, Index, SnapshotMeta, Term};
use std::path::PathBuf;
use std::sync::Arc;

/// What a member was when it stopped, however it stopped.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Whose data this is.
    pub identity: Identity,
    /// The newest durable hard state; its commit is at least the checkpoint's index.
    pub hard_state: HardState,
    /// What the newest sound checkpoint stands for; index 0 if there is none.
    pub snapshot: SnapshotMeta,
    /// The checkpoint's image; none if there is no checkpoint.
    pub image: Option<Bytes>,
    /// The entries after the checkpoint, without a gap.
    pub entries: Vec<Entry>,
    /// What a crash had left half written and was cut off, to be said in the log.
    pub cut: Option<Cut>,
    /// Damaged checkpoints that were renamed to `*.damaged`, with what was wrong, to be said in the log.
    pub damaged: Vec<StorageError>,
    /// Term and index of the last entry that the log once had, while a part of it is lost: as `raft::Recovered` has it.
    pub lost: Option<(Term, Index)>,
    /// What was found damaged just now, so that the log began anew; to be said in the log.
    pub salvaged: Option<StorageError>,
}

/// A torn tail that was overwritten with zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub path: PathBuf,
    /// Where the cut begins.
    pub offset: u64,
    /// How many bytes were overwritten.
    pub bytes: u64,
}

pub(super) struct Opened {
    pub(super) recovered: Recovered,
    pub(super) wal: Wal,
    pub(super) checkpoints: Vec<Kept>,
}

/// Reads the directory; cuts a torn tail and completes an install, both only once everything else was found sound.
pub(super) fn recover(
    directory: &DataDir,
    options: &Options,
    vitals: Arc<Vitals>,
) -> Result<Opened, StorageError> {
    let files = directory.files();
    let segments = list(files, directory.wal(), ".wal")?;
    let replayed = replay::replay(files, directory.wal(), &segments)?;
    let found = checkpoints(directory, replayed.state.identity)?;
    let newest = found.sound.first().map(|(_, header)| header);
    let base = base(directory, replayed.log, newest)?;
    let (state, install) = (replayed.state, base.install);
    let last = if install {
        base.snapshot.index
    } else {
        state.last.0
    };
    let hard_state = hard_state(directory, state.hard_state, &base.snapshot, last)?;
    // All is sound: from here on the directory is changed.
    sweep(files, directory.wal())?;
    sweep(files, directory.checkpoints())?;
    make_durable(directory, &replayed.last)?;
    let damaged = put_aside(directory, found.damaged)?;
    set_aside(directory, &replayed.superseded)?;
    let (snapshot, lost) = (&base.snapshot, state.lost);
    let lost = still_lost(lost, (snapshot.index, snapshot.term));
    if lost.is_none() {
        forget_set_aside(directory, &replayed.superseded)?;
    }
    let cut = replayed.tail.map(|tail| zero(files, &tail)).transpose()?;
    let recovered = Recovered {
        identity: state.identity,
        hard_state,
        snapshot: base.snapshot,
        image: found.image,
        entries: base.entries,
        cut,
        damaged,
        lost: lost.map(|(index, term)| (term, index)),
        salvaged: None,
    };
    let mut wal = Wal::resume(directory, state, options, Arc::clone(&vitals))?;
    if install {
        let place = (recovered.snapshot.index, recovered.snapshot.term);
        wal.commit(&[Write::Installed(place)])?;
    }
    if let Some(image) = &recovered.image {
        vitals.set_checkpoint_bytes(image.len() as u64);
    }
    Ok(Opened {
        checkpoints: kept(found.sound),
        recovered,
        wal,
    })
}

/// The sound checkpoints, oldest first.
fn kept(sound: Vec<(PathBuf, Header)>) -> Vec<Kept> {
    let kept = |(path, header): (PathBuf, Header)| Kept {
        meta: header.meta,
        path,
    };
    sound.into_iter().rev().map(kept).collect()
}

/// The checkpoints that are there.
#[derive(Default)]
struct Found {
    /// Those that count, newest first: the first was read whole, of the others only what stands before the image.
    sound: Vec<(PathBuf, Header)>,
    /// The image of the newest sound one.
    image: Option<Bytes>,
    damaged: Vec<(PathBuf, StorageError)>,
}

/// Once one is sound nothing hangs on those before it, and a start must not wait for them: the scrub reads them.
fn checkpoints(directory: &DataDir, owner: Identity) -> Result<Found, StorageError> {
    let mut found = Found::default();
    let files = directory.files();
    let listed = checkpoint::list(files, directory.checkpoints())?;
    for path in listed.into_iter().rev() {
        let read = if found.image.is_none() {
            checkpoint::read(files, &path).map(|read| (read.header, Some(read.image)))
        } else {
            checkpoint::read_header(files, &path).map(|header| (header, None))
        };
        match read {
            Ok((header, _)) if header.identity != owner => {
                let Identity {
                    cluster_id: cluster,
                    member_id: member,
                } = header.identity;
                return Err(StorageError::Foreign {
                    path,
                    cluster,
                    member,
                });
            }
            Ok((header, image)) => {
                found.image = found.image.or(image);
                found.sound.push((path, header));
            }
            Err(error @ StorageError::Corrupt { .. }) => found.damaged.push((path, error)),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// What recovery stands on.
struct Base {
    snapshot: SnapshotMeta,
    entries: Vec<Entry>,
    /// The log does not know of the snapshot yet.
    install: bool,
}

fn base(directory: &DataDir, log: Log, newest: Option<&Header>) -> Result<Base, StorageError> {
    let (begins, ends) = (log.base().0, log.last().0);
    let Some(newest) = newest else {
        return if begins == Index(0) {
            Ok(Base {
                snapshot: SnapshotMeta::default(),
                entries: log.into_entries_after(Index(0)),
                install: false,
            })
        } else {
            let what =
                format!("the log begins after entry {begins}, and no sound checkpoint is left");
            Err(gap(directory, what))
        };
    };
    let snapshot = newest.meta.clone();
    let (index, term) = (snapshot.index, snapshot.term);
    if index < begins {
        let what = format!(
            "the newest sound checkpoint ends at entry {index}, and the log begins after entry {begins}"
        );
        return Err(gap(directory, what));
    }
    let agrees = log.term_at(index) == Some(term);
    if !agrees && newest.origin == Origin::Own {
        let what = format!(
            "the newest checkpoint is of entry {index} of term {term}, which the log, ending at entry {ends}, does not have"
        );
        return Err(gap(directory, what));
    }
    Ok(Base {
        snapshot,
        entries: if agrees {
            log.into_entries_after(index)
        } else {
            Vec::new()
        },
        install: !agrees,
    })
}

fn gap(directory: &DataDir, what: String) -> StorageError {
    StorageError::Gap {
        path: directory.path().to_owned(),
        what,
    }
}

/// A snapshot is of committed entries, and of no later term than its receiver has seen.
fn hard_state(
    directory: &DataDir,
    mut hard_state: HardState,
    snapshot: &SnapshotMeta,
    last: Index,
) -> Result<HardState, StorageError> {
    if hard_state.term < snapshot.term {
        hard_state.term = snapshot.term;
        hard_state.vote = None;
    }
    hard_state.commit = hard_state.commit.max(snapshot.index);
    let commit = hard_state.commit;
    if commit > last {
        let what =
            format!("entries up to {commit} are committed, and the log ends at entry {last}");
        return Err(gap(directory, what));
    }
    Ok(hard_state)
}

fn put_aside(
    directory: &DataDir,
    damaged: Vec<(PathBuf, StorageError)>,
) -> Result<Vec<StorageError>, StorageError> {
    for (path, _) in &damaged {
        let aside = path.with_extension("damaged");
        let renamed = directory.files().rename(path, &aside);
        renamed.map_err(StorageError::attempt(
            "put aside the damaged checkpoint",
            path,
        ))?;
    }
    if !damaged.is_empty() {
        sync_folder(directory.files(), directory.checkpoints())?;
    }
    Ok(damaged.into_iter().map(|(_, error)| error).collect())
}

/// Makes durable what was read and will be relied on. The process before may have died between a write and its sync, or because
/// the sync failed: then the operating system still shows what no disk holds, and a sync alone would be told that all is well. So
/// the batch is written again. Everything before it was durable when it was written; and so were files before they got their
/// names, but perhaps not the names.
fn make_durable(directory: &DataDir, last: &LastBatch) -> Result<(), StorageError> {
    let files = directory.files();
    let attempt = || StorageError::attempt("make durable what was read in", &last.path);
    let file = files.open_to_write(&last.path).map_err(attempt())?;
    let written = file.write_at(&last.bytes, last.offset as u64);
    written.and_then(|()| file.sync()).map_err(attempt())?;
    sync_folder(files, directory.wal())?;
    sync_folder(files, directory.checkpoints())
}

/// The ending of files that were damaged and are kept to be looked at.
const DAMAGED: &str = ".damaged";

/// Takes segments out of the log without removing them.
fn set_aside(directory: &DataDir, segments: &[PathBuf]) -> Result<(), StorageError> {
    for path in segments {
        let aside = path.with_extension(&DAMAGED[1..]);
        let renamed = directory.files().rename(path, &aside);
        renamed.map_err(StorageError::attempt("set aside the log file", path))?;
    }
    if segments.is_empty() {
        return Ok(());
    }
    sync_folder(directory.files(), directory.wal())
}

/// Removes the segments that were set aside at an earlier start: what they held is here again.
fn forget_set_aside(directory: &DataDir, just_now: &[PathBuf]) -> Result<(), StorageError> {
    if !just_now.is_empty() {
        return Ok(());
    }
    let files = directory.files();
    for path in list(files, directory.wal(), DAMAGED)? {
        let removed = files.remove(&path);
        removed.map_err(StorageError::attempt("remove the damaged log file", &path))?;
    }
    Ok(())
}

/// Overwrites a torn tail, so that nothing of it can ever be taken for a part of what comes there.
fn zero(files: &dyn Files, tail: &Tail) -> Result<Cut, StorageError> {
    let attempt = || StorageError::attempt("cut the torn end of the log file", &tail.path);
    let file = files.open_to_write(&tail.path).map_err(attempt())?;
    let bytes = tail.to - tail.from;
    file.write_at(&vec![0; bytes], tail.from as u64)
        .map_err(attempt())?;
    file.sync().map_err(attempt())?;
    Ok(Cut {
        path: tail.path.clone(),
        offset: tail.from as u64,
        bytes: bytes as u64,
    })
}
