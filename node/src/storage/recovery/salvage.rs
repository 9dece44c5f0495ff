//! Damage that the other members can make good: what is sound is kept, and the log begins anew with it.
//!
//! `docs/decisions/0016-repair-from-peers.md` says what must be known for that, what is kept, and why it is safe. In short: the
//! last term and vote, and where the log ended; [`raft::Recovered::damaged`] then makes of what is kept a peer that stands by
//! all it promised. Where the entries behind the damage join a sound checkpoint, nothing is lost.
//!
//! The new beginning is one segment, which has its name when it is durable; from then on the segments before do not count, and
//! are set aside. A crash before leaves everything as it was found.
//!
//! What this module does not do: get anything back. A leader sends it, as to any follower that lacks it.

use super::super::replay::{self, Failed, Salvaged};
use super::{Arc, DataDir, Entry, Identity, Index, Opened, Options, Recovered, SnapshotMeta};
use super::{HardState, StorageError, Vitals, Wal, checkpoints, kept, list, put_aside};
use super::{set_aside, sweep};
use crate::storage::record::Position;
use crate::storage::wal::State;
use raft::{PeerId, Persist, Ticket};
use std::collections::VecDeque;

/// Entries heavier than this are not written anew in one segment; the others have them.
const MOST_BYTES: u64 = 1 << 30;

/// Opens what `recover` has refused, if the others can give back what is gone.
pub(in crate::storage) fn salvage(
    directory: &DataDir,
    options: &Options,
    vitals: Arc<Vitals>,
    refused: StorageError,
) -> Result<Opened, StorageError> {
    let files = directory.files();
    let segments = list(files, directory.wal(), ".wal")?;
    let beyond = |why: String| StorageError::BeyondRepair {
        refused: Box::new(refused.clone()),
        why,
    };
    let salvaged = replay::salvage(files, directory.wal(), &segments);
    let salvaged = salvaged.map_err(|failed| match failed {
        Failed::Refused(error) => error,
        Failed::Unknown(what) => beyond(format!("nothing sound says {what}")),
    })?;
    let found = checkpoints(directory, salvaged.identity)?;
    let (identity, sequence, batch) = (salvaged.identity, salvaged.sequence, salvaged.batch);
    let newest = found.sound.first().map(|(_, header)| &header.meta);
    let mut left = what_is_left(salvaged, newest);
    if left.lost.is_some() && is_alone(&left, PeerId(identity.member_id)) {
        return Err(beyond("there is no other voter".to_owned()));
    }
    if weight(&left.entries) > MOST_BYTES {
        if left.lost.is_none() {
            return Err(beyond("it is too long to be written anew".to_owned()));
        }
        left.entries.clear();
        left.hard_state.commit = left.snapshot.index;
    }
    // From here on the directory is changed.
    sweep(files, directory.wal())?;
    sweep(files, directory.checkpoints())?;
    let damaged = put_aside(directory, found.damaged)?;
    let place = (identity, sequence, batch);
    let wal = begin_anew(directory, place, &left, options, Arc::clone(&vitals))?;
    set_aside(directory, &segments)?;
    if let Some(image) = &found.image {
        vitals.set_checkpoint_bytes(image.len() as u64);
    }
    let recovered = Recovered {
        identity,
        hard_state: left.hard_state,
        snapshot: left.snapshot,
        image: found.image,
        entries: left.entries,
        cut: None,
        damaged,
        lost: left.lost,
        salvaged: Some(refused.clone()),
    };
    Ok(Opened {
        recovered,
        wal,
        checkpoints: kept(found.sound),
    })
}

/// A log of one segment with what is left. `place` is whose it is, and the numbers of its segment and batch.
fn begin_anew(
    directory: &DataDir,
    (identity, sequence, batch): (Identity, u64, u64),
    left: &raft::Recovered,
    options: &Options,
    vitals: Arc<Vitals>,
) -> Result<Wal, StorageError> {
    let state = State {
        identity,
        position: Position {
            sequence,
            offset: 0,
            batch,
            checksum: 0,
        },
        hard_state: left.hard_state,
        last: (left.snapshot.index, left.snapshot.term),
        lost: left.lost.map(|(term, index)| (index, term)),
        closed: VecDeque::new(),
        newest: Index(0),
    };
    let first = Persist {
        ticket: Ticket::default(),
        entries: left.entries.clone(),
        hard_state: None,
        must_sync: true,
    };
    Wal::anew(directory, state, first, options, vitals)
}

/// What the member goes on with.
fn what_is_left(salvaged: Salvaged, newest: Option<&SnapshotMeta>) -> raft::Recovered {
    let snapshot = newest.cloned().unwrap_or_default();
    let (index, term) = (snapshot.index, snapshot.term);
    let lost = salvaged.lost.map(|(index, term)| (term, index));
    let mut promised = salvaged.promised;
    promised.term = promised.term.max(term);
    let behind = salvaged.behind;
    // At its base a log may not know the term.
    if index > behind.base().0 && behind.term_at(index) == Some(term) {
        let commit = promised.commit.clamp(index, behind.last().0);
        return raft::Recovered {
            hard_state: HardState { commit, ..promised },
            entries: behind.into_entries_after(index),
            snapshot,
            lost,
        };
    }
    let beginning = salvaged.beginning;
    let reaching = beginning.filter(|(log, _)| log.term_at(index) == Some(term));
    let (entries, commit) = reaching.map_or((Vec::new(), index), |(log, hard_state)| {
        // A log that began anew says in its head what its first batch, which may be the damaged one, had committed.
        let commit = hard_state.commit.clamp(index, log.last().0);
        (log.into_entries_after(index), commit)
    });
    let remains = raft::Recovered {
        hard_state: HardState {
            commit,
            ..HardState::default()
        },
        snapshot,
        entries,
        lost,
    };
    let (index, term) = salvaged.end;
    raft::Recovered::damaged(remains, promised, (term, index))
}

/// Whether it can be told that nobody else has a vote: then nobody can give anything back.
fn is_alone(left: &raft::Recovered, me: PeerId) -> bool {
    left.configuration()
        .is_ok_and(|it| it.electors().all(|voter| voter == me) && it.is_voter(me))
}

fn weight(entries: &[Entry]) -> u64 {
    entries.iter().map(Entry::weight).sum()
}
