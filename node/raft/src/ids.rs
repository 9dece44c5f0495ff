//! The numbers of Raft, each as a type of its own, so that none is taken for another.
//!
//! What this module does not do: draw numbers. Who makes a [`PeerId`] or a [`ReadId`] sees to it
//! that it is unique.

use std::fmt;

/// Who takes part: unique in a cluster for all time. A removed peer's id never comes back, as the
/// log still speaks of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// The logical time of elections: in each term there is at most one leader. Term 0 is before the
/// first election.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// A place in the log. The first entry has index 1; index 0 is the place before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u64);

/// One *try* of a linearizable read. Every try, also the retry of a read that failed, has an id
/// never used before, not even before a restart of the process: an answer that comes late would
/// otherwise serve a read that began after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// Names one [`Persist`](crate::Persist). Tickets count upwards from 1 within one life of a
/// `Raft`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

impl Term {
    /// The term after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Index {
    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The place before this one; the place before the first entry has none before it and is its
    /// own.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

macro_rules! shown_as_number {
    ($($id:ty),*) => {
        $(impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        })*
    };
}

shown_as_number!(PeerId, Term, Index, ReadId, Ticket);
