//! Reads at rest what was written long ago, slowly, so that damage is found while it can still be made good.
//!
//! A pass goes over all closed segments of the log and all checkpoints, from the disk and not from the memory of the operating
//! system; then it pauses. What is damaged is said with file and byte, counted, and told by [`Vitals::damage_found`]: whoever
//! holds a sound state in memory then writes it anew ([`super::Storage::renew`]), which takes the place of every damaged
//! file. Without a sound state nothing is changed, and the next start refuses the file.
//!
//! Not read: the segment that is being written, which a reader beside the writer would see half changed; it is read once it is
//! closed. That a last batch was wiped to zeros is not found here, but at the next start, by the seal or the segment behind it.
//!
//! What this module does not do: repair.

use super::Options;
use super::checkpoint;
use super::directory::{DataDir, list};
use super::error::StorageError;
use super::files::{Files, Sequential};
use super::replay;
use super::vitals::{Observer, Vitals};
use super::worker::Execution;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How fast and how often everything is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrubbing {
    /// Bytes a second, at least one.
    pub bytes_per_second: u64,
    /// Between the end of a pass and the next.
    pub pause: Duration,
}

/// Reads a file through and says what is wrong with it.
type Verify = fn(&Path, &mut dyn Read) -> Result<(), StorageError>;

fn verify_segment(path: &Path, file: &mut dyn Read) -> Result<(), StorageError> {
    let mut bytes = Vec::new();
    let read = file.read_to_end(&mut bytes);
    read.map_err(StorageError::attempt("read the log file", path))?;
    replay::verify(path, &bytes)
}

/// Before a file that looks damaged is read once more.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// Read at once, and then slept for.
const PIECE_BYTES: usize = 256 << 10;

/// The one who reads.
pub(super) enum Scrub {
    Thread {
        stop: Option<Sender<()>>,
        thread: Option<JoinHandle<()>>,
    },
    Inline(Mutex<Work>),
}

impl Scrub {
    /// Begins the first pass at once, if it is a thread's.
    pub(super) fn start(
        directory: &DataDir,
        scrubbing: Scrubbing,
        options: &Options,
        vitals: Arc<Vitals>,
    ) -> Self {
        let (stop, stopped) = mpsc::channel();
        let is_inline = options.execution == Execution::Inline;
        let work = Work {
            files: directory.share_files(),
            wal: directory.wal().to_owned(),
            checkpoints: directory.checkpoints().to_owned(),
            scrubbing,
            observer: Arc::clone(&options.observer),
            vitals,
            stopped: (!is_inline).then_some(stopped),
        };
        if is_inline {
            return Self::Inline(Mutex::new(work));
        }
        let thread = std::thread::Builder::new().name("scrub".to_owned());
        Self::Thread {
            stop: Some(stop),
            // Where no thread can be had, nothing is scrubbed; the member serves all the same.
            thread: thread.spawn(move || work.run()).ok(),
        }
    }

    /// One pass, now, where no thread makes them.
    pub(super) fn pass(&self) {
        if let Self::Inline(work) = self {
            let work = work.lock().unwrap_or_else(PoisonError::into_inner);
            // Only a thread is stopped.
            drop(work.pass());
        }
    }
}

impl Drop for Scrub {
    fn drop(&mut self) {
        if let Self::Thread { stop, thread } = self {
            *stop = None;
            if let Some(thread) = thread.take() {
                drop(thread.join());
            }
        }
    }
}

pub(super) struct Work {
    files: Arc<dyn Files>,
    wal: PathBuf,
    checkpoints: PathBuf,
    scrubbing: Scrubbing,
    observer: Arc<dyn Observer>,
    vitals: Arc<Vitals>,
    /// None where whoever asks does the work, who is neither stopped nor slow.
    stopped: Option<Receiver<()>>,
}

/// The storage is being closed.
pub(super) struct Stopped;

impl Work {
    fn run(self) {
        while self.pass().is_ok() && self.sleep(self.scrubbing.pause).is_ok() {}
    }

    fn pass(&self) -> Result<(), Stopped> {
        let listed = |folder, ending| list(self.files.as_ref(), folder, ending);
        let mut segments = listed(&self.wal, ".wal").unwrap_or_default();
        segments.pop();
        for path in &segments {
            self.look(path, verify_segment)?;
        }
        for path in &listed(&self.checkpoints, ".checkpoint").unwrap_or_default() {
            self.look(path, checkpoint::verify)?;
        }
        Ok(())
    }

    fn look(&self, path: &Path, verify: Verify) -> Result<(), Stopped> {
        let Some(first) = self.read(path, verify)? else {
            return Ok(());
        };
        // A segment that was closed this very moment has its seal written behind it: look twice before crying.
        self.sleep(SECOND_LOOK)?;
        if self.read(path, verify)?.is_some() {
            tracing::error!(error = %first, "found damage at rest");
            self.observer.damaged(&first);
            self.vitals.count_damage();
        }
        Ok(())
    }

    /// What is wrong with the file; none if nothing is, or if it was released since the folder was listed.
    fn read(&self, path: &Path, verify: Verify) -> Result<Option<StorageError>, Stopped> {
        let Ok(file) = self.files.open(path) else {
            return Ok(None);
        };
        // Best effort: what the operating system remembers is not what the disk holds.
        file.forget_cached();
        let mut slow = Slow {
            work: self,
            file: Sequential::new(file),
            stopped: false,
        };
        let verified = verify(path, &mut slow);
        if slow.stopped {
            return Err(Stopped);
        }
        Ok(verified.err())
    }

    fn sleep(&self, time: Duration) -> Result<(), Stopped> {
        let Some(stopped) = &self.stopped else {
            return Ok(());
        };
        match stopped.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            _ => Err(Stopped),
        }
    }
}

/// A file read no faster than allowed.
struct Slow<'a> {
    work: &'a Work,
    file: Sequential,
    stopped: bool,
}

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = buffer.len().min(PIECE_BYTES);
        let read = self.file.read(&mut buffer[..piece])?;
        self.work.observer.scrubbed(read as u64);
        let rate = self.work.scrubbing.bytes_per_second.max(1);
        let time = Duration::from_secs_f64(read as f64 / rate as f64);
        if self.work.sleep(time).is_err() {
            self.stopped = true;
            return Err(io::Error::other("the storage is being closed"));
        }
        Ok(read)
    }
}
