//! Changes of membership on their way: into the log one at a time, and those of several members through both their halves.
//!
//! 1. A change is proposed only by the leader, and only when everything before it that could concern the table is applied here:
//!    what is committed, and what this leader proposed itself. So what the rules look at is what the change will meet.
//! 2. Nothing begins while old and new voters decide together.
//! 3. Who asked for a change of several members hears of it when its second half is applied here, whoever leads by then.
//!
//! What this module deliberately does not do: judge; `membership` does. The second half it does not propose either: the core does
//! that by itself, at this leader or a later one.

use std::collections::VecDeque;

use raft::{Index, Input, Refused, Term};
use store::{Command, MembersResponse, Response};

use super::Replica;
use super::membership::{self, Ground};
use crate::event::Outcome;
use crate::refusal::Refusal;

/// See the module.
#[derive(Debug)]
pub(super) struct Changes<W> {
    gathered: VecDeque<Wish<W>>,
    /// The newest change that this member proposed: in which term, where, and how long whoever asked for it waits.
    newest: (Term, Index, u64),
    /// Who waits for the second half of a change, and until when.
    halfway: Option<(W, u64)>,
}

#[derive(Debug)]
struct Wish<W> {
    command: Command,
    waiter: W,
    deadline: u64,
}

impl<W> Default for Changes<W> {
    fn default() -> Self {
        Self {
            gathered: VecDeque::new(),
            newest: (Term(0), Index(0), 0),
            halfway: None,
        }
    }
}

impl<W> Changes<W> {
    pub(super) fn gather(&mut self, command: Command, waiter: W, deadline: u64) {
        self.gathered.push_back(Wish {
            command,
            waiter,
            deadline,
        });
    }

    /// Those whose change was never proposed.
    pub(super) fn drain_gathered(&mut self) -> Vec<W> {
        self.gathered.drain(..).map(|wish| wish.waiter).collect()
    }

    /// Those who have waited long enough.
    pub(super) fn expired(&mut self, now: u64) -> Vec<W> {
        let halfway = self.halfway.take_if(|(_, deadline)| *deadline <= now);
        let mut late: Vec<W> = halfway.into_iter().map(|(waiter, _)| waiter).collect();
        while let Some(wish) = self.gathered.pop_front_if(|wish| wish.deadline <= now) {
            late.push(wish.waiter);
        }
        late
    }

    /// Everybody.
    pub(super) fn drain(&mut self) -> Vec<W> {
        self.expired(u64::MAX)
    }
}

impl<W> Replica<W> {
    /// Proposes the next change, if it may begin.
    pub(super) fn propose_change(&mut self) {
        if !self.leads() || !self.is_calm() {
            return;
        }
        let Some(wish) = self.changes.gathered.pop_front() else {
            return;
        };
        if let Err(refusal) = self.check_change(&wish.command) {
            return self.refuse([wish.waiter], refusal);
        }
        let (term, deadline) = (self.raft.term(), wish.deadline);
        let command = wish.command.to_bytes();
        // Numbered before it is proposed, as the number stands in the entry; a refused one's number goes unused.
        let (number, context) = self.proposals.reserve(command, deadline, term);
        let payload = membership::payload(&wish.command, context);
        match self.raft.step(Input::Propose(vec![payload])) {
            Ok(_) => {
                self.changes.newest = (term, self.raft.status().last_index, deadline);
                self.proposals.wait_for(number, wish.waiter);
            }
            Err(Refused::NoVoterLeft | Refused::ImpossibleChange) => {
                self.refuse([wish.waiter], Refusal::NotEnoughStarted);
            }
            Err(_) => self.changes.gathered.push_front(wish),
        }
    }

    /// Whether the table here is the one that a change proposed now will meet.
    fn is_calm(&self) -> bool {
        let (term, newest, _) = self.changes.newest;
        let has_newest = term < self.raft.term() || newest <= self.applied.index;
        has_newest
            && self.raft.commit() <= self.applied.index
            && !self.raft.configuration().is_joint()
    }

    fn check_change(&self, command: &Command) -> Result<(), Refusal> {
        let status = self.raft.status();
        let ground = Ground {
            me: self.me(),
            members: self.members(),
            progress: &status.progress,
            last_index: status.last_index.0,
            strict: self.settings.strict_reconfig_check,
        };
        ground.check(command)
    }

    /// Answers whoever asked for a command that was applied; for the first half of a change, later.
    pub(super) fn answer_applied(&mut self, waiter: W, command: &Command, response: Response) {
        let is_half = matches!(
            (command, &response),
            (Command::MemberChanges(_), Response::Members(_))
        );
        if is_half {
            let (_, _, deadline) = self.changes.newest;
            self.changes.halfway = Some((waiter, deadline));
        } else {
            self.answers.push((waiter, Outcome::Applied(response)));
        }
    }

    /// Takes note of the end of joint consensus. Says whether it changed the membership.
    pub(super) fn leave_joint(&mut self, index: Index) -> bool {
        let has_ended = self.store.leave_joint(index.0).is_some();
        if has_ended {
            tracing::info!(index = index.0, "the change of several members is through");
            self.note_end_of_changes();
        }
        has_ended
    }

    /// Answers whoever waits for the second half of a change, if that is applied: by its entry, or in a snapshot.
    pub(super) fn note_end_of_changes(&mut self) {
        if self.members().transition().is_some() {
            return;
        }
        if let Some((waiter, _)) = self.changes.halfway.take() {
            let members = self.members().iter().cloned().collect();
            let response = Response::Members(MembersResponse { members });
            self.answers.push((waiter, Outcome::Applied(response)));
        }
    }
}

/// Says who comes and goes.
pub(super) fn tell_beginning(index: Index, members: &store::Members) {
    if let Some(transition) = members.transition() {
        let hex = |ids: &[u64]| ids.iter().map(|id| format!("{id:x}")).collect::<Vec<_>>();
        tracing::info!(
            index = index.0,
            coming = ?hex(&transition.coming),
            leaving = ?hex(&transition.leaving),
            demoted = ?hex(&transition.demoted),
            "several members change: old and new voters decide together"
        );
    }
}
