//! Whether leases lived as long as was promised.
//!
//! 1. A lease that nobody revokes ends no earlier than its time to live after it was granted or last renewed, as the fastest clock measures
//!    that.
//! 2. When the faults have stopped and nobody renews, it ends soon after.
//! 3. Nothing hangs on a lease that has ended; that its keys went with it, and nothing else, is told with the authors of writes.
//! 4. Whoever asks for a lease that had ended before, or renews it, is told so; and of one that lived all the while is not told that.
//! 5. A revoked lease has ended when that is answered.
//! 6. What is told of a lease is true: its time, no more left than that and no less than was promised, and the keys of some revision
//!    in between.
//!
//! What this module deliberately does not do: judge leases that no member was seen to have, as when a snapshot brought both their
//! beginning and their end.

use quorate_node::event::LeaseState;
use quorate_node::refusal::Refusal;
use store::{Response, StoreError};

use super::LEASES;
use super::sequence::Sequence;
use crate::history::{Answer, Asked, History, LeaseLife, Operation};
use crate::profile::TICK_MS;
use crate::world::checker::{Checked, ensure};

/// What a lease may take longer than its time once nobody renews it: an election, its election timeout, and the revocation's way.
const LATE_MS: u64 = 12_000;

pub(super) fn judge(history: &History, sequence: &Sequence<'_>) -> Checked {
    for lease in &history.leases {
        check_early(lease, history)?;
        check_late(lease, history)?;
        check_keys(lease, sequence)?;
    }
    for operation in &history.operations {
        let Some(id) = lease_of(&operation.asked) else {
            continue;
        };
        let mut lives = history.leases.iter().filter(|lease| lease.id == id);
        if let Some(lease) = lives.next() {
            check_answer(operation, lease, history, sequence)?;
        }
    }
    Ok(())
}

/// The lease that an operation is about.
const fn lease_of(asked: &Asked) -> Option<i64> {
    match asked {
        Asked::Renew(id) | Asked::Revoke(id) | Asked::TimeToLive(id) => Some(*id),
        Asked::Put(put) if put.lease != 0 => Some(put.lease),
        _ => None,
    }
}

fn check_early(lease: &LeaseLife, history: &History) -> Checked {
    let Some(ended) = lease.ended_ms else {
        return Ok(());
    };
    let revokes = |it: &Operation| {
        matches!(it.asked, Asked::Revoke(id) if id == lease.id) && it.began_ms <= ended
    };
    if history.operations.iter().any(revokes) {
        return Ok(());
    }
    let least = promised_until(lease, history, ended);
    ensure(Some(ended) >= least, LEASES, || {
        format!("{lease:?} was there to live until {least:?} at the least")
    })
}

/// How long it lives at the least by what was told before this time.
fn promised_until(lease: &LeaseLife, history: &History, told_before_ms: u64) -> Option<u64> {
    // It began anew at some time while the renewal was under way; a grant before the first member had it.
    let begins = history.operations.iter().filter(|it| match &it.asked {
        Asked::Grant(grant) => grant.id == lease.id,
        Asked::Renew(id) => {
            let is_told = it.ended_ms < told_before_ms;
            *id == lease.id && is_told && matches!(it.answer, Answer::Renewed(_))
        }
        _ => false,
    });
    let begun = begins.map(|it| it.began_ms).max()?;
    let ttl_ms = ttl_ms(lease) * (1_000 - history.drift_permille) / 1_000;
    Some((begun + ttl_ms).saturating_sub(history.jumped_ms + TICK_MS))
}

/// Whether no less is said to be left than was promised; the seconds told are whole ones.
fn is_enough(state: &LeaseState, operation: &Operation, until: Option<u64>) -> bool {
    let left_ms = until.and_then(|until| until.checked_sub(operation.ended_ms + 2 * TICK_MS));
    left_ms.is_none_or(|left_ms| (state.left + 1) * 1_000 > left_ms.cast_signed())
}

const fn ttl_ms(lease: &LeaseLife) -> u64 {
    lease.ttl.unsigned_abs() * 1_000
}

fn check_late(lease: &LeaseLife, history: &History) -> Checked {
    let most = lease.granted_ms.max(history.quiet_ms) + ttl_ms(lease) + LATE_MS;
    let ended = lease.ended_ms.unwrap_or(u64::MAX);
    ensure(ended <= most, LEASES, || {
        format!("{lease:?} had to end until {most}")
    })
}

fn check_keys(lease: &LeaseLife, sequence: &Sequence<'_>) -> Checked {
    let Some(ended) = lease.ended_ms else {
        return Ok(());
    };
    let left = sequence.attached(lease.id, sequence.revision_before(ended + 1));
    ensure(left.is_empty(), LEASES, || {
        format!("{lease:?} left {left:?}")
    })?;
    let after = sequence.steps.iter().filter(|step| step.at_ms > ended);
    let mut after = after.flat_map(|step| &step.changes);
    let late = after.find(|change| change.kv().lease == lease.id);
    ensure(late.is_none(), LEASES, || {
        format!("{late:?} hangs on {lease:?}")
    })
}

fn check_answer(
    operation: &Operation,
    lease: &LeaseLife,
    history: &History,
    sequence: &Sequence<'_>,
) -> Checked {
    let Operation {
        began_ms, ended_ms, ..
    } = *operation;
    let had_ended = lease.ended_ms.is_some_and(|ended| ended < began_ms);
    let lived_on =
        lease.granted_ms < began_ms && lease.ended_ms.is_none_or(|ended| ended > ended_ms);
    let holds = match &operation.answer {
        Answer::Refused(Refusal::Store(StoreError::LeaseNotFound)) => !lived_on,
        Answer::Applied(Response::LeaseRevoke(_)) => {
            !had_ended && lease.ended_ms.is_some_and(|ended| ended <= ended_ms)
        }
        Answer::Applied(_) => !had_ended,
        Answer::Renewed(ttl) => !had_ended && *ttl == lease.ttl,
        Answer::Lease(state) => {
            let until = promised_until(lease, history, began_ms);
            !had_ended
                && is_enough(state, operation, until)
                && is_true(state, operation, lease, sequence, history.is_whole)
        }
        _ => true,
    };
    ensure(holds, LEASES, || format!("{lease:?}: {operation:#?}"))
}

fn is_true(
    state: &LeaseState,
    operation: &Operation,
    lease: &LeaseLife,
    sequence: &Sequence<'_>,
    is_whole: bool,
) -> bool {
    let from = sequence.revision_before(operation.began_ms);
    let to = sequence.revision_before(operation.ended_ms + 1);
    let keys = |revision: i64| {
        let attached = sequence.attached(lease.id, revision);
        attached.into_iter().eq(&state.keys)
    };
    state.granted_ttl == lease.ttl
        && state.left <= lease.ttl
        && (!is_whole || (from..=to).any(keys))
}
