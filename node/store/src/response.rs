//! Answers of the store, in etcd's shape.
//!
//! `revision` is what etcd puts into the answer's header; cluster id, member id and term are the API's to add. Answers inside
//! a transaction carry a header with the revision alone, and a nested transaction's is 0: etcd leaves it empty.

use bytes::Bytes;
use prost::Message;

use crate::{Alarm, AuthenticateResponse, Member, StoreError};

/// A key as clients see it. Field numbers are etcd's (`api/mvccpb/kv.proto`), and the encoding enters the hash of the keyspace.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct KeyValue {
    /// The key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Revision of the write that created it; 0 in a deletion.
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    /// Revision of this write.
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    /// Writes since creation, this one included; 0 in a deletion.
    #[prost(int64, tag = "4")]
    pub version: i64,
    /// The value.
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
    /// The lease it hangs on; 0 for none, and in keys-only answers.
    #[prost(int64, tag = "6")]
    pub lease: i64,
}

/// What applying one command answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// To a put.
    Put(PutResponse),
    /// To a deletion.
    DeleteRange(DeleteRangeResponse),
    /// To a transaction.
    Txn(TxnResponse),
    /// To a compaction.
    Compact(CompactionResponse),
    /// To a grant of a lease.
    LeaseGrant(LeaseGrantResponse),
    /// To the end of a lease.
    LeaseRevoke(LeaseRevokeResponse),
    /// To a checkpoint of leases.
    LeaseCheckpoint(LeaseCheckpointResponse),
    /// To every change of the membership table: the table afterwards.
    Members(MembersResponse),
    /// To a change of an alarm.
    Alarms(AlarmsResponse),
    /// To what answers nothing but that it is so.
    Done,
    /// To a change of users and roles.
    Auth(AuthResponse),
    /// To somebody's authentication.
    Authenticated(AuthenticateResponse),
    /// To any of them: nothing was changed.
    Refused(StoreError),
}

impl Response {
    /// The refusal as an error, everything else as it is.
    ///
    /// # Errors
    /// The refusal.
    pub fn into_result(self) -> Result<Self, StoreError> {
        match self {
            Self::Refused(error) => Err(error),
            answer => Ok(answer),
        }
    }
}

/// Answer to [`crate::RangeRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeResponse {
    /// The newest revision, not the one that was read at.
    pub revision: i64,
    /// The keys, after filters, order and limit.
    pub kvs: Vec<KeyValue>,
    /// The limit left keys out.
    pub more: bool,
    /// Keys in the range at the revision, whatever limit and filters say.
    pub count: i64,
}

/// Answer to [`crate::PutRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutResponse {
    /// The revision of the write.
    pub revision: i64,
    /// What was there before, if it was asked for and there was something.
    pub prev_kv: Option<KeyValue>,
}

/// Answer to [`crate::DeleteRangeRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRangeResponse {
    /// The revision of the write; the one before if nothing was deleted.
    pub revision: i64,
    /// How many keys were deleted.
    pub deleted: i64,
    /// What was deleted, if it was asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// Answer to [`crate::TxnRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnResponse {
    /// The revision afterwards; 0 in a nested transaction.
    pub revision: i64,
    /// Whether the compares held.
    pub succeeded: bool,
    /// One answer per operation of the branch that was taken; `None` for an operation that was empty.
    pub responses: Vec<Option<ResponseOp>>,
}

/// Answer to one operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseOp {
    /// To a range.
    Range(RangeResponse),
    /// To a put.
    Put(PutResponse),
    /// To a deletion.
    DeleteRange(DeleteRangeResponse),
    /// To a nested transaction.
    Txn(TxnResponse),
}

/// Answer to [`crate::CompactionRequest`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionResponse {
    /// The newest revision; compaction makes none.
    pub revision: i64,
}

/// Answer to [`crate::LeaseGrant`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseGrantResponse {
    /// The newest revision; granting makes none.
    pub revision: i64,
    /// The lease's id.
    pub id: i64,
    /// Its time to live in seconds.
    pub ttl: i64,
}

/// Answer to [`crate::LeaseRevoke`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseRevokeResponse {
    /// The revision under which its keys were deleted; the one before if it had none.
    pub revision: i64,
}

/// Answer to [`crate::LeaseCheckpoint`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseCheckpointResponse {
    /// The newest revision; a checkpoint makes none.
    pub revision: i64,
}

/// Answer to every command on the membership table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembersResponse {
    /// All members afterwards, by id.
    pub members: Vec<Member>,
}

/// Answer to every change of users and roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuthResponse {
    /// The newest revision of the keys; users and roles have their own.
    pub revision: i64,
}

/// Answer to [`crate::AlarmChange`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlarmsResponse {
    /// The alarm that was meant; none if it was not up.
    pub alarms: Vec<Alarm>,
    /// The newest revision; alarms make none.
    pub revision: i64,
}

/// A checksum over the keyspace up to a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyspaceHash {
    /// CRC-32C, by etcd's rule.
    pub hash: u32,
    /// The revision that was hashed up to.
    pub hash_revision: i64,
    /// The last compaction; -1 if there never was one. Hashes compare only between equal ones.
    pub compact_revision: i64,
    /// The newest revision of the store.
    pub revision: i64,
}
