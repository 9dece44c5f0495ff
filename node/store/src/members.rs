//! The membership table: who belongs to the cluster, replicated like everything else.
//!
//! Raft decides who votes; this table says what is known of each member (URLs, name) and which ids are used up. Both change
//! by the same log entry: a change of the Raft configuration carries the command for the table as its context. So a command
//! must be checked with [`Members::check`] *before* it is proposed, because Raft's half of it cannot be refused afterwards.
//!
//! It does not know who is healthy: etcd's strict check needs the clock, and stays with the node. What can be said
//! from the table alone (`enough_started_to_*`) is here.

mod several;

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use crate::{
    Command, MemberAdd, MemberAttributes, MemberKeep, MemberPromote, MemberRemove, MemberUpdate,
    StoreError,
};

pub use several::{
    MEMBER_CHANGES_MAX, MemberChange, MemberChanges, MemberStep, SeveralError, Transition,
};

/// One member. Field numbers are etcd's.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Member {
    /// Its id, never used twice in a cluster's life.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its name; empty until it has started for the first time.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Where other members reach it.
    #[prost(string, repeated, tag = "3")]
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started for the first time.
    #[prost(string, repeated, tag = "4")]
    pub client_urls: Vec<String>,
    /// Whether it only follows, without a vote.
    #[prost(bool, tag = "5")]
    pub is_learner: bool,
}

impl Member {
    /// Whether it has ever started, which is when it told its name.
    #[must_use]
    pub fn has_started(&self) -> bool {
        !self.name.is_empty()
    }
}

/// The table.
///
/// - No two members share an id, or a peer URL.
/// - A removed id is in `removed` and never in `members` again.
/// - While `transition` is there, voters come and go by its end alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    pub(crate) members: BTreeMap<u64, Member>,
    pub(crate) removed: BTreeSet<u64>,
    /// What is left to do of a change of several members.
    pub(crate) transition: Option<Transition>,
}

impl Members {
    /// All members, by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    /// The member with this id.
    #[must_use]
    pub fn find(&self, id: u64) -> Option<&Member> {
        self.members.get(&id)
    }

    /// Whether this id belonged to a member that was removed.
    #[must_use]
    pub fn was_removed(&self, id: u64) -> bool {
        self.removed.contains(&id)
    }

    /// Ids of removed members, ascending.
    pub fn removed(&self) -> impl ExactSizeIterator<Item = u64> {
        self.removed.iter().copied()
    }

    /// Whether `command` would be accepted now. Commands that do not concern the table are.
    ///
    /// # Errors
    /// What applying it would answer.
    pub fn check(&self, command: &Command) -> Result<(), StoreError> {
        match command {
            Command::MemberAdd(add) => {
                self.check_calm()?;
                self.check_add(add)
            }
            Command::MemberRemove(MemberRemove { id }) => {
                self.check_calm()?;
                self.existing(*id).map(drop)
            }
            Command::MemberChanges(changes) => Ok(self.check_several(changes)?),
            Command::MemberUpdate(MemberUpdate { id, peer_urls }) => {
                self.existing(*id)?;
                self.check_urls(*id, peer_urls)
            }
            Command::MemberPromote(MemberPromote { id }) => {
                self.check_calm()?;
                let learner = self.existing(*id)?.is_learner;
                if learner {
                    Ok(())
                } else {
                    Err(StoreError::MemberNotLearner)
                }
            }
            Command::MemberAttributes(MemberAttributes { id, .. }) => self.existing(*id).map(drop),
            _ => Ok(()),
        }
    }

    /// Whether a majority of the voters will have started once a voter that has not is added. From one to two is always
    /// allowed: that is how a cluster is grown from a single seed.
    #[must_use]
    pub fn enough_started_to_add_voter(&self) -> bool {
        let (started, voters) = self.started_voters(|_| true);
        (started == 1 && voters == 1) || started > voters.div_ceil(2)
    }

    /// Whether a majority of the voters left will have started once `id` is removed.
    #[must_use]
    pub fn enough_started_to_remove_voter(&self, id: u64) -> bool {
        let (started, voters) = self.started_voters(|member| member.id != id);
        started > voters / 2
    }

    /// Whether a majority of the voters will have started once a learner that has is promoted.
    #[must_use]
    pub fn enough_started_to_promote(&self) -> bool {
        let (started, voters) = self.started_voters(|_| true);
        started + 1 > voters.div_ceil(2)
    }

    /// Carries a command out that [`Members::check`] accepts; one that does not concern the table changes nothing.
    pub(crate) fn apply(&mut self, command: &Command) -> Result<(), StoreError> {
        self.check(command)?;
        self.carry_out(command);
        Ok(())
    }

