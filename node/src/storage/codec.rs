//! Numbers and entries as bytes, little-endian.
//!
//! What this module does not do: protect them. Records and checkpoints carry the checksums.

use super::Identity;
use bytes::Bytes;
use raft::{
    Change, ChangeKind, Configuration, Entry, HardState, Index, JointChange, Payload, PeerId,
    SnapshotMeta, Term,
};
use std::collections::BTreeSet;

/// Reads what was written in the same order; none where the bytes end early or make no sense.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let count = self.u32()?;
        self.bytes(count as usize)
    }
}

pub(super) fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    let count = u32::try_from(bytes.len()).expect("an entry is bounded by the largest request");
    put_u32(out, count);
    out.extend_from_slice(bytes);
}

pub(super) fn put_identity(out: &mut Vec<u8>, identity: Identity) {
    put_u64(out, identity.cluster_id);
    put_u64(out, identity.member_id);
}

pub(super) fn identity(reader: &mut Reader<'_>) -> Option<Identity> {
    Some(Identity {
        cluster_id: reader.u64()?,
        member_id: reader.u64()?,
    })
}

pub(super) fn put_hard_state(out: &mut Vec<u8>, state: HardState) {
    put_u64(out, state.term.0);
    out.push(u8::from(state.vote.is_some()));
    put_u64(out, state.vote.map_or(0, |peer| peer.0));
    put_u64(out, state.commit.0);
}

pub(super) fn hard_state(reader: &mut Reader<'_>) -> Option<HardState> {
    let term = Term(reader.u64()?);
    let voted = reader.u8()? == 1;
    let vote = PeerId(reader.u64()?);
    Some(HardState {
        term,
        vote: voted.then_some(vote),
        commit: Index(reader.u64()?),
    })
}

pub(super) fn put_place(out: &mut Vec<u8>, (index, term): (Index, Term)) {
    put_u64(out, index.0);
    put_u64(out, term.0);
}

pub(super) fn place(reader: &mut Reader<'_>) -> Option<(Index, Term)> {
    Some((Index(reader.u64()?), Term(reader.u64()?)))
}

const EMPTY: u8 = 0;
const COMMAND: u8 = 1;
const ADD_VOTER: u8 = 2;
const ADD_LEARNER: u8 = 3;
const REMOVE: u8 = 4;
const ENTER_JOINT: u8 = 5;
const LEAVE_JOINT: u8 = 6;

/// Stands in the number of voters of a membership that is in joint consensus: two more lists follow.
const IS_JOINT: u32 = 1 << 31;

/// Successive entries: how many, the first index, then each one's term and payload. A payload's bytes go in as they are.
pub(super) fn put_entries(out: &mut Vec<u8>, entries: &[Entry]) {
    let count = u32::try_from(entries.len()).expect("a batch has far fewer than 2^32 entries");
    put_u32(out, count);
    put_u64(out, entries.first().map_or(0, |entry| entry.index.0));
    for entry in entries {
        put_u64(out, entry.term.0);
        match &entry.payload {
            Payload::Empty => out.push(EMPTY),
            Payload::Command(bytes) => {
                out.push(COMMAND);
                put_sized(out, bytes);
            }
            Payload::Change(change) => put_change(out, change),
            Payload::EnterJoint(change) => put_joint_change(out, change),
            Payload::LeaveJoint => out.push(LEAVE_JOINT),
        }
    }
}

fn put_joint_change(out: &mut Vec<u8>, change: &JointChange) {
    out.push(ENTER_JOINT);
    put_u32(out, count(change.steps.len()));
    change.steps.iter().for_each(|step| put_step(out, *step));
    put_sized(out, &change.context);
}

fn put_change(out: &mut Vec<u8>, change: &Change) {
    put_step(out, change.kind);
    put_sized(out, &change.context);
}

fn put_step(out: &mut Vec<u8>, step: ChangeKind) {
    let (tag, peer) = match step {
        ChangeKind::AddVoter(peer) => (ADD_VOTER, peer),
        ChangeKind::AddLearner(peer) => (ADD_LEARNER, peer),
        ChangeKind::Remove(peer) => (REMOVE, peer),
    };
    out.push(tag);
    put_u64(out, peer.0);
}

