//! What survives a crash: a log in segments, and checkpoints of the state machine.
//!
//! ```text
//! <data-dir>/LOCK                                    held by the one process that uses the directory
//! <data-dir>/wal/0000000000000001.wal …              the log, see `record` for its bytes
//! <data-dir>/checkpoints/<index>-<term>.checkpoint   images of the state machine, see `checkpoint`
//! ```
//!
//! Three promises, each with tests that crash, cut and flip every byte:
//!
//! 1. **What a completion said is durable stays.** Everything submitted while an `fdatasync` runs shares the next one.
//! 2. **A torn tail is cut, damage is refused.** A batch that a crash tore was never acknowledged and is taken off the end.
//!    Anything else that does not add up ends the start with file and byte, and nothing is changed. `replay` has the proof
//!    that tells the two apart, and the one case that cannot be told. What the other members can give back may be salvaged
//!    instead ([`Storage::open_or_salvage`]).
//! 3. **A failed write is final.** After a failed write or `fdatasync` nobody knows what the disk holds, so nothing is ever
//!    tried again: every later submission fails with the same error, and the process is expected to end.
//!
//! A checkpoint is written beside the running log; only when it is durable does the log before the *older* of the last two
//! go, so that recovery survives the loss of either. Nothing here blocks a caller: one thread writes the log, another
//! checkpoints. In a simulation there are none ([`Execution::Inline`]), and the disk is another ([`Files`]).
//!
//! What lies there is read again in the background ([`Scrubbing`]), and what is found damaged can be written anew from memory.
//!
//! What this module does not do: understand entries or images, retry, repair from peers, or decide when to checkpoint. It
//! trusts the file system to keep the order of a rename after an `fsync`; what a disk does that lies about `fdatasync` shows
//! as damage, or not at all.

mod checkpoint;
mod codec;
mod directory;
mod error;
mod files;
mod keeper;
mod log;
mod place;
mod record;
mod recovery;
mod replay;
mod scrub;
mod segment;
mod vitals;
mod wal;
mod worker;
mod writer;

pub use directory::DataDir;
pub use error::StorageError;
pub use files::{File, Files, RealFiles};
pub(crate) use place::place_log;
pub use recovery::{Cut, Recovered};
pub use scrub::Scrubbing;
pub use vitals::{Observer, Silent, Vitals};
pub use worker::Execution;

use bytes::Bytes;
use keeper::{Image, Keeper};
use raft::{Persist, SnapshotMeta};
use scrub::Scrub;
use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::oneshot;
use writer::Writer;

/// Whose data a directory holds. Written into every file, so that files of two members never mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's id, as the etcd API shows it.
    pub cluster_id: u64,
    /// The member's id, which is also its peer id in Raft.
    pub member_id: u64,
}

/// How the log is laid out, and who watches.
#[derive(Clone)]
pub struct Options {
    /// The size a segment is preallocated with. One batch that is larger gets a segment of its own size.
    pub segment_bytes: u64,
    /// How what was written is read again in the background; none: not at all.
    pub scrub: Option<Scrubbing>,
    /// Who does the work.
    pub execution: Execution,
    /// Is told how long the disk takes.
    pub observer: Arc<dyn Observer>,
}

impl Default for Options {
    /// Segments of 64 MiB, etcd's size: large enough that rolling over is rare, small enough that space comes back.
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            scrub: None,
            execution: Execution::default(),
            observer: Arc::new(Silent),
        }
    }
}

/// The open storage of one member. Dropping it stops its threads after what was submitted is done; [`Storage::close`] says
/// how that went.
pub struct Storage {
    scrub: Option<Scrub>,
    // Dropped in this order: the keeper still has jobs for the writer, and the writer waits for all who may.
    keeper: Keeper,
    writer: Writer,
    vitals: Arc<Vitals>,
}

/// Resolves when what was submitted is durable, or with why it never will be.
#[derive(Debug)]
pub struct Completion(oneshot::Receiver<Result<(), StorageError>>);

