//! Who writes the log: everything that waits shares one `fdatasync`.
//!
//! What this module does not do: try again. After a failure every submission gets the same answer.

use super::error::StorageError;
use super::wal::{Wal, Write};
use super::worker::{self, Desk, Execution, Worker};
use super::{Completion, Done};
use raft::{Index, Persist, Term};

/// What is asked for.
pub(super) enum Job {
    Write(Write, Done),
    Release(Index),
}

/// The one who writes.
pub(super) struct Writer(Worker<Work>);

/// Where others send their jobs.
#[derive(Clone)]
pub(super) struct Jobs(Desk<Work>);

impl Jobs {
    /// Says that a checkpoint of this place takes the place of the log.
    pub(super) fn installed(&self, place: (Index, Term)) -> Completion {
        send(&self.0, Write::Installed(place))
    }

    /// Lets the segments go that speak of nothing newer.
    pub(super) fn release(&self, through: Index) {
        // A writer that stopped has told why to those who wait for it.
        drop(self.0.put(Job::Release(through)));
    }
}

fn send(desk: &Desk<Work>, write: Write) -> Completion {
    let (done, completion) = Completion::new();
    if let Err(Job::Write(_, done)) = desk.put(Job::Write(write, done)) {
        done.with(Err(StorageError::Stopped));
    }
    completion
}

impl Writer {
    pub(super) fn start(wal: Wal, execution: Execution) -> Self {
        Self(Worker::start(Work { wal, failed: None }, execution))
    }

    pub(super) fn jobs(&self) -> Jobs {
        Jobs(self.0.desk().clone())
    }

    pub(super) fn submit(&self, persist: Persist) -> Completion {
        send(self.0.desk(), Write::Persist(persist))
    }

    /// Finishes what was submitted and stops.
    pub(super) fn stop(self) -> Result<(), StorageError> {
        self.0.stop()
    }
}

pub(super) struct Work {
    wal: Wal,
    failed: Option<StorageError>,
}

impl worker::Work for Work {
    type Job = Job;
    const NAME: &'static str = "wal";
    /// The most submissions in one batch: bounds the buffer, and with it how long the first of them waits.
    const GROUP_MAX: usize = 1024;

    fn work(&mut self, group: Vec<Job>) {
        let (mut writes, mut waiting, mut release) = (Vec::new(), Vec::new(), None);
        for job in group {
            match job {
                Job::Write(write, done) => {
                    writes.push(write);
                    waiting.push(done);
                }
                Job::Release(through) => release = release.max(Some(through)),
            }
        }
        self.write(writes);
        for done in waiting {
            done.with(self.failed.clone().map_or(Ok(()), Err));
        }
        if let Some(through) = release {
            self.attempt(|wal| wal.release(through));
        }
    }

    /// While nothing comes, the end of the log is sealed.
    fn rest(&mut self) {
        self.attempt(Wal::seal);
    }

    fn end(mut self) -> Result<(), StorageError> {
        self.attempt(Wal::flush);
        self.attempt(Wal::seal);
        self.failed.map_or(Ok(()), Err)
    }
}

impl Work {
    fn write(&mut self, mut writes: Vec<Write>) {
        writes.retain(|write| !matches!(write, Write::Persist(persist) if persist.is_empty()));
        if writes.iter().any(is_urgent) {
            return self.attempt(|wal| wal.commit(&writes));
        }
        for write in writes {
            if let Write::Persist(Persist {
                hard_state: Some(state),
                ..
            }) = write
            {
                self.wal.note(state);
            }
        }
    }

    /// Runs one operation unless an earlier one failed.
    fn attempt(&mut self, operation: impl FnOnce(&mut Wal) -> Result<(), StorageError>) {
        if self.failed.is_none() {
            self.failed = operation(&mut self.wal).err();
        }
    }
}

/// Whether it must reach the disk now. Entries always do, whatever their submitter thought.
const fn is_urgent(write: &Write) -> bool {
    match write {
        Write::Persist(persist) => persist.must_sync || !persist.entries.is_empty(),
        Write::Installed(_) => true,
    }
}
