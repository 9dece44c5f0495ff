//! What the clients saw, and what the cluster did, with the true time of each.
//!
//! Times are in milliseconds of true time since the beginning. Requests and answers are the store's own types, as a client's
//! member gave them out.
//!
//! What this module deliberately does not do: judge.

use quorate_node::event::LeaseState;
use quorate_node::refusal::Refusal;
use quorate_node::watch::{Create, Response as Told};
use store::{
    Change, CompactionRequest, DeleteRangeRequest, LeaseGrant, PutRequest, RangeRequest,
    RangeResponse, Response, TxnRequest, TxnResponse,
};

/// Everything that a run leaves behind for the judges.
#[derive(Debug, Default)]
pub struct History {
    /// What clients asked for, in the order in which they began.
    pub operations: Vec<Operation>,
    /// What watchers saw, one for each watcher that was created.
    pub watches: Vec<WatchLog>,
    /// Every write that any member applied, in order, and when the first member had it. One revision may have several.
    pub writes: Vec<(u64, Change)>,
    /// Every lease that any member has seen, in the order of their grants.
    pub leases: Vec<LeaseLife>,
    /// The newest revision up to which history was compacted anywhere.
    pub compacted: i64,
    /// Whether [`History::writes`] are all; what was compacted as soon as it was written can be missing.
    pub is_whole: bool,
    /// How much faster or slower than true time a clock goes, in thousandths.
    pub drift_permille: u64,
    /// From when on there were no faults, and nobody asked for anything new.
    pub quiet_ms: u64,
    /// How much time clocks have jumped over, all together.
    pub jumped_ms: u64,
}

/// One thing that a client asked for.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Which client; each does one thing after another.
    pub client: usize,
    /// Which member was asked.
    pub member: u64,
    /// When it was asked.
    pub began_ms: u64,
    /// When the client was answered, or gave up.
    pub ended_ms: u64,
    /// What was asked.
    pub asked: Asked,
    /// What came of it.
    pub answer: Answer,
}

/// What a client may ask for.
#[derive(Clone, Debug)]
pub enum Asked {
    /// Writes one key.
    Put(PutRequest),
    /// Deletes keys.
    Delete(DeleteRangeRequest),
    /// Compares, then writes or reads.
    Txn(TxnRequest),
    /// Reads keys, linearizable or as its member has it.
    Range(RangeRequest),
    /// Forgets history.
    Compact(CompactionRequest),
    /// A new lease.
    Grant(LeaseGrant),
    /// Ends a lease.
    Revoke(i64),
    /// Lets a lease begin anew.
    Renew(i64),
    /// How long a lease still lives, and what hangs on it.
    TimeToLive(i64),
}

/// What a client was told.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The command was applied.
    Applied(Response),
    /// Keys.
    Range(RangeResponse),
    /// A transaction that only reads.
    Txn(TxnResponse),
    /// All members, by id.
    Members(Vec<store::Member>),
    /// A lease has begun anew, and lives for so many seconds.
    Renewed(i64),
    /// A lease.
    Lease(LeaseState),
    /// What needs no answer but that it is so.
    Done,
    /// Not done, or unknown: [`Refusal::is_unknown`] tells which.
    Refused(Refusal),
    /// Nobody answered: the member ended, or took too long.
    Lost,
}

/// What one watcher saw, from its creation to its end.
#[derive(Clone, Debug)]
pub struct WatchLog {
    /// Whose; a watcher that broke is followed by one that goes on.
    pub watcher: usize,
    /// At which member.
    pub member: u64,
    /// What it asked for.
    pub create: Create,
    /// What it was told, and when.
    pub told: Vec<(u64, Told)>,
    /// Whether it was the last thing of the run, and everything was given time to arrive.
    pub is_complete: bool,
}

/// One lease, as the members' stores had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseLife {
    /// Which.
    pub id: i64,
    /// How long it lives without a renewal, in seconds.
    pub ttl: i64,
    /// When the first member had it.
    pub granted_ms: u64,
    /// When the first member had it no more.
    pub ended_ms: Option<u64>,
}
