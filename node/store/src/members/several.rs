//! Several changes of the membership as one.
//!
//! Raft makes such a change in two entries, between which old and new voters decide together. The first carries the command
//! and lets everybody in who comes; the second carries nothing and lets those voters go who leave. In between the table holds both,
//! as both are needed, and remembers what is left to do in a [`Transition`].
//!
//! Invariants:
//! - One change of several members is under way at most, and no single one beside it.
//! - What [`Members::after`] accepts changes every member that it names, and leaves a voter.
//! - A voter that leaves is in the table, with its URLs, until old and new voters no longer decide together; a learner that leaves
//!   goes at once, as Raft tells it nothing any more.
//!
//! What this module deliberately does not do: ask who answers or is up to date; the node does.

use std::collections::BTreeMap;

use prost::{Message, Oneof};

use super::{Member, Members};
use crate::{Code, StoreError};

/// Changes in one call. Twice the members of the largest cluster that anybody should run: all of them replaced at once, and more.
pub const MEMBER_CHANGES_MAX: usize = 32;

/// See [`Command::MemberChanges`](crate::Command::MemberChanges).
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct MemberChanges {
    /// Each of another member; their order means nothing.
    #[prost(message, repeated, tag = "1")]
    pub changes: Vec<MemberChange>,
    /// How many learners there may be afterwards, if any are added; see
    /// [`MemberAdd::max_learners`](crate::MemberAdd::max_learners).
    #[prost(uint32, tag = "2")]
    pub max_learners: u32,
}

/// One of several changes.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct MemberChange {
    /// What; `None` comes from a later version of this program.
    #[prost(oneof = "MemberStep", tags = "1, 2, 3, 4")]
    pub step: Option<MemberStep>,
}

/// What becomes of one member.
#[derive(Clone, PartialEq, Eq, Hash, Oneof)]
pub enum MemberStep {
    /// It is new; name and client URLs are empty until it has started.
    #[prost(message, tag = "1")]
    Add(Member),
    /// It leaves; its id is never used again.
    #[prost(uint64, tag = "2")]
    Remove(u64),
    /// A learner becomes a voter.
    #[prost(uint64, tag = "3")]
    Promote(u64),
    /// A voter becomes a learner.
    #[prost(uint64, tag = "4")]
    Demote(u64),
}

impl From<MemberStep> for MemberChange {
    fn from(step: MemberStep) -> Self {
        Self { step: Some(step) }
    }
}

impl MemberStep {
    /// Whose.
    #[must_use]
    pub const fn id(&self) -> u64 {
        match self {
            Self::Add(member) => member.id,
            Self::Remove(id) | Self::Promote(id) | Self::Demote(id) => *id,
        }
    }
}

impl MemberChanges {
    /// What becomes of whom.
    pub fn steps(&self) -> impl Iterator<Item = &MemberStep> {
        self.changes
            .iter()
            .filter_map(|change| change.step.as_ref())
    }
}

/// A change of several members that is under way: old and new voters decide together.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Transition {
    /// Voters by this change, which were none before it; ascending.
    #[prost(uint64, repeated, tag = "1")]
    pub coming: Vec<u64>,
    /// Voters that leave at its end; ascending.
    #[prost(uint64, repeated, tag = "2")]
    pub leaving: Vec<u64>,
    /// Voters that are learners at its end; ascending.
    #[prost(uint64, repeated, tag = "3")]
    pub demoted: Vec<u64>,
}

