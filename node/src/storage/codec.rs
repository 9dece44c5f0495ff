//! Numbers and entries as bytes, little-endian.
//!
//! What this module does not do: protect them. Records and checkpoints carry the checksums.

use super::Identity;
use bytes::Bytes;
use raft::{
    Change, ChangeKind, Configuration, Entry, HardState, Index, Payload, PeerId, SnapshotMeta, Term,
};

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
        }
    }
}

fn put_change(out: &mut Vec<u8>, change: &Change) {
    let (tag, peer) = match change.kind {
        ChangeKind::AddVoter(peer) => (ADD_VOTER, peer),
        ChangeKind::AddLearner(peer) => (ADD_LEARNER, peer),
        ChangeKind::Remove(peer) => (REMOVE, peer),
    };
    out.push(tag);
    put_u64(out, peer.0);
    put_sized(out, &change.context);
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
    let kind = match tag {
        EMPTY => return Some(Payload::Empty),
        COMMAND => return Some(Payload::Command(Bytes::copy_from_slice(reader.sized()?))),
        ADD_VOTER => ChangeKind::AddVoter(PeerId(reader.u64()?)),
        ADD_LEARNER => ChangeKind::AddLearner(PeerId(reader.u64()?)),
        REMOVE => ChangeKind::Remove(PeerId(reader.u64()?)),
        _ => return None,
    };
    let context = Bytes::copy_from_slice(reader.sized()?);
    Some(Payload::Change(Change { kind, context }))
}

pub(super) fn put_meta(out: &mut Vec<u8>, meta: &SnapshotMeta) {
    put_place(out, (meta.index, meta.term));
    let configuration = &meta.configuration;
    for peers in [configuration.voters(), configuration.learners()] {
        let count = u32::try_from(peers.len()).expect("a cluster has a handful of members");
        put_u32(out, count);
        peers.iter().for_each(|peer| put_u64(out, peer.0));
    }
}

pub(super) fn meta(reader: &mut Reader<'_>) -> Option<SnapshotMeta> {
    let (index, term) = place(reader)?;
    let voters = peers(reader)?;
    let learners = peers(reader)?;
    Some(SnapshotMeta {
        index,
        term,
        configuration: Configuration::new(voters, learners),
    })
}

fn peers(reader: &mut Reader<'_>) -> Option<Vec<PeerId>> {
    let count = reader.u32()?;
    (0..count).map(|_| reader.u64().map(PeerId)).collect()
}
