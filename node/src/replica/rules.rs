//! The rules of the replica that are no assertion and no type, each a function of its own, in one table, as the core's are
//! ([`raft::Rules`], `docs/decisions/0002-planted-bugs.md`).
//!
//! What this module deliberately does not do: offer a choice. [`Rules::SOUND`] is the only table that keeps what clients are promised.

use super::Replica;
use crate::event::Read;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whether a quorum must say that this member still leads, or who does, after the question came and before it is answered: always.
    /// A leader that slept or was cut off knows nothing of its successor, and its own clock proves nothing about that one's.
    pub needs_quorum: fn(&Read) -> bool,
    /// Whether another member's proposal is taken in, which may have come here before: only then if it has not. Whoever proposed it is told
    /// of one entry, and the other would undo what was written between them.
    pub takes_in: fn(came_before: bool) -> bool,
}

impl Rules {
    /// As they are.
    pub const SOUND: Self = Self {
        needs_quorum: |_| true,
        takes_in: |came_before| !came_before,
    };
}

impl<W> Replica<W> {
    /// Replaces the rules by others, to see a test fail that must fail.
    #[doc(hidden)]
    pub const fn break_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }
}
