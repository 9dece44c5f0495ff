//! What a peer is whatever its role: its term, vote, log, membership, and what it is about to say.
//!
//! What this module does not do: choose the next role. [`crate::raft`] does, on what the roles say.

use crate::config::Config;
use crate::configuration::Configuration;
use crate::ids::{Index, PeerId, ReadId, Term, Ticket};
use crate::log::{Log, Misfit};
use crate::membership::Membership;
use crate::message::{Body, Entry, HardState, Message, Payload, SnapshotMeta};
use crate::quorum::Tally;
use crate::ready::Persist;
use crate::rules::Rules;
use rand::Rng;
use rand::rngs::SmallRng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A term, and to whom the vote went in it.
type Promise = (Term, Option<PeerId>);

/// What the roles share.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) rules: Rules,
    pub(crate) term: Term,
    pub(crate) vote: Option<PeerId>,
    pub(crate) log: Log,
    /// Term and index of the last entry that the log had before damage took a part, until the log is
    /// no worse than it was then.
    pub(crate) lost: Option<(Term, Index)>,
    pub(crate) membership: Membership,
    pub(crate) messages: Vec<Message>,
    pub(crate) reads: Vec<(ReadId, Index)>,
    pub(crate) reads_failed: Vec<ReadId>,
    pub(crate) install: Option<SnapshotMeta>,
    /// A change that ended this peer's leadership, and of which it is not known yet whether the
    /// others know that it is committed: it is not handed out until then. Only in this life: who
    /// asked for the change loses touch with this peer when it restarts.
    pub(crate) hold_back: Option<Index>,
    /// The membership changed since the last `Ready`. That the change is committed must be durable
    /// before anyone acts on it: whoever was removed may be gone for good a moment later, and a
    /// peer that woke up in the old membership would wait for it.
    membership_moved: bool,
    /// The hard state as last submitted, to tell what changed.
    submitted: HardState,
    /// Term and vote as last known to be durable, and those on their way there.
    promised: Promise,
    promises: VecDeque<(Ticket, Promise)>,
    tickets: Ticket,
    rng: SmallRng,
}

impl Core {
    /// `on_disk` may be behind `hard_state`, which recovery has raised to what the log proves; the
    /// first `Ready` then writes it anew.
    pub(crate) fn new(
        config: Config,
        on_disk: HardState,
        hard_state: HardState,
        log: Log,
        membership: Membership,
        rng: SmallRng,
    ) -> Self {
        Self {
            config,
            rules: Rules::RAFT,
            term: hard_state.term,
            vote: hard_state.vote,
            submitted: on_disk,
            log,
            lost: None,
            membership,
            messages: Vec::new(),
            reads: Vec::new(),
            reads_failed: Vec::new(),
            install: None,
            hold_back: None,
            membership_moved: false,
            promised: (on_disk.term, on_disk.vote),
            promises: VecDeque::new(),
            tickets: Ticket(0),
            rng,
        }
    }

    pub(crate) const fn id(&self) -> PeerId {
        self.config.id
    }

    pub(crate) fn configuration(&self) -> &Configuration {
        self.membership.current()
    }

    /// Whether this peer may stand for election.
    pub(crate) fn may_lead(&self) -> bool {
        self.configuration().is_voter(self.id()) && self.vouched_end() == self.log.end()
    }

    /// Where the log ends that a vote of this peer vouches for.
    pub(crate) fn vouched_end(&self) -> (Term, Index) {
        (self.rules.vouched_end)(self.log.end(), self.lost)
    }

    /// A log that would have won this peer's vote can take the place of the one that was damaged.
    pub(crate) fn forget_loss(&mut self) {
        self.lost = self.lost.filter(|lost| self.log.end() < *lost);
    }

    /// Whether its vote for itself in this term is durable. It counts only from then on, like any
    /// vote: else a crash could forget that it led.
    pub(crate) fn stands_by_itself(&self) -> bool {
        self.promised == (self.term, Some(self.id()))
    }

    /// How the election stands, given the answers so far.
    pub(crate) fn tally(&self, votes: &BTreeMap<PeerId, bool>) -> Tally {
        let answer = |peer: PeerId| votes.get(&peer).copied();
        let tally = |voters: &BTreeSet<PeerId>| {
            crate::quorum::tally(voters, (self.rules.quorum)(voters.len()), answer)
        };
        let (mut all, mut lost) = (true, false);
        for result in self.configuration().electorates().map(tally) {
            all &= result == Tally::Won;
            lost |= result == Tally::Lost;
        }
        match (all, lost) {
            (_, true) => Tally::Lost,
            (true, false) => Tally::Won,
            (false, false) => Tally::Open,
        }
    }

