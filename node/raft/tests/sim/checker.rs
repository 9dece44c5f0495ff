//! What must hold after every event: the five properties of the Raft paper (figure 3), and ours.
//!
//! What this module does not do: wait for anything good to happen. The end of a run does.

use super::disk::State;
use raft::{ChangeKind, Entry, Index, Payload, PeerId, Raft, Role, Term};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// A promise that was broken.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// Which, in the paper's words where it has some.
    pub(crate) property: &'static str,
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.what)
    }
}

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
pub(crate) const READ_LINEARIZABLE: &str = "a read sees all that was committed before it";
pub(crate) const ONE_CHANGE: &str = "one change of membership at a time";
pub(crate) const DURABLE_FIRST: &str = "what is said is durable";
pub(crate) const SOUND: &str = "peers understand each other";
pub(crate) const RECOVERS: &str = "a disk that kept its promises recovers";
pub(crate) const LIVENESS: &str = "when faults stop, all goes on";

/// What was seen of a peer after the last event it took part in.
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
    /// Every entry ever written by anyone, with the term of the entry before it.
    entries: HashMap<(Index, Term), (Term, Payload)>,
    /// The terms of the committed entries, from index 1 on, and those in which they were committed.
    committed: Vec<(Term, Term)>,
    /// The state after each committed entry that was applied somewhere, from index 1 on.
    hashes: Vec<u64>,
    /// Who was removed, as far as an outsider can have heard: another peer applied it, or the one
    /// that led. Whoever hears of it may switch the removed peer off for good.
    pub(crate) removed: BTreeSet<PeerId>,
    /// Whom a joint change that began at this index removes when it ends.
    leaving: BTreeMap<Index, Vec<PeerId>>,
    /// The leader of each term, and the log it was elected with.
    leaders: BTreeMap<Term, (PeerId, LogTerms)>,
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

    /// Whether the log may hold this entry; what a snapshot covers is checked by its hash.
    fn may_hold(&self, index: Index, term: Term) -> bool {
        let Some(offset) = index.0.checked_sub(self.base.0) else {
            return true;
        };
        usize::try_from(offset).is_ok_and(|offset| self.terms.get(offset) == Some(&term))
    }
}

impl Checker {
    /// Begins with entries that everyone has.
    pub(crate) fn new(bootstrap: &[Entry]) -> Self {
        let mut checker = Self::default();
        let mut before = Term(0);
        for entry in bootstrap {
            let value = (before, entry.payload.clone());
            checker.entries.insert((entry.index, entry.term), value);
            checker.committed.push((entry.term, entry.term));
            before = entry.term;
        }
        checker
    }

    /// The last index that is committed anywhere.
    pub(crate) fn commit(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// How many terms had a leader.
    pub(crate) fn elections(&self) -> usize {
        self.leaders.len()
    }

    /// A peer writes entries after one of term `before`: an entry is the same, and follows the
    /// same, wherever it stands.
    pub(crate) fn writes(&mut self, mut before: Term, entries: &[Entry]) -> Checked {
        for entry in entries {
            let value = (before, entry.payload.clone());
            let known = self
                .entries
                .entry((entry.index, entry.term))
                .or_insert(value.clone());
            ensure(*known == value, LOG_MATCHING, || {
                format!(
                    "{} of term {} is {known:?} and {value:?}",
                    entry.index, entry.term
                )
            })?;
            before = entry.term;
        }
        Ok(())
    }

    /// Looks at a peer after an event.
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
            || format!("peer {} went back from {seen:?} to {now:?}", raft.id()),
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
            return ensure(
                raft.term_at(seen.last.0) == Some(seen.last.1),
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

    /// A peer calls an entry committed. Whoever is first is the leader that counted, so this is
    /// the term in which it was committed.
    fn note_commit(&mut self, raft: &Raft, index: Index) -> Checked {
        let Some(term) = raft.term_at(index) else {
            return Ok(());
        };
        let place = usize::try_from(index.0 - 1).expect("a test's log is short");
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

    /// A peer applied an entry.
    pub(crate) fn applied(&mut self, id: PeerId, entry: &Entry, state: State) -> Checked {
        let place = usize::try_from(entry.index.0 - 1).expect("a test's log is short");
        let committed = self.committed.get(place).map(|(term, _)| *term);
        ensure(committed == Some(entry.term), STATE_MACHINE_SAFETY, || {
            format!("peer {id} applied {} of term {}", entry.index, entry.term)
        })?;
        if place == self.hashes.len() {
            self.hashes.push(state.hash);
        }
        self.is_state(id, state)
    }

    /// Who is out of the cluster once this entry is applied.
    pub(crate) fn left_by(&mut self, entry: &Entry) -> Vec<PeerId> {
        let removed = |step: &ChangeKind| match step {
            ChangeKind::Remove(peer) => Some(*peer),
            ChangeKind::AddVoter(_) | ChangeKind::AddLearner(_) => None,
        };
        match &entry.payload {
            Payload::Change(change) => removed(&change.kind).into_iter().collect(),
            Payload::EnterJoint(change) => {
                let leaving = change.steps.iter().filter_map(removed).collect();
                self.leaving.insert(entry.index, leaving);
                Vec::new()
            }
            Payload::LeaveJoint => {
                let begun = self.leaving.range(..entry.index).next_back();
                begun.map_or_else(Vec::new, |(_, leaving)| leaving.clone())
            }
            Payload::Empty | Payload::Command(_) => Vec::new(),
        }
    }

    /// A peer has this state.
    pub(crate) fn is_state(&self, id: PeerId, state: State) -> Checked {
        let place = usize::try_from(state.index.0).expect("a test's log is short");
        let hash = place
            .checked_sub(1)
            .and_then(|place| self.hashes.get(place))
            .copied();
        ensure(hash == Some(state.hash), STATE_MACHINE_SAFETY, || {
            format!("peer {id} is in another state after {}", state.index)
        })
    }
}
