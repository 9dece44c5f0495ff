//! What stands in the log, and what peers say to each other about it.
//!
//! These are plain values. How they travel is the driver's business; whatever arrives is checked
//! again by the core.
//!
//! What this module does not do: encode, authenticate, or carry the bytes of a snapshot.

use crate::configuration::Configuration;
use crate::ids::{Index, PeerId, ReadId, Term};
use bytes::Bytes;

/// One place of the log, filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that made the entry.
    pub term: Term,
    /// Its place. Index and term together name one entry for all time (the paper's log matching).
    pub index: Index,
    /// What it says.
    pub payload: Payload,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: a new leader's first entry, whose commit proves what else is committed.
    Empty,
    /// Bytes for the state machine; the core never looks inside.
    Command(Bytes),
    /// A change of the membership; it takes effect in the core when it is committed.
    Change(Change),
    /// Several changes at once, by joint consensus (4.3): from its commit on every decision takes a
    /// majority of the old voters *and* one of the new.
    EnterJoint(JointChange),
    /// The end of joint consensus: the new voters decide alone. The leader appends it by itself, as
    /// soon as the change that entered is committed.
    LeaveJoint,
}

/// Several single steps that take effect together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JointChange {
    /// Who comes or goes; no peer twice.
    pub steps: Vec<ChangeKind>,
    /// Bytes for the state machine; the core never looks inside.
    pub context: Bytes,
}

/// What an entry makes of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alteration {
    /// One peer comes or goes.
    Step(ChangeKind),
    /// Several do, and old and new voters decide together.
    EnterJoint(Vec<ChangeKind>),
    /// The new voters decide alone.
    LeaveJoint,
}

/// One single-step change of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Who comes or goes.
    pub kind: ChangeKind,
    /// Bytes for the state machine (an address, a name); the core never looks inside.
    pub context: Bytes,
}

/// Who comes or goes. At most one voter per change, so that a majority before and one after always
/// share a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Adds a voter, or promotes a learner to one.
    AddVoter(PeerId),
    /// Adds a learner (receives the log, counts for nothing), or demotes a voter to one.
    AddLearner(PeerId),
    /// Removes a voter or a learner.
    Remove(PeerId),
}

/// What must survive a crash besides the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The newest term this peer has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<PeerId>,
    /// The newest index it knows to be committed. May lag after a crash (it saves re-learning,
    /// nothing depends on it).
    pub commit: Index,
}

/// The place in the log that a snapshot stands for, and the membership there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last entry the snapshot holds the effect of; 0 if there is no snapshot.
    pub index: Index,
    /// That entry's term.
    pub term: Term,
    /// The membership after that entry.
    pub configuration: Configuration,
}

/// One message of one peer to another. Messages may be lost, doubled, delayed and reordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender.
    pub from: PeerId,
    /// The peer it is meant for.
    pub to: PeerId,
    /// The sender's term; in a pre-vote's question and its granted answer, the term that the
    /// election would have.
    pub term: Term,
    /// What is said.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// "Would you (`PreVote`), or do you (`Vote`), vote for me?" The log's end lets the voter
    /// refuse one that misses entries.
    RequestVote {
        /// A trial run or the election itself.
        kind: VoteKind,
        /// The last entry's index in the candidate's log.
        last_index: Index,
        /// That entry's term.
        last_term: Term,
        /// The leader itself asked for this election: voters need not keep faith with it.
        transfer: bool,
    },
    /// The answer to `RequestVote`.
    Vote {
        /// What was asked for.
        kind: VoteKind,
        /// Whether it is granted.
        granted: bool,
        /// The newest entry that the voter knows to be committed, and its term. A candidate that
        /// has it too learns that much: it may not know yet that a change of the membership is
        /// committed, and wait in vain for a quorum of the old one.
        commit: Index,
        /// That entry's term.
        commit_term: Term,
    },
    /// Entries to append after the entry `(prev_index, prev_term)`; none is a probe, or only news
    /// of the commit.
    Append {
        /// The place right before `entries`.
        prev_index: Index,
        /// The term the leader has at that place.
        prev_term: Term,
        /// Successive entries from `prev_index + 1` on.
        entries: Vec<Entry>,
        /// The leader's commit.
        commit: Index,
    },
    /// The answer to an `Append` or `InstallSnapshot` that fitted: the log agrees with the leader's
    /// up to here, durably.
    Accepted {
        /// The last place known to agree.
        match_index: Index,
    },
    /// The answer to an `Append` that did not fit.
    Rejected {
        /// The `prev_index` that was refused.
        prev_index: Index,
        /// The last place where the logs may still agree, as far as the follower can tell.
        hint_index: Index,
        /// The follower's term at that place, with which the leader skips whole terms.
        hint_term: Term,
    },
    /// The leader is alive.
    Heartbeat {
        /// What the receiver may take as committed: never beyond what it is known to have.
        commit: Index,
        /// The leader's round of heartbeats, to be handed back; each round confirms the reads that
        /// began before it.
        round: u64,
    },
    /// The answer to a `Heartbeat`.
    HeartbeatReply {
        /// The round of the heartbeat that is answered.
        round: u64,
    },
    /// The leader's log no longer reaches back to what the follower needs. The driver attaches its
    /// checkpoint: of exactly this meta, or of a newer one and rewrites `meta` to it.
    InstallSnapshot {
        /// What the snapshot stands for.
        meta: SnapshotMeta,
    },
    /// A voter that refuses a candidate, because the candidate's log lacks entries, hands them over:
    /// those after the candidate's end. Where only one peer is reached by a quorum, nobody else can
    /// lead, and no leader is there who would bring that peer up to date.
    Lend {
        /// Where the candidate's log ends, by its own words; the voter's log agrees up to there.
        prev_index: Index,
        /// The term at that place.
        prev_term: Term,
        /// Successive entries from `prev_index + 1` on.
        entries: Vec<Entry>,
        /// The newest entry that the voter knows to be committed.
        commit: Index,
    },
    /// The leader asks the receiver to call an election at once: it is to be the next leader.
    TimeoutNow,
    /// A follower hands proposals on to the leader. Refused ones vanish, like lost ones: the
    /// proposer waits with a deadline.
    Propose {
        /// In the order they were made.
        payloads: Vec<Payload>,
    },
    /// A follower hands reads on to the leader.
    Read {
        /// The tries that wait.
        ids: Vec<ReadId>,
    },
    /// The answer to `Read`.
    ReadReply {
        /// The tries that are answered.
        ids: Vec<ReadId>,
        /// Read once this much is applied; none: the sender does not lead, ask again with fresh
        /// ids.
        index: Option<Index>,
    },
}

