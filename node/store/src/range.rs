//! Reading a range: count, limit, filters and order, each exactly as etcd has them.
//!
//! Two rules look odd and are etcd's (`server/etcdserver/txn/range.go`): with no sort order but a sort target other than the
//! key, the limit is taken from the keys in key order and only then sorted; and an answer without values comes from the index
//! alone, so that its leases are 0, unless it is sorted by value.

use bytes::Bytes;

use crate::keys::KeyRange;
use crate::keyspace::{Keyspace, View};
use crate::{KeyValue, RangeRequest, RangeResponse, SortOrder, SortTarget, StoreError};

/// Answers `request` as `view` sees the keyspace.
pub(crate) fn range(view: View<'_>, request: &RangeRequest) -> Result<RangeResponse, StoreError> {
    let main = view.resolve(request.revision)?;
    let keys = KeyRange::new(&request.key, &request.range_end);
    let found = view.keyspace.range(keys, main);
    let mut answer = RangeResponse {
        revision: view.revision,
        ..RangeResponse::default()
    };
    if request.count_only {
        answer.count = found.count() as i64;
        return Ok(answer);
    }
    (answer.kvs, answer.count) = gather(request, found);
    answer.kvs.retain(|kv| passes_filters(request, kv));
    sort(request, &mut answer.kvs);
    if request.limit > 0 && answer.kvs.len() as u64 > request.limit.unsigned_abs() {
        answer.kvs.truncate(request.limit as usize);
        answer.more = true;
    }
    if request.keys_only {
        answer.kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    Ok(answer)
}

/// The first keys of `request` as `view` sees them, as many as its limit says or all without one, in the order of their
/// bytes. Counts no further than that: `count` is what the answer has, and filters and order are not looked at.
pub(crate) fn page(view: View<'_>, request: &RangeRequest) -> Result<RangeResponse, StoreError> {
    let main = view.resolve(request.revision)?;
    let keys = KeyRange::new(&request.key, &request.range_end);
    let mut found = view.keyspace.range(keys, main);
    let limit = usize::try_from(request.limit)
        .ok()
        .filter(|limit| *limit > 0);
    let copied = found.by_ref().take(limit.unwrap_or(usize::MAX));
    let mut kvs: Vec<KeyValue> = copied.map(|kv| copy(request, kv)).collect();
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    Ok(RangeResponse {
        revision: view.revision,
        count: kvs.len() as i64,
        more: found.next().is_some(),
        kvs,
    })
}

/// Keys that can be counted while one is copied.
const COUNTED_PER_COPIED: usize = 8;

/// About how many keys answering takes to copy, up to `most`.
pub(crate) fn cost(keyspace: &Keyspace, request: &RangeRequest, most: usize) -> usize {
    if request.range_end.is_empty() {
        return most.min(1);
    }
    let keys = keyspace
        .keys
        .range(KeyRange::new(&request.key, &request.range_end));
    if !request.count_only && needs_all(request) {
        return keys.take(most).count();
    }
    let counted = keys.take(most.saturating_mul(COUNTED_PER_COPIED)).count();
    let copied = if request.count_only {
        0
    } else {
        counted.min(request.limit as usize)
    };
    most.min(counted / COUNTED_PER_COPIED + copied)
}

/// The keys to filter and sort, and the count of all. One more than the limit is enough where neither filter nor order can
/// change which keys come first; that one more is what says `more`.
fn gather<'a>(
    request: &RangeRequest,
    found: impl Iterator<Item = &'a KeyValue>,
) -> (Vec<KeyValue>, i64) {
    let wanted = if needs_all(request) {
        u64::MAX
    } else {
        request.limit.unsigned_abs().saturating_add(1)
    };
    let mut kvs = Vec::new();
    let mut count = 0;
    for kv in found {
        if count < wanted {
            kvs.push(copy(request, kv));
        }
        count += 1;
    }
    (kvs, count as i64)
}

fn copy(request: &RangeRequest, kv: &KeyValue) -> KeyValue {
    if request.keys_only && request.sort_target != SortTarget::Value as i32 {
        without_value_and_lease(kv)
    } else {
        kv.clone()
    }
}

fn without_value_and_lease(kv: &KeyValue) -> KeyValue {
    KeyValue {
        key: kv.key.clone(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: Bytes::new(),
        lease: 0,
    }
}

/// Whether every key of the range is to be looked into, whatever the limit.
fn needs_all(request: &RangeRequest) -> bool {
    !has_default_order(request) || has_filters(request) || request.limit <= 0
}

fn has_default_order(request: &RangeRequest) -> bool {
    let by_key = request.sort_target == SortTarget::Key as i32;
    request.sort_order == SortOrder::None as i32
        || (by_key && request.sort_order == SortOrder::Ascend as i32)
}

fn has_filters(request: &RangeRequest) -> bool {
    let RangeRequest {
        min_mod_revision,
        max_mod_revision,
        ..
    } = request;
    let RangeRequest {
        min_create_revision,
        max_create_revision,
        ..
    } = request;
    [
        min_mod_revision,
        max_mod_revision,
        min_create_revision,
        max_create_revision,
    ]
    .into_iter()
    .any(|bound| *bound != 0)
}

fn passes_filters(request: &RangeRequest, kv: &KeyValue) -> bool {
    let within = |revision: i64, min: i64, max: i64| {
        (min == 0 || revision >= min) && (max == 0 || revision <= max)
    };
    within(
        kv.mod_revision,
        request.min_mod_revision,
        request.max_mod_revision,
    ) && within(
        kv.create_revision,
        request.min_create_revision,
        request.max_create_revision,
    )
}

/// Sorts stably, so that ties stay in the order of their keys.
fn sort(request: &RangeRequest, kvs: &mut [KeyValue]) {
    let Ok(target) = SortTarget::try_from(request.sort_target) else {
        return;
    };
    let descending = request.sort_order == SortOrder::Descend as i32;
    if target == SortTarget::Key && !descending {
        return;
    }
    kvs.sort_by(|a, b| {
        let (a, b) = if descending { (b, a) } else { (a, b) };
        match target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, DeleteRangeRequest, PutRequest, Store};

    #[test]
    fn a_page_is_the_beginning_of_the_range() {
        let mut store = Store::new();
        for number in 0..20_u64 {
            let put = PutRequest {
                key: vec![b'a' + (number % 7) as u8].into(),
                value: "v".into(),
                ..PutRequest::default()
            };
            store.apply(number, &Command::Put(put));
        }
        let delete = DeleteRangeRequest {
            key: "c".into(),
            ..DeleteRangeRequest::default()
        };
        store.apply(20, &Command::DeleteRange(delete));
        for (limit, revision, keys_only) in [
            (0, 0, false),
            (3, 0, true),
            (6, 0, false),
            (7, 9, false),
            (8, 9, true),
            (5, 4, true),
        ] {
            let request = RangeRequest {
                key: "a".into(),
                range_end: vec![0].into(),
                limit,
                revision,
                keys_only,
                ..RangeRequest::default()
            };
            let whole = store.range(&request).unwrap();
            let page = store.page(&request).unwrap();
            assert_eq!(
                (&page.kvs, page.more),
                (&whole.kvs, whole.more),
                "{request:?}"
            );
            assert_eq!(page.count, page.kvs.len() as i64);
        }
    }
}
