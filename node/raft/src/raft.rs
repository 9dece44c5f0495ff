//! One peer: what goes to which role, and when the role changes.
//!
//! What this module does not do: the roles' work, see [`crate::follower`], [`crate::candidate`] and
//! [`crate::leader`]; what no role does alone, see
//! [`crate::election`]; or telling about itself, see [`crate::status`].

use crate::candidate::Candidate;
use crate::config::Config;
use crate::core::Core;
use crate::election::Ballot;
use crate::follower::{self, Append, Follower};
use crate::ids::{Index, PeerId, ReadId, Term};
use crate::input::{Input, Refused};
use crate::leader::{Leader, Office};
use crate::message::{Body, Message, Payload};
use crate::ready::Ready;
use crate::recovery::{self, Recovered, Unrecoverable};
use crate::rules::Rules;
use rand::rngs::SmallRng;

/// One peer of a cluster, as a state machine: [`Raft::step`] tells it what happened,
/// [`Raft::ready`] asks what is to be done about it.
#[derive(Clone, Debug)]
pub struct Raft {
    pub(crate) core: Core,
    pub(crate) role: Role,
}

/// The role, with what only this role knows.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    Follower(Follower),
    Candidate(Candidate),
    Leader(Box<Leader>),
}

impl Raft {
    /// A peer as it comes back from its disk; `Recovered::default()` is a peer that never ran.
    ///
    /// `rng` decides nothing but how long to wait for a leader. It must differ between peers.
    ///
    /// # Errors
    /// What was recovered cannot have been written by this crate: entries are missing or out of
    /// order, or the hard state speaks of entries that are not there. The peer has lost what it
    /// acknowledged and must not take part; replace it by a new one.
    ///
    /// # Panics
    /// If `config` makes no sense.
    pub fn recover(
        config: Config,
        recovered: Recovered,
        rng: SmallRng,
    ) -> Result<Self, Unrecoverable> {
        config.assert_sound();
        let (on_disk, lost) = (recovered.hard_state, recovered.lost);
        let (hard_state, log, membership) = recovery::rebuild(recovered)?;
        let mut core = Core::new(config, on_disk, hard_state, log, membership, rng);
        core.lost = lost;
        core.forget_loss();
        let follower = Follower::new(&mut core, None);
        Ok(Self {
            core,
            role: Role::Follower(follower),
        })
    }

    /// Replaces the rules by others, to see a test fail that must fail. Anything but
    /// [`Rules::RAFT`] loses entries.
    #[doc(hidden)]
    pub const fn break_rules(&mut self, rules: Rules) {
        self.core.rules = rules;
    }

    /// Takes note of one thing that happened. What follows from it gathers for [`Raft::ready`].
    ///
    /// # Errors Why nothing was done. A client's input is then answered with it; for a message it
    /// is a matter for the log at most.
    ///
    /// # Panics If the driver breaks the contract: [`Input::SnapshotTaken`] or [`Input::Persisted`]
    /// of what was not handed out.
    pub fn step(&mut self, input: Input) -> Result<(), Refused> {
        match input {
            Input::Tick => self.tick(),
            Input::Receive(message) => return self.receive(message),
            Input::Propose(payloads) => return self.propose(payloads),
            Input::Read(id) => return self.read(id),
            Input::TransferLeader(to) => return self.transfer(to),
            Input::Campaign => return self.campaign_on_request(),
            Input::Persisted { ticket } => {
                self.core.persisted(ticket);
                self.vote_may_be_durable();
                self.as_leader(Leader::advance_commit);
            }
            Input::SnapshotTaken { index } => self.snapshot_taken(index),
            Input::PeerUnreachable(peer) => self.with_progress(peer, |it| it.unreachable()),
            Input::SnapshotSent { to, ok } => self.with_progress(to, |it| it.snapshot_sent(ok)),
        }
        Ok(())
    }

    /// Everything that is to be done now, each thing once; see [`Ready`] for the order. Ask until
    /// it is empty: only `committed` may come in parts.
    pub fn ready(&mut self) -> Ready {
        let core = &mut self.core;
        match &mut self.role {
            Role::Follower(follower) => follower.flush(core),
            Role::Candidate(_) => {}
            Role::Leader(leader) => leader.flush(core),
        }
        Ready {
            install: core.install.take(),
            persist: core.submit(),
            messages: std::mem::take(&mut core.messages),
            committed: core.hand_out(),
            reads: std::mem::take(&mut core.reads),
            reads_failed: std::mem::take(&mut core.reads_failed),
        }
    }

