//! One step of the replica: what must reach the disk, and what may be said only after that.
//!
//! The promise of Raft's safety proof that most implementations leave to prose, "nothing leaves before it is durable", is
//! a type here. Messages to peers hide in a [`Turn`] until [`Turn::written`] opens it, which the loop calls when the disk
//! has said that it holds everything, or when there was nothing to hold. There is no other way to a [`Release`].
//!
//! Answers to clients need no door: the replica applies only entries that this member's disk already holds
//! (`Replica::apply`), and an answer is made of applied state.
//!
//! What this module deliberately does not do: write.

use bytes::Bytes;
use raft::{Index, Message, Persist, SnapshotMeta, Ticket};

/// What one step wants done, in this order: `install`, `persist`, and then the [`Release`].
#[derive(Debug)]
#[must_use]
pub struct Turn {
    /// A snapshot that takes the place of everything on the disk, and its image.
    pub install: Option<(SnapshotMeta, Bytes)>,
    /// Log and hard state to make durable; may be empty.
    pub persist: Persist,
    release: Release,
}

/// What may leave the process: everything it speaks of is durable here.
#[derive(Debug, Default)]
#[must_use]
pub struct Release {
    /// What was made durable, for `Replica::written`.
    pub ticket: Ticket,
    /// Where the durable log ends now; none if that did not change.
    pub durable: Option<Index>,
    /// To be sent to the peers they name.
    pub messages: Vec<Message>,
}

impl Turn {
    pub(crate) fn new(
        install: Option<(SnapshotMeta, Bytes)>,
        persist: Persist,
        messages: Vec<Message>,
    ) -> Self {
        let installed = install.as_ref().map(|(meta, _)| meta.index);
        let durable = persist
            .entries
            .last()
            .map(|entry| entry.index)
            .or(installed);
        let release = Release {
            ticket: persist.ticket,
            durable,
            messages,
        };
        Self {
            install,
            persist,
            release,
        }
    }

    /// Whether something must be on the disk before the turn may be opened. A commit alone need not: after a crash it is
    /// learnt again.
    #[must_use]
    pub const fn must_wait(&self) -> bool {
        self.install.is_some() || self.persist.must_sync
    }

    /// Whether there is nothing to do at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.must_wait() && self.persist.is_empty() && self.release.messages.is_empty()
    }

    /// Opens the turn. To be called when `install` and `persist` are durable, and not before.
    pub fn written(self) -> Release {
        self.release
    }
}
