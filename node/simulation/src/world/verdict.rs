//! A first look at what the clients saw, with the members' own revisions as the order that must explain it.
//!
//! Every answer names a revision. If the answers are what a single store gives at these revisions, and if who began after
//! another had ended never gets an older one, then the revisions are a linearization. That is quick, and believes the members in
//! the one thing that it then checks.
//!
//! What this module deliberately does not do: look for another order where this one fails.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_node::watch::{Body, KeyRange};
use store::{
    Change, Compare, KeyValue, Op, PutRequest, RangeRequest, RangeResponse, RequestOp, Response,
    ResponseOp, TargetUnion, TxnRequest, TxnResponse,
};

use super::checker::{Checked, ensure};
use crate::history::{Answer, Asked, History, LeaseLife, Operation, WatchLog};
use crate::profile::TICK_MS;

const LINEARIZABLE: &str = "clients see one store, in the order of true time";
const WATCHED: &str = "watchers are told everything, in order, once, and whole revisions";
const LEASES: &str = "a lease does not end early";

/// Every key's versions, by the revision that wrote them; none for a deletion.
#[derive(Debug, Default)]
struct States(BTreeMap<Bytes, Vec<(i64, Option<KeyValue>)>>);

impl States {
    fn of(writes: &[(u64, Change)]) -> Self {
        let mut states = Self::default();
        for (_, change) in writes {
            let kv = change.kv().clone();
            let version = (!change.is_delete()).then_some(kv);
            let versions = states.0.entry(change.kv().key.clone()).or_default();
            versions.push((change.revision().main, version));
        }
        states
    }

    fn at(&self, key: &Bytes, revision: i64) -> Option<&KeyValue> {
        let versions = self.0.get(key)?;
        let later = versions.partition_point(|(written, _)| *written <= revision);
        versions[..later].last()?.1.as_ref()
    }

    fn range(&self, key: &Bytes, range_end: &Bytes, revision: i64) -> Vec<&KeyValue> {
        if range_end.is_empty() {
            return self.at(key, revision).into_iter().collect();
        }
        let keys = self.0.range(key.clone()..range_end.clone());
        keys.filter_map(|(key, _)| self.at(key, revision)).collect()
    }
}

/// Reads everything.
pub(crate) fn verdict(history: &History) -> Checked {
    let states = States::of(&history.writes);
    if history.is_whole {
        for operation in &history.operations {
            check_answer(operation, &states)?;
        }
        check_unwritten(history)?;
    }
    check_order(&history.operations)?;
    for watch in &history.watches {
        check_watch(watch, history, &states)?;
    }
    for lease in &history.leases {
        check_lease(lease, history)?;
    }
    Ok(())
}

fn check_answer(operation: &Operation, states: &States) -> Checked {
    let holds = match (&operation.asked, &operation.answer) {
        (Asked::Put(put), Answer::Applied(Response::Put(answer))) => {
            let before = states.at(&put.key, answer.revision - 1);
            is_written(put, answer.revision, states)
                && (!put.prev_kv || before == answer.prev_kv.as_ref())
        }
        (Asked::Delete(delete), Answer::Applied(Response::DeleteRange(answer))) => {
            let wrote = answer.deleted > 0;
            let before = answer.revision - i64::from(wrote);
            let there = states.range(&delete.key, &delete.range_end, before);
            there.len() as i64 == answer.deleted
                && (!delete.prev_kv || there.into_iter().eq(&answer.prev_kvs))
        }
        (Asked::Range(range), Answer::Range(found)) => is_found(range, found, states),
        (Asked::Txn(txn), Answer::Applied(Response::Txn(answer)) | Answer::Txn(answer)) => {
            is_done(txn, answer, states)
        }
        _ => true,
    };
    ensure(holds, LINEARIZABLE, || format!("{operation:#?}"))
}

/// Whether the guard was judged before the write and the operations done at it. Clients' transactions either write or read.
fn is_done(txn: &TxnRequest, answer: &TxnResponse, states: &States) -> bool {
    let ops = if answer.succeeded {
        &txn.success
    } else {
        &txn.failure
    };
    let puts = |op: &RequestOp| matches!(op.request, Some(Op::Put(_)));
    let before = answer.revision - i64::from(ops.iter().any(puts));
    let holds = |compare: &Compare| {
        let found = states
            .at(&compare.key, before)
            .map_or(0, |kv| kv.mod_revision);
        compare.target_union == Some(TargetUnion::ModRevision(found))
    };
    let agrees = |(op, done): (&RequestOp, &Option<ResponseOp>)| match (&op.request, done) {
        (Some(Op::Put(put)), Some(ResponseOp::Put(_))) => is_written(put, answer.revision, states),
        (Some(Op::Range(range)), Some(ResponseOp::Range(found))) => {
            let there = states.range(&range.key, &range.range_end, answer.revision);
            there.into_iter().eq(&found.kvs)
        }
        _ => false,
    };
    txn.compare.iter().all(holds) == answer.succeeded
        && ops.len() == answer.responses.len()
        && ops.iter().zip(&answer.responses).all(agrees)
}

fn is_written(put: &PutRequest, revision: i64, states: &States) -> bool {
    states
        .at(&put.key, revision)
        .is_some_and(|kv| kv.mod_revision == revision && kv.value == put.value)
}

fn is_found(range: &RangeRequest, found: &RangeResponse, states: &States) -> bool {
    let there = states.range(&range.key, &range.range_end, found.revision);
    there.into_iter().eq(&found.kvs)
}

