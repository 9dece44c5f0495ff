//! Facts, as the operator's reads found them. The planner believes nothing else.
//!
//! Objects are those in the cluster's namespace that carry its name in the label `quorate.io/cluster`, read live where they
//! decide about a quorum or a volume. Objects of an earlier cluster of the same name are among them; the planner tells
//! them apart by uid.
//!
//! This file deliberately draws no conclusions: see `view.rs`.

use std::collections::{BTreeMap, BTreeSet};

use crds::{IssuerRef, PermissionType, RaftMember, RaftOperation, Recovering, RunState};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::accounts::{Declarations, Keys};
use crate::action::Target;
use crate::names::Surface;
use crate::objects::certificate::Certificate;
use crate::objects::snapshot::VolumeSnapshot;

/// How old an answer of a member may be and still count. A round takes less than a second; what is older was read before
/// something that mattered.
pub const PROBE_AGE_MAX: SignedDuration = SignedDuration::from_secs(10);

/// All that one round of reads found out.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// When the reads were made; answers of members are judged by their age at this time.
    pub taken_at: Timestamp,
    /// Whether the resource, as it was read, asks for members to run at all.
    pub run_state: RunState,
    /// What the resource, as it was read, remembers of a recovery from quorum loss.
    pub recovering: Option<Recovering>,
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
    /// The cluster's NetworkPolicies; asked for only while [`is_in_question`] says so.
    ///
    /// [`is_in_question`]: crate::network_policy::is_in_question
    pub network_policies: Vec<NetworkPolicy>,
    /// By what the operator's own pods are told; none where it does not know.
    pub operator: Option<OperatorPods>,
    /// Whether the volumes of a storage class can grow in place, by the class's name. A class that was not asked about, or that
    /// the operator may not read, is not among them.
    pub classes: BTreeMap<String, bool>,
    /// What is known of the Secrets that TLS needs.
    pub keyrings: Vec<Keyring>,
    /// What came of looking for the `Certificate`s of cert-manager that [`in_question`] names, by name. One that could not be read
    /// is not among them.
    ///
    /// [`in_question`]: crate::cert_manager::in_question
    pub certificates: BTreeMap<String, Sought<Certificate>>,
    /// By which `VolumeSnapshotClass` the volumes of a storage class are snapshotted, by the class's name; asked for only while
    /// [`classes_to_snapshot`] says so.
    ///
    /// [`classes_to_snapshot`]: crate::classes_to_snapshot
    pub snapshot_classes: BTreeMap<String, String>,
    /// What came of looking for the `VolumeSnapshot`s that [`snapshots_in_question`] names, by name. One that could not be read is not
    /// among them.
    ///
    /// [`snapshots_in_question`]: crate::snapshots_in_question
    pub snapshots: BTreeMap<String, Sought<VolumeSnapshot>>,
    /// How members shook hands, or, in words for a person, why they did not; asked for only while [`watched`] says so.
    ///
    /// [`watched`]: crate::rotation::watched
    pub handshakes: BTreeMap<(String, Surface), Result<Handshake, String>>,
    /// What declares the accounts of the cluster.
    pub declarations: Declarations,
    /// What a member said of accounts, or, in words for a person, why it said nothing; none where it was not asked.
    pub accounts: Option<Result<Accounts, String>>,
    /// The operations that name the cluster, those that have ended included.
    pub operations: Vec<RaftOperation>,
    /// What each member said when asked, by member name. Members whose pod has no address are not asked.
    pub probes: BTreeMap<String, Probe>,
    /// Where members stand that did not answer, by member name; of those that did, the node of the leader, and of the others
    /// where the leadership may have to move.
    pub footings: BTreeMap<String, Footing>,
}

impl Observed {
    /// Nothing seen, at this time.
    #[must_use]
    pub const fn empty(taken_at: Timestamp) -> Self {
        Self {
            taken_at,
            run_state: RunState::Running,
            recovering: None,
            members: Vec::new(),
            pods: Vec::new(),
            claims: Vec::new(),
            services: Vec::new(),
            budgets: Vec::new(),
            network_policies: Vec::new(),
            operator: None,
            classes: BTreeMap::new(),
            keyrings: Vec::new(),
            certificates: BTreeMap::new(),
            snapshot_classes: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            handshakes: BTreeMap::new(),
            declarations: Declarations {
                users: Vec::new(),
                roles: Vec::new(),
                passwords: Vec::new(),
            },
            accounts: None,
            operations: Vec::new(),
            probes: BTreeMap::new(),
            footings: BTreeMap::new(),
        }
    }
}