    // Time.

    fn tick(&mut self) {
        match &mut self.role {
            Role::Follower(follower) => {
                if follower.tick(&mut self.core) {
                    self.patience_ended();
                }
            }
            Role::Candidate(candidate) => {
                if candidate.tick() {
                    self.campaign(self.first_kind(), false);
                }
            }
            Role::Leader(_) => self.as_leader(Leader::tick),
        }
    }

    fn patience_ended(&mut self) {
        if self.core.may_lead() {
            self.campaign(self.first_kind(), false);
        } else if let Role::Follower(follower) = &mut self.role {
            follower.forget_leader(&mut self.core);
        }
    }

    // Clients.

    fn propose(&mut self, payloads: Vec<Payload>) -> Result<(), Refused> {
        match &mut self.role {
            Role::Follower(follower) => follower.propose(&mut self.core, payloads),
            Role::Candidate(_) => Err(Refused::NoLeader),
            Role::Leader(leader) => leader.propose(&mut self.core, payloads),
        }
    }

    fn read(&mut self, id: ReadId) -> Result<(), Refused> {
        let me = self.core.id();
        match &mut self.role {
            Role::Follower(follower) => return follower.read(id),
            Role::Candidate(_) => return Err(Refused::NoLeader),
            Role::Leader(leader) => leader.read(&self.core, me, id),
        }
        Ok(())
    }

    fn transfer(&mut self, to: PeerId) -> Result<(), Refused> {
        let leader = self.leader();
        match &mut self.role {
            Role::Leader(leader) => leader.transfer(&mut self.core, to),
            Role::Follower(_) | Role::Candidate(_) => Err(Refused::NotLeader { leader }),
        }
    }

    fn campaign_on_request(&mut self) -> Result<(), Refused> {
        if !self.core.may_lead() {
            return Err(self.core.lost.map_or(
                Refused::NotAVoter {
                    peer: self.core.id(),
                },
                |(_, until)| Refused::EntriesLost { until },
            ));
        }
        if !matches!(self.role, Role::Leader(_)) {
            self.campaign(self.first_kind(), false);
        }
        Ok(())
    }

    // The driver.

    fn snapshot_taken(&mut self, index: Index) {
        if index > self.core.log.snapshot().index {
            let meta = self
                .meta_at(index)
                .expect("a checkpoint holds only what was handed out");
            self.core.membership.forget_before(index);
            let config = &self.core.config;
            let (entries, bytes) = match &self.role {
                Role::Leader(leader) if leader.all_have(index) => (0, 0),
                _ => (config.catchup_entries, config.catchup_bytes),
            };
            self.core.log.compact(meta, entries, bytes);
        }
    }

    fn with_progress(&mut self, peer: PeerId, act: impl FnOnce(&mut crate::progress::Progress)) {
        if let Role::Leader(leader) = &mut self.role
            && let Some(progress) = leader.progress.get_mut(&peer)
        {
            act(progress);
        }
    }

    // Messages.

    fn receive(&mut self, message: Message) -> Result<(), Refused> {
        self.check(&message)?;
        let Message {
            from, term, body, ..
        } = message;
        if term < self.core.term {
            self.answer_the_past(from, body);
            return Ok(());
        }
        if term > self.core.term && !self.follow_into(term, from, &body) {
            return Ok(());
        }
        match body {
            Body::RequestVote { .. } | Body::Vote { .. } | Body::TimeoutNow => {
                self.elect(from, term, body);
                Ok(())
            }
            Body::Append { .. } | Body::Heartbeat { .. } | Body::InstallSnapshot { .. } => {
                self.obey(from, body)
            }
            Body::Accepted { .. } | Body::Rejected { .. } | Body::HeartbeatReply { .. } => {
                self.hear_follower(from, body)
            }
            Body::Lend {
                prev_index,
                prev_term,
                entries,
                commit,
            } => self.borrow((prev_index, prev_term), entries, commit),
            Body::Propose { payloads } => self.propose_for_another(payloads),
            Body::Read { ids } => {
                self.read_for_another(from, ids);
                Ok(())
            }
            Body::ReadReply { ids, index } => {
                if let Role::Follower(follower) = &mut self.role {
                    follower.read_reply(&mut self.core, &ids, index);
                }
                Ok(())
            }
        }
    }

