//! What a peer wants done, in the order it must be done.
//!
//! What this module does not do: do it.

use crate::ids::{Index, ReadId, Ticket};
use crate::message::{Entry, HardState, Message, SnapshotMeta};

/// Everything to be done since the last one. The order is the contract, see the crate's essay:
///
/// 1. if `install` is set: make that snapshot durable, restore the state machine from it, forget
///    the log;
/// 2. make `persist` durable, and say [`Input::Persisted`](crate::Input::Persisted);
/// 3. only now, and only after those of every `Ready` before: send `messages`, apply `committed`,
///    answer `reads`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Ready {
    /// The snapshot that arrived last takes the place of state and log. The log restarts at
    /// `install.index + 1`.
    pub install: Option<SnapshotMeta>,
    /// What must be durable before anything else of this `Ready` leaves.
    pub persist: Persist,
    /// To be sent after `persist`. Losing them is allowed; sending them early is not.
    pub messages: Vec<Message>,
    /// To be applied, in this order; each entry comes once in one life of the core. After a
    /// restart, from the snapshot on.
    pub committed: Vec<Entry>,
    /// Reads that may be served once the state machine has applied the index beside them.
    pub reads: Vec<(ReadId, Index)>,
    /// Reads that will not be answered. To try again, use a fresh id.
    pub reads_failed: Vec<ReadId>,
}

/// What must be durable. Written as one unit, or entries first and then the hard state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Persist {
    /// Names this unit in [`Input::Persisted`](crate::Input::Persisted).
    pub ticket: Ticket,
    /// Successive entries. Whatever the log held from `entries[0].index` on is cut off first.
    pub entries: Vec<Entry>,
    /// Replaces the one before; none if it did not change.
    pub hard_state: Option<HardState>,
    /// Whether it must have reached the disk before going on. False when only the commit moved:
    /// that may be written lazily.
    pub must_sync: bool,
}

impl Persist {
    /// Whether there is nothing to write, and nothing to say `Persisted` for (saying it does no
    /// harm).
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.hard_state.is_none()
    }
}

impl Ready {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.install.is_none()
            && self.persist.is_empty()
            && self.messages.is_empty()
            && self.committed.is_empty()
            && self.reads.is_empty()
            && self.reads_failed.is_empty()
    }
}
