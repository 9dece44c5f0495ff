//! What is wrong with a request whatever the state is: etcd's gRPC layer refuses it before it is proposed, with these rules
//! in this order (`server/etcdserver/api/v3rpc/key.go`).
//!
//! It is the caller who must ask. [`crate::Store::apply`] stands every decoded command, but a log that holds unchecked ones
//! would answer where etcd refuses.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::ops::Bound;

use crate::{
    Command, DeleteRangeRequest, Op, PutRequest, RangeRequest, RequestOp, SortOrder, SortTarget,
    StoreError, TxnRequest,
};

/// How deep transactions may be nested. etcd has no such limit but the budget of operations; ours keeps every accepted
/// request far within what the decoder of the log takes (100 messages in one another).
pub const MAX_TXN_DEPTH: usize = 32;

/// A command that came from a client. Those on the membership table are for [`crate::Members::check`].
///
/// # Errors
/// The first rule that is broken.
pub fn command(command: &Command, max_txn_ops: usize) -> Result<(), StoreError> {
    match command {
        Command::Put(request) => put(request),
        Command::DeleteRange(request) => delete_range(request),
        Command::Txn(request) => txn(request, max_txn_ops),
        _ => Ok(()),
    }
}

/// A range, alone or in a transaction.
///
/// # Errors
/// [`StoreError::EmptyKey`], [`StoreError::InvalidSortOption`].
pub fn range(request: &RangeRequest) -> Result<(), StoreError> {
    present(&request.key)?;
    let known =
        SortOrder::is_valid(request.sort_order) && SortTarget::is_valid(request.sort_target);
    if known {
        Ok(())
    } else {
        Err(StoreError::InvalidSortOption)
    }
}

/// A put, alone or in a transaction.
///
/// # Errors
/// [`StoreError::EmptyKey`], [`StoreError::ValueProvided`], [`StoreError::LeaseProvided`].
pub fn put(request: &PutRequest) -> Result<(), StoreError> {
    present(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(StoreError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(StoreError::LeaseProvided);
    }
    Ok(())
}

/// A deletion, alone or in a transaction.
///
/// # Errors
/// [`StoreError::EmptyKey`].
pub fn delete_range(request: &DeleteRangeRequest) -> Result<(), StoreError> {
    present(&request.key)
}

/// A transaction with everything in it. `max_ops` bounds compares and each branch; what the longest of the three uses up is
/// taken off for the transactions nested in it.
///
/// # Errors
/// [`StoreError::TooManyOps`], what its operations break, [`StoreError::KeyNotFound`] for an empty operation, and
/// [`StoreError::DuplicateKey`].
pub fn txn(request: &TxnRequest, max_ops: usize) -> Result<(), StoreError> {
    operations(request, max_ops, MAX_TXN_DEPTH)?;
    Writes::of(&request.success)?;
    Writes::of(&request.failure)?;
    Ok(())
}

fn present(key: &[u8]) -> Result<(), StoreError> {
    if key.is_empty() {
        Err(StoreError::EmptyKey)
    } else {
        Ok(())
    }
}

fn operations(request: &TxnRequest, max_ops: usize, depth: usize) -> Result<(), StoreError> {
    let used = request
        .compare
        .len()
        .max(request.success.len())
        .max(request.failure.len());
    let left = max_ops.checked_sub(used).ok_or(StoreError::TooManyOps)?;
    let depth = depth.checked_sub(1).ok_or(StoreError::TooManyOps)?;
    request
        .compare
        .iter()
        .try_for_each(|compare| present(&compare.key))?;
    let mut branches = request.success.iter().chain(&request.failure);
    branches.try_for_each(|op| operation(op, left, depth))
}

fn operation(op: &RequestOp, max_ops: usize, depth: usize) -> Result<(), StoreError> {
    match &op.request {
        Some(Op::Range(request)) => range(request),
        Some(Op::Put(request)) => put(request),
        Some(Op::DeleteRange(request)) => delete_range(request),
        Some(Op::Txn(request)) => operations(request, max_ops, depth),
        None => Err(StoreError::KeyNotFound),
    }
}

/// What one branch writes, nested transactions included: no key twice.
#[derive(Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Deleted<'a>,
}

impl<'a> Writes<'a> {
    /// The order matters and is etcd's: deletions of this level, then nested transactions one after the other, then puts of
    /// this level. So a nested put before a sibling's deletion passes, the other way round does not.
    fn of(branch: &'a [RequestOp]) -> Result<Self, StoreError> {
        let mut writes = Self::default();
        for op in branch {
            if let Some(Op::DeleteRange(request)) = &op.request {
                writes.deletes.insert(&request.key, &request.range_end);
            }
        }
        for op in branch {
            if let Some(Op::Txn(nested)) = &op.request {
                writes.add_nested(nested)?;
            }
        }
        for op in branch {
            if let Some(Op::Put(request)) = &op.request {
                writes.put(&request.key, false)?;
            }
        }
        Ok(writes)
    }

