//! What the store refuses, in etcd's own words where etcd has any.
//!
//! Clients match these errors by gRPC code *and by text* (etcd's Go client and Patroni look the sentence up), so both are
//! part of the wire format: they come from etcd's `api/v3rpc/rpctypes/error.go` and must not be reworded.
//!
//! It does not know gRPC: [`Code`] is the bare number that the API layer turns into a status.

use crate::{AuthError, SeveralError};

/// A gRPC status code, as far as the store needs them. The discriminant is the number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Code {
    /// The request can never be right, whatever the state is.
    InvalidArgument = 3,
    /// Something named in the request does not exist.
    NotFound = 5,
    /// The one who asks may not.
    PermissionDenied = 7,
    /// Something is used up.
    ResourceExhausted = 8,
    /// The state does not allow it now.
    FailedPrecondition = 9,
    /// A revision outside the window of kept history, or another number too large.
    OutOfRange = 11,
    /// Data is lost or damaged.
    DataLoss = 15,
}

/// A request refused by its content or by the state it met. `Display` is etcd's exact text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StoreError {
    /// Of users, roles and permissions.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Of several changes of the membership at once, which etcd does not have.
    #[error(transparent)]
    Several(#[from] SeveralError),
    /// A request, a compare or an operation in a transaction without a key.
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// `ignore_value` or `ignore_lease` on a key that does not exist; also an operation of a transaction that is empty.
    #[error("etcdserver: key not found")]
    KeyNotFound,
    /// `ignore_value` together with a value.
    #[error("etcdserver: value is provided")]
    ValueProvided,
    /// `ignore_lease` together with a lease.
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    /// More compares or operations than `--max-txn-ops` allows, counted down through nested transactions.
    #[error("etcdserver: too many operations in txn request")]
    TooManyOps,
    /// Two operations of one transaction would write the same key.
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    /// A sort order or target outside the enumeration.
    #[error("etcdserver: invalid sort option")]
    InvalidSortOption,
    /// The revision lies before the last compaction.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    /// The revision has not been reached yet.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    /// A put, or a revocation, names a lease that does not exist.
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    /// A lease is to be granted under an id that one has.
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    /// A lease is to live longer than [`MAX_LEASE_TTL`](crate::MAX_LEASE_TTL).
    #[error("etcdserver: too large lease TTL")]
    LeaseTtlTooLarge,
    /// A member with this id is already in the table.
    #[error("etcdserver: member ID already exist")]
    MemberExists,
    /// Another member already uses one of the peer URLs.
    #[error("etcdserver: Peer URLs already exists")]
    PeerUrlExists,
    /// No such member, or one that was removed (an id is never used twice).
    #[error("etcdserver: member not found")]
    MemberNotFound,
    /// Promotion of a member that votes already.
    #[error("etcdserver: can only promote a learner member")]
    MemberNotLearner,
    /// One learner more than the limit the command carries.
    #[error("etcdserver: too many learner members in cluster")]
    TooManyLearners,
    /// The quota is used up; only deletions and compactions are taken.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// A member's data differs from the others', and nothing is changed until somebody has looked.
    #[error("etcdserver: corrupt cluster")]
    Corrupt,
}

impl StoreError {
    /// The gRPC code that etcd answers with this error.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Auth(error) => error.code(),
            Self::Several(error) => error.code(),
            Self::EmptyKey
            | Self::KeyNotFound
            | Self::ValueProvided
            | Self::LeaseProvided
            | Self::TooManyOps
            | Self::DuplicateKey
            | Self::InvalidSortOption => Code::InvalidArgument,
            Self::Compacted | Self::FutureRevision | Self::LeaseTtlTooLarge => Code::OutOfRange,
            Self::LeaseNotFound | Self::MemberNotFound => Code::NotFound,
            Self::LeaseExists
            | Self::MemberExists
            | Self::PeerUrlExists
            | Self::MemberNotLearner
            | Self::TooManyLearners => Code::FailedPrecondition,
            Self::NoSpace => Code::ResourceExhausted,
            Self::Corrupt => Code::DataLoss,
        }
    }
}

/// Bytes that are not a command or an image of ours. Whoever reads them from a disk or a peer treats this as damage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the frame does.
    #[error("{what} ends after {have} bytes, at least {need} were expected")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes there are.
        have: usize,
        /// Bytes there should be.
        need: usize,
    },
    /// Written by another program, or by a version of ours that is not known here.
    #[error("{what} has format version {found}, this program reads version {known}")]
    Version {
        /// What was being read.
        what: &'static str,
        /// The version found.
        found: u8,
        /// The version this program writes and reads.
        known: u8,
    },
    /// The bytes were changed after they were written.
    #[error("{what} at byte {offset} fails its checksum: {found:08x} instead of {expected:08x}")]
    Checksum {
        /// What was being read.
        what: &'static str,
        /// Where it starts in the input.
        offset: usize,
        /// The checksum computed over what is there.
        found: u32,
        /// The checksum written beside it.
        expected: u32,
    },
    /// The checksum is right, but the content is not of the shape that the version says.
    #[error("{what} cannot be read: {why}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// The rule that is broken.
        why: String,
    },
}