impl Storage {
    /// Founds a member in a new directory. The first batch, with whatever `first` holds, is there whole or not at all: a
    /// crash inside leaves the directory new.
    ///
    /// # Errors
    /// What the disk refused.
    ///
    /// # Panics
    /// If the directory is not new.
    pub fn create(
        directory: DataDir,
        identity: Identity,
        first: &Persist,
        options: Options,
    ) -> Result<Self, StorageError> {
        assert!(
            directory.is_new(),
            "a member is founded once, in a new directory"
        );
        let vitals = Arc::new(Vitals::new());
        let wal = wal::Wal::create(&directory, identity, first, &options, Arc::clone(&vitals))?;
        Ok(Self::start(
            directory,
            identity,
            wal,
            Vec::new(),
            options,
            vitals,
        ))
    }

    /// Opens a directory that has a member's data, and says what it holds. A torn tail is cut here, and an install that a
    /// crash interrupted is completed; damage changes nothing and is the error.
    ///
    /// # Errors
    /// [`StorageError`] names the file, the byte and the way out.
    pub fn open(directory: DataDir, options: Options) -> Result<(Self, Recovered), StorageError> {
        let vitals = Arc::new(Vitals::new());
        let opened = recovery::recover(&directory, &options, Arc::clone(&vitals))?;
        Ok(Self::opened(directory, opened, options, vitals))
    }

    fn opened(
        directory: DataDir,
        opened: recovery::Opened,
        options: Options,
        vitals: Arc<Vitals>,
    ) -> (Self, Recovered) {
        let recovery::Opened {
            recovered,
            wal,
            checkpoints,
        } = opened;
        let storage = Self::start(
            directory,
            recovered.identity,
            wal,
            checkpoints,
            options,
            vitals,
        );
        (storage, recovered)
    }

    /// As [`Storage::open`], but what is damaged and can be got back from the other members is set aside, and the log begins
    /// anew with what is sound. [`Recovered::lost`] then says up to where the others must give it back.
    ///
    /// # Errors
    /// As [`Storage::open`]; and [`StorageError::BeyondRepair`] says why the others cannot help.
    pub fn open_or_salvage(
        directory: DataDir,
        options: Options,
    ) -> Result<(Self, Recovered), StorageError> {
        let vitals = Arc::new(Vitals::new());
        let opened = match recovery::recover(&directory, &options, Arc::clone(&vitals)) {
            Err(refused) if refused.is_damage() => {
                recovery::salvage(&directory, &options, Arc::clone(&vitals), refused)
            }
            opened => opened,
        };
        Ok(Self::opened(directory, opened?, options, vitals))
    }