    /// The largest number that a quorum of the voters has reached; in joint consensus, of the old
    /// voters and of the new.
    pub(crate) fn agreed(&self, reached: impl Fn(PeerId) -> u64) -> u64 {
        let configuration = self.configuration();
        let agreed = |voters: &BTreeSet<PeerId>| {
            let heard = (self.rules.acknowledges)(voters, configuration.learners());
            crate::quorum::agreed(&heard, (self.rules.quorum)(voters.len()), &reached)
        };
        let electorates = configuration.electorates().map(agreed);
        electorates.reduce(self.rules.together).unwrap_or(0)
    }

    /// For how many ticks to wait for a leader this time.
    pub(crate) fn draw_patience(&mut self) -> u32 {
        let least = self.config.election_ticks;
        self.rng.random_range(least..2 * least)
    }

    pub(crate) fn enter_term(&mut self, term: Term) {
        assert!(term >= self.term, "terms never fall");
        if term > self.term {
            self.term = term;
            self.vote = None;
        }
    }

    pub(crate) fn send(&mut self, to: PeerId, body: Body) {
        self.send_in(self.term, to, body);
    }

    /// Sends in the name of another term: pre-votes speak of the term that would come.
    pub(crate) fn send_in(&mut self, term: Term, to: PeerId, body: Body) {
        self.messages.push(Message {
            from: self.id(),
            to,
            term,
            body,
        });
    }

    /// Appends a leader's own entries.
    pub(crate) fn append_own(&mut self, payloads: Vec<Payload>) {
        for payload in payloads {
            let index = self.log.push(self.term, payload);
            for entry in self.log.between(index.previous(), index) {
                self.membership.appended(entry);
            }
        }
    }

    /// Appends another leader's entries.
    pub(crate) fn append(&mut self, entries: Vec<Entry>) -> Result<(), Misfit> {
        if let Some(first) = self.log.append(entries)? {
            self.membership.cut_from(first);
            for entry in self.log.between(first.previous(), self.log.last_index()) {
                self.membership.appended(entry);
            }
            self.forget_loss();
        }
        Ok(())
    }

    /// Moves the commit forward, and with it the membership.
    pub(crate) fn commit_to(&mut self, index: Index) {
        self.log.commit_to(index);
        self.membership_moved |= self.membership.commit_to(index);
    }

    /// Another peer knows the entry `(index, term)` to be committed: so it is here, if it is here.
    pub(crate) fn learn_commit(&mut self, index: Index, term: Term) {
        if self.log.term(index) == Some(term) {
            self.commit_to(index);
        }
    }

    /// A later leader says what is committed: so others know what this peer kept to itself.
    pub(crate) fn others_know(&mut self, commit: Index) {
        self.hold_back = self.hold_back.filter(|&change| change > commit);
    }

    /// Committed entries for the state machine.
    pub(crate) fn hand_out(&mut self) -> Vec<Entry> {
        let until = self.hold_back.map_or(self.log.commit(), Index::previous);
        self.log.hand_out(until, self.config.max_committed_bytes)
    }

    /// The newest committed entry.
    pub(crate) fn newest_committed(&self) -> (Index, Term) {
        let commit = self.log.commit();
        (
            commit,
            self.log
                .term(commit)
                .expect("the newest committed entry is in memory"),
        )
    }

    /// A snapshot takes the place of log and membership.
    pub(crate) fn restore(&mut self, meta: SnapshotMeta) {
        self.membership = Membership::at_snapshot(meta.index, meta.configuration.clone());
        self.log.restore(meta.clone());
        self.forget_loss();
        self.install = Some(meta);
    }

    /// The driver says that what it was given is durable.
    pub(crate) fn persisted(&mut self, ticket: Ticket) {
        assert!(
            ticket <= self.tickets,
            "only what was handed out can be durable"
        );
        self.log.persisted(ticket);
        while let Some(&(oldest, promise)) = self.promises.front()
            && oldest <= ticket
        {
            self.promised = promise;
            self.promises.pop_front();
        }
    }

    /// What must become durable since the last time.
    pub(crate) fn submit(&mut self) -> Persist {
        let now = HardState {
            term: self.term,
            vote: self.vote,
            commit: self.log.commit(),
        };
        if now == self.submitted && !self.log.has_unsubmitted() {
            return Persist::default();
        }
        self.tickets = Ticket(self.tickets.0 + 1);
        let entries = self.log.submit(self.tickets);
        let before = std::mem::replace(&mut self.submitted, now);
        let moved = std::mem::take(&mut self.membership_moved);
        let promised = (before.term, before.vote) != (now.term, now.vote);
        if promised {
            self.promises
                .push_back((self.tickets, (now.term, now.vote)));
        }
        let must_sync = !entries.is_empty() || promised || moved;
        let hard_state = (before != now).then_some(now);
        Persist {
            ticket: self.tickets,
            entries,
            hard_state,
            must_sync,
        }
    }
}