/// Why several changes cannot be made as one. Places in the list count from 1; ids are told in hexadecimal, as `etcdctl` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SeveralError {
    /// Nothing is to be changed.
    #[error("quorate: the list of changes is empty; name at least one")]
    Empty,
    /// More than [`MEMBER_CHANGES_MAX`].
    #[error(
        "quorate: {count} changes in one call, at most {MEMBER_CHANGES_MAX} are taken; make several calls"
    )]
    TooMany {
        /// How many.
        count: usize,
    },
    /// Two changes of one member.
    #[error(
        "quorate: change {place} is of member {id:x}, which the list names already; say once what becomes of it"
    )]
    NamedTwice {
        /// Of the second of them.
        place: usize,
        /// Who.
        id: u64,
    },
    /// Nobody has this id.
    #[error(
        "quorate: change {place} is of member {id:x}, which is none; the list of members has the ids"
    )]
    Unknown {
        /// In the list.
        place: usize,
        /// The id.
        id: u64,
    },
    /// Whoever had this id was removed.
    #[error(
        "quorate: change {place} is of member {id:x}, which was removed for good; add a new member in its place"
    )]
    Removed {
        /// In the list.
        place: usize,
        /// The id.
        id: u64,
    },
    /// A new member under the id of another.
    #[error(
        "quorate: change {place} adds member {id:x}, which is one already; call again, and it gets another id"
    )]
    Exists {
        /// In the list.
        place: usize,
        /// The id.
        id: u64,
    },
    /// A new member with a peer URL of another.
    #[error(
        "quorate: change {place} adds a member with a peer URL of member {id:x}; give it one of its own, or wait until that member is gone"
    )]
    UrlTaken {
        /// In the list.
        place: usize,
        /// Whose URL it is.
        id: u64,
    },
    /// Two new members with one peer URL.
    #[error(
        "quorate: change {place} adds a member with a peer URL of the one that change {other} adds; give each its own"
    )]
    UrlTwice {
        /// Of the second of them.
        place: usize,
        /// Of the first of them.
        other: usize,
    },
    /// A promotion of a voter.
    #[error("quorate: change {place} promotes member {id:x}, which votes already; leave it out")]
    VotesAlready {
        /// In the list.
        place: usize,
        /// Who.
        id: u64,
    },
    /// A demotion of a learner.
    #[error(
        "quorate: change {place} demotes member {id:x}, which is a learner already; leave it out"
    )]
    LearnsAlready {
        /// In the list.
        place: usize,
        /// Who.
        id: u64,
    },
    /// Nobody would vote.
    #[error("quorate: the change would leave no voter; keep one, promote one or add one")]
    NoVoterLeft,
    /// More learners afterwards than there may be.
    #[error(
        "quorate: there would be {learners} learners, at most {most} may be; promote or remove some, or raise --max-learners"
    )]
    TooManyLearners {
        /// How many.
        learners: usize,
        /// How many there may be.
        most: u32,
    },
    /// Old and new voters of another change decide together.
    #[error("quorate: another change of several members is under way; wait until it is through")]
    UnderWay,
}

impl SeveralError {
    /// The gRPC code to answer with.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Empty
            | Self::TooMany { .. }
            | Self::NamedTwice { .. }
            | Self::UrlTwice { .. } => Code::InvalidArgument,
            Self::Unknown { .. } | Self::Removed { .. } => Code::NotFound,
            Self::Exists { .. }
            | Self::UrlTaken { .. }
            | Self::VotesAlready { .. }
            | Self::LearnsAlready { .. }
            | Self::NoVoterLeft
            | Self::TooManyLearners { .. }
            | Self::UnderWay => Code::FailedPrecondition,
        }
    }
}

impl Members {
    /// What is left to do of a change of several members.
    #[must_use]
    pub const fn transition(&self) -> Option<&Transition> {
        self.transition.as_ref()
    }

