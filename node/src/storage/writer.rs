//! The thread that writes the log: everything that waits shares one `fdatasync`.
//!
//! What this module does not do: try again. After a failure every submission gets the same answer.

use super::error::StorageError;
use super::wal::{Wal, Write};
use super::{Completion, Done};
use raft::{Index, Persist, Term};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::JoinHandle;

/// What the thread is asked for.
pub(super) enum Job {
    Write(Write, Done),
    Release(Index),
}

/// The handle of the thread.
pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<Result<(), StorageError>>>,
}

/// Where others send their jobs.
#[derive(Clone)]
pub(super) struct Jobs(Sender<Job>);

impl Jobs {
    /// Says that a checkpoint of this place takes the place of the log.
    pub(super) fn installed(&self, place: (Index, Term)) -> Completion {
        send(&self.0, Write::Installed(place))
    }

    /// Lets the segments go that speak of nothing newer.
    pub(super) fn release(&self, through: Index) {
        // A writer that stopped has told why to those who wait for it.
        drop(self.0.send(Job::Release(through)));
    }
}

fn send(jobs: &Sender<Job>, write: Write) -> Completion {
    let (done, completion) = Completion::new();
    if let Err(mpsc::SendError(Job::Write(_, done))) = jobs.send(Job::Write(write, done)) {
        done.with(Err(StorageError::Stopped));
    }
    completion
}

impl Writer {
    pub(super) fn start(wal: Wal) -> Self {
        let (jobs, queue) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("wal".to_owned())
            .spawn(move || Work { wal, failed: None }.run(&queue))
            .expect("a process that cannot start its log's thread cannot run");
        Self {
            jobs: Some(jobs),
            thread: Some(thread),
        }
    }

    pub(super) fn jobs(&self) -> Jobs {
        Jobs(self.sender().clone())
    }

    pub(super) fn submit(&self, persist: Persist) -> Completion {
        send(self.sender(), Write::Persist(persist))
    }

    fn sender(&self) -> &Sender<Job> {
        self.jobs
            .as_ref()
            .expect("the sender goes only with the writer")
    }

    /// Finishes what was submitted and stops.
    pub(super) fn stop(mut self) -> Result<(), StorageError> {
        self.join()
    }

    fn join(&mut self) -> Result<(), StorageError> {
        self.jobs = None;
        match self.thread.take() {
            Some(thread) => thread.join().unwrap_or(Err(StorageError::Stopped)),
            None => Ok(()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Who wants to know calls `stop`; whoever waited for a completion has been told.
        drop(self.join());
    }
}

struct Work {
    wal: Wal,
    failed: Option<StorageError>,
}

/// The most submissions in one batch: bounds the buffer, and with it how long the first of them waits.
const GROUP_MAX: usize = 1024;

impl Work {
    fn run(mut self, queue: &Receiver<Job>) -> Result<(), StorageError> {
        while let Some(first) = self.next(queue) {
            let mut group = vec![first];
            while group.len() < GROUP_MAX
                && let Ok(job) = queue.try_recv()
            {
                group.push(job);
            }
            self.work(group);
        }
        self.attempt(Wal::flush);
        self.attempt(Wal::seal);
        self.failed.map_or(Ok(()), Err)
    }

    /// The next job; while there is none, the end of the log is sealed.
    fn next(&mut self, queue: &Receiver<Job>) -> Option<Job> {
        match queue.try_recv() {
            Ok(job) => Some(job),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                self.attempt(Wal::seal);
                queue.recv().ok()
            }
        }
    }

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
