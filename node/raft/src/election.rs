//! Elections: when to call one, how to vote, and what a term other than one's own means.
//!
//! What this module does not do: count (see [`crate::candidate`]) or lead (see [`crate::leader`]).

use crate::candidate::Candidate;
use crate::core::Core;
use crate::follower;
use crate::ids::{Index, PeerId, Term};
use crate::input::Refused;
use crate::leader::Leader;
use crate::message::{Body, Entry, VoteKind};
use crate::quorum::Tally;
use crate::raft::{Raft, Role};

/// The answer to a request for a vote.
pub(crate) struct Ballot {
    pub(crate) kind: VoteKind,
    pub(crate) granted: bool,
    pub(crate) commit: (Index, Term),
}

impl Raft {
    /// How an election begins here.
    pub(crate) const fn first_kind(&self) -> VoteKind {
        if self.core.config.pre_vote {
            VoteKind::PreVote
        } else {
            VoteKind::Vote
        }
    }

    /// Asks for votes. `transfer`: the leader of this term wants it.
    pub(crate) fn campaign(&mut self, kind: VoteKind, transfer: bool) {
        let election_term = self.core.term.next();
        self.become_follower(self.core.term, None);
        if kind == VoteKind::Vote {
            self.core.enter_term(election_term);
            self.core.vote = Some(self.core.id());
        }
        let candidate = Candidate::new(&mut self.core, kind);
        self.role = Role::Candidate(candidate);
        ask_for_votes(&mut self.core, election_term, kind, transfer);
        self.heed_votes();
    }

    /// The leader hands over: no trial, no waiting.
    pub(crate) fn stand_in_for(&mut self, leader: PeerId) {
        if self.leader().is_none_or(|known| known == leader)
            && matches!(self.role, Role::Follower(_))
            && self.core.may_lead()
        {
            self.campaign(VoteKind::Vote, true);
        }
    }

    pub(crate) fn count_vote(&mut self, from: PeerId, term: Term, vote: &Ballot) {
        let Role::Candidate(candidate) = &mut self.role else {
            return;
        };
        let for_this_election = match vote.kind {
            VoteKind::PreVote if vote.granted => term == self.core.term.next(),
            VoteKind::PreVote | VoteKind::Vote => term == self.core.term,
        };
        if candidate.kind == vote.kind && for_this_election {
            candidate.answered(from, vote.granted);
        }
        self.core.learn_commit(vote.commit.0, vote.commit.1);
        if self.core.may_lead() {
            self.heed_votes();
        } else {
            self.become_follower(self.core.term, None);
        }
    }

    /// The disk is done with something: perhaps with the candidate's vote for itself.
    pub(crate) fn vote_may_be_durable(&mut self) {
        if let Role::Candidate(candidate) = &mut self.role
            && self.core.stands_by_itself()
        {
            candidate.answered(self.core.id(), true);
            self.heed_votes();
        }
    }

    fn heed_votes(&mut self) {
        let Role::Candidate(candidate) = &self.role else {
            return;
        };
        match (candidate.tally(&self.core), candidate.kind) {
            // A trial that seems lost costs nobody anything: it goes on until patience ends.
            (Tally::Open, _) | (Tally::Lost, VoteKind::PreVote) => {}
            (Tally::Lost, VoteKind::Vote) => self.become_follower(self.core.term, None),
            (Tally::Won, VoteKind::PreVote) => self.campaign(VoteKind::Vote, false),
            (Tally::Won, VoteKind::Vote) => {
                self.role = Role::Leader(Box::new(Leader::new(&mut self.core)));
            }
        }
    }

    /// Answers a candidate. Whoever asks for a trial vote is told the truth, but nothing is
    /// promised and nothing changes.
    pub(crate) fn vote(&mut self, from: PeerId, term: Term, kind: VoteKind, end: (Term, Index)) {
        let core = &mut self.core;
        let given = core.vote.map(|to| to == from);
        let free = match kind {
            VoteKind::PreVote if term > core.term => true,
            VoteKind::PreVote | VoteKind::Vote => {
                (core.rules.may_vote)(given) && (given == Some(true) || knows_no_leader(&self.role))
            }
        };
        let up_to_date = (core.rules.up_to_date)(end, core.vouched_end());
        if free && !up_to_date {
            lend(core, from, end);
        }
        let granted = free && up_to_date;
        if granted && kind == VoteKind::Vote {
            core.vote = Some(from);
            if let Role::Follower(follower) = &mut self.role {
                follower.elapsed = 0;
            }
        }
        let in_term = if granted { term } else { core.term };
        let (commit, commit_term) = core.newest_committed();
        core.send_in(
            in_term,
            from,
            Body::Vote {
                kind,
                granted,
                commit,
                commit_term,
            },
        );
    }

