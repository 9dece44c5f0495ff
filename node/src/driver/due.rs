//! When a checkpoint is due.
//!
//! A checkpoint writes the whole store, so it must free a fair share of that: whatever the size of store and entries, each byte of
//! log costs about [`CHECKPOINT_PER_LOG`] bytes of checkpoints at most, and the log in memory and to be read at a start is at most
//! that share of the store, or small. How large a checkpoint is, is known of the newest one; a store that has grown since pays a
//! little more.
//!
//! What this module deliberately does not do: write one.

/// How much larger than the log that it frees a checkpoint may be.
const CHECKPOINT_PER_LOG: u64 = 8;
/// This much log is worth a checkpoint however few entries it is: entries hold many commands.
const LOG_BYTES: u64 = 64 << 20;

/// What was applied since the newest checkpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

impl Since {
    /// Whether a checkpoint is due when the newest one has `newest_bytes`; `most_entries` is `--snapshot-count`.
    pub(super) fn is_due(self, newest_bytes: u64, most_entries: u64) -> bool {
        let is_worth_it = self.bytes >= newest_bytes / CHECKPOINT_PER_LOG;
        is_worth_it && (self.entries >= most_entries || self.bytes >= LOG_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn due(entries: u64, bytes: u64, newest_bytes: u64) -> bool {
        Since { entries, bytes }.is_due(newest_bytes, 10_000)
    }

    #[test]
    fn a_small_store_is_written_every_so_many_entries() {
        assert!(due(10_000, 2 * MIB, 10 * MIB));
        assert!(!due(9_999, 2 * MIB, 10 * MIB));
    }

    #[test]
    fn few_large_entries_are_enough() {
        assert!(due(60, 64 * MIB, 10 * MIB));
        assert!(!due(60, 63 * MIB, 10 * MIB));
    }

    #[test]
    fn a_large_store_is_not_written_for_a_little_log() {
        assert!(!due(10_000, 10 * MIB, 8 << 30));
        assert!(!due(10_000_000, 1023 * MIB, 8 << 30));
        assert!(due(10_000, 1024 * MIB, 8 << 30));
    }
}
