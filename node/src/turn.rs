//! One step of the replica: what must reach the disk, and what may be said only after that.
//!
//! The promise of Raft's safety proof that most implementations leave to prose, "nothing leaves before it is durable", is
//! a type here. Messages to peers hide in a [`Turn`] until [`Turn::written`] opens it, which the loop calls when the disk
//! has said that it holds everything, or when there was nothing to hold. There is no other way to a [`Release`].
//!
//! One kind of message goes ahead of the disk: a leader's entries and heartbeats, while its term, its vote and the membership
//! are what the disk already has ([`Turn::take_ahead`]). They promise nothing about this member's disk: a leader counts itself
//! toward a quorum only when its own write is done (`docs/decisions/0006-appends-ahead-of-the-disk.md`). Beside turns goes a stalled
//! leader's order to take over (`replica::stall`), which promises nothing at all.
//!
//! Answers to clients need no door: the replica applies only entries that this member's disk already holds
//! (`Replica::apply`), and an answer is made of applied state.
//!
//! What this module deliberately does not do: write.

use bytes::Bytes;
use raft::{Body, Index, Message, Persist, SnapshotMeta, Ticket};

/// What one step wants done, in this order: `install`, `persist`, and then the [`Release`].
#[derive(Debug)]
#[must_use]
pub struct Turn {
    /// A snapshot that takes the place of everything on the disk, and its image.
    pub install: Option<(SnapshotMeta, Bytes)>,
    /// Log and hard state to make durable; may be empty.
    pub persist: Persist,
    ahead: Vec<Message>,
    release: Release,
}

/// Whether a turn's entries and heartbeats may go ahead of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// They speak of nothing but what other members are to store.
    Allowed,
    /// A new term, vote or membership must be durable before anybody hears of it.
    Forbidden,
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
        ahead: Ahead,
    ) -> Self {
        let goes_ahead = |message: &Message| {
            let body = &message.body;
            ahead == Ahead::Allowed && matches!(body, Body::Append { .. } | Body::Heartbeat { .. })
        };
        let (ahead, messages) = messages.into_iter().partition(goes_ahead);
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
            ahead,
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
        !self.must_wait()
            && self.persist.is_empty()
            && self.ahead.is_empty()
            && self.release.messages.is_empty()
    }

    /// What may be sent while the disk works, once.
    pub fn take_ahead(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.ahead)
    }

    /// Opens the turn. To be called when `install` and `persist` are durable, and not before.
    pub fn written(self) -> Release {
        self.release
    }
}
