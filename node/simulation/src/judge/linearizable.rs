//! Whether clients saw one store.
//!
//! 1. Every revision has one author: a request that was not refused for good, and did all that it says at the revision before; or a
//!    lease that ended then, with all that hung on it. No request is the author of two.
//! 2. A write that was answered is the author of the revision that its answer names, after it was asked and before it was answered.
//! 3. Every answer is what the sequence gives at the answer's revision; a local one also, however old.
//! 4. Nobody is told of a revision before any member has it. Who asks for a linearizable answer is told of all that any member had
//!    before that.
//!
//! Values name their requests, as clients never write the same twice. Requests of an unknown outcome may be authors, or not.
//!
//! What this module deliberately does not do: judge transactions other than those that clients make here: their guards compare revisions
//! of the last change, and they put or read.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use store::{
    Change, Compare, DeleteRangeRequest, Op, PutRequest, RequestOp, Response, ResponseOp,
    TargetUnion, TxnRequest, TxnResponse,
};

use super::LINEARIZABLE;
use super::sequence::{Sequence, Step};
use crate::history::{Answer, Asked, History, Operation};
use crate::world::checker::{Checked, ensure};

pub(super) fn judge(history: &History, sequence: &Sequence<'_>) -> Checked {
    if history.is_whole {
        let mut authors = Authors::of(history);
        for step in &sequence.steps {
            let author = authors.find(step, sequence);
            ensure(author, LINEARIZABLE, || format!("nobody wrote {step:#?}"))?;
        }
        for (place, operation) in history.operations.iter().enumerate() {
            let holds = authors.has_written(place, operation) && is_answer(operation, sequence);
            ensure(holds, LINEARIZABLE, || format!("{operation:#?}"))?;
        }
    }
    for operation in &history.operations {
        check_time(operation, history, sequence)?;
    }
    check_order(&history.operations)
}

/// Who wrote what.
struct Authors<'a> {
    history: &'a History,
    by_value: HashMap<&'a Bytes, usize>,
    /// Deletions that may have happened, of single keys first: those can explain less.
    deletions: Vec<usize>,
    /// The revision of every author that was found.
    wrote: HashMap<usize, i64>,
}

impl<'a> Authors<'a> {
    fn of(history: &'a History) -> Self {
        let (mut by_value, mut deletions) = (HashMap::new(), Vec::new());
        for (place, operation) in history.operations.iter().enumerate() {
            match &operation.asked {
                Asked::Put(put) => drop(by_value.insert(&put.value, place)),
                Asked::Txn(txn) => {
                    let puts = puts_of(&txn.success).chain(puts_of(&txn.failure));
                    by_value.extend(puts.map(|put| (&put.value, place)));
                }
                Asked::Delete(_) => deletions.push(place),
                _ => {}
            }
        }
        deletions.sort_by_key(|place| match &history.operations[*place].asked {
            Asked::Delete(delete) => !delete.range_end.is_empty(),
            _ => true,
        });
        Self {
            history,
            by_value,
            deletions,
            wrote: HashMap::new(),
        }
    }

    fn find(&mut self, step: &Step<'_>, sequence: &Sequence<'_>) -> bool {
        let put = step.changes.iter().find(|change| !change.is_delete());
        let Some(put) = put else {
            return self.deletes(step, sequence);
        };
        let Some(&place) = self.by_value.get(&put.kv().value) else {
            return false;
        };
        let operation = &self.history.operations[place];
        let is_it = match &operation.asked {
            Asked::Put(put) => are_puts([put].into_iter(), step),
            Asked::Txn(txn) => {
                let branch = branch(txn, step.revision - 1, sequence);
                are_puts(puts_of(branch), step)
            }
            _ => false,
        };
        is_it && may_write(operation, step) && self.wrote.insert(place, step.revision).is_none()
    }