    /// Founds a member with a state that comes from elsewhere, in a new directory: a checkpoint as if it were received, and
    /// an empty log. Opening the directory completes the install; one that a crash left without its log is refused.
    ///
    /// # Errors
    /// What the disk refused.
    ///
    /// # Panics
    /// If the directory is not new.
    pub fn restore(
        directory: DataDir,
        identity: Identity,
        meta: SnapshotMeta,
        encode: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Result<(), StorageError> {
        let image = Image::Restored(Box::new(encode));
        let (files, folder) = (directory.files(), directory.checkpoints());
        checkpoint::write(files, folder, identity, meta, image, &Silent)?;
        Self::create(directory, identity, &Persist::default(), Options::default())?.close()
    }

    fn start(
        directory: DataDir,
        identity: Identity,
        wal: wal::Wal,
        checkpoints: Vec<checkpoint::Kept>,
        options: Options,
        vitals: Arc<Vitals>,
    ) -> Self {
        let scrub = options
            .scrub
            .map(|scrubbing| Scrub::start(&directory, scrubbing, &options, Arc::clone(&vitals)));
        let writer = Writer::start(wal, options.execution);
        let keeper = Keeper::start(
            directory,
            identity,
            checkpoints,
            writer.jobs(),
            options,
            Arc::clone(&vitals),
        );
        Self {
            scrub,
            writer,
            keeper,
            vitals,
        }
    }

    /// Makes this durable after everything submitted before. Entries that overwrite an index cut the log there first. What
    /// need not reach the disk at once (`must_sync` is false) completes at once and is written with what comes next.
    #[must_use]
    pub fn submit(&self, persist: Persist) -> Completion {
        self.writer.submit(persist)
    }

    /// Writes a checkpoint of the state after `meta.index` in the background: `encode` is run on another thread and writes
    /// the image. Then the log that two checkpoints cover is released. A checkpoint that is not newer than the last is
    /// skipped.
    ///
    /// Completes with an error if it could not be written; the storage is as sound as before, and another may be tried.
    #[must_use]
    pub fn checkpoint(
        &self,
        meta: SnapshotMeta,
        encode: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Completion {
        self.keeper.checkpoint(meta, Image::Own(Box::new(encode)))
    }

    /// As [`Storage::checkpoint`], and in the place of everything written before: older checkpoints and the log up to
    /// `meta.index` go, damaged or not. For a state in memory that is sound, after [`Vitals::damage_found`].
    #[must_use]
    pub fn renew(
        &self,
        meta: SnapshotMeta,
        encode: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Completion {
        self.keeper.renew(meta, Image::Own(Box::new(encode)))
    }

    /// Takes a received snapshot in the place of log and state: it becomes the newest checkpoint, and the log restarts after
    /// `meta.index`. Nothing submitted before may still be in flight.
    #[must_use]
    pub fn install(&self, meta: SnapshotMeta, image: Bytes) -> Completion {
        self.keeper.checkpoint(meta, Image::Received(image))
    }

    /// The newest durable checkpoint: what to send to a peer that has fallen behind. It is read with [`read_checkpoint`];
    /// an older file can be gone by then, so ask again where that fails.
    #[must_use]
    pub fn newest_checkpoint(&self) -> Option<(SnapshotMeta, PathBuf)> {
        self.keeper.newest()
    }

    /// Reads everything at rest once, as fast as it goes. For [`Execution::Inline`], where no thread does it by itself; without
    /// [`Options::scrub`] and with threads, this does nothing.
    pub fn scrub(&self) {
        if let Some(scrub) = &self.scrub {
            scrub.pass();
        }
    }

    /// How the disk is doing; cheap to ask, from any thread.
    #[must_use]
    pub fn vitals(&self) -> Arc<Vitals> {
        Arc::clone(&self.vitals)
    }

    /// Finishes what was submitted, writes what was lazy, and stops. Blocks until then.
    ///
    /// # Errors
    /// What the disk refused, now or earlier.
    pub fn close(self) -> Result<(), StorageError> {
        self.keeper.stop();
        self.writer.stop()
    }
}

/// Reads a checkpoint and checks every byte of it.
///
/// # Errors
/// It cannot be read, or is damaged.
pub fn read_checkpoint(path: &std::path::Path) -> Result<(SnapshotMeta, Bytes), StorageError> {
    let read = checkpoint::read(&RealFiles, path)?;
    Ok((read.header.meta, read.image))
}

impl Completion {
    pub(in crate::storage) fn new() -> (Done, Self) {
        let (done, completion) = oneshot::channel();
        (Done(done), Self(completion))
    }

    /// Waits on this thread, for tests and for programs without a runtime.
    ///
    /// # Errors
    /// Why it never will be durable.
    pub fn wait(mut self) -> Result<(), StorageError> {
        match self.0.try_recv() {
            Ok(done) => done,
            Err(oneshot::error::TryRecvError::Closed) => Err(StorageError::Stopped),
            Err(oneshot::error::TryRecvError::Empty) => {
                self.0.blocking_recv().unwrap_or(Err(StorageError::Stopped))
            }
        }
    }
}

impl Future for Completion {
    type Output = Result<(), StorageError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|done| done.unwrap_or(Err(StorageError::Stopped)))
    }
}

/// The other end of a [`Completion`].
pub(in crate::storage) struct Done(oneshot::Sender<Result<(), StorageError>>);

impl Done {
    fn with(self, outcome: Result<(), StorageError>) {
        // Nobody listens any more: the waiter stopped caring, which is no failure of the disk.
        drop(self.0.send(outcome));
    }
}
