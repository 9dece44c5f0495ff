//! What the loop last knew about itself, for everybody who is not the loop.
//!
//! What this module deliberately does not do: promise anything. A status is old the moment it is read; who needs to know
//! asks with a linearizable read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use store::{Alarm, AlarmKind, Auth, Member, Members, Version};

use crate::replica::LeaseCounts;
use crate::replica::Tally;
use crate::storage::Identity;
use crate::watch::Figures;

/// One picture of the member. Published whenever something in it changed, at most once per turn of the loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Who answers.
    pub identity: Identity,
    /// Who leads, as far as this member knows.
    pub leader: Option<u64>,
    /// How often the leader changed since the start, a lost leader counted when the next one is seen.
    pub leader_changes: u64,
    /// The newest term this member has seen.
    pub term: u64,
    /// The newest index known to be committed.
    pub commit: u64,
    /// The newest index applied to the store.
    pub applied: u64,
    /// Whether this member only learns. A member that does not know itself yet is not one.
    pub is_learner: bool,
    /// Whether the cluster has removed this member for good.
    pub is_removed: bool,
    /// The store's newest revision.
    pub revision: i64,
    /// Bytes the store holds, history included, and compacted history until it is swept.
    pub size_bytes: u64,
    /// Whether this member's store differs from the others', so that nothing of it may be shown.
    pub has_diverged: bool,
    /// Up to which index damage took entries that the others have not given back yet.
    pub lost_until: Option<u64>,
    /// Users and roles, as far as this member has applied.
    pub auth: Arc<Auth>,
    /// The alarms that are up, in their order.
    pub alarms: Vec<Alarm>,
    /// The version that all members speak; none before they agreed.
    pub cluster_version: Option<Version>,
    /// Where a downgrade goes that is under way.
    pub downgrade: Option<Version>,
    /// What became of leases since the start.
    pub leases: LeaseCounts,
    /// Keys that the store knows, deleted ones in kept history included. As of the last tick.
    pub keys: u64,
    /// The revision up to which history is gone.
    pub compact_revision: i64,
    /// What the store has been asked to do since the start.
    pub tally: Tally,
    /// How often what was committed took too long to apply.
    pub slow_applies: u64,
    /// Client commands that wait to be applied.
    pub pending: u64,
    /// Who watches.
    pub watch: Figures,
    /// Who belongs to the cluster, as far as this member has applied.
    pub membership: Arc<Membership>,
}

/// Who belongs to the cluster, and who no longer does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// All members, by id.
    pub members: BTreeMap<u64, Member>,
    /// Ids of members that were removed; they never come back.
    pub removed: BTreeSet<u64>,
}

impl Status {
    /// A member of which nothing is known yet.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            leader: None,
            leader_changes: 0,
            term: 0,
            commit: 0,
            applied: 0,
            is_learner: false,
            is_removed: false,
            revision: 0,
            size_bytes: 0,
            has_diverged: false,
            lost_until: None,
            auth: Arc::default(),
            alarms: Vec::new(),
            cluster_version: None,
            downgrade: None,
            leases: LeaseCounts::default(),
            keys: 0,
            compact_revision: 0,
            tally: Tally::default(),
            slow_applies: 0,
            pending: 0,
            watch: Figures::default(),
            membership: Arc::default(),
        }
    }

    /// Whether this alarm is up.
    #[must_use]
    pub fn has_alarm(&self, kind: AlarmKind, member: u64) -> bool {
        self.alarms.contains(&Alarm::new(kind, member))
    }

    /// Whether this member leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leader == Some(self.identity.member_id)
    }
}

impl Membership {
    /// What the table says.
    #[must_use]
    pub fn of(members: &Members) -> Self {
        Self {
            members: members
                .iter()
                .map(|member| (member.id, member.clone()))
                .collect(),
            removed: members.removed().collect(),
        }
    }
}

/// What a kind of alarm is called, by us and by etcd; one that is not known by its number.
#[must_use]
pub fn alarm_name(kind: i32) -> String {
    match AlarmKind::try_from(kind) {
        Ok(AlarmKind::None) => "NONE".to_owned(),
        Ok(AlarmKind::NoSpace) => "NOSPACE".to_owned(),
        Ok(AlarmKind::Corrupt) => "CORRUPT".to_owned(),
        Err(_) => kind.to_string(),
    }
}
