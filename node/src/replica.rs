//! Consensus and state machine of one member, as one value: events in, turns and answers out.
//!
//! The order in which the loop uses it is the contract:
//!
//! 1. [`Replica::on`] for everything that happened; nothing leaves by it.
//! 2. When the disk is idle, [`Replica::turn`]: what to write, and, behind the door of [`Turn`], what to send then.
//! 3. [`Replica::apply`] while the disk works, then [`Replica::take_written`] and [`Replica::take_answers`].
//! 4. [`Replica::written`] when the disk is done.
//!
//! Invariants:
//! - The state machine never runs ahead of this member's disk: applied <= durable. So an answer, which is made of applied
//!   state, speaks only of what survives a crash of this member, beside the quorum that already has it.
//! - A change of the membership is applied once it is durable here that it is committed: whoever refuses a member that was removed
//!   must never again be one who needs its vote.
//! - Every waiter is answered exactly once, at the latest when his deadline passes.
//! - A request that may have gone into the log is never answered as if it had not.
//!
//! What this module deliberately does not do: no clock, no disk, no network, no channel, no randomness but what is handed in.

mod alarms;
mod apply;
mod batch;
mod changes;
mod divergence;
mod forced;
mod founding;
mod handover;
mod leases;
mod lessor;
mod membership;
mod offline;
mod proposals;
mod reads;
mod received;
mod relay;
mod requests;
mod retention;
mod rules;
mod stall;
mod tally;
mod tokens;
mod versions;

use std::collections::VecDeque;

use bytes::Bytes;
use raft::{
    Body, Configuration, Entry, HardState, Index, Input, Message, PeerId, Raft, Refused, Role,
    SnapshotMeta, Term, Ticket,
};
use store::{Command, MemberAttributes, Members, Store};

pub use apply::{Unreadable, Written, answer};
pub use batch::{Batch, BatchError};
pub use forced::forcing_entries;
pub use founding::founding_entries;
pub use leases::LeaseCounts;
pub use lessor::LeaseClock;
pub use offline::apply_all;
pub use retention::Retention;
pub use rules::Rules;
pub use tally::Tally;

use crate::event::{Event, Outcome};
use crate::refusal::Refusal;
use crate::turn::{Ahead, Release, Turn};
use alarms::Wanted;
use changes::Changes;
use divergence::Divergence;
use handover::Handover;
use leases::Renewals;
use lessor::Lessor;
use proposals::Proposals;
use reads::Reads;
use relay::Relay;
use retention::Historian;
use stall::Stall;
use tokens::TokenNews;
use versions::Versions;

/// What the replica is told once. Times are in ticks of [`Event::Tick`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// For the core.
    pub raft: raft::Config,
    /// How long a client's request may wait.
    pub request_timeout_ticks: u64,
    /// `--strict-reconfig-check`.
    pub strict_reconfig_check: bool,
    /// What this member tells the others about itself, once it can.
    pub attributes: MemberAttributes,
    /// What history the leader keeps; none: all of it.
    pub retention: Option<Retention>,
    /// `--quota-backend-bytes`.
    pub quota_bytes: u64,
    /// How leases are measured, if this member leads.
    pub leases: LeaseClock,
    /// Drawn at random at every start: names this start in the log.
    pub starter: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Replica<W> {
    raft: Raft,
    store: Store,
    settings: Settings,
    rules: Rules,
    now: u64,
    leader: Option<PeerId>,
    leader_since: u64,
    proposals: Proposals<W>,
    changes: Changes<W>,
    reads: Reads<W>,
    handover: Handover<W>,
    relay: Relay,
    lessor: Lessor,
    renewals: Renewals<W>,
    lease_counts: LeaseCounts,
    wanted_alarms: Wanted,
    tokens: TokenNews,
    versions: Versions,
    stall: Stall,
    divergence: Divergence,
    /// The newest term of which an entry was applied, and when those are answered who sent in older ones.
    overtaken: Option<(Term, u64)>,
    publish_again_at: u64,
    historian: Option<Historian>,
    /// Committed and not yet applied.
    unapplied: VecDeque<Entry>,
    /// Up to where it is durable here that entries are committed, and what the turn that is being written says of that.
    durable_commit: Index,
    written_commit: Index,
    /// The end of what this member's disk holds of the log.
    durable: Index,
    applied: SnapshotMeta,
    /// Term, vote and membership as of the last turn: what the disk has when there is a next.
    promised: (Term, Option<PeerId>),
    configuration: Configuration,
    /// Snapshots that arrived since the last turn, for the core to choose.
    arrived: Vec<(SnapshotMeta, Bytes, Box<Store>)>,
    answers: Vec<(W, Outcome)>,
    written: Written,
    /// A snapshot has brought another membership, which [`Replica::apply`] has not told yet.
    membership_arrived: bool,
    unsound: u64,
    applied_bytes: u64,
    tally: Tally,
}