    /// A voter hands over what this peer's log lacks. Only what follows its last entry is taken: so
    /// nothing is lost that was acknowledged, and what is added was made by a leader at this very
    /// place, as log matching wants it. It is no acknowledgement to anybody.
    pub(crate) fn borrow(
        &mut self,
        prev: (Index, Term),
        entries: Vec<Entry>,
        commit: Index,
    ) -> Result<(), Refused> {
        let core = &mut self.core;
        let waits = matches!(self.role, Role::Candidate(_)) || knows_no_leader(&self.role);
        let (last_term, last_index) = core.log.end();
        if !waits || entries.is_empty() || prev != (last_index, last_term) {
            return Ok(());
        }
        follower::check_order(core, prev.0, prev.1, &entries)?;
        core.append(entries)
            .expect("what follows the last entry always fits");
        core.commit_to(commit.min(core.log.last_index()));
        if core.may_lead() {
            self.campaign(self.first_kind(), false);
        }
        Ok(())
    }

    /// A message comes from a later term. Follows into it, unless it is only talked about. Says
    /// whether to go on with the message.
    pub(crate) fn follow_into(&mut self, term: Term, from: PeerId, body: &Body) -> bool {
        match body {
            Body::RequestVote {
                transfer: false, ..
            } if self.keeps_faith() => return false,
            Body::RequestVote {
                kind: VoteKind::PreVote,
                ..
            }
            | Body::Vote {
                kind: VoteKind::PreVote,
                granted: true,
                ..
            } => {}
            Body::Append { .. } | Body::Heartbeat { .. } | Body::InstallSnapshot { .. } => {
                self.become_follower(term, Some(from));
            }
            _ => self.become_follower(term, None),
        }
        true
    }

    /// Whether it has heard from a leader so lately that no election can be needed: a peer that
    /// was removed or cut off does not depose a leader that works.
    fn keeps_faith(&self) -> bool {
        let lately = match &self.role {
            Role::Follower(follower) => {
                follower.leader.is_some() && follower.elapsed < self.core.config.election_ticks
            }
            Role::Candidate(_) => false,
            Role::Leader(_) => true,
        };
        self.core.config.check_quorum && lately
    }

    /// A message comes from an earlier term. Whoever waits for an answer learns that time has moved
    /// on; without this, a leader that no one follows, or a candidate behind a pre-vote, might
    /// never learn it.
    pub(crate) fn answer_the_past(&mut self, from: PeerId, body: Body) {
        let answer = match body {
            Body::RequestVote { kind, .. } => {
                let (commit, commit_term) = self.core.newest_committed();
                Body::Vote {
                    kind,
                    granted: false,
                    commit,
                    commit_term,
                }
            }
            Body::Append { prev_index, .. } => Body::Rejected {
                prev_index,
                hint_index: Index(0),
                hint_term: Term(0),
            },
            Body::InstallSnapshot { meta } => Body::Rejected {
                prev_index: meta.index,
                hint_index: Index(0),
                hint_term: Term(0),
            },
            Body::Heartbeat { .. } => Body::HeartbeatReply { round: 0 },
            Body::Read { ids } => Body::ReadReply { ids, index: None },
            Body::Vote { .. }
            | Body::Accepted { .. }
            | Body::Rejected { .. }
            | Body::HeartbeatReply { .. }
            | Body::Lend { .. }
            | Body::TimeoutNow
            | Body::Propose { .. }
            | Body::ReadReply { .. } => return,
        };
        self.core.send(from, answer);
    }
}

/// Hands a candidate the entries that it lacks, if its log is the beginning of this one.
fn lend(core: &mut Core, to: PeerId, end: (Term, Index)) {
    let (prev_term, prev_index) = end;
    if core.log.term(prev_index) != Some(prev_term) {
        return;
    }
    let entries = core.log.slice(
        prev_index.next(),
        core.log.last_index(),
        core.config.max_append_bytes,
    );
    if entries.is_empty() {
        return;
    }
    core.send(
        to,
        Body::Lend {
            prev_index,
            prev_term,
            entries,
            commit: core.log.commit(),
        },
    );
}

const fn knows_no_leader(role: &Role) -> bool {
    match role {
        Role::Follower(follower) => follower.leader.is_none(),
        Role::Candidate(_) => true,
        Role::Leader(_) => false,
    }
}

fn ask_for_votes(core: &mut Core, election_term: Term, kind: VoteKind, transfer: bool) {
    let (last_term, last_index) = core.log.end();
    let others: Vec<PeerId> = core
        .configuration()
        .electors()
        .filter(|&voter| voter != core.id())
        .collect();
    for voter in others {
        let question = Body::RequestVote {
            kind,
            last_index,
            last_term,
            transfer,
        };
        core.send_in(election_term, voter, question);
    }
}
