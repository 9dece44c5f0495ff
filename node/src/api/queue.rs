//! Clients in a queue: keys under one prefix, in the order in which they were created. What locks and elections are made of.
//!
//! Everything is done with requests that the client could make itself, by the KV and Lease services and in its name (with its
//! metadata), so that nothing is allowed here that is not allowed there. etcd does it with a client of its own inside the
//! server, which shows: every refusal reaches the caller with its text, but as `Unknown`.
//!
//! What this module deliberately does not do: keep leases alive. Whoever queues does.

use std::sync::Arc;

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_server::Kv as _;
use proto::etcdserverpb::lease_server::Lease as _;
use proto::mvccpb;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Status};

use super::Shared;
use super::kv::Kv;
use super::lease::Lease;
use super::watch::not_permitted;
use crate::auth::Credentials;
use crate::watch::{Ended, KeyRange};

/// The lease that a client gets who brings none, in seconds; etcd's figure.
const LEASE_TTL: i64 = 60;

/// A refusal as callers of these services see it.
pub(super) fn unknown(text: impl Into<String>) -> Status {
    Status::unknown(text)
}

/// One client and the services that it uses.
#[derive(Clone, Debug)]
pub(super) struct Client {
    shared: Arc<Shared>,
    metadata: MetadataMap,
    extensions: Extensions,
}

impl Client {
    /// Whoever sent this request, and what was in it.
    pub(super) fn of<T>(shared: &Arc<Shared>, request: Request<T>) -> (Self, T) {
        let (metadata, extensions, message) = request.into_parts();
        let client = Self {
            shared: Arc::clone(shared),
            metadata,
            extensions,
        };
        (client, message)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        Request::from_parts(self.metadata.clone(), self.extensions.clone(), message)
    }

    /// A header that speaks of a revision.
    pub(super) fn header(&self, revision: i64) -> Option<pb::ResponseHeader> {
        self.shared.header(revision)
    }

    /// The newest revision that this member knows.
    pub(super) fn revision(&self) -> i64 {
        self.shared.handle.with_status(|status| status.revision)
    }

    /// The lease that the client brings, or a new one.
    pub(super) async fn lease(&self, id: i64) -> Result<i64, Status> {
        if id != 0 {
            return Ok(id);
        }
        let grant = pb::LeaseGrantRequest { ttl: LEASE_TTL, id };
        let service = Lease(Arc::clone(&self.shared));
        let granted = service.lease_grant(self.request(grant)).await;
        Ok(granted.map_err(as_unknown)?.into_inner().id)
    }

    pub(super) async fn range(&self, range: pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
        let service = Kv(Arc::clone(&self.shared));
        let answer = service.range(self.request(range)).await;
        Ok(answer.map_err(as_unknown)?.into_inner())
    }

    pub(super) async fn txn(&self, txn: pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
        let service = Kv(Arc::clone(&self.shared));
        let answer = service.txn(self.request(txn)).await;
        Ok(answer.map_err(as_unknown)?.into_inner())
    }

    pub(super) async fn delete(&self, key: Bytes) -> Result<pb::DeleteRangeResponse, Status> {
        let delete = pb::DeleteRangeRequest {
            key,
            ..Default::default()
        };
        let service = Kv(Arc::clone(&self.shared));
        let answer = service.delete_range(self.request(delete)).await;
        Ok(answer.map_err(as_unknown)?.into_inner())
    }

    /// Whoever is first under `prefix`.
    pub(super) async fn first(&self, prefix: &Bytes) -> Result<pb::RangeResponse, Status> {
        self.range(first(prefix)).await
    }

    /// Waits until all keys under `prefix` are gone that were created at `revision` or before.
    pub(super) async fn wait_for_those_before(
        &self,
        prefix: &Bytes,
        revision: i64,
    ) -> Result<(), Status> {
        let last_before = pb::RangeRequest {
            sort_order: pb::range_request::SortOrder::Descend.into(),
            max_create_revision: revision,
            ..first(prefix)
        };
        loop {
            let answer = self.range(last_before.clone()).await?;
            let Some(last) = answer.kvs.first() else {
                return Ok(());
            };
            let from = answer.header.as_ref().map_or(0, |header| header.revision);
            self.wait_for_deletion(last.key.clone(), from).await?;
        }
    }

    async fn wait_for_deletion(&self, key: Bytes, from: i64) -> Result<(), Status> {
        let mut following = self.follow(KeyRange::One(key), from).await?;
        loop {
            match following.next().await {
                Ok(events) if events.iter().any(|event| event.change.is_delete()) => return Ok(()),
                Ok(_) => {}
                // The deletion may be in what is gone: whoever asks looks again.
                Err(Ended::Compacted(_)) => return Ok(()),
                Err(ended) => return Err(unknown(ended.to_string())),
            }
        }
    }