    fn carry_out(&mut self, command: &Command) {
        match command {
            Command::MemberAdd(MemberAdd { member, .. }) => {
                self.members.insert(member.id, member.clone());
            }
            Command::MemberRemove(MemberRemove { id }) => self.remove(*id),
            Command::MemberChanges(changes) => self.enter(changes),
            Command::MemberKeep(MemberKeep { id }) => self.keep(*id),
            Command::MemberUpdate(MemberUpdate { id, peer_urls }) => {
                self.change(*id, |member| member.peer_urls.clone_from(peer_urls));
            }
            Command::MemberPromote(MemberPromote { id }) => {
                self.change(*id, |member| member.is_learner = false);
            }
            Command::MemberAttributes(MemberAttributes {
                id,
                name,
                client_urls,
            }) => {
                self.change(*id, |member| {
                    member.name.clone_from(name);
                    member.client_urls.clone_from(client_urls);
                });
            }
            _ => {}
        }
    }

    fn remove(&mut self, id: u64) {
        self.members.remove(&id);
        self.removed.insert(id);
    }

    fn change(&mut self, id: u64, edit: impl FnOnce(&mut Member)) {
        edit(
            self.members
                .get_mut(&id)
                .expect("the command was checked to name a member"),
        );
    }

    fn existing(&self, id: u64) -> Result<&Member, StoreError> {
        self.members.get(&id).ok_or(StoreError::MemberNotFound)
    }

    fn check_add(
        &self,
        MemberAdd {
            member,
            max_learners,
        }: &MemberAdd,
    ) -> Result<(), StoreError> {
        if self.was_removed(member.id) {
            return Err(StoreError::MemberNotFound);
        }
        if self.members.contains_key(&member.id) {
            return Err(StoreError::MemberExists);
        }
        self.check_urls(member.id, &member.peer_urls)?;
        let learners = self.iter().filter(|member| member.is_learner).count();
        if member.is_learner && learners >= *max_learners as usize {
            return Err(StoreError::TooManyLearners);
        }
        Ok(())
    }

    fn check_urls(&self, id: u64, peer_urls: &[String]) -> Result<(), StoreError> {
        let taken = |member: &Member| member.peer_urls.iter().any(|url| peer_urls.contains(url));
        if self.iter().filter(|member| member.id != id).any(taken) {
            return Err(StoreError::PeerUrlExists);
        }
        Ok(())
    }

    /// Started voters and all voters among those that `counts`.
    fn started_voters(&self, counts: impl Fn(&Member) -> bool) -> (usize, usize) {
        let voters = self
            .iter()
            .filter(|member| !member.is_learner && counts(member));
        voters.fold((0, 0), |(started, all), voter| {
            (started + usize::from(voter.has_started()), all + 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `started` voters of `voters` have told their name; ids count from 1, started ones first. One learner beside them.
    fn table(started: u64, voters: u64) -> Members {
        let member = |id: u64| Member {
            id,
            name: if id <= started {
                format!("m{id}")
            } else {
                String::new()
            },
            is_learner: id > voters,
            ..Member::default()
        };
        let members = (1..=voters + 1).map(|id| (id, member(id))).collect();
        Members {
            members,
            ..Members::default()
        }
    }

    /// The rule as one says it: more than half of the voters there will be have started.
    fn majority(started: u64, voters: u64) -> bool {
        2 * started > voters
    }

    #[test]
    fn changes_need_a_started_majority_afterwards() {
        for voters in 1..=9 {
            for started in 0..=voters {
                let table = table(started, voters);
                let grown = majority(started, voters + 1) || (started, voters) == (1, 1);
                assert_eq!(
                    table.enough_started_to_add_voter(),
                    grown,
                    "{started} of {voters}"
                );
                let promoted = majority(started + 1, voters + 1);
                assert_eq!(
                    table.enough_started_to_promote(),
                    promoted,
                    "{started} of {voters}"
                );
                for id in 1..=voters {
                    let left = started - u64::from(id <= started);
                    let removed = majority(left, voters - 1);
                    let asked = table.enough_started_to_remove_voter(id);
                    assert_eq!(asked, removed, "{id} from {started} of {voters}");
                }
            }
        }
    }

    #[test]
    fn whatever_does_not_concern_the_table_is_accepted() {
        let mut table = table(1, 3);
        let before = table.clone();
        assert_eq!(
            table.apply(&Command::Compact(crate::CompactionRequest::default())),
            Ok(())
        );
        assert_eq!(table, before);
    }
}