    /// Who votes, and goes on voting after the change that is under way, if one is.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.voters_but(|transition, id| {
            transition.leaving.contains(&id) || transition.demoted.contains(&id)
        })
    }

    /// Who voted before the change that is under way; without one, who votes.
    pub fn old_voters(&self) -> impl Iterator<Item = &Member> {
        self.voters_but(|transition, id| transition.coming.contains(&id))
    }

    fn voters_but(&self, leave_out: fn(&Transition, u64) -> bool) -> impl Iterator<Item = &Member> {
        let transition = self.transition.as_ref();
        self.iter().filter(move |member| {
            !member.is_learner && !transition.is_some_and(|it| leave_out(it, member.id))
        })
    }

    /// The table once these changes are through.
    ///
    /// # Errors
    /// What applying them would answer.
    pub fn after(&self, changes: &MemberChanges) -> Result<Self, StoreError> {
        self.check_several(changes)?;
        let mut next = self.clone();
        next.enter(changes);
        next.leave();
        Ok(next)
    }

    pub(super) fn check_several(&self, changes: &MemberChanges) -> Result<(), SeveralError> {
        self.check_calm()?;
        let steps: Vec<&MemberStep> = changes.steps().collect();
        let count = steps.len();
        if count == 0 {
            return Err(SeveralError::Empty);
        }
        if count > MEMBER_CHANGES_MAX {
            return Err(SeveralError::TooMany { count });
        }
        let mut named = BTreeMap::new();
        let mut urls = BTreeMap::new();
        for (place, step) in (1..).zip(&steps) {
            let id = step.id();
            if named.insert(id, place).is_some() {
                return Err(SeveralError::NamedTwice { place, id });
            }
            self.check_step(place, step)?;
            if let MemberStep::Add(member) = step {
                check_own_urls(place, member, &mut urls)?;
            }
        }
        self.check_outcome(&steps, changes.max_learners)
    }

    /// Whether no change of several members is under way, so that another may begin.
    pub(super) const fn check_calm(&self) -> Result<(), SeveralError> {
        match self.transition {
            Some(_) => Err(SeveralError::UnderWay),
            None => Ok(()),
        }
    }

    fn check_step(&self, place: usize, step: &MemberStep) -> Result<(), SeveralError> {
        let id = step.id();
        if self.was_removed(id) {
            return Err(SeveralError::Removed { place, id });
        }
        match (step, self.find(id)) {
            (MemberStep::Add(_), Some(_)) => Err(SeveralError::Exists { place, id }),
            (MemberStep::Add(member), None) => {
                let other = self.iter().find(|other| shares_url(other, member));
                other.map_or(Ok(()), |other| {
                    let id = other.id;
                    Err(SeveralError::UrlTaken { place, id })
                })
            }
            (_, None) => Err(SeveralError::Unknown { place, id }),
            (MemberStep::Promote(_), Some(member)) if !member.is_learner => {
                Err(SeveralError::VotesAlready { place, id })
            }
            (MemberStep::Demote(_), Some(member)) if member.is_learner => {
                Err(SeveralError::LearnsAlready { place, id })
            }
            _ => Ok(()),
        }
    }

    fn check_outcome(&self, steps: &[&MemberStep], most: u32) -> Result<(), SeveralError> {
        let mut is_learner: BTreeMap<u64, bool> = self
            .iter()
            .map(|member| (member.id, member.is_learner))
            .collect();
        for step in steps {
            match step {
                MemberStep::Add(member) => drop(is_learner.insert(member.id, member.is_learner)),
                MemberStep::Remove(id) => drop(is_learner.remove(id)),
                MemberStep::Promote(id) => drop(is_learner.insert(*id, false)),
                MemberStep::Demote(id) => drop(is_learner.insert(*id, true)),
            }
        }
        let learners = is_learner.values().filter(|learns| **learns).count();
        if learners == is_learner.len() {
            return Err(SeveralError::NoVoterLeft);
        }
        let adds_one = |step: &&MemberStep| match step {
            MemberStep::Add(member) => member.is_learner,
            step => matches!(step, MemberStep::Demote(_)),
        };
        if learners > most as usize && steps.iter().any(adds_one) {
            return Err(SeveralError::TooManyLearners { learners, most });
        }
        Ok(())
    }

    /// The first half: whoever comes is there, whoever leaves still is.
    pub(super) fn enter(&mut self, changes: &MemberChanges) {
        let mut transition = Transition::default();
        for step in changes.steps() {
            self.enter_step(step, &mut transition);
        }
        for ids in [
            &mut transition.coming,
            &mut transition.leaving,
            &mut transition.demoted,
        ] {
            ids.sort_unstable();
        }
        self.transition = Some(transition);
    }

    fn enter_step(&mut self, step: &MemberStep, transition: &mut Transition) {
        let is_learner = |id: &u64| self.find(*id).is_some_and(|member| member.is_learner);
        match step {
            MemberStep::Add(member) => {
                if !member.is_learner {
                    transition.coming.push(member.id);
                }
                self.members.insert(member.id, member.clone());
            }
            MemberStep::Remove(id) if is_learner(id) => self.remove(*id),
            MemberStep::Remove(id) => transition.leaving.push(*id),
            MemberStep::Promote(id) => {
                transition.coming.push(*id);
                self.change(*id, |member| member.is_learner = false);
            }
            MemberStep::Demote(id) => transition.demoted.push(*id),
        }
    }

    /// The second half: whoever leaves is gone. Says whether there was anything to do.
    pub(crate) fn leave(&mut self) -> bool {
        let Some(transition) = self.transition.take() else {
            return false;
        };
        for id in transition.leaving {
            self.remove(id);
        }
        for id in transition.demoted {
            if let Some(member) = self.members.get_mut(&id) {
                member.is_learner = true;
            }
        }
        true
    }

    /// The change that is under way takes nothing from this member.
    pub(super) fn keep(&mut self, id: u64) {
        if let Some(transition) = &mut self.transition {
            transition.leaving.retain(|leaving| *leaving != id);
            transition.demoted.retain(|demoted| *demoted != id);
        }
    }
}

fn shares_url(one: &Member, other: &Member) -> bool {
    one.peer_urls
        .iter()
        .any(|url| other.peer_urls.contains(url))
}

fn check_own_urls<'a>(
    place: usize,
    member: &'a Member,
    urls: &mut BTreeMap<&'a str, usize>,
) -> Result<(), SeveralError> {
    for url in &member.peer_urls {
        let before = urls.insert(url, place).filter(|other| *other != place);
        if let Some(other) = before {
            return Err(SeveralError::UrlTwice { place, other });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
