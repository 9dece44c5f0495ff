//! What a peer tells about itself to people and metrics.
//!
//! What this module does not do: take part in any decision.

use crate::configuration::Configuration;
use crate::ids::{Index, PeerId, Term};
use crate::message::{SnapshotMeta, VoteKind};
use crate::raft::{Raft, Role as Part};

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
    /// Whether it answered within the last election timeout, and could be reached since.
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

impl Raft {
    /// Who this is.
    #[must_use]
    pub const fn id(&self) -> PeerId {
        self.core.id()
    }

    /// What it does at the moment.
    #[must_use]
    pub const fn role(&self) -> Role {
        match &self.role {
            Part::Follower(_) => Role::Follower,
            Part::Candidate(candidate) => match candidate.kind {
                VoteKind::PreVote => Role::PreCandidate,
                VoteKind::Vote => Role::Candidate,
            },
            Part::Leader(_) => Role::Leader,
        }
    }

    /// Who leads in this term, as far as it knows.
    #[must_use]
    pub fn leader(&self) -> Option<PeerId> {
        match &self.role {
            Part::Follower(follower) => follower.leader,
            Part::Candidate(_) => None,
            Part::Leader(_) => Some(self.core.id()),
        }
    }

    /// The newest term it has seen.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.core.term
    }

    /// The newest index it knows to be committed.
    #[must_use]
    pub const fn commit(&self) -> Index {
        self.core.log.commit()
    }

    /// Up to where damage took entries that it has not got back; none if its log is whole.
    #[must_use]
    pub fn lost_until(&self) -> Option<Index> {
        self.core.lost.map(|(_, until)| until)
    }

    /// The end of its log.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.core.log.last_index()
    }

    /// The term of the entry at a place of its log; none if the log has not got there, or no more
    /// has it in memory.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.core.log.term(index)
    }

    /// The membership in effect.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        self.core.configuration()
    }

    /// What a checkpoint of the state after the entry at `index` stands for. None if that entry is
    /// before the newest snapshot or was not handed out yet.
    #[must_use]
    pub fn meta_at(&self, index: Index) -> Option<SnapshotMeta> {
        if index > self.core.log.handed_out() {
            return None;
        }
        let term = self.core.log.term(index)?;
        let configuration = self.core.membership.at(index)?.clone();
        Some(SnapshotMeta {
            index,
            term,
            configuration,
        })
    }

    /// At a leader: how far another peer is.
    #[must_use]
    pub fn progress(&self, peer: PeerId) -> Option<ProgressStatus> {
        let Part::Leader(leader) = &self.role else {
            return None;
        };
        let progress = leader.progress.get(&peer)?;
        let (inflight_messages, inflight_bytes) = progress.in_flight();
        Some(ProgressStatus {
            peer,
            matched: progress.matched(),
            next: progress.next(),
            mode: progress.mode(),
            recently_active: progress.is_active(),
            inflight_messages,
            inflight_bytes,
        })
    }

    /// A picture of it all.
    #[must_use]
    pub fn status(&self) -> Status {
        let transferring_to = match &self.role {
            Part::Leader(leader) => leader.transferring_to(),
            Part::Follower(_) | Part::Candidate(_) => None,
        };
        Status {
            id: self.id(),
            role: self.role(),
            term: self.term(),
            leader: self.leader(),
            commit: self.commit(),
            last_index: self.last_index(),
            stable_index: self.core.log.stable(),
            first_index: self.core.log.first_index(),
            configuration: self.configuration().clone(),
            transferring_to,
            progress: self
                .configuration()
                .peers()
                .filter_map(|peer| self.progress(peer))
                .collect(),
        }
    }
}
