//! Everything that wakes the loop, as one closed list, and everything a client can be told.
//!
//! `W` is whoever waits for an answer: in the server a one-shot channel, in simulations a number. The replica hands it
//! back with the answer and never looks inside.
//!
//! What this module deliberately does not do: it knows neither gRPC nor sockets. Requests arrive checked and, where they
//! go into the log, already encoded, so that this work is spread over the callers and not done by the loop.

use std::sync::Arc;

use bytes::Bytes;
use raft::{Index, Message, PeerId};
use store::{
    Auth, Command, RangeRequest, RangeResponse, Response, Store, TxnRequest, TxnResponse, Version,
};

use crate::auth::Caller;
use crate::refusal::Refusal;

/// Something happened.
#[derive(Debug)]
pub enum Event<W> {
    /// One tick of the clock passed.
    Tick,
    /// A client wants something.
    Ask(Request, W),
    /// A peer said something.
    Receive(Message),
    /// A snapshot arrived whole from the leader: its message, and the store that was read from `image`.
    ReceiveSnapshot {
        /// The message that the core must see; its body is an `InstallSnapshot`.
        message: Message,
        /// The store's bytes, as they will lie on the disk.
        image: Bytes,
        /// What they say.
        store: Box<Store>,
    },
    /// A peer said hello.
    Introduced {
        /// Who.
        peer: PeerId,
        /// What it serves, if it said so.
        version: Option<Version>,
        /// Where it is reached, if it said so.
        peer_urls: Vec<String>,
    },
    /// A peer said how its store has been.
    Digests(PeerId, Digests),
    /// What was sent to this peer is probably lost.
    Unreachable(PeerId),
    /// A snapshot's sending ended.
    SnapshotSent {
        /// Whom it was for.
        to: PeerId,
        /// Whether the receiver said that it has it.
        ok: bool,
    },
    /// A checkpoint of the state after this entry is durable.
    Checkpointed(Index),
}

/// What a member's store was after each of successive entries, as a digest ([`Store::digest`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// The entry of the first digest.
    pub first: Index,
    /// One for each entry from there on.
    pub digests: Vec<u64>,
}

/// What a client wants.
#[derive(Debug)]
pub enum Request {
    /// A command for the log, by `Command::to_bytes`.
    Propose(Bytes),
    /// A read of everything that was committed before it was asked.
    Read(Read),
    /// A read of what this member has, old or not.
    ReadLocal(Read),
    /// A change of membership; only the leader takes it.
    Reconfigure(Command),
    /// The store as it is now.
    Image,
    /// Free memory of compacted history, visiting up to so many records.
    Sweep(usize),
    /// Let this member lead; only the leader takes it.
    MoveLeader(PeerId),
    /// Let any member lead that can, if this one leads: it is about to stop.
    HandOver,
}

/// What to read.
#[derive(Clone, Debug)]
pub enum Read {
    /// Keys.
    Range(RangeRequest),
    /// The first keys of a range, as [`Store::page`] reads them, and no more than are good to read at once.
    Page(RangeRequest),
    /// A transaction that only reads.
    Txn(TxnRequest),
    /// All members.
    Members,
    /// The membership, with what is left to do of a change of several members.
    Membership,
    /// The ids of all leases: by the leader the next to end first, by others in their order.
    Leases,
    /// What only the leader says of a lease.
    Lease(LeaseRead),
    /// Users and roles.
    Auth,
    /// Nothing: the caller wants to know whether somebody may.
    Permit(Need),
    /// What somebody may read only if it is his to read.
    By(Option<Caller>, Box<Self>),
    /// Nothing: the caller wants to know whether the cluster answers.
    Nothing,
}

/// What only the leader says of a lease, as it alone measures; others refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseRead {
    /// Let it begin anew.
    Renew {
        /// Which.
        id: i64,
    },
    /// How long it still lives.
    TimeToLive {
        /// Which.
        id: i64,
        /// Whether to say what hangs on it.
        keys: bool,
    },
}

/// A lease as its leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseState {
    /// Its time to live, in seconds.
    pub granted_ttl: i64,
    /// What is left of that, in seconds; negative when it is about to be revoked.
    pub left: i64,
    /// What hangs on it, if that was asked.
    pub keys: Vec<Bytes>,
}

/// What somebody may need to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To write every key that hangs on this lease: whoever keeps it alive keeps them.
    WriteKeysOf(i64),
    /// To read every key that hangs on this lease.
    ReadKeysOf(i64),
}

/// What a client is told.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A command of the log was applied.
    Applied(Response),
    /// Keys.
    Range(RangeResponse),
    /// What a reading transaction found.
    Txn(TxnResponse),
    /// All members, by id.
    Members(Vec<store::Member>),
    /// The membership.
    Membership(Box<store::Members>),
    /// All leases.
    Leases(Vec<i64>),
    /// One lease.
    Lease(LeaseState),
    /// A lease has begun anew.
    Renewed {
        /// How long it lives, in seconds.
        ttl: i64,
    },
    /// Users and roles.
    Auth(Arc<Auth>),
    /// The store.
    Image(store::Image),
    /// A read that would hold up the loop: to be answered from this image, by [`answer`](crate::replica::answer), by
    /// whoever waits.
    Large(store::Image, Read),
    /// Memory was freed, and there is more to free.
    SweptInPart,
    /// The cluster answers, this member is up to date, or leads no more: whatever was asked for is so.
    Done,
    /// Not done, or unknown.
    Refused(Refusal),
}
