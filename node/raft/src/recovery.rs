//! From what the disk holds to a peer that may take part again.
//!
//! What this module does not do: repair. What does not fit together is refused; what the disk lost is got back from a
//! leader, like anything else that a follower lacks.

use crate::configuration::Configuration;
use crate::ids::{Index, Term};
use crate::log::Log;
use crate::membership::Membership;
use crate::message::{Change, ChangeKind, Entry, HardState, Payload, SnapshotMeta};
use bytes::Bytes;

/// What a disk holds of a peer. A peer that never ran has the default.
///
/// A brand-new cluster of N members starts with the same log at each of them: entries 1 to N at
/// term 1, each a change that adds one voter, with `hard_state` at term 1 and commit N.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The last hard state written.
    pub hard_state: HardState,
    /// What the newest checkpoint stands for.
    pub snapshot: SnapshotMeta,
    /// The log as written, from at or before the place after the snapshot; what the snapshot
    /// covers is skipped.
    pub entries: Vec<Entry>,
    /// Term and index of the last entry that the log once had, if damage took entries since; see
    /// [`Recovered::damaged`].
    pub lost: Option<(Term, Index)>,
}

impl Recovered {
    /// Who belongs to the cluster, as far as is known to be committed.
    ///
    /// # Errors
    /// The parts do not fit together.
    pub fn configuration(&self) -> Result<Configuration, Unrecoverable> {
        let (_, _, membership) = rebuild(self.clone())?;
        Ok(membership.current().clone())
    }

    /// What a peer is left with when damage took a part of its log: `remains` is what its disk
    /// held at an earlier time, `promised` its last hard state, `end` the last entry of its last log.
    /// It must be durable before the peer takes part.
    ///
    /// The peer may have acknowledged all up to `end`. So it votes as if its log still ended there,
    /// and does not stand itself until its log is no worse. And it begins in a new term, so that
    /// no leader goes on that counts on what is gone: the next one asks what is there.
    /// `docs/decisions/0016-repair-from-peers.md` says why this is enough.
    #[must_use]
    pub fn damaged(remains: Self, promised: HardState, end: (Term, Index)) -> Self {
        let hard_state = HardState {
            term: promised.term.next(),
            vote: None,
            commit: remains.hard_state.commit,
        };
        Self {
            hard_state,
            lost: remains.lost.max(Some(end)),
            ..remains
        }
    }

    /// What the disk of every first member of a brand-new cluster holds: who is in it, as committed
    /// changes without a context.
    #[must_use]
    pub fn founding(members: impl IntoIterator<Item = ChangeKind>) -> Self {
        let entry = |(index, kind): (u64, ChangeKind)| Entry {
            term: Term(1),
            index: Index(index),
            payload: Payload::Change(Change {
                kind,
                context: Bytes::new(),
            }),
        };
        let entries: Vec<Entry> = (1..).zip(members).map(entry).collect();
        let hard_state = HardState {
            term: Term(1),
            vote: None,
            commit: Index(entries.len() as u64),
        };
        Self {
            hard_state,
            entries,
            ..Self::default()
        }
    }
}

/// Why a peer cannot take part with what its disk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrecoverable {
    /// Entries between the snapshot and the log, or within the log, are missing.
    #[error("the log misses entry {missing}")]
    Gap {
        /// The first that is missing.
        missing: Index,
    },
    /// The terms of the log fall.
    #[error("entry {index} is of term {term}, earlier than the entry before it")]
    TermFalls {
        /// The entry.
        index: Index,
        /// Its term.
        term: Term,
    },
    /// Committed entries are missing.
    #[error("entries up to {commit} were committed, the log ends at {last}")]
    CommitBeyondLog {
        /// What the hard state says.
        commit: Index,
        /// Where the log ends.
        last: Index,
    },
}

/// Puts a peer's lasting parts together again.
///
/// The disk may have been cut off anywhere between two units of [`Persist`](crate::Persist), so the
/// hard state may be older than the log and the snapshot. Term and commit are then at least what
/// those prove.
pub(crate) fn rebuild(recovered: Recovered) -> Result<(HardState, Log, Membership), Unrecoverable> {
    let Recovered {
        mut hard_state,
        snapshot,
        entries,
        lost: _,
    } = recovered;
    let entries = after_snapshot(&snapshot, entries);
    check(&snapshot, &entries)?;
    let last = Index(snapshot.index.0 + entries.len() as u64);
    let last_term = entries.last().map_or(snapshot.term, |entry| entry.term);
    if hard_state.commit > last {
        return Err(Unrecoverable::CommitBeyondLog {
            commit: hard_state.commit,
            last,
        });
    }
    if last_term > hard_state.term {
        hard_state.term = last_term;
        hard_state.vote = None;
    }
    let mut membership = Membership::at_snapshot(snapshot.index, snapshot.configuration.clone());
    entries.iter().for_each(|entry| membership.appended(entry));
    let implied = membership.implied_commit().max(snapshot.index);
    hard_state.commit = hard_state.commit.max(implied);
    membership.commit_to(hard_state.commit);
    Ok((
        hard_state,
        Log::recover(snapshot, entries, hard_state.commit),
        membership,
    ))
}

/// The entries after the snapshot. If the log contradicts the snapshot at its index, or ends before
/// it, the snapshot came from a leader and the log is what it replaced.
fn after_snapshot(snapshot: &SnapshotMeta, entries: Vec<Entry>) -> Vec<Entry> {
    let at_snapshot = entries.iter().find(|entry| entry.index == snapshot.index);
    if at_snapshot.is_some_and(|entry| entry.term != snapshot.term) {
        return Vec::new();
    }
    entries
        .into_iter()
        .filter(|entry| entry.index > snapshot.index)
        .collect()
}

fn check(snapshot: &SnapshotMeta, entries: &[Entry]) -> Result<(), Unrecoverable> {
    let mut before = (snapshot.index, snapshot.term);
    for entry in entries {
        if entry.index != before.0.next() {
            return Err(Unrecoverable::Gap {
                missing: before.0.next(),
            });
        }
        if entry.term < before.1 {
            return Err(Unrecoverable::TermFalls {
                index: entry.index,
                term: entry.term,
            });
        }
        before = (entry.index, entry.term);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
