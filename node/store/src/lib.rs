//! The state machine of a Quorate node: etcd's key-value store with its revisions, and the membership table.
//!
//! Pure: no clock, no files, no randomness, no threads. What enters is a [`Command`] from the log, what leaves is a value.
//! [`Store::apply`] is deterministic and has no error path: a request that cannot be done is *answered*, in etcd's words and with
//! etcd's code ([`StoreError`]), and every replica answers the same.
//!
//! ```text
//!  client ─► validate ─► Command ─► log ─► Store::apply ─► Applied { response, changes }
//!                                            │  keys      every key and its history
//!                                            │  leases    who lives how long, and what hangs on it
//!                                            │  timeline  every write by revision ─► Store::snapshot ─► Image (another thread)
//!                                            ├─ members   who belongs to the cluster
//!                                            ├─ auth      users and roles, and who may do what
//!                                            └─ alarms    what is wrong in it
//! ```
//!
//! The contract with the caller:
//!
//! 1. Check a client's request with [`validate`], a change of the membership with [`Members::check`], *before* proposing it.
//! 2. Apply every committed entry once, in order; [`Store::advance`] for those that carry no command, [`Store::leave_joint`] for the
//!    end of joint consensus.
//! 3. Reads take no part in the log: they are answered from [`Store::range`] once the caller knows that it has applied enough.
//!
//! # What is not here
//!
//! The quota is the node's, and so is watching: that is the
//! caller's: [`Applied::changes`] and [`Store::changes_from`] say what there is to tell. Headers of answers, but for the revision,
//! are the caller's as well. The keyspace lies in memory as a whole, with its history since the last compaction.

mod alarm;
mod auth;
mod cluster_version;
mod command;
mod compact;
mod digest;
mod error;
mod image;
mod keys;
mod keyspace;
mod lease;
mod members;
mod range;
mod record;
mod request;
mod response;
mod store;
mod timeline;
mod txn;
pub mod validate;

pub use alarm::{Alarm, AlarmChange, AlarmKind, Alarms};
pub use auth::{
    Access, Auth, AuthCommand, AuthError, AuthRequest, Authenticate, AuthenticateResponse, Author,
    Nothing, Permission, PermissionKind, ROOT, Role, RoleName, RolePermission, Secret, User,
    UserAdd, UserName, UserPassword, UserRole,
};
pub use cluster_version::{Downgrade, Version};
pub use command::{
    Authored, Command, MemberAdd, MemberAttributes, MemberKeep, MemberPromote, MemberRemove,
    MemberUpdate,
};
pub use digest::Crc32c;
pub use error::{Code, DecodeError, StoreError};
pub use image::{Assembly, Frame, Frames, Image, Import, Tables};
pub use lease::{
    Lease, LeaseCheckpoint, LeaseGrant, LeaseRemaining, LeaseRevoke, Leases, MAX_LEASE_TTL,
};
pub use members::{
    MEMBER_CHANGES_MAX, Member, MemberChange, MemberChanges, MemberStep, Members, SeveralError,
    Transition,
};
pub use record::{Change, Revision};
pub use request::{
    CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest, Op, PutRequest,
    RangeRequest, RequestOp, SortOrder, SortTarget, TargetUnion, TxnRequest,
};
pub use response::{
    AlarmsResponse, AuthResponse, CompactionResponse, DeleteRangeResponse, KeyValue, KeyspaceHash,
    LeaseCheckpointResponse, LeaseGrantResponse, LeaseRevokeResponse, MembersResponse, PutResponse,
    RangeResponse, Response, ResponseOp, TxnResponse,
};
pub use store::{Applied, Size, Store};