    /// Both branches of a nested transaction may put the same key, since only one of them runs.
    fn add_nested(&mut self, nested: &'a TxnRequest) -> Result<(), StoreError> {
        let then = Self::of(&nested.success)?;
        let otherwise = Self::of(&nested.failure)?;
        then.puts.iter().try_for_each(|key| self.put(key, false))?;
        otherwise
            .puts
            .iter()
            .try_for_each(|key| self.put(key, then.puts.contains(key)))?;
        self.deletes.extend(then.deletes);
        self.deletes.extend(otherwise.deletes);
        Ok(())
    }

    fn put(&mut self, key: &'a [u8], may_repeat: bool) -> Result<(), StoreError> {
        let repeated = !self.puts.insert(key);
        if (repeated && !may_repeat) || self.deletes.contains(key) {
            return Err(StoreError::DuplicateKey);
        }
        Ok(())
    }
}

/// Deleted keys as disjoint spans, start to end.
///
/// etcd takes the end literally here: a deletion "from this key on" (`"\0"`) ends before it starts and hits no put. It may
/// stand beside a put, which then happens after or before it, in the order of the operations.
#[derive(Default)]
struct Deleted<'a>(BTreeMap<&'a [u8], Cow<'a, [u8]>>);

impl<'a> Deleted<'a> {
    fn insert(&mut self, key: &'a [u8], range_end: &'a [u8]) {
        let end = match range_end {
            [] => Cow::Owned([key, &[0]].concat()),
            end => Cow::Borrowed(end),
        };
        self.insert_span(key, end);
    }

    /// Spans that start at `key` or before.
    fn upto(&self, key: &[u8]) -> btree_map::Range<'_, &'a [u8], Cow<'a, [u8]>> {
        self.0
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(key)))
    }

    /// Spans that start at `key` or after.
    fn from(&self, key: &[u8]) -> btree_map::Range<'_, &'a [u8], Cow<'a, [u8]>> {
        self.0
            .range::<[u8], _>((Bound::Included(key), Bound::Unbounded))
    }

    fn insert_span(&mut self, start: &'a [u8], mut end: Cow<'a, [u8]>) {
        if *end <= *start {
            return;
        }
        let before = self.upto(start).next_back();
        let start = before
            .filter(|(_, last)| ***last >= *start)
            .map_or(start, |(first, _)| *first);
        while let Some((first, last)) = self.from(start).next() {
            if **first > *end {
                break;
            }
            let first = *first;
            if **last > *end {
                end = last.clone();
            }
            self.0.remove(first);
        }
        self.0.insert(start, end);
    }

    fn extend(&mut self, other: Self) {
        for (start, end) in other.0 {
            self.insert_span(start, end);
        }
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.upto(key)
            .next_back()
            .is_some_and(|(_, end)| **end > *key)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Transactions in one another, `depth` of them.
    fn nested(depth: usize) -> TxnRequest {
        let mut txn = TxnRequest::default();
        for _ in 1..depth {
            let success = vec![RequestOp::from(Op::Txn(txn))];
            txn = TxnRequest {
                success,
                ..TxnRequest::default()
            };
        }
        txn
    }

    #[test]
    fn whatever_is_accepted_can_be_read_from_the_log() {
        let deepest = Command::Txn(nested(MAX_TXN_DEPTH));
        assert_eq!(command(&deepest, 128), Ok(()));
        assert_eq!(Command::from_bytes(&deepest.to_bytes()), Ok(deepest));
        let deeper = Command::Txn(nested(MAX_TXN_DEPTH + 1));
        assert_eq!(command(&deeper, 128), Err(StoreError::TooManyOps));
    }

    /// A key of few letters, or none.
    fn key() -> impl Strategy<Value = Bytes> {
        vec(proptest::sample::select(b"\0ab".to_vec()), 0..4).prop_map(Bytes::from)
    }

    proptest! {
        #[test]
        fn merged_spans_hold_what_the_single_ones_do(
            spans in vec((key(), key()), 0..12),
            wanted in key(),
        ) {
            let mut merged = Deleted::default();
            spans.iter().for_each(|(start, end)| merged.insert(start, end));
            let within = |(start, end): &(Bytes, Bytes)| {
                if end.is_empty() { wanted == start } else { (start..end).contains(&&wanted) }
            };
            prop_assert_eq!(merged.contains(&wanted), spans.iter().any(within));
            let ends: Vec<_> = merged.0.iter().flat_map(|(a, b)| [a.to_vec(), b.to_vec()]).collect();
            prop_assert!(ends.is_sorted_by(|a, b| a < b), "spans touch: {:?}", ends);
        }
    }
}