impl<W> Replica<W> {
    /// A member as it was when it stopped: `raft` recovered from what `applied` and the log after it say, `store` as of
    /// `applied`, the log durable up to `durable`.
    #[must_use]
    pub fn new(
        raft: Raft,
        store: Store,
        applied: SnapshotMeta,
        durable: Index,
        settings: Settings,
    ) -> Self {
        let commit = raft.status().commit;
        Self {
            leader: raft.leader(),
            promised: (Term(0), None),
            configuration: Configuration::default(),
            raft,
            store,
            rules: Rules::SOUND,
            now: 0,
            leader_since: 0,
            proposals: Proposals::new(settings.starter),
            changes: Changes::default(),
            reads: Reads::new(settings.starter),
            handover: Handover::default(),
            relay: Relay::default(),
            lessor: Lessor::new(
                settings.leases,
                settings.raft.election_ticks.into(),
                settings.request_timeout_ticks,
            ),
            renewals: Renewals::default(),
            lease_counts: LeaseCounts::default(),
            wanted_alarms: Wanted::default(),
            tokens: TokenNews::new(durable),
            versions: Versions::default(),
            stall: Stall::default(),
            divergence: Divergence::default(),
            overtaken: None,
            publish_again_at: 0,
            historian: settings.retention.map(Historian::new),
            unapplied: VecDeque::new(),
            durable_commit: commit,
            written_commit: commit,
            durable,
            applied,
            arrived: Vec::new(),
            answers: Vec::new(),
            written: Written::default(),
            membership_arrived: false,
            unsound: 0,
            applied_bytes: 0,
            tally: Tally::default(),
            settings,
        }
    }

    /// Stands for election at once if this is the only voter: nobody else could lead, so that waiting serves nobody.
    pub fn campaign_if_alone(&mut self) {
        let voters = self.raft.configuration().voters();
        if voters.len() == 1 && voters.contains(&self.me()) {
            self.tell(Input::Campaign);
        }
    }

    /// Takes one event in.
    pub fn on(&mut self, event: Event<W>) {
        match event {
            Event::Tick => self.tick(),
            Event::Ask(request, waiter) => self.ask(request, waiter),
            Event::Receive(message) => self.receive(message),
            Event::ReceiveSnapshot {
                message,
                image,
                store,
            } => {
                if let Body::InstallSnapshot { meta } = &message.body {
                    self.arrived.push((meta.clone(), image, store));
                }
                self.receive(message);
            }
            Event::Unreachable(peer) => self.tell(Input::PeerUnreachable(peer)),
            Event::SnapshotSent { to, ok } => self.tell(Input::SnapshotSent { to, ok }),
            Event::Introduced { peer, version, .. } => {
                if let Some(version) = version {
                    self.note_version(peer, version);
                }
            }
            Event::Digests(from, digests) => self.note_digests(from, &digests),
            Event::Checkpointed(index) => self.tell(Input::SnapshotTaken { index }),
        }
    }

    /// What the disk and the peers are to be given next. Only to be called when the turn before is written.
    pub fn turn(&mut self) -> Turn {
        self.relay_kept();
        self.propose_gathered();
        self.propose_change();
        self.ask_gathered();
        let ready = self.raft.ready();
        self.note_leader();
        self.note_office();
        for (id, index) in ready.reads {
            self.reads.confirm(id, index);
        }
        for id in ready.reads_failed {
            self.reads.fail(id);
        }
        self.unapplied.extend(ready.committed);
        let install = ready.install.map(|meta| self.install(meta));
        self.arrived.clear();
        if let Some(first) = ready.persist.entries.first() {
            self.durable = self.durable.min(first.index.previous());
        }
        if let Some(hard_state) = ready.persist.hard_state
            && ready.persist.must_sync
        {
            self.written_commit = hard_state.commit;
        }
        let ahead = self.ahead(ready.persist.hard_state);
        let turn = Turn::new(install, ready.persist, ready.messages, ahead);
        if turn.must_wait() {
            self.stall.begins(self.now);
        }
        turn
    }

    /// Only a leader speaks ahead of its disk, and only if what makes it the leader of these members is on the disk.
    fn ahead(&mut self, hard_state: Option<HardState>) -> Ahead {
        let promised = hard_state.map_or(self.promised, |now| (now.term, now.vote));
        let configuration = self.raft.configuration();
        let is_same = promised == self.promised && *configuration == self.configuration;
        if is_same && self.leads() {
            return Ahead::Allowed;
        }
        self.promised = promised;
        self.configuration = self.raft.configuration().clone();
        Ahead::Forbidden
    }

    /// What the turn asked for is durable.
    pub fn written(&mut self, release: &Release) {
        self.stall.ends();
        let ticket = release.ticket;
        self.durable = release.durable.unwrap_or(self.durable);
        self.durable_commit = self.written_commit;
        if ticket > Ticket(0) {
            self.tell(Input::Persisted { ticket });
        }
    }

    /// Whom to answer what.
    #[must_use]
    pub fn take_answers(&mut self) -> Vec<(W, Outcome)> {
        std::mem::take(&mut self.answers)
    }

    /// What was written since the last time, for those who watch.
    #[must_use]
    pub fn take_written(&mut self) -> Written {
        std::mem::take(&mut self.written)
    }

