//! Facts, as the operator's reads found them. The planner believes nothing else.
//!
//! Objects are those in the cluster's namespace that carry its name in the label `quorate.io/cluster`, read live where they
//! decide about a quorum or a volume. Objects of an earlier cluster of the same name are among them; the planner tells
//! them apart by uid.
//!
//! This file deliberately draws no conclusions: see `view.rs`.

use std::collections::BTreeMap;

use crds::RaftMember;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

/// How old an answer of a member may be and still count. A round takes less than a second; what is older was read before
/// something that mattered.
pub const PROBE_AGE_MAX: SignedDuration = SignedDuration::from_secs(10);

/// All that one round of reads found out.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// When the reads were made; answers of members are judged by their age at this time.
    pub taken_at: Timestamp,
    /// The members' identities.
    pub members: Vec<RaftMember>,
    /// The members' pods, those that are ending included.
    pub pods: Vec<Pod>,
    /// The members' volume claims.
    pub claims: Vec<PersistentVolumeClaim>,
    /// The cluster's services.
    pub services: Vec<Service>,
    /// The cluster's disruption budget.
    pub budgets: Vec<PodDisruptionBudget>,
    /// What each member said when asked, by member name. Members whose pod has no address are not asked.
    pub probes: BTreeMap<String, Probe>,
}

impl Observed {
    /// Nothing seen, at this time.
    #[must_use]
    pub const fn empty(taken_at: Timestamp) -> Self {
        Self {
            taken_at,
            members: Vec::new(),
            pods: Vec::new(),
            claims: Vec::new(),
            services: Vec::new(),
            budgets: Vec::new(),
            probes: BTreeMap::new(),
        }
    }
}

/// One member asked once.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// When the answer came, or when asking was given up.
    pub taken_at: Timestamp,
    /// What it said, or, in words for a person, why it said nothing.
    pub answer: Result<Answer, String>,
}

/// What a member says of itself (etcd's `Maintenance.Status`) and, if it could find out, of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Id of the cluster it belongs to.
    pub cluster_id: u64,
    /// Its own id.
    pub member_id: u64,
    /// Id of the member that it takes for the leader; 0 for none.
    pub leader_id: u64,
    /// Its Raft term.
    pub term: u64,
    /// Index of the last entry it knows to be committed (etcd's `raftIndex`).
    pub raft_index: u64,
    /// Index of the last entry it has applied.
    pub applied_index: u64,
    /// Whether it follows without a vote.
    pub is_learner: bool,
    /// Version of the program.
    pub version: String,
    /// Version whose data it holds on disk (etcd's `storageVersion`); etcd says so since 3.6.
    pub storage_version: Option<String>,
    /// Alarms and troubles that it reports of itself.
    pub errors: Vec<String>,
    /// The membership as a *linearizable* `MemberList` through this member answered it: proof that a majority answers.
    /// Absent when it did not answer in time.
    pub membership: Option<Vec<Listed>>,
}

/// One entry of the membership.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Member id, never reused.
    pub id: u64,
    /// Name; empty for a member that was added and has never started.
    pub name: String,
    /// URLs at which its peers reach it.
    pub peer_urls: Vec<String>,
    /// Whether it follows without a vote.
    pub is_learner: bool,
}
