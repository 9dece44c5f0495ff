//! The rules on which safety rests, each a function of its own, in one table.
//!
//! They stand apart for two reasons: a reader finds in one place what must never be broken, and a
//! test can break exactly one of them and see that the simulation notices (`tests/planted_bugs.rs`,
//! `docs/decisions/0002-planted-bugs.md`). Section numbers are those of Ongaro's thesis,
//! "Consensus: Bridging Theory and Practice".
//!
//! What this module does not do: offer a choice. [`Rules::RAFT`] is the only table that is Raft.

use crate::ids::{Index, PeerId, Term};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Where a log ends, in the order in which ends are compared.
type End = (Term, Index);
type Peers = BTreeSet<PeerId>;

/// The table. Each field is a rule; [`Rules::RAFT`] is right and everything else is wrong.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How many of so many voters decide. Any two quorums of one membership, and of two that differ
    /// by one voter, must share a peer (4.1).
    pub quorum: fn(voters: usize) -> usize,
    /// Whose acknowledgements count, given the voters and the learners: the voters' alone (4.2.1).
    pub acknowledges: for<'a> fn(voters: &'a Peers, learners: &'a Peers) -> Cow<'a, Peers>,
    /// What old and new voters have reached together in joint consensus, given what a quorum of each
    /// has: what both have (4.3).
    pub together: fn(old: u64, new: u64) -> u64,
    /// Whether a log that ends at `candidate` lacks nothing that one ending at `own` may hold
    /// committed: the later last term wins, then the longer log (3.6.1).
    pub up_to_date: fn(candidate: (Term, Index), own: (Term, Index)) -> bool,
    /// Where the log ends that a vote vouches for, given where it ends and where it ended before
    /// damage took a part of it: what was acknowledged stays promised
    /// (`docs/decisions/0016-repair-from-peers.md`).
    pub vouched_end: fn(own: End, lost: Option<End>) -> End,
    /// Whether an entry that a quorum has may be called committed by counting: only one of the
    /// leader's own term; those before it follow (3.6.2, figure 3.7).
    pub counts_for_commit: fn(entry: Term, leader: Term) -> bool,
    /// How far a leader's own log counts: as far as it is durable (10.2.1).
    pub own_match: fn(durable: Index, last: Index) -> Index,
    /// Whether a change of membership may be appended, where the newest one in the log stands at
    /// `newest`: only when that one is committed (4.1).
    pub may_change: fn(newest: Index, commit: Index) -> bool,
    /// Whether a new leader may change the membership or serve reads: only once an entry of its own
    /// term is committed (4.1 as corrected on raft-dev in 2015; 6.4).
    pub term_established: fn(first_of_term: Index, commit: Index) -> bool,
    /// Whether a read that came after round `began_after` is confirmed when a quorum has answered
    /// round `answered`: only a round that began after the read proves anything about it (6.4).
    pub read_confirmed: fn(began_after: u64, answered: u64) -> bool,
    /// Whether a follower may append, given the leader's term at the place before the entries and
    /// its own there, if it reaches that far (3.5).
    pub fits: fn(prev_term: Term, own: Option<Term>) -> bool,
    /// Whether a vote may be given, when `vote` says whether one was given in this term, to this
    /// candidate (`Some(true)`) or to another (`Some(false)`): one per term (3.4).
    pub may_vote: fn(vote: Option<bool>) -> bool,
}

impl Rules {
    /// Raft.
    pub const RAFT: Self = Self {
        quorum: |voters| voters / 2 + 1,
        acknowledges: |voters, _learners| Cow::Borrowed(voters),
        together: |old, new| if old < new { old } else { new },
        up_to_date: |candidate, own| candidate >= own,
        vouched_end: |own, lost| match lost {
            Some(lost) if lost > own => lost,
            _ => own,
        },
        counts_for_commit: |entry, leader| entry == leader,
        own_match: |durable, _last| durable,
        may_change: |newest, commit| newest <= commit,
        term_established: |first_of_term, commit| first_of_term <= commit,
        read_confirmed: |began_after, answered| began_after < answered,
        fits: |prev_term, own| own == Some(prev_term),
        may_vote: |vote| vote != Some(false),
    };
}