    fn deletes(&mut self, step: &Step<'_>, sequence: &Sequence<'_>) -> bool {
        let keys: BTreeSet<&Bytes> = step.changes.iter().map(|change| change.key()).collect();
        let is_it = |place: &usize| {
            let operation = &self.history.operations[*place];
            let Asked::Delete(DeleteRangeRequest { key, range_end, .. }) = &operation.asked else {
                return false;
            };
            let there = sequence.range(key, range_end, step.revision - 1);
            !self.wrote.contains_key(place)
                && may_write(operation, step)
                && there.into_iter().map(|kv| &kv.key).eq(keys.iter().copied())
        };
        let answered = |place: &&usize| written(&self.history.operations[**place]).is_some();
        let mut matching = self.deletions.iter().filter(|place| is_it(place));
        let place = matching.clone().find(answered);
        if place.is_none() && self.ends_lease(step, &keys, sequence) {
            return true;
        }
        match place.or_else(|| matching.next()).copied() {
            Some(place) => self.wrote.insert(place, step.revision).is_none(),
            None => false,
        }
    }

    /// Whether these are all keys of a lease that ended then.
    fn ends_lease(
        &self,
        step: &Step<'_>,
        keys: &BTreeSet<&Bytes>,
        sequence: &Sequence<'_>,
    ) -> bool {
        let before = step.revision - 1;
        let of = |key: &&Bytes| sequence.at(key, before).map_or(0, |kv| kv.lease);
        let lease = keys.first().map_or(0, of);
        let mut lives = self.history.leases.iter().filter(|it| it.id == lease);
        lease != 0
            && lives.all(|life| life.ended_ms == Some(step.at_ms))
            && sequence
                .attached(lease, before)
                .into_iter()
                .eq(keys.iter().copied())
    }

    /// Whether an answer that names a written revision names that of its request.
    fn has_written(&self, place: usize, operation: &Operation) -> bool {
        let named = written(operation);
        named.is_none() || named == self.wrote.get(&place).copied()
    }
}

/// The revision that an operation was told to have written.
fn written(operation: &Operation) -> Option<i64> {
    let Answer::Applied(response) = &operation.answer else {
        return None;
    };
    match (&operation.asked, response) {
        (_, Response::Put(answer)) => Some(answer.revision),
        (_, Response::DeleteRange(answer)) => (answer.deleted > 0).then_some(answer.revision),
        (Asked::Txn(txn), Response::Txn(answer)) => {
            let ops = if answer.succeeded {
                &txn.success
            } else {
                &txn.failure
            };
            puts_of(ops).next().map(|_| answer.revision)
        }
        _ => None,
    }
}

/// Whether an operation may be what wrote this, by its times and its answer.
fn may_write(operation: &Operation, step: &Step<'_>) -> bool {
    let is_asked = operation.began_ms <= step.at_ms;
    is_asked
        && match &operation.answer {
            Answer::Refused(refusal) => refusal.is_unknown(),
            Answer::Lost => true,
            _ => written(operation) == Some(step.revision) && step.at_ms <= operation.ended_ms,
        }
}

fn puts_of(ops: &[RequestOp]) -> impl Iterator<Item = &PutRequest> {
    ops.iter().filter_map(|op| match &op.request {
        Some(Op::Put(put)) => Some(put),
        _ => None,
    })
}

fn are_puts<'a>(puts: impl Iterator<Item = &'a PutRequest>, step: &Step<'_>) -> bool {
    let asked = puts.map(|put| (&put.key, &put.value, put.lease));
    let done = |change: &&Change| {
        let kv = change.kv();
        (!change.is_delete()).then_some((kv.key.clone(), kv.value.clone(), kv.lease))
    };
    let asked = asked.map(|(key, value, lease)| Some((key.clone(), value.clone(), lease)));
    asked.eq(step.changes.iter().map(done))
}

/// The operations that a transaction does after this revision.
fn branch<'t>(txn: &'t TxnRequest, before: i64, sequence: &Sequence<'_>) -> &'t [RequestOp] {
    if holds(txn, before, sequence) {
        &txn.success
    } else {
        &txn.failure
    }
}

fn holds(txn: &TxnRequest, before: i64, sequence: &Sequence<'_>) -> bool {
    let holds = |compare: &Compare| {
        let found = sequence.at(&compare.key, before);
        let found = found.map_or(0, |kv| kv.mod_revision);
        compare.target_union == Some(TargetUnion::ModRevision(found))
    };
    txn.compare.iter().all(holds)
}