/// What was refused for good is never seen. Values name the puts that wrote them.
fn check_unwritten(history: &History) -> Checked {
    let written = history
        .writes
        .iter()
        .filter(|(_, change)| !change.is_delete());
    let written: BTreeSet<&Bytes> = written.map(|(_, change)| &change.kv().value).collect();
    for operation in &history.operations {
        let (Asked::Put(put), Answer::Refused(refusal)) = (&operation.asked, &operation.answer)
        else {
            continue;
        };
        ensure(
            refusal.is_unknown() || !written.contains(&put.value),
            LINEARIZABLE,
            || format!("refused, and done: {operation:#?}"),
        )?;
    }
    Ok(())
}

/// The revision that an answer speaks of, and whether it wrote it.
fn revision_of(operation: &Operation) -> Option<(i64, bool)> {
    match (&operation.asked, &operation.answer) {
        (Asked::Range(range), _) if range.serializable => None,
        (_, Answer::Range(found)) => Some((found.revision, false)),
        (_, Answer::Txn(answer)) => Some((answer.revision, false)),
        (_, Answer::Applied(response)) => match response {
            Response::Put(answer) => Some((answer.revision, true)),
            Response::DeleteRange(answer) => Some((answer.revision, answer.deleted > 0)),
            Response::Txn(answer) => Some((answer.revision, answer.succeeded)),
            _ => None,
        },
        _ => None,
    }
}

/// Who began after another had ended does not see less, and writes after it.
fn check_order(operations: &[Operation]) -> Checked {
    let placed = operations
        .iter()
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
        if let Some((before, seen)) = newest {
            ensure(
                revision > seen || revision == seen && !writes,
                LINEARIZABLE,
                || format!("{before:#?}\nwas before {operation:#?}"),
            )?;
        }
    }
    Ok(())
}

fn is_in(range: &KeyRange, key: &Bytes) -> bool {
    match range {
        KeyRange::One(one) => one == key,
        KeyRange::Span(from, to) => key >= from && to.as_ref().is_none_or(|to| key < to),
    }
}

fn check_watch(watch: &WatchLog, history: &History, states: &States) -> Checked {
    let broken = |holds: bool, at: &dyn std::fmt::Debug| {
        ensure(holds, WATCHED, || {
            let (watcher, member, create) = (watch.watcher, watch.member, &watch.create);
            format!("watcher {watcher} at {member}, {create:?}: {at:?}")
        })
    };
    let created = watch.told.iter().find(|(_, it)| it.body == Body::Created);
    let Some((_, created)) = created else {
        return broken(!watch.is_complete, &"never created");
    };
    let start = match watch.create.start {
        0 => created.revision + 1,
        start => start,
    };
    let wanted = |(_, change): &&(u64, Change)| {
        change.revision().main >= start && is_in(&watch.create.range, &change.kv().key)
    };
    let mut expected = history.writes.iter().filter(wanted).peekable();
    for (_, told) in &watch.told {
        for event in told.events() {
            let next = expected.next().map(|(_, change)| change);
            broken(next == Some(&event.change), &(next, &event.change))?;
            let before = event.change.revision().main - 1;
            let previous = states.at(&event.change.kv().key, before);
            let is_known = before >= history.compacted && watch.create.prev_kv && history.is_whole;
            broken(
                !is_known || event.previous.as_ref() == previous,
                &("prev", event, previous),
            )?;
        }
        let next = expected.peek().map(|(_, change)| change.revision().main);
        let last = told.events().last().map(|last| last.change.revision().main);
        broken(last.is_none() || next != last, &("a part of", last))?;
        if told.body == Body::Progress {
            broken(
                next.is_none_or(|next| next > told.revision),
                &("progress", told.revision, next),
            )?;
        }
        if let Body::Compacted(to) = told.body {
            broken(
                next.is_none_or(|next| next <= to) || start <= to,
                &("compacted", to, next),
            )?;
            return Ok(());
        }
    }
    broken(
        !watch.is_complete || expected.peek().is_none(),
        &("missing", expected.peek()),
    )
}

/// Whoever renewed a lease has it for its whole time, as the fastest clock measures that.
fn check_lease(lease: &LeaseLife, history: &History) -> Checked {
    let Some(ended) = lease.ended_ms else {
        return Ok(());
    };
    let of_it = |asked: &Asked| matches!(asked, Asked::Revoke(id) if *id == lease.id);
    let asked = |it: &&Operation| of_it(&it.asked) && it.began_ms <= ended;
    if history.operations.iter().any(|it| asked(&it)) {
        return Ok(());
    }
    let renewals = history.operations.iter().filter(|it| {
        let is_renewed = matches!(it.answer, Answer::Renewed(_));
        is_renewed && it.ended_ms < ended && matches!(it.asked, Asked::Renew(id) if id == lease.id)
    });
    // It began anew at some time while the renewal was under way; a grant before the first member had it.
    let grants = history
        .operations
        .iter()
        .filter(|it| matches!(&it.asked, Asked::Grant(grant) if grant.id == lease.id));
    let begun = grants.chain(renewals).map(|it| it.began_ms).max();
    let Some(begun) = begun else {
        return Ok(());
    };
    let ttl_ms = lease.ttl.unsigned_abs() * 1_000 * (1_000 - history.drift_permille) / 1_000;
    let least = (begun + ttl_ms).saturating_sub(history.jumped_ms + TICK_MS);
    ensure(ended >= least, LEASES, || {
        format!("{lease:?} was there to live until {least} at the least")
    })
}
