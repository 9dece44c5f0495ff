//! Bugs that are planted at the edges of every member, to see that somebody notices.
//!
//! Each breaks one promise: in the rules of the core, between the member and its disk, in what it sends, in what it answers, or in
//! what it tells those who watch. The members' own code is the same with and without.
//!
//! What this module deliberately does not do: say who notices. `tests/planted_bugs.rs` does.

use std::borrow::Cow;

use quorate_node::event::{LeaseRead, Outcome, Read, Request};
use quorate_node::refusal::Refusal;
use quorate_node::replica::Rules as MemberRules;
use quorate_node::watch::Create;
use raft::{Body, Entry, Payload, Recovered, Rules};
use store::{Command, PutRequest, Store};

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
    /// A start knows no later term than that of its last entry, and no vote.
    ForgottenTerm,
    /// What a client wants written is put into the log twice.
    DoneTwice,
    /// Reads lack what was not changed for long, as if a compaction had taken it.
    CompactionTakesLive,
    /// A watcher that goes on begins a revision too late.
    ResumeSkips,
    /// Progress is told of a revision that is still to come.
    ProgressAhead,
    /// A renewal is answered and changes nothing.
    EmptyRenewal,
    /// A leader serves reads, and renews leases, without a quorum's word, as long as it leads by its own clock.
    TrustedOffice,
    /// A leader renews leases and says how long they live by its own clock and memory; everything else it asks a quorum for.
    LocalLeases,
    /// A learner's acknowledgement counts as a voter's.
    LearnerCounts,
    /// A proposal that a wire brings twice is taken in twice.
    TakenTwice,
    /// One member applies what nobody else does, and only the members themselves can find that.
    ApplyDiffers,
}

impl Bug {
    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| format!("{bug:?}") == name)
    }

    /// All of them.
    pub const ALL: [Self; 26] = [
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
        Self::ForgottenTerm,
        Self::DoneTwice,
        Self::CompactionTakesLive,
        Self::ResumeSkips,
        Self::ProgressAhead,
        Self::EmptyRenewal,
        Self::TrustedOffice,
        Self::LocalLeases,
        Self::LearnerCounts,
        Self::ApplyDiffers,
        Self::TakenTwice,
    ];

    /// The rules that the core follows.
    pub(crate) fn rules(self) -> Rules {
        let mut rules = Rules::RAFT;
        match self {
            Self::HalfQuorum => rules.quorum = |voters| voters.div_ceil(2),
            Self::BlindVote => rules.up_to_date = |_, _| true,
            Self::ReadWithoutQuorum | Self::TrustedOffice => rules.read_confirmed = |_, _| true,
            Self::LearnerCounts => {
                rules.acknowledges = |voters, learners| Cow::Owned(voters | learners);
            }
            _ => {}
        }
        rules
    }

    /// The rules that a member follows around the core.
    pub(crate) fn member_rules(self) -> MemberRules {
        let mut rules = MemberRules::SOUND;
        match self {
            Self::LocalLeases => rules.needs_quorum = |read| !matches!(read, Read::Lease(_)),
            Self::TakenTwice => rules.takes_in = |_| true,
            _ => {}
        }
        rules
    }

    /// What the store of a member is when it starts.
    pub(crate) fn store(self, member: u64, store: &mut Store) {
        if self == Self::ApplyDiffers && member == ODD {
            let stray = PutRequest {
                key: "k0".into(),
                value: "stray".into(),
                ..PutRequest::default()
            };
            store.apply(store.applied_index(), &Command::Put(stray));
        }
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
        if self == Self::ForgottenTerm {
            let last = recovered.entries.last().map(|entry| entry.term);
            let state = &mut recovered.hard_state;
            (state.term, state.vote) = (last.unwrap_or(recovered.snapshot.term), None);
        }
    }

    /// What a member makes of a client's request.
    pub(crate) fn request(self, request: Request) -> Request {
        match (self, request) {
            (Self::StaleRead, Request::Read(Read::Range(range))) => {
                Request::ReadLocal(Read::Range(range))
            }
            (Self::EmptyRenewal, Request::Read(Read::Lease(LeaseRead::Renew { id }))) => {
                Request::Read(Read::Lease(LeaseRead::TimeToLive { id, keys: false }))
            }
            (_, request) => request,
        }
    }

    /// What is put before the member once more, for nobody.
    pub(crate) fn again(self, request: &Request) -> Option<Request> {
        match request {
            Request::Propose(command) if self == Self::DoneTwice => {
                Some(Request::Propose(command.clone()))
            }
            _ => None,
        }
    }

    /// What the hub makes of a watcher that somebody wants.
    pub(crate) fn create(self, create: &mut Create) {
        if self == Self::ResumeSkips && create.start > 0 {
            create.start += 1;
        }
    }

    /// What it makes of an answer.
    pub(crate) fn outcome(self, outcome: Outcome) -> Outcome {
        match (self, outcome) {
            (Self::UnknownAsRefused, Outcome::Refused(refusal)) if refusal.is_unknown() => {
                Outcome::Refused(Refusal::TooManyRequests)
            }
            (Self::CompactionTakesLive, Outcome::Range(mut found)) => {
                let least = found.revision - LONG;
                found.kvs.retain(|kv| kv.mod_revision >= least);
                found.count = found.kvs.len() as i64;
                Outcome::Range(found)
            }
            (Self::EmptyRenewal, Outcome::Lease(state)) => Outcome::Renewed {
                ttl: state.granted_ttl,
            },
            (_, outcome) => outcome,
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

/// The member that alone is wrong.
const ODD: u64 = 1;

/// For how many revisions a key is unchanged that a planted bug takes away.
const LONG: i64 = 20;

/// Nothing is left of what some entries say.
fn forge(entry: &mut Entry) {
    if entry.index.0.is_multiple_of(50) && matches!(entry.payload, Payload::Command(_)) {
        entry.payload = Payload::Empty;
    }
}
