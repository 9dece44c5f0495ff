//! Requests as the log carries them.
//!
//! Names, meanings and *field numbers* are etcd's (`api/etcdserverpb/rpc.proto`), so that bytes of a client's request and
//! bytes in our log are the same encoding. Keys and values are `Bytes`: decoding slices the input instead of copying it.
//!
//! Enumerations are kept as their number, as they came from the wire; [`crate::validate`] refuses numbers outside them
//! where etcd does, and [`crate::Store::apply`] treats them as etcd would.

use bytes::Bytes;
use prost::{Enumeration, Message, Oneof};

/// Reads `[key, range_end)`, now or at an older revision.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct RangeRequest {
    /// First key of the range; never empty.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Empty: the one key. `"\0"`: every key from `key` on. Otherwise the first key that is not in the range any more.
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// Most keys to return; 0 or less for no limit. Does not change `count`.
    #[prost(int64, tag = "3")]
    pub limit: i64,
    /// Revision to read at; 0 or less for the newest.
    #[prost(int64, tag = "4")]
    pub revision: i64,
    /// A [`SortOrder`].
    #[prost(enumeration = "SortOrder", tag = "5")]
    pub sort_order: i32,
    /// A [`SortTarget`].
    #[prost(enumeration = "SortTarget", tag = "6")]
    pub sort_target: i32,
    /// The caller is content with what the asked member has; not looked at by the store.
    #[prost(bool, tag = "7")]
    pub serializable: bool,
    /// Leave the values out.
    #[prost(bool, tag = "8")]
    pub keys_only: bool,
    /// Leave the keys out as well.
    #[prost(bool, tag = "9")]
    pub count_only: bool,
    /// Drop keys modified before this revision; 0 for no filter.
    #[prost(int64, tag = "10")]
    pub min_mod_revision: i64,
    /// Drop keys modified after this revision; 0 for no filter.
    #[prost(int64, tag = "11")]
    pub max_mod_revision: i64,
    /// Drop keys created before this revision; 0 for no filter.
    #[prost(int64, tag = "12")]
    pub min_create_revision: i64,
    /// Drop keys created after this revision; 0 for no filter.
    #[prost(int64, tag = "13")]
    pub max_create_revision: i64,
}

/// Direction of a sorted range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum SortOrder {
    /// By key, ascending; ascending by the target if that is not the key.
    None = 0,
    /// Smallest first.
    Ascend = 1,
    /// Largest first.
    Descend = 2,
}

/// What a range is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum SortTarget {
    /// The key's bytes.
    Key = 0,
    /// How often it was written since it was created.
    Version = 1,
    /// The revision that created it.
    Create = 2,
    /// The revision that wrote it last.
    Mod = 3,
    /// The value's bytes.
    Value = 4,
}

/// Writes one key.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct PutRequest {
    /// The key; never empty.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// The value; may be empty.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// The lease to attach; 0 for none.
    #[prost(int64, tag = "3")]
    pub lease: i64,
    /// Answer with what was there before.
    #[prost(bool, tag = "4")]
    pub prev_kv: bool,
    /// Keep the value that is there; the key must exist.
    #[prost(bool, tag = "5")]
    pub ignore_value: bool,
    /// Keep the lease that is there; the key must exist.
    #[prost(bool, tag = "6")]
    pub ignore_lease: bool,
}

/// Deletes `[key, range_end)`, with the range rules of [`RangeRequest`].
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct DeleteRangeRequest {
    /// First key of the range; never empty.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// End of the range, as in [`RangeRequest::range_end`].
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// Answer with what was deleted.
    #[prost(bool, tag = "3")]
    pub prev_kv: bool,
}

/// If all compares hold, `success`, else `failure`; all at one revision.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct TxnRequest {
    /// The guard; empty holds always.
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    /// Done in order when the guard holds.
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
    /// Done in order when it does not.
    #[prost(message, repeated, tag = "3")]
    pub failure: Vec<RequestOp>,
}

