//! Writes: put, delete, and transactions of both, of reads, and of transactions.
//!
//! A transaction runs in three passes, as in etcd: *judge* every compare, nested ones too, against the state before it;
//! *check* every operation that will run; only then *run* them. What can be refused is refused in the second pass, so the
//! third has no error: a transaction is done whole or not at all.
//!
//! What a put or a deletion means for the leases follows from the records that they write; see [`crate::lease`].

use std::cmp::Ordering;

use bytes::Bytes;

use crate::keys::KeyRange;
use crate::keyspace::{Keyspace, View, Writer};
use crate::range::range;
use crate::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, DeleteRangeResponse, KeyValue, Op,
    PutRequest, PutResponse, RangeRequest, RequestOp, ResponseOp, StoreError, TargetUnion,
    TxnRequest, TxnResponse,
};

/// A transaction with its compares judged: the branch that is taken, and the same of each transaction nested in it, in order.
pub(crate) struct Judged<'a> {
    succeeded: bool,
    branch: &'a [RequestOp],
    nested: Vec<Self>,
}

impl<'a> Judged<'a> {
    /// Judges the compares of `txn` and of all transactions nested in the branches taken.
    pub(crate) fn new(view: View<'_>, txn: &'a TxnRequest) -> Self {
        let succeeded = txn.compare.iter().all(|compare| holds(view, compare));
        let branch = if succeeded {
            &txn.success
        } else {
            &txn.failure
        };
        let nested = branch.iter().filter_map(|op| match &op.request {
            Some(Op::Txn(nested)) => Some(Self::new(view, nested)),
            _ => None,
        });
        Self {
            succeeded,
            branch,
            nested: nested.collect(),
        }
    }

    /// Whether every operation that will run can.
    pub(crate) fn check(&self, view: View<'_>) -> Result<(), StoreError> {
        self.check_after(view, &mut None)
    }

    /// `deleted_from` is the first key from which on operations before these delete everything. A put that keeps what such a
    /// key had would find nothing when its turn comes. (etcd overlooks that, and its server ends. No other deletion may stand
    /// beside a put of its keys; see [`crate::validate::txn`].)
    fn check_after(
        &self,
        view: View<'_>,
        deleted_from: &mut Option<&'a [u8]>,
    ) -> Result<(), StoreError> {
        let mut nested = self.nested.iter();
        for op in self.branch {
            match &op.request {
                Some(Op::Range(range)) => check_range(view, range)?,
                Some(Op::Put(put)) => {
                    check_put(view, put)?;
                    if keeps(put) && deleted_from.is_some_and(|start| *put.key >= *start) {
                        return Err(StoreError::KeyNotFound);
                    }
                }
                Some(Op::DeleteRange(delete)) => {
                    if let KeyRange::From(start) = KeyRange::new(&delete.key, &delete.range_end) {
                        *deleted_from = Some(deleted_from.map_or(start, |first| first.min(start)));
                    }
                }
                Some(Op::Txn(_)) => {
                    let nested = nested.next();
                    nested.map_or(Ok(()), |nested| nested.check_after(view, deleted_from))?;
                }
                None => {}
            }
        }
        Ok(())
    }

    fn run(&self, writer: &mut Writer<'_>) -> TxnResponse {
        let mut nested = self.nested.iter();
        let mut responses = Vec::with_capacity(self.branch.len());
        for op in self.branch {
            responses.push(match &op.request {
                Some(Op::Range(range)) => Some(ResponseOp::Range(checked(writer.view(), range))),
                Some(Op::Put(put)) => Some(ResponseOp::Put(run_put(writer, put))),
                Some(Op::DeleteRange(delete)) => {
                    Some(ResponseOp::DeleteRange(run_delete(writer, delete)))
                }
                Some(Op::Txn(_)) => nested
                    .next()
                    .map(|nested| ResponseOp::Txn(nested.run(writer))),
                None => None,
            });
        }
        TxnResponse {
            revision: 0,
            succeeded: self.succeeded,
            responses,
        }
    }
}

/// Writes one key.
pub(crate) fn put(
    writer: &mut Writer<'_>,
    request: &PutRequest,
) -> Result<PutResponse, StoreError> {
    check_put(writer.view(), request)?;
    Ok(run_put(writer, request))
}

/// Deletes a range.
pub(crate) fn delete(writer: &mut Writer<'_>, request: &DeleteRangeRequest) -> DeleteRangeResponse {
    run_delete(writer, request)
}

/// Runs a transaction that may write.
pub(crate) fn txn(
    writer: &mut Writer<'_>,
    request: &TxnRequest,
) -> Result<TxnResponse, StoreError> {
    let judged = Judged::new(writer.view(), request);
    judged.check(writer.view())?;
    let answer = judged.run(writer);
    Ok(TxnResponse {
        revision: writer.revision(),
        ..answer
    })
}

/// Runs a transaction that consists of ranges alone.
pub(crate) fn read(keyspace: &Keyspace, request: &TxnRequest) -> Result<TxnResponse, StoreError> {
    assert!(
        request.is_read_only(),
        "only a transaction of ranges alone is answered without the log"
    );
    let view = View::newest(keyspace);
    let judged = Judged::new(view, request);
    judged.check(view)?;
    let responses = judged.branch.iter().map(|op| match &op.request {
        Some(Op::Range(range)) => Some(ResponseOp::Range(checked(view, range))),
        _ => None,
    });
    let responses = responses.collect();
    Ok(TxnResponse {
        revision: view.revision,
        succeeded: judged.succeeded,
        responses,
    })
}

