//! Changes of membership: which are safe to begin, by etcd's rules, and one at a time.
//!
//! A change is proposed only by the leader, only when nothing that is committed waits to be applied and no other change is
//! under way: then the table that is asked here is the very one that the change will meet when it is applied.
//!
//! What this module deliberately does not do: pass a wish on to the leader; the caller does (`api::cluster`).

use raft::{Change, ChangeKind, PeerId, ProgressStatus};
use store::{Command, Members, StoreError};

use crate::refusal::Refusal;

/// A learner may vote when it has this much of the leader's log; etcd's figure.
const READY_PERCENT: u64 = 90;

/// What the rules look at.
pub(super) struct Ground<'a> {
    pub(super) me: PeerId,
    pub(super) members: &'a Members,
    /// Of every other peer.
    pub(super) progress: &'a [ProgressStatus],
    /// How far the leader's own log goes.
    pub(super) last_index: u64,
    /// `--strict-reconfig-check`.
    pub(super) strict: bool,
}

impl Ground<'_> {
    /// Whether the change may begin.
    pub(super) fn check(&self, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::MemberAdd(add) => self.check_add(add.member.is_learner)?,
            Command::MemberRemove(remove) => self.check_remove(remove.id)?,
            Command::MemberPromote(promote) => self.check_promote(promote.id)?,
            _ => {}
        }
        Ok(self.members.check(command)?)
    }

    fn check_add(&self, is_learner: bool) -> Result<(), Refusal> {
        if !self.strict {
            return Ok(());
        }
        if !is_learner && !self.members.enough_started_to_add_voter() {
            return Err(Refusal::NotEnoughStarted);
        }
        // etcd counts the newcomer as a voter that is down, learner or not, except beside a single member.
        let voters = self.voters().count();
        let enough = voters == 1 || self.active_voters() >= quorum(voters + 1);
        enough.then_some(()).ok_or(Refusal::Unhealthy)
    }

    fn check_remove(&self, id: u64) -> Result<(), Refusal> {
        let member = self.members.find(id);
        if !self.strict || member.is_none_or(|member| member.is_learner) {
            return Ok(());
        }
        if !self.members.enough_started_to_remove_voter(id) {
            return Err(Refusal::NotEnoughStarted);
        }
        // A member that is down takes nothing from the active quorum.
        if !self.is_active(id) {
            return Ok(());
        }
        let enough = self.active_voters() > quorum(self.voters().count() - 1);
        enough.then_some(()).ok_or(Refusal::Unhealthy)
    }

    fn check_promote(&self, id: u64) -> Result<(), Refusal> {
        let progress = self.progress.iter().find(|progress| progress.peer.0 == id);
        let matched = match progress {
            Some(progress) => progress.matched.0,
            None if id == self.me.0 => self.last_index,
            None => return Err(StoreError::MemberNotFound.into()),
        };
        if matched * 100 < self.last_index * READY_PERCENT {
            return Err(Refusal::LearnerNotReady);
        }
        if self.strict && !self.members.enough_started_to_promote() {
            return Err(Refusal::NotEnoughStarted);
        }
        Ok(())
    }

    fn voters(&self) -> impl Iterator<Item = u64> {
        self.members
            .iter()
            .filter(|member| !member.is_learner)
            .map(|member| member.id)
    }

    fn active_voters(&self) -> usize {
        self.voters().filter(|id| self.is_active(*id)).count()
    }

    fn is_active(&self, id: u64) -> bool {
        let answers = |progress: &ProgressStatus| progress.peer.0 == id && progress.recently_active;
        id == self.me.0 || self.progress.iter().any(answers)
    }
}

const fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

/// What the core must do for a command on the membership; none if it concerns the table alone.
pub(super) fn change_of(command: &Command) -> Option<ChangeKind> {
    match command {
        Command::MemberAdd(add) => {
            let peer = PeerId(add.member.id);
            Some(if add.member.is_learner {
                ChangeKind::AddLearner(peer)
            } else {
                ChangeKind::AddVoter(peer)
            })
        }
        Command::MemberRemove(remove) => Some(ChangeKind::Remove(PeerId(remove.id))),
        Command::MemberPromote(promote) => Some(ChangeKind::AddVoter(PeerId(promote.id))),
        _ => None,
    }
}

/// The entry's payload for a change whose command stands in `context`.
pub(super) fn payload(command: &Command, context: bytes::Bytes) -> raft::Payload {
    match change_of(command) {
        Some(kind) => raft::Payload::Change(Change { kind, context }),
        None => raft::Payload::Command(context),
    }
}