impl TxnRequest {
    /// Whether it consists of ranges alone, in both branches and not nested: then it need not go through the log.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        let range = |op: &RequestOp| matches!(op.request, Some(Op::Range(_)));
        self.success.iter().all(range) && self.failure.iter().all(range)
    }

    /// Whether it consists of serializable ranges alone: then any member may answer from what it has.
    #[must_use]
    pub fn is_serializable(&self) -> bool {
        let range = |op: &RequestOp| matches!(&op.request, Some(Op::Range(r)) if r.serializable);
        self.success.iter().all(range) && self.failure.iter().all(range)
    }

    /// Whether a put stands anywhere in it; what a full quota refuses.
    #[must_use]
    pub fn has_put(&self) -> bool {
        let put = |op: &RequestOp| match &op.request {
            Some(Op::Put(_)) => true,
            Some(Op::Txn(nested)) => nested.has_put(),
            _ => false,
        };
        self.success.iter().any(put) || self.failure.iter().any(put)
    }
}

/// One operation of a transaction. `None` came from an empty union on the wire; validation refuses it.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct RequestOp {
    /// The operation.
    #[prost(oneof = "Op", tags = "1, 2, 3, 4")]
    pub request: Option<Op>,
}

impl From<Op> for RequestOp {
    fn from(op: Op) -> Self {
        Self { request: Some(op) }
    }
}

/// The operations that a transaction may hold.
#[derive(Clone, PartialEq, Eq, Hash, Oneof)]
pub enum Op {
    /// Sees what earlier operations of the same transaction wrote.
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    /// Writes one key.
    #[prost(message, tag = "2")]
    Put(PutRequest),
    /// Deletes a range of keys.
    #[prost(message, tag = "3")]
    DeleteRange(DeleteRangeRequest),
    /// Its compares are judged before anything of the outer transaction is written.
    #[prost(message, tag = "4")]
    Txn(TxnRequest),
}

/// One guard of a transaction: `stored (result) given`, for every key in the range.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Compare {
    /// A [`CompareResult`]; an unknown number holds always.
    #[prost(enumeration = "CompareResult", tag = "1")]
    pub result: i32,
    /// A [`CompareTarget`].
    #[prost(enumeration = "CompareTarget", tag = "2")]
    pub target: i32,
    /// First key of the range; never empty.
    #[prost(bytes = "bytes", tag = "3")]
    pub key: Bytes,
    /// What to compare with; one that does not fit `target`, or none, counts as zero or empty.
    #[prost(oneof = "TargetUnion", tags = "4, 5, 6, 7, 8")]
    pub target_union: Option<TargetUnion>,
    /// End of the range, as in [`RangeRequest::range_end`].
    #[prost(bytes = "bytes", tag = "64")]
    pub range_end: Bytes,
}

/// How the stored value must stand to the given one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum CompareResult {
    /// The same.
    Equal = 0,
    /// Stored is greater.
    Greater = 1,
    /// Stored is less.
    Less = 2,
    /// Not the same.
    NotEqual = 3,
}

/// What of the key is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum CompareTarget {
    /// Writes since creation; 0 for a missing key.
    Version = 0,
    /// Revision of creation; 0 for a missing key.
    Create = 1,
    /// Revision of the last write; 0 for a missing key.
    Mod = 2,
    /// The value; a missing key fails whatever is asked.
    Value = 3,
    /// The lease; 0 for none and for a missing key.
    Lease = 4,
}

/// The given side of a [`Compare`].
#[derive(Clone, PartialEq, Eq, Hash, Oneof)]
pub enum TargetUnion {
    /// For [`CompareTarget::Version`].
    #[prost(int64, tag = "4")]
    Version(i64),
    /// For [`CompareTarget::Create`].
    #[prost(int64, tag = "5")]
    CreateRevision(i64),
    /// For [`CompareTarget::Mod`].
    #[prost(int64, tag = "6")]
    ModRevision(i64),
    /// For [`CompareTarget::Value`].
    #[prost(bytes = "bytes", tag = "7")]
    Value(Bytes),
    /// For [`CompareTarget::Lease`].
    #[prost(int64, tag = "8")]
    Lease(i64),
}

/// Gives the history before a revision up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct CompactionRequest {
    /// The oldest revision that stays readable.
    #[prost(int64, tag = "1")]
    pub revision: i64,
    /// Free the memory before answering, not in steps afterwards.
    #[prost(bool, tag = "2")]
    pub physical: bool,
}
