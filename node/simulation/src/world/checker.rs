//! What must hold after every event: the five properties of the Raft paper (figure 3), and that nothing is said before it is
//! durable.
//!
//! What this module deliberately does not do: wait for anything good to happen. The end of a run does.

use std::collections::{BTreeMap, HashMap};

use quorate_node::event::Digests;
use raft::{Body, Entry, Index, Message, Payload, PeerId, Raft, Role, Term, VoteKind};

use super::bench::Durable;
use crate::bug::Bug;
use crate::run::Violation;

pub(crate) type Checked<T = ()> = Result<T, Violation>;

pub(crate) fn ensure(
    holds: bool,
    property: &'static str,
    what: impl FnOnce() -> String,
) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(Violation {
            property,
            what: what(),
        })
    }
}

pub(crate) const ELECTION_SAFETY: &str = "election safety";
pub(crate) const LEADER_APPEND_ONLY: &str = "leader append-only";
pub(crate) const LOG_MATCHING: &str = "log matching";
pub(crate) const LEADER_COMPLETENESS: &str = "leader completeness";
pub(crate) const STATE_MACHINE_SAFETY: &str = "state machine safety";
pub(crate) const EQUAL: &str = "a member finds that it differs from the others";
pub(crate) const DURABLE_FIRST: &str = "what is said is durable";
pub(crate) const SOUND: &str = "members understand each other";
pub(crate) const RECOVERS: &str = "a disk that kept its promises recovers";
pub(crate) const LIVENESS: &str = "when faults stop, all goes on";

/// What was seen of a member after the last event it took part in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    term: Term,
    leads: bool,
    commit: Index,
    last: (Index, Term),
}

/// All that was ever seen.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    /// Every entry ever written by anyone, with the term of the entry before it where that was known.
    entries: HashMap<(Index, Term), (Option<Term>, Payload)>,
    /// The terms of the committed entries, from index 1 on, and those in which they were committed.
    committed: Vec<(Term, Term)>,
    /// The store's digest after each entry that was applied somewhere and told of.
    digests: BTreeMap<u64, u64>,
    /// The leader of each term, and the log it was elected with.
    leaders: BTreeMap<Term, (PeerId, LogTerms)>,
    /// Stores are not compared here: the members must find by themselves who differs.
    leaves_states: bool,
}

/// The terms of a log from `base` on.
#[derive(Debug)]
struct LogTerms {
    base: Index,
    terms: Vec<Term>,
}

impl LogTerms {
    fn of(raft: &Raft) -> Self {
        let base = raft.status().first_index.previous();
        let terms = (base.0..=raft.last_index().0).filter_map(|i| raft.term_at(Index(i)));
        Self {
            base,
            terms: terms.collect(),
        }
    }

    /// Whether the log may hold this entry; what a snapshot covers is checked by its digest.
    fn may_hold(&self, index: Index, term: Term) -> bool {
        let Some(offset) = index.0.checked_sub(self.base.0) else {
            return true;
        };
        usize::try_from(offset).is_ok_and(|offset| self.terms.get(offset) == Some(&term))
    }
}

impl Checker {
    /// Begins with entries that everyone has.
    pub(crate) fn new(founding: &[Entry], bug: Option<Bug>) -> Self {
        let terms = founding.iter().map(|entry| (entry.term, entry.term));
        Self {
            committed: terms.collect(),
            leaves_states: bug == Some(Bug::ApplyDiffers),
            ..Self::default()
        }
    }

