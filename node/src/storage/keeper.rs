//! Who writes checkpoints, and what is kept of them.
//!
//! The last two checkpoints stay, and the log from the older one on: if the newest is damaged, the one before and the log
//! still say everything.
//!
//! What this module does not do: fail the process. A checkpoint that cannot be written leaves the log longer.

use super::checkpoint::{self, Kept, Origin};
use super::directory::{DataDir, sync_folder};
use super::error::StorageError;
use super::vitals::{Observer, Vitals};
use super::worker::{self, Worker};
use super::writer::Jobs;
use super::{Completion, Done, Identity, Options};
use bytes::Bytes;
use raft::SnapshotMeta;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Writes an image of the state machine.
pub(super) type Encode = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// An image on its way into a file.
pub(super) enum Image {
    Own(Encode),
    Received(Bytes),
    /// Received as well, from another format.
    Restored(Encode),
}

impl Image {
    pub(super) const fn origin(&self) -> Origin {
        match self {
            Self::Own(_) => Origin::Own,
            Self::Received(_) | Self::Restored(_) => Origin::Received,
        }
    }
}

pub(super) struct Job {
    meta: SnapshotMeta,
    image: Image,
    extent: Extent,
    done: Done,
}

/// What a new checkpoint takes the place of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// The oldest beyond those that are kept.
    Oldest,
    /// Everything before, which cannot be relied on.
    Everything,
}

/// The one who keeps them.
pub(super) struct Keeper {
    worker: Worker<Work>,
    kept: Arc<Mutex<Vec<Kept>>>,
}

impl Keeper {
    /// Starts with the checkpoints that recovery found sound, oldest first. The worker holds the directory's lock.
    pub(super) fn start(
        directory: DataDir,
        identity: Identity,
        checkpoints: Vec<Kept>,
        log: Jobs,
        options: Options,
        vitals: Arc<Vitals>,
    ) -> Self {
        let kept = Arc::new(Mutex::new(checkpoints));
        let work = Work {
            directory,
            identity,
            kept: Arc::clone(&kept),
            log,
            observer: options.observer,
            vitals,
        };
        let worker = Worker::start(work, options.execution);
        Self { worker, kept }
    }

    pub(super) fn checkpoint(&self, meta: SnapshotMeta, image: Image) -> Completion {
        self.ask(meta, image, Extent::Oldest)
    }

    pub(super) fn renew(&self, meta: SnapshotMeta, image: Image) -> Completion {
        self.ask(meta, image, Extent::Everything)
    }

    fn ask(&self, meta: SnapshotMeta, image: Image, extent: Extent) -> Completion {
        let (done, completion) = Completion::new();
        let job = Job {
            meta,
            image,
            extent,
            done,
        };
        if let Err(job) = self.worker.desk().put(job) {
            job.done.with(Err(StorageError::Stopped));
        }
        completion
    }

    pub(super) fn newest(&self) -> Option<(SnapshotMeta, PathBuf)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last()
            .map(|kept| (kept.meta.clone(), kept.path.clone()))
    }

    /// Finishes what was asked for and stops.
    pub(super) fn stop(self) {
        // Whoever waited for a checkpoint has been told how it went.
        drop(self.worker.stop());
    }
}

pub(super) struct Work {
    directory: DataDir,
    identity: Identity,
    kept: Arc<Mutex<Vec<Kept>>>,
    log: Jobs,
    observer: Arc<dyn Observer>,
    vitals: Arc<Vitals>,
}

/// How many checkpoints stay: the newest, and one to fall back on.
const KEPT: usize = 2;

impl worker::Work for Work {
    type Job = Job;
    const NAME: &'static str = "checkpoints";
    const GROUP_MAX: usize = 1;

    fn work(&mut self, group: Vec<Job>) {
        for job in group {
            job.done.with(self.keep(job.meta, job.image, job.extent));
        }
    }
}

impl Work {
    fn keep(&self, meta: SnapshotMeta, image: Image, extent: Extent) -> Result<(), StorageError> {
        let origin = image.origin();
        let newest = self.kept().last().map(|kept| kept.meta.index);
        let is_known = match extent {
            Extent::Oldest => newest >= Some(meta.index),
            Extent::Everything => newest > Some(meta.index),
        };
        if origin == Origin::Own && is_known {
            return Ok(());
        }
        let begun = Instant::now();
        let place = (meta.index, meta.term);
        let (kept, bytes) = checkpoint::write(
            self.directory.files(),
            self.directory.checkpoints(),
            self.identity,
            meta,
            image,
            self.observer.as_ref(),
        )?;
        if origin == Origin::Received {
            self.log.installed(place).wait()?;
            self.observer.step("install durable");
        }
        self.vitals.set_checkpoint_bytes(bytes);
        self.observer.checkpointed(bytes, begun.elapsed());
        let stay = match extent {
            Extent::Oldest => KEPT,
            Extent::Everything => 1,
        };
        self.retire(kept, stay)
    }

    /// Adds a checkpoint, lets those beyond the last few go, and then the log that only they needed.
    fn retire(&self, added: Kept, stay: usize) -> Result<(), StorageError> {
        let mut kept = self.kept();
        kept.retain(|kept| kept.path != added.path);
        kept.push(added);
        let surplus = kept.len().saturating_sub(stay);
        let gone: Vec<_> = kept.drain(..surplus).collect();
        for old in &gone {
            self.directory
                .files()
                .remove(&old.path)
                .map_err(StorageError::attempt("remove the checkpoint", &old.path))?;
            self.observer.step("checkpoint removed");
        }
        if !gone.is_empty() {
            sync_folder(self.directory.files(), self.directory.checkpoints())?;
        }
        if kept.len() == stay {
            self.log.release(kept[0].meta.index);
        }
        Ok(())
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