/// The bytes that [`put_entries`] adds, near enough from above to decide whether a segment has room.
pub(super) fn entries_bytes(entries: &[Entry]) -> usize {
    const FRAME: usize = 8 + 1 + 8 + 4;
    let payloads: u64 = entries.iter().map(|entry| entry.payload.weight()).sum();
    let payloads = usize::try_from(payloads).expect("entries are in memory");
    12 + entries.len() * FRAME + payloads
}

pub(super) fn entries(reader: &mut Reader<'_>) -> Option<Vec<Entry>> {
    let count = reader.u32()?;
    let first = reader.u64()?;
    (0..u64::from(count))
        .map(|offset| {
            Some(Entry {
                term: Term(reader.u64()?),
                index: Index(first.checked_add(offset)?),
                payload: payload(reader)?,
            })
        })
        .collect()
}

/// Copied out, as a slice would keep the whole segment in memory for as long as one entry lives.
fn payload(reader: &mut Reader<'_>) -> Option<Payload> {
    let tag = reader.u8()?;
    Some(match tag {
        EMPTY => Payload::Empty,
        COMMAND => Payload::Command(Bytes::copy_from_slice(reader.sized()?)),
        ENTER_JOINT => {
            let count = reader.u32()?;
            let steps = (0..count).map(|_| reader.u8().and_then(|tag| step(tag, reader)));
            Payload::EnterJoint(JointChange {
                steps: steps.collect::<Option<_>>()?,
                context: Bytes::copy_from_slice(reader.sized()?),
            })
        }
        LEAVE_JOINT => Payload::LeaveJoint,
        _ => Payload::Change(Change {
            kind: step(tag, reader)?,
            context: Bytes::copy_from_slice(reader.sized()?),
        }),
    })
}

fn step(tag: u8, reader: &mut Reader<'_>) -> Option<ChangeKind> {
    let kind = match tag {
        ADD_VOTER => ChangeKind::AddVoter,
        ADD_LEARNER => ChangeKind::AddLearner,
        REMOVE => ChangeKind::Remove,
        _ => return None,
    };
    reader.u64().map(PeerId).map(kind)
}

pub(super) fn put_meta(out: &mut Vec<u8>, meta: &SnapshotMeta) {
    put_place(out, (meta.index, meta.term));
    let configuration = &meta.configuration;
    let mark = if configuration.is_joint() {
        IS_JOINT
    } else {
        0
    };
    put_peers(out, mark, configuration.voters());
    put_peers(out, 0, configuration.learners());
    if configuration.is_joint() {
        put_peers(out, 0, configuration.outgoing());
        put_peers(out, 0, configuration.next_learners());
    }
}

fn put_peers(out: &mut Vec<u8>, mark: u32, peers: &BTreeSet<PeerId>) {
    put_u32(out, count(peers.len()) | mark);
    peers.iter().for_each(|peer| put_u64(out, peer.0));
}

fn count(peers: usize) -> u32 {
    u32::try_from(peers).expect("a cluster has a handful of members")
}

pub(super) fn meta(reader: &mut Reader<'_>) -> Option<SnapshotMeta> {
    let (index, term) = place(reader)?;
    let count = reader.u32()?;
    let voters = peers(reader, count & !IS_JOINT)?;
    let learners = counted_peers(reader)?;
    let is_joint = count & IS_JOINT != 0;
    let configuration = if is_joint {
        let outgoing = counted_peers(reader)?;
        Configuration::joint(voters, outgoing, learners, counted_peers(reader)?)
    } else {
        Configuration::new(voters, learners)
    };
    Some(SnapshotMeta {
        index,
        term,
        configuration,
    })
}

fn counted_peers(reader: &mut Reader<'_>) -> Option<Vec<PeerId>> {
    let count = reader.u32()?;
    peers(reader, count)
}

fn peers(reader: &mut Reader<'_>, count: u32) -> Option<Vec<PeerId>> {
    (0..count).map(|_| reader.u64().map(PeerId)).collect()
}
