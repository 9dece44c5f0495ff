//! Everything that can happen to a peer, as one closed list, and why some of it is refused.
//!
//! What this module does not do: act. The roles do.

use crate::ids::{Index, PeerId, ReadId, Term, Ticket};
use crate::message::{Message, Payload};

/// One thing that happened, for `Raft::step`.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed: one tick of the driver's clock.
    Tick,
    /// A message of another peer arrived. For a `Body::InstallSnapshot` the driver has the whole
    /// snapshot, verified, in hand.
    Receive(Message),
    /// A client wants these in the log, all or none, in this order. A follower hands them on to the
    /// leader.
    Propose(Vec<Payload>),
    /// A client wants to read what was committed before now. Answered in
    /// [`Ready::reads`](crate::Ready::reads) or
    /// [`Ready::reads_failed`](crate::Ready::reads_failed), once.
    Read(ReadId),
    /// The leader shall hand over to this voter. Until it has, or an election timeout has passed,
    /// proposals are refused.
    TransferLeader(PeerId),
    /// Call an election now rather than when patience ends.
    Campaign,
    /// The [`Persist`](crate::Persist) with this ticket, and with it all before, is durable.
    Persisted {
        /// The newest ticket that is durable.
        ticket: Ticket,
    },
    /// The driver has a durable checkpoint of the state after this entry: the log before it may go,
    /// but for [`Config::catchup_entries`](crate::Config::catchup_entries) that stay in memory for
    /// slow followers.
    SnapshotTaken {
        /// The last entry whose effect the checkpoint holds; an entry the core has handed out as
        /// committed.
        index: Index,
    },
    /// A message to this peer could not be sent: what was on its way is probably lost.
    PeerUnreachable(PeerId),
    /// The driver finished, or gave up, sending the snapshot that a `Body::InstallSnapshot` asked
    /// for.
    SnapshotSent {
        /// The peer it was meant for.
        to: PeerId,
        /// Whether it arrived, as far as the sender can tell.
        ok: bool,
    },
}

/// Why an input did nothing. A domain outcome, not a failure: the core is as sound after as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No leader is known that could be asked.
    #[error("there is no leader")]
    NoLeader,
    /// Only a leader can do this, and it is another.
    #[error("not the leader; {}", who_leads(*leader))]
    NotLeader {
        /// Who leads, as far as is known.
        leader: Option<PeerId>,
    },
    /// The leader is handing over and takes nothing new.
    #[error("leadership is being handed to peer {to}")]
    Transferring {
        /// The next leader.
        to: PeerId,
    },
    /// Too much waits for commit
    /// ([`Config::max_uncommitted_bytes`](crate::Config::max_uncommitted_bytes)).
    #[error("too many uncommitted bytes")]
    TooMuchUncommitted,
    /// A change of membership is in the log and not committed yet.
    #[error("a membership change is in flight at index {index}")]
    ChangeInFlight {
        /// Where it stands.
        index: Index,
    },
    /// A leader must commit an entry of its own term before it may change the membership.
    #[error("nothing of term {term} is committed yet")]
    TermNotCommitted {
        /// The leader's term.
        term: Term,
    },
    /// The change would leave no voter.
    #[error("the change would leave no voter")]
    NoVoterLeft,
    /// The change names a peer twice, leaves no voter, or is the end of a joint change, which the
    /// leader makes by itself.
    #[error("the change contradicts itself or the membership")]
    ImpossibleChange,
    /// This peer may not lead: it is a learner, was removed, or has not been added.
    #[error("peer {peer} is not a voter")]
    NotAVoter {
        /// The peer in question.
        peer: PeerId,
    },
    /// This peer may not lead: damage took entries of its log, and it has not got them back yet.
    #[error("entries up to {until} were lost here and are not got back yet")]
    EntriesLost {
        /// The last entry that its log once had.
        until: Index,
    },
    /// The message is for another peer.
    #[error("the message is for peer {to}")]
    NotForMe {
        /// Whom it names.
        to: PeerId,
    },
    /// The message says what no sound peer says (an entry out of order, an acknowledgement of what
    /// was never sent, a conflict with a committed entry, a second leader in a term). It was not
    /// acted on; something is wrong at its sender or here.
    #[error("unsound message: {what}")]
    Unsound {
        /// What gave it away.
        what: &'static str,
    },
}

fn who_leads(leader: Option<PeerId>) -> String {
    leader.map_or_else(
        || String::from("none is known"),
        |leader| format!("peer {leader} leads"),
    )
}
