//! The cluster's version: decided by the leader from what every member says of itself, as etcd decides it.
//!
//! 1. Nothing is decided before every member in the table has said its version, so that no entry enters the log that one of
//!    them cannot read.
//! 2. The version is the lowest of the members', and never lowered but by a downgrade that a client enabled, by one minor.
//! 3. A downgrade ends by itself once every member runs its target.
//!
//! etcd begins with 3.0 where a member does not answer; here the version stays undecided until all have, as clients choose
//! by it what they may ask for.
//!
//! What this module deliberately does not do: refuse what a lower version does not have.

use std::collections::BTreeMap;

use raft::PeerId;
use store::{Command, Downgrade, Version};

use super::Replica;

/// What members said of themselves.
#[derive(Debug, Default)]
pub(super) struct Versions {
    said: BTreeMap<PeerId, Version>,
    again_at: u64,
}

/// What the log says, and what the members do.
#[derive(Clone, Copy, Debug)]
struct Ground {
    cluster: Option<Version>,
    downgrade: Option<Version>,
    lowest: Version,
    highest: Version,
}

impl Ground {
    /// What to propose, if anything.
    fn decide(self) -> Option<Command> {
        let Some(cluster) = self.cluster else {
            return Some(Command::ClusterVersion(self.lowest));
        };
        match self.downgrade {
            Some(target) if target == self.lowest && target == self.highest => {
                Some(Command::Downgrade(Downgrade { target: None }))
            }
            Some(target) => {
                let is_due = cluster.one_down() == Some(target) && self.lowest >= target;
                is_due.then_some(Command::ClusterVersion(target))
            }
            None => (cluster < self.lowest).then_some(Command::ClusterVersion(self.lowest)),
        }
    }
}

impl<W> Replica<W> {
    /// A member said its version, as it does whenever it has started.
    pub(super) fn note_version(&mut self, peer: PeerId, version: Version) {
        self.versions.said.insert(peer, version);
    }

    /// Proposes what the members' versions ask for; to be asked at every tick.
    pub(super) fn decide_version(&mut self) {
        if !self.leads()
            || self.now < self.versions.again_at
            || self.applied.term != self.raft.term()
        {
            return;
        }
        let Some(command) = self.versions_ground().and_then(Ground::decide) else {
            return;
        };
        tracing::info!(?command, "the members' versions ask for a change");
        // Once more only if it got lost; that it is there twice does no harm.
        self.versions.again_at = self.now + u64::from(self.settings.raft.election_ticks);
        let deadline = self.deadline();
        self.proposals.gather(command.to_bytes(), None, deadline);
    }

    fn versions_ground(&self) -> Option<Ground> {
        let said = |id| {
            if PeerId(id) == self.me() {
                Some(crate::version::served())
            } else {
                self.versions.said.get(&PeerId(id)).copied()
            }
        };
        let all = self.members().iter().map(|member| said(member.id));
        let all: Vec<Version> = all.collect::<Option<_>>()?;
        Some(Ground {
            cluster: self.store.cluster_version(),
            downgrade: self.store.downgrade(),
            lowest: all.iter().min().copied()?,
            highest: all.iter().max().copied()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V5: Version = Version::new(3, 5);
    const V6: Version = Version::new(3, 6);
    const V7: Version = Version::new(3, 7);

    fn decide(
        cluster: Option<Version>,
        downgrade: Option<Version>,
        members: [Version; 2],
    ) -> Option<Command> {
        let [lowest, highest] = members;
        let ground = Ground {
            cluster,
            downgrade,
            lowest,
            highest,
        };
        ground.decide()
    }

    #[test]
    fn it_is_the_lowest_of_the_members_and_rises_with_the_last_of_them() {
        let set = |version| Some(Command::ClusterVersion(version));
        assert_eq!(decide(None, None, [V6, V7]), set(V6));
        assert_eq!(decide(Some(V6), None, [V6, V7]), None);
        assert_eq!(decide(Some(V6), None, [V7, V7]), set(V7));
        assert_eq!(decide(Some(V5), None, [V7, V7]), set(V7));
        assert_eq!(decide(Some(V7), None, [V6, V7]), None, "never by itself");
    }

    #[test]
    fn a_downgrade_lowers_it_first_and_ends_with_the_last_member() {
        let set = |version| Some(Command::ClusterVersion(version));
        assert_eq!(decide(Some(V7), Some(V6), [V7, V7]), set(V6));
        assert_eq!(decide(Some(V6), Some(V6), [V7, V7]), None);
        assert_eq!(decide(Some(V6), Some(V6), [V6, V7]), None);
        let end = Some(Command::Downgrade(Downgrade { target: None }));
        assert_eq!(decide(Some(V6), Some(V6), [V6, V6]), end);
        assert_eq!(decide(Some(V7), Some(V5), [V7, V7]), None, "two minors");
    }
}