    /// The changes of a range, from a revision on, if the client may watch it now: as in etcd, that is asked when a watch
    /// begins, and again at the next read or watch, but not while one goes on.
    pub(super) async fn follow(
        &self,
        range: KeyRange,
        from: i64,
    ) -> Result<crate::watch::Follow, Status> {
        self.require_watch(&range).await?;
        let following = self.shared.handle.watches().follow(range, from).await;
        following.map_err(|refusal| as_unknown(refusal.into()))
    }

    /// Refused in the words of a watch that is not permitted.
    async fn require_watch(&self, range: &KeyRange) -> Result<(), Status> {
        let (key, end): (&[u8], &[u8]) = match range {
            KeyRange::One(key) => (key, &[]),
            KeyRange::Span(key, end) => (key, end.as_deref().unwrap_or(&[0])),
        };
        let credentials = Credentials::of(&self.request(()));
        let may = self.shared.guard.require_read(&credentials, key, end).await;
        may.map_err(|refusal| unknown(not_permitted(refusal).to_string()))
    }
}

fn as_unknown(status: Status) -> Status {
    unknown(status.message())
}

/// What all keys of one queue begin with.
pub(super) fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// The key of whoever brings this lease.
pub(super) fn key(prefix: &[u8], lease: i64) -> Bytes {
    // As Go prints a negative number.
    let sign = if lease < 0 { "-" } else { "" };
    let suffix = format!("{sign}{:x}", lease.unsigned_abs());
    [prefix, suffix.as_bytes()].concat().into()
}

/// All keys with a prefix.
fn all(prefix: &Bytes) -> pb::RangeRequest {
    let end = match KeyRange::prefix(prefix.clone()) {
        KeyRange::Span(_, Some(end)) => end,
        _ => Bytes::from_static(&[0]),
    };
    pb::RangeRequest {
        key: prefix.clone(),
        range_end: end,
        ..Default::default()
    }
}

/// The key under a prefix that was created first.
pub(super) fn first(prefix: &Bytes) -> pb::RangeRequest {
    pb::RangeRequest {
        limit: 1,
        sort_order: pb::range_request::SortOrder::Ascend.into(),
        sort_target: pb::range_request::SortTarget::Create.into(),
        ..all(prefix)
    }
}

/// If the key was created at this revision; 0 for one that is not there.
pub(super) fn created_at(key: &Bytes, revision: i64) -> pb::Compare {
    pb::Compare {
        result: pb::compare::CompareResult::Equal.into(),
        target: pb::compare::CompareTarget::Create.into(),
        key: key.clone(),
        target_union: Some(pb::compare::TargetUnion::CreateRevision(revision)),
        ..Default::default()
    }
}

/// A put under a lease.
pub(super) fn put(key: &Bytes, value: &Bytes, lease: i64) -> pb::RequestOp {
    let put = pb::PutRequest {
        key: key.clone(),
        value: value.clone(),
        lease,
        ..Default::default()
    };
    pb::RequestOp {
        request: Some(pb::request_op::Request::RequestPut(put)),
    }
}

/// A deletion.
pub(super) fn delete(key: &Bytes) -> pb::RequestOp {
    let delete = pb::DeleteRangeRequest {
        key: key.clone(),
        ..Default::default()
    };
    pb::RequestOp {
        request: Some(pb::request_op::Request::RequestDeleteRange(delete)),
    }
}

/// A read.
pub(super) const fn get(range: pb::RangeRequest) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(pb::request_op::Request::RequestRange(range)),
    }
}

/// A read of one key.
pub(super) fn get_key(key: &Bytes) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.clone(),
        ..Default::default()
    }
}

/// What the `n`th operation of a transaction read, if it was a read.
pub(super) fn found(answer: &pb::TxnResponse, n: usize) -> Option<&mvccpb::KeyValue> {
    match &answer.responses.get(n)?.response {
        Some(pb::response_op::Response::ResponseRange(range)) => range.kvs.first(),
        _ => None,
    }
}

/// When the key of a transaction that creates it unless it is there was created.
pub(super) fn created(answer: &pb::TxnResponse) -> i64 {
    let revision = answer.header.as_ref().map_or(0, |header| header.revision);
    match found(answer, 0) {
        Some(there) if !answer.succeeded => there.create_revision,
        _ => revision,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_as_etcd_names_them() {
        assert_eq!(key(b"l/", 0x4d), "l/4d");
        assert_eq!(key(b"l/", -3), "l/-3");
        assert_eq!(key(b"/", i64::MIN), "/-8000000000000000");
        assert_eq!(prefix(b""), "/");
    }

    #[test]
    fn a_queue_ends_before_the_next_name() {
        let range = first(&prefix(b"a"));
        assert_eq!((range.key, range.range_end), ("a/".into(), "a0".into()));
    }
}