/// Whether a vote is asked for in earnest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteKind {
    /// A trial: nobody's term changes, so a peer that cannot win disturbs no one.
    PreVote,
    /// The election.
    Vote,
}

impl From<ChangeKind> for Alteration {
    fn from(step: ChangeKind) -> Self {
        Self::Step(step)
    }
}

impl Message {
    /// Whether its term and indexes are such as a cluster can reach: no count of anything here
    /// gets near to 2^62 in a thousand years, and below it no sum overflows.
    pub(crate) fn is_plausible(&self) -> bool {
        const LIMIT: u64 = 1 << 62;
        self.term.0 < LIMIT && self.body.largest_index().0 < LIMIT
    }
}

impl Body {
    /// What a leader says is committed; nothing if it says no such thing.
    pub(crate) const fn commit(&self) -> Index {
        match self {
            Self::Append { commit, .. } | Self::Heartbeat { commit, .. } => *commit,
            Self::InstallSnapshot { meta } => meta.index,
            _ => Index(0),
        }
    }

    /// The largest index it speaks of.
    fn largest_index(&self) -> Index {
        match self {
            Self::RequestVote {
                last_index: index, ..
            }
            | Self::Vote { commit: index, .. }
            | Self::Accepted { match_index: index }
            | Self::Heartbeat { commit: index, .. }
            | Self::ReadReply {
                index: Some(index), ..
            } => *index,
            Self::Append {
                prev_index, commit, ..
            }
            | Self::Lend {
                prev_index, commit, ..
            } => *prev_index.max(commit),
            Self::Rejected {
                prev_index,
                hint_index,
                ..
            } => *prev_index.max(hint_index),
            Self::InstallSnapshot { meta } => meta.index,
            Self::HeartbeatReply { .. }
            | Self::TimeoutNow
            | Self::Propose { .. }
            | Self::Read { .. }
            | Self::ReadReply { index: None, .. } => Index(0),
        }
    }
}

impl Entry {
    /// What the entry weighs against the limits in [`Config`](crate::Config), in bytes: its payload
    /// and a little for the frame, so that many small entries weigh something too.
    #[must_use]
    pub fn weight(&self) -> u64 {
        const FRAME: u64 = 16;
        FRAME + self.payload.weight()
    }
}

impl Payload {
    /// The payload's own bytes.
    #[must_use]
    pub fn weight(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Command(bytes) => bytes.len() as u64,
            Self::Change(change) => 9 + change.context.len() as u64,
            Self::EnterJoint(change) => 9 * change.steps.len() as u64 + change.context.len() as u64,
            Self::LeaveJoint => 1,
        }
    }

    /// What the entry makes of the membership, if it concerns it.
    #[must_use]
    pub fn alteration(&self) -> Option<Alteration> {
        match self {
            Self::Empty | Self::Command(_) => None,
            Self::Change(change) => Some(Alteration::Step(change.kind)),
            Self::EnterJoint(change) => Some(Alteration::EnterJoint(change.steps.clone())),
            Self::LeaveJoint => Some(Alteration::LeaveJoint),
        }
    }
}

impl ChangeKind {
    /// The peer that comes or goes.
    #[must_use]
    pub const fn peer(self) -> PeerId {
        match self {
            Self::AddVoter(peer) | Self::AddLearner(peer) | Self::Remove(peer) => peer,
        }
    }
}
