//! Why a client's request was not done, in etcd's words.
//!
//! Clients match these by gRPC code *and* text (etcd's `api/v3rpc/rpctypes/error.go`), so both are part of the wire. What
//! the store refuses by a request's content has its own list there ([`store::StoreError`]); here stands what depends on
//! the cluster's state.
//!
//! What this module deliberately does not do: decide. It only names what was decided.

use store::{AuthError, StoreError};
use tonic::{Code, Status};

/// A request that was not done, or of which nobody knows whether it was done: [`Refusal::is_unknown`] tells which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request's content or the stored state does not allow it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No leader is known.
    #[error("etcdserver: no leader")]
    NoLeader,
    /// Only the leader can do this. The other text of this case is never shown: the caller asks the leader.
    #[error("etcdserver: not leader")]
    NotLeader,
    /// The leader changed while the request was under way; it may or may not have been done.
    #[error("etcdserver: leader changed")]
    LeaderChanged,
    /// No answer in time; it may or may not have been done, or be done later.
    #[error("etcdserver: request timed out")]
    Timeout,
    /// No answer in time, and a leader was lost meanwhile; unknown as with [`Refusal::Timeout`].
    #[error("etcdserver: request timed out, possibly due to previous leader failure")]
    TimeoutLeaderFailed,
    /// More is waiting than this member can hold.
    #[error("etcdserver: too many requests")]
    TooManyRequests,
    /// The request is larger than `--max-request-bytes`.
    #[error("etcdserver: request is too large")]
    RequestTooLarge,
    /// The member is going down; it may or may not have been done.
    #[error("etcdserver: server stopped")]
    Stopped,
    /// Too few voters answer for a change of membership to be safe.
    #[error("etcdserver: unhealthy cluster")]
    Unhealthy,
    /// Too few voters have ever started for a change of membership to be safe.
    #[error("etcdserver: re-configuration failed due to not enough started members")]
    NotEnoughStarted,
    /// The learner lacks more than a tenth of the leader's log.
    #[error("etcdserver: can only promote a learner member which is in sync with leader")]
    LearnerNotReady,
    /// As [`Refusal::LearnerNotReady`], of one of several members that change at once.
    #[error(
        "quorate: learner {id:x} has {matched} of the leader's {last} log entries, and nine tenths are needed to vote; call again \
         when it has caught up"
    )]
    LearnerBehind {
        /// Which.
        id: u64,
        /// How much of the leader's log it has.
        matched: u64,
        /// How long that is.
        last: u64,
    },
    /// Too few voters have started and answer for several members to change at once.
    #[error(
        "quorate: {have} of {voters} {which} voters have started and answer, which is no majority, and without one nothing could \
         be decided; start member {id:x}, or add newcomers as learners and promote them when they have caught up"
    )]
    TooFewVoters {
        /// Those before the change, or those after it.
        which: Electorate,
        /// How many they are.
        voters: usize,
        /// How many of them have started and answer.
        have: usize,
        /// One that has not, or does not.
        id: u64,
    },
    /// Peer URLs that are none.
    #[error("etcdserver: given member URLs are invalid")]
    BadUrls,
    /// The member to lead is unknown or has no vote.
    #[error("etcdserver: bad leader transferee")]
    BadTransferee,
    /// Leadership did not move in time.
    #[error("etcdserver: request timed out, leader transfer took too long")]
    TimeoutLeaderTransfer,
    /// A version that is none.
    #[error("etcdserver: wrong downgrade target version format")]
    BadVersion,
    /// A version that is not one minor below the cluster's.
    #[error("etcdserver: invalid downgrade target version")]
    BadDowngrade,
    /// The cluster's version is not decided yet.
    #[error("etcdserver: cluster version not found during downgrade")]
    NoClusterVersion,
    /// A downgrade is under way.
    #[error("etcdserver: cluster has a downgrade job in progress")]
    DowngradeUnderWay,
    /// An action that is none.
    #[error("etcdserver: unknown method")]
    UnknownMethod,
    /// A token that is none, or is not good any more.
    #[error("etcdserver: invalid auth token")]
    InvalidAuthToken,
    /// A password for a user who has none. etcd says so without its prefix.
    #[error("auth: authentication failed, password was given for no password user")]
    NoPasswordUser,
    /// bcrypt would look at its beginning alone.
    #[error("bcrypt: password length exceeds 72 bytes")]
    PasswordTooLong,
    /// This member can check tokens, but has no key to sign any.
    #[error("auth: token signing attempted with verify-only key")]
    VerifyOnly,
    /// Learners serve little.
    #[error("etcdserver: rpc not supported for learner")]
    NotForLearner,
}

/// The voters before a change of several members, or those after it; in between both decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Electorate {
    /// Those before.
    Old,
    /// Those after.
    New,
}

impl std::fmt::Display for Electorate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Old => "old",
            Self::New => "new",
        })
    }
}

impl Refusal {
    /// The gRPC code that etcd answers with.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::Store(error) => Code::from_i32(error.code() as i32),
            Self::NoLeader
            | Self::LeaderChanged
            | Self::Timeout
            | Self::TimeoutLeaderFailed
            | Self::Stopped
            | Self::Unhealthy
            | Self::TooFewVoters { .. } => Code::Unavailable,
            Self::NotLeader
            | Self::LearnerNotReady
            | Self::LearnerBehind { .. }
            | Self::BadTransferee
            | Self::NoClusterVersion
            | Self::DowngradeUnderWay
            | Self::NotForLearner => Code::FailedPrecondition,
            Self::RequestTooLarge | Self::BadUrls | Self::BadVersion | Self::BadDowngrade => {
                Code::InvalidArgument
            }
            Self::InvalidAuthToken => Code::Unauthenticated,
            // etcd's table of codes has no entry for them, or the client's own error in place of one: both make them Unknown.
            Self::TimeoutLeaderTransfer
            | Self::UnknownMethod
            | Self::NoPasswordUser
            | Self::PasswordTooLong
            | Self::VerifyOnly
            | Self::NotEnoughStarted
            | Self::TooManyRequests => Code::Unknown,
        }
    }

    /// Whether the request may have been done all the same.
    #[must_use]
    pub const fn is_unknown(self) -> bool {
        matches!(
            self,
            Self::LeaderChanged | Self::Timeout | Self::TimeoutLeaderFailed | Self::Stopped
        )
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        Self::Store(error.into())
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcd_has_no_code_for_is_unknown_with_its_text() {
        let status = Status::from(Refusal::NotEnoughStarted);
        let text = "etcdserver: re-configuration failed due to not enough started members";
        assert_eq!((status.code(), status.message()), (Code::Unknown, text));
        assert_eq!(Refusal::TooManyRequests.code(), Code::Unknown);
        assert_eq!(Refusal::Unhealthy.code(), Code::Unavailable);
    }
}
