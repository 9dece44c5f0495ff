//! The state machine of a Quorate node: etcd's key-value store with its revisions, and the membership table.
//!
//! Pure: no clock, no files, no randomness, no threads. What enters is a [`Command`] from the log, what leaves is a value.

mod command;
mod error;
mod members;
mod request;
mod response;

pub use command::{
    Command, MemberAdd, MemberAttributes, MemberPromote, MemberRemove, MemberUpdate,
};
pub use error::{Code, DecodeError, StoreError};
pub use members::{Member, Members};
pub use request::{
    CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest, Op, PutRequest,
    RangeRequest, RequestOp, SortOrder, SortTarget, TargetUnion, TxnRequest,
};
pub use response::{
    CompactionResponse, DeleteRangeResponse, KeyValue, KeyspaceHash, MembersResponse, PutResponse,
    RangeResponse, Response, ResponseOp, TxnResponse,
};
