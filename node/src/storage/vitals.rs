//! How the disk is doing, for metrics and for the leader that must notice a stalled disk.
//!
//! What this module does not do: judge. Who asks decides how long is too long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Is told what the storage did, on the storage's own threads. Implementations must be quick.
pub trait Observer: Send + Sync {
    /// A batch was handed to the operating system.
    fn wrote(&self, _bytes: u64, _took: Duration) {}
    /// An `fdatasync` of the log ended well.
    fn synced(&self, _took: Duration) {}
    /// So many bytes were read again in the background.
    fn scrubbed(&self, _bytes: u64) {}
    /// A file was found damaged in the background.
    fn damaged(&self, _error: &super::StorageError) {}
    /// A checkpoint is durable.
    fn checkpointed(&self, _bytes: u64, _took: Duration) {}
    /// Between any two operations whose order matters: a crash here must be survived. Tests copy the directory.
    fn step(&self, _reached: &'static str) {}
}

/// An observer that looks away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}

/// Figures that any thread may read at any time.
#[derive(Debug)]
pub struct Vitals {
    origin: Instant,
    /// Microseconds since `origin`, plus one; 0 while no write runs.
    writing_since: AtomicU64,
    /// Microseconds since `origin`, plus one; 0 before the first.
    synced_at: AtomicU64,
    log_bytes: AtomicU64,
    checkpoint_bytes: AtomicU64,
    damage_found: AtomicU64,
}

impl Vitals {
    pub(super) fn new() -> Self {
        Self {
            origin: Instant::now(),
            writing_since: AtomicU64::new(0),
            synced_at: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            checkpoint_bytes: AtomicU64::new(0),
            damage_found: AtomicU64::new(0),
        }
    }

    /// How long the write that runs now has been running; none while the disk has nothing to do. A disk that hangs shows
    /// here, and only here.
    #[must_use]
    pub fn waiting_for(&self) -> Option<Duration> {
        self.since(&self.writing_since)
    }

    /// How long ago the last `fdatasync` of the log ended well; none before the first.
    #[must_use]
    pub fn last_sync_age(&self) -> Option<Duration> {
        self.since(&self.synced_at)
    }

    /// The bytes of the log that are in use.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes.load(Ordering::Relaxed)
    }

    /// The size of the newest checkpoint.
    #[must_use]
    pub fn checkpoint_bytes(&self) -> u64 {
        self.checkpoint_bytes.load(Ordering::Relaxed)
    }

    /// How often a file was found damaged at rest since the start; one that stays is found again with every pass.
    #[must_use]
    pub fn damage_found(&self) -> u64 {
        self.damage_found.load(Ordering::Relaxed)
    }

    pub(super) fn count_damage(&self) {
        self.damage_found.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn write_begins(&self) {
        self.writing_since.store(self.now(), Ordering::Relaxed);
    }

    pub(super) fn write_ends(&self) {
        self.synced_at.store(self.now(), Ordering::Relaxed);
        self.writing_since.store(0, Ordering::Relaxed);
    }

    pub(super) fn set_log_bytes(&self, bytes: u64) {
        self.log_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_checkpoint_bytes(&self, bytes: u64) {
        self.checkpoint_bytes.store(bytes, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).map_or(u64::MAX, |now| now + 1)
    }

    fn since(&self, moment: &AtomicU64) -> Option<Duration> {
        match moment.load(Ordering::Relaxed) {
            0 => None,
            then => Some(Duration::from_micros(self.now().saturating_sub(then))),
        }
    }
}
