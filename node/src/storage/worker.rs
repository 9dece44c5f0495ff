//! Somebody who does jobs in the order in which they come: a thread of its own, or whoever asks.
//!
//! What this module does not do: know what the jobs are, or hand back what came of one; a job carries that with it.

use super::error::StorageError;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Who does what a storage is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Execution {
    /// Threads of the storage's own: no caller ever waits for the disk.
    #[default]
    Threads,
    /// Whoever asks, before the call returns: what a simulation needs, which must do the same in every run.
    Inline,
}

/// What is done with jobs.
pub(super) trait Work: Send + 'static {
    type Job: Send + 'static;
    /// The thread's.
    const NAME: &'static str;
    /// The most jobs taken in at once.
    const GROUP_MAX: usize;

    /// Does these jobs, in this order.
    fn work(&mut self, group: Vec<Self::Job>);

    /// For a moment there is nothing to do.
    fn rest(&mut self) {}

    /// There is nothing to do any more.
    fn end(self) -> Result<(), StorageError>
    where
        Self: Sized,
    {
        Ok(())
    }
}

/// The one who works.
pub(super) struct Worker<W: Work> {
    desk: Option<Desk<W>>,
    thread: Option<JoinHandle<Result<(), StorageError>>>,
}

/// Where jobs are put. With threads, the work goes on as long as there is one.
pub(super) enum Desk<W: Work> {
    Queue(Sender<W::Job>),
    /// None once the work has ended.
    Inline(Arc<Mutex<Option<W>>>),
}

impl<W: Work> Clone for Desk<W> {
    fn clone(&self) -> Self {
        match self {
            Self::Queue(jobs) => Self::Queue(jobs.clone()),
            Self::Inline(work) => Self::Inline(Arc::clone(work)),
        }
    }
}

impl<W: Work> Desk<W> {
    /// Hands the job back where nobody works any more.
    pub(super) fn put(&self, job: W::Job) -> Result<(), W::Job> {
        match self {
            Self::Queue(jobs) => jobs.send(job).map_err(|mpsc::SendError(job)| job),
            Self::Inline(work) => match &mut *work.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(work) => {
                    work.work(vec![job]);
                    work.rest();
                    Ok(())
                }
                None => Err(job),
            },
        }
    }
}

impl<W: Work> Worker<W> {
    pub(super) fn start(work: W, execution: Execution) -> Self {
        if execution == Execution::Inline {
            return Self {
                desk: Some(Desk::Inline(Arc::new(Mutex::new(Some(work))))),
                thread: None,
            };
        }
        let (jobs, queue) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(W::NAME.to_owned())
            .spawn(move || run(work, &queue))
            .expect("a process that cannot start the threads of its storage cannot run");
        Self {
            desk: Some(Desk::Queue(jobs)),
            thread: Some(thread),
        }
    }

    pub(super) fn desk(&self) -> &Desk<W> {
        self.desk
            .as_ref()
            .expect("the desk goes only with the worker")
    }

    /// Does what was asked for and ends.
    pub(super) fn stop(mut self) -> Result<(), StorageError> {
        self.join()
    }

    fn join(&mut self) -> Result<(), StorageError> {
        if let Some(Desk::Inline(work)) = self.desk.take() {
            let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
            return work.map_or(Ok(()), W::end);
        }
        match self.thread.take() {
            // A panic there has left its waiters without an answer, which they take for a failure.
            Some(thread) => thread.join().unwrap_or(Err(StorageError::Stopped)),
            None => Ok(()),
        }
    }
}

impl<W: Work> Drop for Worker<W> {
    fn drop(&mut self) {
        // Who wants to know calls `stop`; whoever waited for a job has been told.
        drop(self.join());
    }
}

fn run<W: Work>(mut work: W, queue: &Receiver<W::Job>) -> Result<(), StorageError> {
    while let Some(first) = next(&mut work, queue) {
        let mut group = vec![first];
        while group.len() < W::GROUP_MAX
            && let Ok(job) = queue.try_recv()
        {
            group.push(job);
        }
        work.work(group);
    }
    work.end()
}

/// The next job, after a rest if it has to be waited for.
fn next<W: Work>(work: &mut W, queue: &Receiver<W::Job>) -> Option<W::Job> {
    match queue.try_recv() {
        Ok(job) => Some(job),
        Err(TryRecvError::Disconnected) => None,
        Err(TryRecvError::Empty) => {
            work.rest();
            queue.recv().ok()
        }
    }
}