    fn check(&self, message: &Message) -> Result<(), Refused> {
        let Message { from, to, .. } = message;
        if *to != self.core.id() {
            return Err(Refused::NotForMe { to: *to });
        }
        if from == to || *from == PeerId(0) {
            return Err(Refused::Unsound {
                what: "a message from nobody else",
            });
        }
        if !message.is_plausible() {
            return Err(Refused::Unsound {
                what: "a term or index that no cluster reaches",
            });
        }
        Ok(())
    }

    /// A message of an election: a question, an answer, or the order to call one.
    fn elect(&mut self, from: PeerId, term: Term, body: Body) {
        match body {
            Body::RequestVote {
                kind,
                last_index,
                last_term,
                ..
            } => {
                self.vote(from, term, kind, (last_term, last_index));
            }
            Body::Vote {
                kind,
                granted,
                commit,
                commit_term,
            } => {
                let commit = (commit, commit_term);
                self.count_vote(
                    from,
                    term,
                    &Ballot {
                        kind,
                        granted,
                        commit,
                    },
                );
            }
            _ => self.stand_in_for(from),
        }
    }

    /// The leader of this term speaks.
    fn obey(&mut self, from: PeerId, body: Body) -> Result<(), Refused> {
        if matches!(self.role, Role::Candidate(_)) {
            self.become_follower(self.core.term, Some(from));
        }
        let Role::Follower(follower) = &mut self.role else {
            return Err(Refused::Unsound {
                what: "two leaders in one term",
            });
        };
        follower.heard_from(from)?;
        let core = &mut self.core;
        core.others_know(body.commit());
        match body {
            Body::Append {
                prev_index,
                prev_term,
                entries,
                commit,
            } => follower::append(
                core,
                from,
                Append {
                    prev_index,
                    prev_term,
                    entries,
                    commit,
                },
            ),
            Body::Heartbeat { commit, round } => follower::heartbeat(core, from, commit, round),
            Body::InstallSnapshot { meta } => follower::install(core, from, meta),
            _ => unreachable!("only what a leader says is obeyed"),
        }
    }

    /// A follower answers.
    fn hear_follower(&mut self, from: PeerId, body: Body) -> Result<(), Refused> {
        let Role::Leader(leader) = &mut self.role else {
            return Ok(());
        };
        match body {
            Body::Accepted { match_index } => {
                let office = leader.accepted(&mut self.core, from, match_index)?;
                self.heed(office);
            }
            Body::Rejected {
                prev_index,
                hint_index,
                hint_term,
            } => {
                leader.rejected(&self.core, from, prev_index, (hint_index, hint_term));
            }
            Body::HeartbeatReply { round } => leader.heartbeat_reply(&self.core, from, round)?,
            _ => unreachable!("only what a follower answers is heard"),
        }
        Ok(())
    }

    fn propose_for_another(&mut self, payloads: Vec<Payload>) -> Result<(), Refused> {
        match &mut self.role {
            Role::Leader(leader) => leader.propose(&mut self.core, payloads),
            Role::Follower(_) | Role::Candidate(_) => Err(Refused::NotLeader {
                leader: self.leader(),
            }),
        }
    }

    fn read_for_another(&mut self, from: PeerId, ids: Vec<ReadId>) {
        if let Role::Leader(leader) = &mut self.role {
            for id in ids {
                leader.read(&self.core, from, id);
            }
        } else {
            self.core.send(from, Body::ReadReply { ids, index: None });
        }
    }

    // Roles.

    /// Lets the leader act, and heeds what it makes of its office.
    fn as_leader(&mut self, act: impl FnOnce(&mut Leader, &mut Core) -> Office) {
        if let Role::Leader(leader) = &mut self.role {
            let office = act(leader, &mut self.core);
            self.heed(office);
        }
    }

    fn heed(&mut self, office: Office) {
        if office == Office::Leave {
            self.become_follower(self.core.term, None);
        }
    }

    pub(crate) fn become_follower(&mut self, term: Term, leader: Option<PeerId>) {
        self.core.enter_term(term);
        let follower = Follower::new(&mut self.core, leader);
        match std::mem::replace(&mut self.role, Role::Follower(follower)) {
            Role::Leader(leader) => leader.resign(&mut self.core),
            Role::Follower(mut before) => before.fail_reads(&mut self.core),
            Role::Candidate(_) => {}
        }
    }
}
