//! Changes of membership: which are safe to begin. By etcd's rules for single ones; for several at once, by the same rules for
//! old and new voters, as both decide until it is through.
//!
//! What this module deliberately does not do: pass a wish on to the leader; the caller does (`api::reconfigure`). Nor does it say
//! when a change may be proposed; `changes` does.

use raft::{Change, ChangeKind, JointChange, PeerId, ProgressStatus};
use store::{Command, Member, MemberChanges, MemberStep, Members, StoreError};

use crate::refusal::{Electorate, Refusal};

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
            Command::MemberChanges(changes) => self.check_several(changes)?,
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

    /// The newcomers' logs must be there, as nothing is decided without them; and unless the check is not to be strict, old and
    /// new voters each need a majority that has started and answers.
    fn check_several(&self, changes: &MemberChanges) -> Result<(), Refusal> {
        let after = self.members.after(changes)?;
        for step in changes.steps() {
            if let MemberStep::Promote(id) = step {
                self.check_caught_up(*id)?;
            }
        }
        if !self.strict {
            return Ok(());
        }
        let old: Vec<&Member> = self.members.voters().collect();
        let new: Vec<&Member> = after.voters().collect();
        // As etcd lets a single member add the second one, which starts only then.
        let is_first_growth = old.len() == 1 && new.len() == 2 && new.contains(&old[0]);
        self.check_electorate(Electorate::Old, &old)?;
        if is_first_growth {
            return Ok(());
        }
        self.check_electorate(Electorate::New, &new)
    }

    fn check_caught_up(&self, id: u64) -> Result<(), Refusal> {
        let progress = self.progress.iter().find(|progress| progress.peer.0 == id);
        let matched = progress.map_or(0, |progress| progress.matched.0);
        let last = self.last_index;
        if matched * 100 < last * READY_PERCENT {
            return Err(Refusal::LearnerBehind { id, matched, last });
        }
        Ok(())
    }

    fn check_electorate(&self, which: Electorate, voters: &[&Member]) -> Result<(), Refusal> {
        let quorum = quorum(voters.len());
        let (started, new): (Vec<&Member>, Vec<_>) =
            voters.iter().partition(|member| member.has_started());
        let refusal = |id, have| Refusal::TooFewVoters {
            which,
            voters: voters.len(),
            have,
            id,
        };
        if let Some(member) = new.first().filter(|_| started.len() < quorum) {
            return Err(refusal(member.id, started.len()));
        }
        let (answering, silent): (Vec<&Member>, Vec<_>) =
            started.iter().partition(|member| self.is_active(member.id));
        match silent.first().filter(|_| answering.len() < quorum) {
            Some(member) => Err(refusal(member.id, answering.len())),
            None => Ok(()),
        }
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

/// What the core must do for a command on one member; none if it concerns the table alone.
fn change_of(command: &Command) -> Option<ChangeKind> {
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

/// What the core must do for one of several changes.
const fn step_of(step: &MemberStep) -> ChangeKind {
    match step {
        MemberStep::Add(member) if !member.is_learner => ChangeKind::AddVoter(PeerId(member.id)),
        MemberStep::Add(member) => ChangeKind::AddLearner(PeerId(member.id)),
        MemberStep::Remove(id) => ChangeKind::Remove(PeerId(*id)),
        MemberStep::Promote(id) => ChangeKind::AddVoter(PeerId(*id)),
        MemberStep::Demote(id) => ChangeKind::AddLearner(PeerId(*id)),
    }
}

/// The entry's payload for a change whose command stands in `context`.
pub(super) fn payload(command: &Command, context: bytes::Bytes) -> raft::Payload {
    if let Command::MemberChanges(changes) = command {
        let steps = changes.steps().map(step_of).collect();
        return raft::Payload::EnterJoint(JointChange { steps, context });
    }
    match change_of(command) {
        Some(kind) => raft::Payload::Change(Change { kind, context }),
        None => raft::Payload::Command(context),
    }
}
