//! What a peer tells about itself to people and metrics.
//!
//! What this module does not do: take part in any decision.

use crate::configuration::Configuration;
use crate::ids::{Index, PeerId, Term};

/// What a peer does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes entries from the leader, if there is one; learners and removed peers are always
    /// followers.
    Follower,
    /// Asks whether it could win an election.
    PreCandidate,
    /// Stands in an election.
    Candidate,
    /// Decides what stands in the log.
    Leader,
}

/// A picture of one peer at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This peer.
    pub id: PeerId,
    /// What it does.
    pub role: Role,
    /// The newest term it has seen.
    pub term: Term,
    /// Who leads in that term, as far as it knows.
    pub leader: Option<PeerId>,
    /// The newest index it knows to be committed.
    pub commit: Index,
    /// The end of its log.
    pub last_index: Index,
    /// The end of the part of its log that is durable.
    pub stable_index: Index,
    /// The first entry still in memory.
    pub first_index: Index,
    /// The membership in effect.
    pub configuration: Configuration,
    /// To whom a leader is handing over.
    pub transferring_to: Option<PeerId>,
    /// At a leader: how far each other peer is. Empty elsewhere.
    pub progress: Vec<ProgressStatus>,
}

/// How far a follower is, in the eyes of the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressStatus {
    /// The follower.
    pub peer: PeerId,
    /// The last place where its log is known to agree with the leader's.
    pub matched: Index,
    /// The next entry to send.
    pub next: Index,
    /// How entries are sent to it.
    pub mode: ProgressMode,
    /// Whether it answered within the last election timeout.
    pub recently_active: bool,
    /// Messages with entries on their way to it.
    pub inflight_messages: usize,
    /// Bytes of entries on their way to it.
    pub inflight_bytes: u64,
}

/// How a leader sends to a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressMode {
    /// One message at a time, to find where the logs agree.
    Probe,
    /// Ahead of the answers, as far as the limits allow.
    Replicate,
    /// Nothing, while a snapshot is on its way.
    Snapshot,
}