/// Whether an answer is what the sequence gives.
fn is_answer(operation: &Operation, sequence: &Sequence<'_>) -> bool {
    match (&operation.asked, &operation.answer) {
        (Asked::Put(put), Answer::Applied(Response::Put(answer))) => {
            let before = sequence.at(&put.key, answer.revision - 1);
            before.filter(|_| put.prev_kv) == answer.prev_kv.as_ref()
        }
        (Asked::Delete(delete), Answer::Applied(Response::DeleteRange(answer))) => {
            let before = answer.revision - i64::from(answer.deleted > 0);
            let there = sequence.range(&delete.key, &delete.range_end, before);
            there.len() as i64 == answer.deleted
                && (!delete.prev_kv || there.into_iter().eq(&answer.prev_kvs))
        }
        (Asked::Range(range), Answer::Range(found)) => {
            let there = sequence.range(&range.key, &range.range_end, found.revision);
            there.len() as i64 == found.count && there.into_iter().eq(&found.kvs)
        }
        (Asked::Txn(txn), Answer::Applied(Response::Txn(answer)) | Answer::Txn(answer)) => {
            is_done(txn, answer, sequence)
        }
        _ => true,
    }
}

fn is_done(txn: &TxnRequest, answer: &TxnResponse, sequence: &Sequence<'_>) -> bool {
    let ops = if answer.succeeded {
        &txn.success
    } else {
        &txn.failure
    };
    let before = answer.revision - i64::from(puts_of(ops).next().is_some());
    let agrees = |(op, done): (&RequestOp, &Option<ResponseOp>)| match (&op.request, done) {
        (Some(Op::Put(_)), Some(ResponseOp::Put(_))) => true,
        (Some(Op::Range(range)), Some(ResponseOp::Range(found))) => {
            let there = sequence.range(&range.key, &range.range_end, answer.revision);
            there.into_iter().eq(&found.kvs)
        }
        _ => false,
    };
    holds(txn, before, sequence) == answer.succeeded
        && ops.len() == answer.responses.len()
        && ops.iter().zip(&answer.responses).all(agrees)
}

/// The revision that an answer speaks of, and whether it has written that.
fn revision_of(operation: &Operation) -> Option<(i64, bool)> {
    let revision = match &operation.answer {
        Answer::Range(found) => found.revision,
        Answer::Txn(answer) => answer.revision,
        Answer::Applied(Response::Put(answer)) => answer.revision,
        Answer::Applied(Response::DeleteRange(answer)) => answer.revision,
        Answer::Applied(Response::Txn(answer)) => answer.revision,
        _ => return None,
    };
    Some((revision, written(operation).is_some()))
}

const fn is_local(operation: &Operation) -> bool {
    matches!(&operation.asked, Asked::Range(range) if range.serializable)
}

fn check_time(operation: &Operation, history: &History, sequence: &Sequence<'_>) -> Checked {
    let Some((revision, _)) = revision_of(operation) else {
        return Ok(());
    };
    let newest = sequence.revision_before(operation.ended_ms + 1);
    ensure(
        revision <= newest || !history.is_whole,
        LINEARIZABLE,
        || format!("no member had more than {newest}: {operation:#?}"),
    )?;
    let least = sequence.revision_before(operation.began_ms);
    ensure(
        revision >= least || is_local(operation),
        LINEARIZABLE,
        || format!("a member had {least} before: {operation:#?}"),
    )
}

/// Who began after another had ended does not see less, and writes after it.
fn check_order(operations: &[Operation]) -> Checked {
    let placed = operations
        .iter()
        .filter(|it| !is_local(it))
        .filter_map(|it| Some((it, revision_of(it)?)));
    let mut by_begin: Vec<_> = placed.collect();
    let mut by_end = by_begin.clone();
    by_begin.sort_by_key(|(operation, _)| operation.began_ms);
    by_end.sort_by_key(|(operation, _)| operation.ended_ms);
    let mut ended = by_end.into_iter().peekable();
    let mut newest: Option<(&Operation, i64)> = None;
    for (operation, (revision, writes)) in by_begin {
        while let Some((before, (seen, _))) =
            ended.next_if(|(before, _)| before.ended_ms < operation.began_ms)
        {
            if newest.is_none_or(|(_, newest)| seen > newest) {
                newest = Some((before, seen));
            }
        }
        let Some((before, seen)) = newest else {
            continue;
        };
        ensure(
            revision > seen || revision == seen && !writes,
            LINEARIZABLE,
            || format!("{before:#?}\nwas before {operation:#?}"),
        )?;
    }
    Ok(())
}