    /// The last index that is committed anywhere.
    pub(crate) fn commit(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// How many terms had a leader.
    pub(crate) fn elections(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// A member writes entries after one of term `before`, if it still knows: an entry is the same, and follows the same,
    /// wherever it stands.
    pub(crate) fn writes(&mut self, mut before: Option<Term>, entries: &[Entry]) -> Checked {
        for entry in entries {
            let known = self.entries.entry((entry.index, entry.term));
            let (known_before, payload) = known.or_insert_with(|| (before, entry.payload.clone()));
            let is_same = before.is_none() || known_before.is_none() || before == *known_before;
            ensure(is_same && *payload == entry.payload, LOG_MATCHING, || {
                format!("{} of term {} stands in two ways", entry.index, entry.term)
            })?;
            before = Some(entry.term);
        }
        Ok(())
    }

    /// Looks at a member after an event.
    pub(crate) fn observe(&mut self, raft: &Raft, seen: &mut Seen) -> Checked {
        let now = Seen {
            term: raft.term(),
            leads: raft.role() == Role::Leader,
            commit: raft.commit(),
            last: (
                raft.last_index(),
                raft.term_at(raft.last_index()).unwrap_or_default(),
            ),
        };
        if now.leads {
            self.check_leader(raft, seen)?;
        }
        ensure(
            now.commit >= seen.commit && now.term >= seen.term,
            STATE_MACHINE_SAFETY,
            || format!("member {} went back from {seen:?} to {now:?}", raft.id()),
        )?;
        for index in (seen.commit.0 + 1)..=now.commit.0 {
            self.note_commit(raft, Index(index))?;
        }
        *seen = now;
        Ok(())
    }

    fn check_leader(&mut self, raft: &Raft, seen: &Seen) -> Checked {
        let (id, term) = (raft.id(), raft.term());
        if let Some((leader, _)) = self.leaders.get(&term) {
            ensure(*leader == id, ELECTION_SAFETY, || {
                format!("both {leader} and {id} lead term {term}")
            })?;
        }
        if seen.leads && seen.term == term {
            let kept = raft.term_at(seen.last.0);
            return ensure(
                raft.last_index() >= seen.last.0 && kept.is_none_or(|kept| kept == seen.last.1),
                LEADER_APPEND_ONLY,
                || {
                    format!(
                        "leader {id} of term {term} changed its entry {}",
                        seen.last.0
                    )
                },
            );
        }
        let log = LogTerms::of(raft);
        let before = self
            .committed
            .iter()
            .zip(1..)
            .filter(|((_, in_term), _)| *in_term < term);
        for (&(committed, _), index) in before {
            ensure(
                log.may_hold(Index(index), committed),
                LEADER_COMPLETENESS,
                || format!("leader {id} of term {term} lacks entry {index} of term {committed}"),
            )?;
        }
        self.leaders.insert(term, (id, log));
        Ok(())
    }

    /// A member calls an entry committed. Whoever is first is the leader that counted, so this is the term in which it was
    /// committed.
    fn note_commit(&mut self, raft: &Raft, index: Index) -> Checked {
        let Some(term) = raft.term_at(index) else {
            return Ok(());
        };
        let place = index.0 as usize - 1;
        if let Some(&(committed, _)) = self.committed.get(place) {
            return ensure(committed == term, STATE_MACHINE_SAFETY, || {
                let id = raft.id();
                format!("{index} is committed with term {committed}, and {term} at {id}")
            });
        }
        self.committed.push((term, raft.term()));
        for (later, (leader, log)) in self.leaders.range(raft.term().next()..) {
            ensure(log.may_hold(index, term), LEADER_COMPLETENESS, || {
                format!("leader {leader} of term {later} lacks entry {index} of term {term}")
            })?;
        }
        Ok(())
    }

    /// A member's store has this digest after this entry.
    pub(crate) fn is_state(&mut self, id: u64, index: u64, digest: u64) -> Checked {
        let known = *self.digests.entry(index).or_insert(digest);
        ensure(
            known == digest || self.leaves_states,
            STATE_MACHINE_SAFETY,
            || format!("member {id} is in another state after {index}"),
        )
    }

    /// A member tells how its store has been.
    pub(crate) fn are_states(&mut self, id: u64, told: &Digests) -> Checked {
        for (index, digest) in (told.first.0..).zip(&told.digests) {
            self.is_state(id, index, *digest)?;
        }
        Ok(())
    }
}

/// Whether a message promises nothing that the sender's disk does not hold.
pub(crate) fn check_promise(me: u64, message: &Message, durable: &Durable) -> Checked {
    let kept = match &message.body {
        // These promise nothing at all.
        Body::RequestVote {
            kind: VoteKind::PreVote,
            ..
        }
        | Body::Vote {
            kind: VoteKind::PreVote,
            ..
        }
        | Body::TimeoutNow
        | Body::Lend { .. } => true,
        _ if message.term > durable.term => false,
        // What was said in a term since left was true when the term was left.
        _ if message.term < durable.term => true,
        Body::Vote { granted: true, .. } => durable.vote == Some(message.to),
        Body::RequestVote { .. } => durable.vote == Some(PeerId(me)),
        Body::Accepted { match_index } => durable.last >= *match_index,
        _ => true,
    };
    ensure(kept, DURABLE_FIRST, || {
        format!("member {me} says {message:?} with {durable:?} on its disk")
    })
}
