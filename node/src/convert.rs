//! Between the consensus core's plain values and their form on the peers' wire.
//!
//! What comes from the wire may be anything: every way in answers [`Malformed`] rather than guess. A snapshot's message
//! has no form here, as it travels as a stream of its own (`transport::snapshot`).
//!
//! What this module deliberately does not do: judge what a message says. The core checks that.

use std::collections::BTreeSet;

use proto::peer::{self, message::Body as Wire};
use raft::{
    Body, Change, ChangeKind, Configuration, Entry, Index, JointChange, Message, Payload, PeerId,
    ReadId, SnapshotMeta, Term, VoteKind,
};

use crate::event::Digests;

/// A message that no member sends: a missing part or an unknown kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed peer message: {0}")]
pub struct Malformed(&'static str);

/// The wire's form of a message.
///
/// # Panics
/// On a snapshot's message, which the caller must send as a stream.
#[must_use]
pub fn message_to_wire(message: Message) -> peer::Message {
    peer::Message {
        from: message.from.0,
        to: message.to.0,
        term: message.term.0,
        body: Some(body_to_wire(message.body)),
    }
}

/// The message that stands in its wire's form.
///
/// # Errors
/// [`Malformed`] if a part is missing or unknown.
pub fn message_from_wire(message: peer::Message) -> Result<Message, Malformed> {
    Ok(Message {
        from: PeerId(message.from),
        to: PeerId(message.to),
        term: Term(message.term),
        body: body_from_wire(message.body.ok_or(Malformed("no body"))?)?,
    })
}

fn body_to_wire(body: Body) -> Wire {
    match body {
        Body::RequestVote {
            kind,
            last_index,
            last_term,
            transfer,
        } => Wire::RequestVote(peer::RequestVote {
            pre_vote: kind == VoteKind::PreVote,
            last_index: last_index.0,
            last_term: last_term.0,
            transfer,
        }),
        Body::Vote {
            kind,
            granted,
            commit,
            commit_term,
        } => Wire::Vote(peer::Vote {
            pre_vote: kind == VoteKind::PreVote,
            granted,
            commit: commit.0,
            commit_term: commit_term.0,
        }),
        Body::Append {
            prev_index,
            prev_term,
            entries,
            commit,
        } => Wire::Append(append_to_wire((prev_index, prev_term), entries, commit)),
        Body::Accepted { match_index } => Wire::Accepted(peer::Accepted {
            match_index: match_index.0,
        }),
        Body::Rejected {
            prev_index,
            hint_index,
            hint_term,
        } => Wire::Rejected(peer::Rejected {
            prev_index: prev_index.0,
            hint_index: hint_index.0,
            hint_term: hint_term.0,
        }),
        Body::Heartbeat { commit, round } => Wire::Heartbeat(peer::Heartbeat {
            commit: commit.0,
            round,
        }),
        Body::HeartbeatReply { round } => Wire::HeartbeatReply(peer::HeartbeatReply { round }),
        Body::Lend {
            prev_index,
            prev_term,
            entries,
            commit,
        } => Wire::Lend(append_to_wire((prev_index, prev_term), entries, commit)),
        Body::TimeoutNow => Wire::TimeoutNow(peer::TimeoutNow {}),
        Body::Propose { payloads } => Wire::Propose(peer::Propose {
            payloads: payloads.into_iter().map(payload_to_wire).collect(),
        }),
        Body::Read { ids } => Wire::Read(peer::Read { ids: numbers(ids) }),
        Body::ReadReply { ids, index } => Wire::ReadReply(peer::ReadReply {
            ids: numbers(ids),
            index: index.map(|index| index.0),
        }),
        Body::InstallSnapshot { .. } => unreachable!("a snapshot travels as a stream of its own"),
    }
}

fn append_to_wire(prev: (Index, Term), entries: Vec<Entry>, commit: Index) -> peer::Append {
    peer::Append {
        prev_index: prev.0.0,
        prev_term: prev.1.0,
        entries: entries.into_iter().map(entry_to_wire).collect(),
        commit: commit.0,
    }
}

fn body_from_wire(body: Wire) -> Result<Body, Malformed> {
    Ok(match body {
        Wire::RequestVote(vote) => Body::RequestVote {
            kind: vote_kind(vote.pre_vote),
            last_index: Index(vote.last_index),
            last_term: Term(vote.last_term),
            transfer: vote.transfer,
        },
        Wire::Vote(vote) => Body::Vote {
            kind: vote_kind(vote.pre_vote),
            granted: vote.granted,
            commit: Index(vote.commit),
            commit_term: Term(vote.commit_term),
        },
        Wire::Append(append) => Body::Append {
            prev_index: Index(append.prev_index),
            prev_term: Term(append.prev_term),
            entries: entries_from_wire(append.entries)?,
            commit: Index(append.commit),
        },
        Wire::Accepted(accepted) => Body::Accepted {
            match_index: Index(accepted.match_index),
        },
        Wire::Rejected(rejected) => Body::Rejected {
            prev_index: Index(rejected.prev_index),
            hint_index: Index(rejected.hint_index),
            hint_term: Term(rejected.hint_term),
        },
        Wire::Heartbeat(beat) => Body::Heartbeat {
            commit: Index(beat.commit),
            round: beat.round,
        },
        Wire::HeartbeatReply(reply) => Body::HeartbeatReply { round: reply.round },
        Wire::Lend(lend) => Body::Lend {
            prev_index: Index(lend.prev_index),
            prev_term: Term(lend.prev_term),
            entries: entries_from_wire(lend.entries)?,
            commit: Index(lend.commit),
        },
        Wire::TimeoutNow(_) => Body::TimeoutNow,
        Wire::Propose(propose) => Body::Propose {
            payloads: propose
                .payloads
                .into_iter()
                .map(payload_from_wire)
                .collect::<Result<_, _>>()?,
        },
        Wire::Read(read) => Body::Read {
            ids: read_ids(read.ids),
        },
        Wire::ReadReply(reply) => Body::ReadReply {
            ids: read_ids(reply.ids),
            index: reply.index.map(Index),
        },
    })
}

fn vote_kind(pre_vote: bool) -> VoteKind {
    if pre_vote {
        VoteKind::PreVote
    } else {
        VoteKind::Vote
    }
}

fn numbers(ids: Vec<ReadId>) -> Vec<u64> {
    ids.into_iter().map(|id| id.0).collect()
}

fn read_ids(numbers: Vec<u64>) -> Vec<ReadId> {
    numbers.into_iter().map(ReadId).collect()
}

fn entry_to_wire(entry: Entry) -> peer::Entry {
    peer::Entry {
        term: entry.term.0,
        index: entry.index.0,
        ..payload_to_wire(entry.payload)
    }
}

fn entries_from_wire(entries: Vec<peer::Entry>) -> Result<Vec<Entry>, Malformed> {
    entries.into_iter().map(entry_from_wire).collect()
}

fn entry_from_wire(entry: peer::Entry) -> Result<Entry, Malformed> {
    Ok(Entry {
        term: Term(entry.term),
        index: Index(entry.index),
        payload: payload_from_wire(entry)?,
    })
}

fn payload_to_wire(payload: Payload) -> peer::Entry {
    let nothing = bytes::Bytes::new;
    let mut steps = Vec::new();
    let (kind, peer, body) = match payload {
        Payload::Empty => (peer::EntryKind::Empty, 0, nothing()),
        Payload::Command(body) => (peer::EntryKind::Command, 0, body),
        Payload::Change(Change { kind, context }) => (change_kind(kind), kind.peer().0, context),
        Payload::EnterJoint(change) => {
            steps = change.steps.into_iter().map(step_to_wire).collect();
            (peer::EntryKind::EnterJoint, 0, change.context)
        }
        Payload::LeaveJoint => (peer::EntryKind::LeaveJoint, 0, nothing()),
    };
    peer::Entry {
        kind: kind.into(),
        peer,
        body,
        steps,
        ..Default::default()
    }
}

fn step_to_wire(step: ChangeKind) -> peer::Step {
    peer::Step {
        kind: change_kind(step).into(),
        peer: step.peer().0,
    }
}

fn change_kind(kind: ChangeKind) -> peer::EntryKind {
    match kind {
        ChangeKind::AddVoter(_) => peer::EntryKind::AddVoter,
        ChangeKind::AddLearner(_) => peer::EntryKind::AddLearner,
        ChangeKind::Remove(_) => peer::EntryKind::Remove,
    }
}

fn payload_from_wire(entry: peer::Entry) -> Result<Payload, Malformed> {
    let kind = entry_kind(entry.kind)?;
    Ok(match kind {
        peer::EntryKind::Empty => Payload::Empty,
        peer::EntryKind::Command => Payload::Command(entry.body),
        peer::EntryKind::LeaveJoint => Payload::LeaveJoint,
        peer::EntryKind::EnterJoint => Payload::EnterJoint(JointChange {
            steps: entry
                .steps
                .into_iter()
                .map(|step| step_from_wire(entry_kind(step.kind)?, step.peer))
                .collect::<Result<_, _>>()?,
            context: entry.body,
        }),
        _ => Payload::Change(Change {
            kind: step_from_wire(kind, entry.peer)?,
            context: entry.body,
        }),
    })
}

fn entry_kind(kind: i32) -> Result<peer::EntryKind, Malformed> {
    peer::EntryKind::try_from(kind).map_err(|_| Malformed("kind of entry"))
}

fn step_from_wire(kind: peer::EntryKind, peer: u64) -> Result<ChangeKind, Malformed> {
    let peer = PeerId(peer);
    match kind {
        peer::EntryKind::AddVoter => Ok(ChangeKind::AddVoter(peer)),
        peer::EntryKind::AddLearner => Ok(ChangeKind::AddLearner(peer)),
        peer::EntryKind::Remove => Ok(ChangeKind::Remove(peer)),
        _ => Err(Malformed("step of a joint change")),
    }
}

/// The wire's form of what a snapshot stands for.
#[must_use]
pub fn meta_to_wire(meta: &SnapshotMeta) -> peer::SnapshotMeta {
    let numbers = |peers: &BTreeSet<PeerId>| peers.iter().map(|peer| peer.0).collect();
    let configuration = &meta.configuration;
    peer::SnapshotMeta {
        index: meta.index.0,
        term: meta.term.0,
        voters: numbers(configuration.voters()),
        learners: numbers(configuration.learners()),
        outgoing: numbers(configuration.outgoing()),
        next_learners: numbers(configuration.next_learners()),
    }
}

/// What a snapshot stands for, from its wire's form.
#[must_use]
pub fn meta_from_wire(meta: peer::SnapshotMeta) -> SnapshotMeta {
    let peers = |numbers: Vec<u64>| numbers.into_iter().map(PeerId);
    SnapshotMeta {
        index: Index(meta.index),
        term: Term(meta.term),
        configuration: Configuration::joint(
            peers(meta.voters),
            peers(meta.outgoing),
            peers(meta.learners),
            peers(meta.next_learners),
        ),
    }
}

/// How a store has been, for the wire.
#[must_use]
pub fn digests_to_wire(digests: Digests) -> peer::Digests {
    peer::Digests {
        first: digests.first.0,
        digests: digests.digests,
    }
}

/// How a peer's store has been.
#[must_use]
pub fn digests_from_wire(digests: peer::Digests) -> Digests {
    Digests {
        first: Index(digests.first),
        digests: digests.digests,
    }
}

#[cfg(test)]
mod tests;