fn run_put(writer: &mut Writer<'_>, request: &PutRequest) -> PutResponse {
    let before = if request.prev_kv || keeps(request) {
        writer.view().find(&request.key).cloned()
    } else {
        None
    };
    // Keeping a slice of the request would keep the whole buffer it came in alive, so the value is copied.
    let value = match &before {
        Some(kv) if request.ignore_value => kv.value.clone(),
        _ => Bytes::copy_from_slice(&request.value),
    };
    let lease = match &before {
        Some(kv) if request.ignore_lease => kv.lease,
        _ => request.lease,
    };
    writer.put(&request.key, value, lease);
    let prev_kv = before.filter(|_| request.prev_kv);
    PutResponse {
        revision: writer.revision(),
        prev_kv,
    }
}

fn run_delete(writer: &mut Writer<'_>, request: &DeleteRangeRequest) -> DeleteRangeResponse {
    let keys = KeyRange::new(&request.key, &request.range_end);
    let prev_kvs: Vec<KeyValue> = match request.prev_kv {
        true => writer.view().range(keys).cloned().collect(),
        false => Vec::new(),
    };
    let deleted = writer.delete(keys);
    DeleteRangeResponse {
        revision: writer.revision(),
        deleted,
        prev_kvs,
    }
}

/// A range inside a transaction, after its check.
fn checked(view: View<'_>, request: &RangeRequest) -> crate::RangeResponse {
    range(view, request).expect("the revision was checked, and a transaction compacts nothing")
}

/// Whether it keeps something of what is there, so that something must be there.
fn keeps(request: &PutRequest) -> bool {
    request.ignore_value || request.ignore_lease
}

fn check_put(view: View<'_>, request: &PutRequest) -> Result<(), StoreError> {
    let names_lease = request.lease != 0;
    if names_lease && view.keyspace.leases.find(request.lease).is_none() {
        return Err(StoreError::LeaseNotFound);
    }
    if keeps(request) && view.find(&request.key).is_none() {
        return Err(StoreError::KeyNotFound);
    }
    Ok(())
}

/// The rule inside a transaction. It differs from a range on its own in negative revisions: those count as compacted once
/// there was a compaction, or below -1.
fn check_range(view: View<'_>, request: &RangeRequest) -> Result<(), StoreError> {
    match request.revision {
        0 => Ok(()),
        revision if revision > view.revision => Err(StoreError::FutureRevision),
        revision if revision < view.keyspace.compacted => Err(StoreError::Compacted),
        _ => Ok(()),
    }
}

/// Whether a compare holds for every key in its range; a range without keys is judged as one key of zeros, but
/// never equals, exceeds or differs from a value, because an absent value is not an empty one.
fn holds(view: View<'_>, compare: &Compare) -> bool {
    let mut keys = view
        .range(KeyRange::new(&compare.key, &compare.range_end))
        .peekable();
    if keys.peek().is_none() {
        let by_value = compare.target == CompareTarget::Value as i32;
        return !by_value && holds_for(compare, &KeyValue::default());
    }
    keys.all(|kv| holds_for(compare, kv))
}

fn holds_for(compare: &Compare, kv: &KeyValue) -> bool {
    let order = stored_against_given(compare, kv);
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => order == Ordering::Equal,
        Ok(CompareResult::NotEqual) => order != Ordering::Equal,
        Ok(CompareResult::Greater) => order == Ordering::Greater,
        Ok(CompareResult::Less) => order == Ordering::Less,
        Err(_) => true,
    }
}

/// A given side that does not fit the target counts as zero or empty; an unknown target is equal to everything.
fn stored_against_given(compare: &Compare, kv: &KeyValue) -> Ordering {
    let given = compare.target_union.as_ref();
    match (CompareTarget::try_from(compare.target), given) {
        (Ok(CompareTarget::Value), Some(TargetUnion::Value(value))) => kv.value.cmp(value),
        (Ok(CompareTarget::Value), _) => kv.value.as_ref().cmp(&[]),
        (Ok(CompareTarget::Create), Some(TargetUnion::CreateRevision(n))) => {
            kv.create_revision.cmp(n)
        }
        (Ok(CompareTarget::Create), _) => kv.create_revision.cmp(&0),
        (Ok(CompareTarget::Mod), Some(TargetUnion::ModRevision(n))) => kv.mod_revision.cmp(n),
        (Ok(CompareTarget::Mod), _) => kv.mod_revision.cmp(&0),
        (Ok(CompareTarget::Version), Some(TargetUnion::Version(n))) => kv.version.cmp(n),
        (Ok(CompareTarget::Version), _) => kv.version.cmp(&0),
        (Ok(CompareTarget::Lease), Some(TargetUnion::Lease(n))) => kv.lease.cmp(n),
        (Ok(CompareTarget::Lease), _) => kv.lease.cmp(&0),
        (Err(_), _) => Ordering::Equal,
    }
}