/// By what the pods of the operator are told, from which it reaches members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorPods {
    /// The namespace they are in.
    pub namespace: String,
    /// Labels that they all bear, and no other pods there.
    pub labels: BTreeMap<String, String>,
}

/// What is known of one Secret with certificates. No key is among it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring {
    /// Name of the Secret.
    pub secret: String,
    /// Its uid.
    pub uid: String,
    /// Its resource version.
    pub version: Option<String>,
    /// The cluster it says that it was made for.
    pub cluster_uid: Option<String>,
    /// The `Certificate` that cert-manager says it has filled it for.
    pub certificate: Option<String>,
    /// Who has signed what is in it, as cert-manager says.
    pub issuer: Option<IssuerRef>,
    /// Names of its entries that are not empty.
    pub entries: BTreeSet<String>,
    /// A fingerprint of `ca.crt`.
    pub authority: Option<String>,
    /// When each certificate ends, by the stem of its entry; those that could be read.
    pub ends: BTreeMap<String, Timestamp>,
    /// A fingerprint of each certificate, by the stem of its entry.
    pub fingerprints: BTreeMap<String, String>,
    /// Whom each certificate names, by the stem of its entry.
    pub subjects: BTreeMap<String, String>,
    /// Common names of the CAs in `ca.crt`, in their order: the first one signs, the others are believed beside it.
    pub roots: Vec<String>,
}

/// What is known of one Secret with a password. The password is not among it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Password {
    /// The Secret.
    pub secret: Target,
    /// The entry.
    pub key: String,
    /// The Secret's resource version.
    pub version: String,
    /// Whose password it is, if the Secret says so.
    pub username: Option<String>,
    /// Length of the password in bytes; 0 if there is none.
    pub length: usize,
}

/// What a member says of authentication, users and roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// Whether it asks who somebody is.
    pub enabled: bool,
    /// A number that grows with every change of users and roles.
    pub revision: u64,
    /// All of them; none where that is known from before.
    pub listing: Option<Listing>,
}

/// All users and roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Users, with the roles of those who were asked about.
    pub users: BTreeMap<String, BTreeSet<String>>,
    /// Roles, with the permissions of those that were asked about.
    pub roles: BTreeMap<String, BTreeMap<Keys, PermissionType>>,
}

/// What one handshake with a member showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// Common names of the CAs from which it takes certificates, as it says itself.
    pub trusts: BTreeSet<String>,
    /// Fingerprint of the certificate that it has shown, and that was believed.
    pub shows: String,
    /// Common name of the CA that has signed it.
    pub issuer: String,
}

impl Keyring {
    /// Whether it has an entry.
    #[must_use]
    pub fn has(&self, entry: &str) -> bool {
        self.entries.contains(entry)
    }

    /// The Secret as a target.
    #[must_use]
    pub fn target(&self) -> Target {
        Target {
            name: self.secret.clone(),
            uid: self.uid.clone(),
        }
    }
}

/// Where a member stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Footing {
    /// The node that its pod is on.
    pub node: Seen<Node>,
    /// The nodes on which its volume can be used, or will be when it is made, where that is not everywhere.
    pub within: Seen<Vec<Node>>,
}

/// What came of looking for something that the operator can do without.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Seen<T> {
    /// There was nothing to look for.
    #[default]
    Nothing,
    /// The operator is not permitted to look.
    Forbidden,
    /// It is not there.
    Absent,
    /// It is there.
    There(T),
}

/// What came of looking for an object of a kind that need not be installed.
#[derive(Clone, Debug, PartialEq)]
pub enum Sought<T> {
    /// The operator is not permitted to look.
    Forbidden,
    /// The API server does not know such objects.
    Unserved,
    /// It is not there.
    Absent,
    /// It is there.
    There(Box<T>),
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
    /// Revision of its data.
    pub revision: i64,
    /// Whether it follows without a vote.
    pub is_learner: bool,
    /// Bytes that its database takes on disk (etcd's `dbSize`).
    pub db_size: Option<u64>,
    /// How many of them are in use (etcd's `dbSizeInUse`); a defragmentation gives the rest back.
    pub db_size_in_use: Option<u64>,
    /// Version of the program.
    pub version: String,
    /// Version whose data it holds on disk (etcd's `storageVersion`); etcd says so since 3.6.
    pub storage_version: Option<String>,
    /// Ids of the members that have raised the alarm NOSPACE, as it knows.
    pub no_space: Vec<u64>,
    /// Ids of the members that the alarm CORRUPT is about, as it knows; 0 is nobody in particular.
    pub corrupt: Vec<u64>,
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
