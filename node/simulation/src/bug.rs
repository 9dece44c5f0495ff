//! Bugs that are planted at the edges of every member, to see that somebody notices.
//!
//! Each breaks one promise: in the rules of the core, between the member and its disk, in what it sends, in what it answers, or in
//! what it tells those who watch. The members' own code is the same with and without.
//!
//! What this module deliberately does not do: say who notices. `tests/planted_bugs.rs` does.

use quorate_node::event::{Outcome, Read, Request};
use quorate_node::refusal::Refusal;
use raft::{Body, Entry, Payload, Recovered, Rules};

use crate::network::{Load, Sent};
use crate::profile::TICK_MS;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A quorum is half of the voters.
    HalfQuorum,
    /// A voter does not look at the candidate's log.
    BlindVote,
    /// A leader serves reads, and renews leases, without a quorum's word, and never doubts that it leads.
    ReadWithoutQuorum,
    /// A linearizable read is answered from what the member has.
    StaleRead,
    /// What waits for the disk leaves before the disk has it.
    ReleaseBeforeSync,
    /// A vote is not written.
    UnwrittenVote,
    /// A start overlooks the last entry of the log.
    ForgottenTail,
    /// A snapshot says that it is of a later entry than it is.
    SnapshotAhead,
    /// An entry is changed on its way.
    ForgedEntry,
    /// A client is told that its request was refused when nobody knows what became of it.
    UnknownAsRefused,
    /// A watcher is not told of some changes.
    WatchSkips,
    /// A watcher is told of some changes twice.
    WatchRepeats,
    /// A watcher is told of a transaction in pieces.
    WatchSplits,
    /// A leader counts ticks for leases as if they were longer.
    EarlyExpiry,
    /// A leader never ends a lease.
    NoExpiry,
}

impl Bug {
    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| format!("{bug:?}") == name)
    }

    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::HalfQuorum,
        Self::BlindVote,
        Self::ReadWithoutQuorum,
        Self::StaleRead,
        Self::ReleaseBeforeSync,
        Self::UnwrittenVote,
        Self::ForgottenTail,
        Self::SnapshotAhead,
        Self::ForgedEntry,
        Self::UnknownAsRefused,
        Self::WatchSkips,
        Self::WatchRepeats,
        Self::WatchSplits,
        Self::EarlyExpiry,
        Self::NoExpiry,
    ];

    /// The rules that the core follows.
    pub(crate) fn rules(self) -> Rules {
        let mut rules = Rules::RAFT;
        match self {
            Self::HalfQuorum => rules.quorum = |voters| voters.div_ceil(2),
            Self::BlindVote => rules.up_to_date = |_, _| true,
            Self::ReadWithoutQuorum => rules.read_confirmed = |_, _| true,
            _ => {}
        }
        rules
    }

    /// Whether a leader steps down that no quorum answers.
    pub(crate) fn checks_quorum(self) -> bool {
        self != Self::ReadWithoutQuorum
    }

    /// How long a leader takes a tick to be that measures leases, in milliseconds.
    pub(crate) const fn tick_ms(self) -> u64 {
        match self {
            Self::EarlyExpiry => 2 * TICK_MS,
            Self::NoExpiry => 1,
            _ => TICK_MS,
        }
    }

    /// What a start makes of what it found.
    pub(crate) fn recovered(self, recovered: &mut Recovered) {
        if self == Self::ForgottenTail && recovered.entries.pop().is_some() {
            let end = recovered.entries.last().map(|entry| entry.index);
            let end = end.unwrap_or(recovered.snapshot.index);
            recovered.hard_state.commit = recovered.hard_state.commit.min(end);
        }
    }

    /// What a member makes of a client's request.
    pub(crate) fn request(self, request: Request) -> Request {
        match request {
            Request::Read(Read::Range(range)) if self == Self::StaleRead => {
                Request::ReadLocal(Read::Range(range))
            }
            request => request,
        }
    }

    /// What it makes of an answer.
    pub(crate) fn outcome(self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Refused(refusal) if self == Self::UnknownAsRefused => {
                let is_unknown = refusal.is_unknown();
                Outcome::Refused(if is_unknown {
                    Refusal::TooManyRequests
                } else {
                    refusal
                })
            }
            outcome => outcome,
        }
    }

    /// What it makes of something that it sends.
    pub(crate) fn sent(self, sent: &mut Sent) {
        match (self, &mut sent.load) {
            (Self::SnapshotAhead, Load::Snapshot(message, _)) => {
                if let Body::InstallSnapshot { meta } = &mut message.body {
                    meta.index = meta.index.next();
                }
            }
            (Self::ForgedEntry, Load::Message(message)) => {
                if let Body::Append { entries, .. } = &mut message.body {
                    entries.iter_mut().for_each(forge);
                }
            }
            _ => {}
        }
    }
}

/// Nothing is left of what some entries say.
fn forge(entry: &mut Entry) {
    if entry.index.0.is_multiple_of(50) && matches!(entry.payload, Payload::Command(_)) {
        entry.payload = Payload::Empty;
    }
}