    /// Frees memory of compacted history, visiting up to `records` records; changes nothing that can be read.
    pub fn sweep(&mut self, records: usize) {
        self.store.sweep(records);
    }

    /// Answers everybody who still waits: this member stops.
    pub fn stop(&mut self) -> Vec<(W, Outcome)> {
        self.retire();
        self.take_answers()
    }

    /// Refuses whoever still waits: nothing more will be heard here of what they asked for.
    pub fn retire(&mut self) {
        let waiters = self.proposals.drain().into_iter().chain(self.reads.drain());
        let waiters = waiters.chain(self.renewals.drain());
        let waiters = waiters.chain(self.changes.drain());
        let waiters: Vec<W> = waiters.chain(self.handover.drain()).collect();
        self.refuse(waiters, Refusal::Stopped);
    }

    /// Whether this member was removed, as far as it has applied.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.members().was_removed(self.me().0)
    }

    /// The state machine.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The consensus core.
    #[must_use]
    pub const fn raft(&self) -> &Raft {
        &self.raft
    }

    /// The newest applied entry and the membership there: what an image of [`Replica::store`] taken now stands for.
    #[must_use]
    pub const fn applied(&self) -> &SnapshotMeta {
        &self.applied
    }

    /// What the store has been asked to do since the start.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// Bytes of entries applied since the start, to judge how much log a checkpoint would free.
    #[must_use]
    pub const fn applied_bytes(&self) -> u64 {
        self.applied_bytes
    }

    /// Commands that wait to be applied.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.proposals.pending()
    }

    /// Peer messages that no sound peer sends, since the start.
    #[must_use]
    pub const fn unsound(&self) -> u64 {
        self.unsound
    }

    fn me(&self) -> PeerId {
        self.settings.raft.id
    }

    fn members(&self) -> &Members {
        self.store.members()
    }

    fn deadline(&self) -> u64 {
        self.now + self.settings.request_timeout_ticks
    }

    fn leads(&self) -> bool {
        self.raft.role() == Role::Leader
    }

    /// For inputs whose refusal changes nothing: the core is as sound after as before.
    fn tell(&mut self, input: Input) {
        let _refused = self.raft.step(input);
    }

    fn tick(&mut self) {
        self.now += 1;
        self.tell(Input::Tick);
        let now = self.now;
        self.reads.retry(|patience| patience <= now);
        self.publish();
        self.forget_history();
        self.mind_the_disk();
        self.compare_digests();
        self.raise_alarms();
        self.decide_version();
        self.end_leases();
        self.move_leadership();
        self.expire();
    }

    fn receive(&mut self, message: Message) {
        self.stall.hears(message.from, self.now);
        if let Body::Propose { payloads } = message.body {
            return self.relay(message.from, payloads);
        }
        if let Err(Refused::Unsound { what }) = self.raft.step(Input::Receive(message)) {
            self.unsound += 1;
            tracing::error!(what, "a peer sent what no sound peer sends");
        }
    }

    fn note_leader(&mut self) {
        let leader = self.raft.leader();
        if leader == self.leader {
            return;
        }
        self.leader = leader;
        self.leader_since = self.now;
        self.reads.retry(|_| true);
        if !self.leads() {
            let waiters = self.changes.drain_gathered();
            self.refuse(waiters, Refusal::NotLeader);
        }
    }

    fn install(&mut self, meta: SnapshotMeta) -> (SnapshotMeta, Bytes) {
        let place = self
            .arrived
            .iter()
            .position(|(arrived, ..)| *arrived == meta);
        let place = place.expect("the core installs only what arrived since the last turn");
        let (_, image, store) = self.arrived.swap_remove(place);
        self.store = *store;
        self.divergence.replaced();
        self.written = Written::replaced();
        self.end_all_tokens();
        self.membership_arrived = true;
        self.note_end_of_changes();
        self.applied = meta.clone();
        self.unapplied.retain(|entry| entry.index > meta.index);
        (meta, image)
    }

    /// Until the table says of this member what this member says of itself.
    fn publish(&mut self) {
        let wanted = &self.settings.attributes;
        let Some(known) = self.store.members().find(wanted.id) else {
            return;
        };
        let is_known = known.name == wanted.name && known.client_urls == wanted.client_urls;
        if is_known || self.leader.is_none() || self.now < self.publish_again_at {
            return;
        }
        self.publish_again_at = self.deadline();
        let command = Command::MemberAttributes(wanted.clone()).to_bytes();
        self.proposals.gather(command, None, self.publish_again_at);
    }

    fn forget_history(&mut self) {
        let (now, revision, leads) = (self.now, self.store.revision(), self.leads());
        let historian = self.historian.as_mut();
        if let Some(revision) = historian.and_then(|it| it.due(now, revision, leads)) {
            tracing::info!(revision, "compacting automatically");
            let request = store::CompactionRequest {
                revision,
                physical: false,
            };
            let deadline = self.deadline();
            self.proposals
                .gather(Command::Compact(request).to_bytes(), None, deadline);
        }
    }
}
