//! The port to the members' own API: what the operator asks them and has them do.
//!
//! The real one ([`etcd::EtcdMembers`]) speaks etcd's v3 API, so that any server which does is a member; tests plug in
//! a model. Every call is bounded in time, and a change is sent once: what became of one whose answer was lost, the next
//! round's reads tell.
//!
//! It deliberately judges nothing: who is healthy, and what may be changed, is the planner's to say.

mod accounts;
pub mod credentials;
pub mod etcd;
pub mod handshake;

use std::time::Duration;

use futures::future::BoxFuture;
use plan::{AccountChange, Accounts, Alarm, Answer, Asked, Handshake, Listed};

pub use credentials::{Credentials, Secured};
pub use handshake::Door;

/// How long a member may take to say how it is. The dead cost a round this much, once, for all are asked side by side.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a linearizable read of the membership may take, right before a change of it.
pub const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a change may take; see [`crate::gate`] for what rests on it.
pub const CHANGE_TIMEOUT: Duration = crate::kubernetes::WRITE_TIMEOUT;

/// How long a defragmentation or a compaction may take. Either goes on at the member where its caller gives up, and harms
/// nothing; but a round must end.
pub const SPACE_TIMEOUT: Duration = Duration::from_secs(40);

/// Where a member is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The member's name.
    pub member: String,
    /// Its client URL, by its pod's address.
    pub url: String,
    /// With what it is spoken to, if its URL asks for TLS and there is something to show.
    pub tls: Option<Secured>,
}

/// The membership, as a majority agrees on it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The cluster that answered.
    pub cluster_id: u64,
    /// Its members.
    pub members: Vec<Listed>,
}

/// A member that did not do what it was asked. The texts carry no counters and no times: they stand in status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// Nobody answers at its address.
    #[error("{member} is not reachable at {url}")]
    Unreachable {
        /// Whom we asked.
        member: String,
        /// Where.
        url: String,
    },
    /// It did not answer in time; a change may have taken effect.
    #[error("{member} did not answer {call} within {after:?}")]
    TimedOut {
        /// Whom we asked.
        member: String,
        /// What.
        call: &'static str,
        /// For how long.
        after: Duration,
    },
    /// It will do it, but by its own rules not yet; a moment later it may.
    #[error("{member} answered {call}: {message}; it is asked again")]
    NotYet {
        /// Whom we asked.
        member: String,
        /// What.
        call: &'static str,
        /// What it said.
        message: String,
    },
    /// It answered with an error.
    #[error("{member} refused {call}: {message}")]
    Refused {
        /// Whom we asked.
        member: String,
        /// What.
        call: &'static str,
        /// What it said.
        message: String,
    },
}

/// What a member says that does not make a change of the membership yet: a peer has been connected for less than five
/// seconds, or is not; a member has not been heard of yet; a learner lacks too much. The planner's own gates hold at the same
/// time, but members see each other later than we see them.
const NOT_YET: [&str; 3] = [
    "etcdserver: unhealthy cluster",
    "etcdserver: re-configuration failed due to not enough started members",
    "etcdserver: can only promote a learner member which is in sync with leader",
];

impl MembersError {
    /// A member answered `call` with this text in place of doing it.
    #[must_use]
    pub fn said(at: &Endpoint, call: &'static str, text: &str) -> Self {
        let (member, message) = (at.member.clone(), text.to_owned());
        if NOT_YET.contains(&text) {
            Self::NotYet {
                member,
                call,
                message,
            }
        } else {
            Self::Refused {
                member,
                call,
                message,
            }
        }
    }
}

/// The members of all clusters, as the operator reaches them.
pub trait Members: Send + Sync {
    /// How a member is, and, if it can find out within [`PROBE_TIMEOUT`], what the membership is.
    fn probe<'a>(&'a self, at: &'a Endpoint) -> BoxFuture<'a, Result<Answer, MembersError>>;

    /// What a member shows, and whom it believes, or, in words for a person, why that was not seen.
    fn handshake<'a>(&'a self, door: &'a Door) -> BoxFuture<'a, Result<Handshake, String>>;

    /// The membership by a linearizable read.
    fn membership<'a>(
        &'a self,
        at: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Membership, MembersError>>;

    /// Adds a learner that will be reached at `peer_url`, and says its id.
    fn add_learner<'a>(
        &'a self,
        at: &'a Endpoint,
        peer_url: &'a str,
    ) -> BoxFuture<'a, Result<u64, MembersError>>;

    /// Makes a learner a voter.
    fn promote<'a>(&'a self, at: &'a Endpoint, id: u64) -> BoxFuture<'a, Result<(), MembersError>>;

    /// Removes a member.
    fn remove<'a>(&'a self, at: &'a Endpoint, id: u64) -> BoxFuture<'a, Result<(), MembersError>>;

    /// Has peers reach a member at this URL, and nowhere else.
    fn update_peer_url<'a>(
        &'a self,
        at: &'a Endpoint,
        id: u64,
        peer_url: &'a str,
    ) -> BoxFuture<'a, Result<(), MembersError>>;

    /// Asks the leader, which must be the one at `at`, to hand over.
    fn move_leader<'a>(
        &'a self,
        at: &'a Endpoint,
        to: u64,
    ) -> BoxFuture<'a, Result<(), MembersError>>;

    /// Has a member give back the space that it does not use; it serves nobody meanwhile.
    fn defragment<'a>(&'a self, at: &'a Endpoint) -> BoxFuture<'a, Result<(), MembersError>>;

    /// Throws away all revisions before this one, and waits until they are gone at the member asked. That they are gone
    /// already is no error.
    fn compact<'a>(
        &'a self,
        at: &'a Endpoint,
        revision: i64,
    ) -> BoxFuture<'a, Result<(), MembersError>>;

    /// Takes this alarm about the member with this id back. That it is not up is no error.
    fn disarm<'a>(
        &'a self,
        at: &'a Endpoint,
        alarm: Alarm,
        id: u64,
    ) -> BoxFuture<'a, Result<(), MembersError>>;

    /// What a majority stands behind of authentication, users and roles.
    fn accounts<'a>(
        &'a self,
        at: &'a Endpoint,
        asked: &'a Asked,
    ) -> BoxFuture<'a, Result<Accounts, MembersError>>;

    /// Changes authentication, users or roles. `password` goes with a change that sets one.
    fn change_account<'a>(
        &'a self,
        at: &'a Endpoint,
        change: &'a AccountChange,
        password: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), MembersError>>;
}
