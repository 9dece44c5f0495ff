//! What the operator knows of a cluster, and the little it remembers.
//!
//! These fields are memory and not only a view: `serial` and `joining` (a member's name is written here before anything
//! of that name is made, so that names are never reused), `members[].id` and `members[].claimUID` (a member once seen
//! with an id or a volume is never started with another), `defaultImage` (so that a newer operator alone restarts nothing),
//! `storage` (a size is written here before a volume is made to have it), `recovering` (whose data a lost cluster is rebuilt of),
//! `networkPolicy` (so that a NetworkPolicy is found again when it is to go), `peerListeners` (so that members whose membership
//! nobody can read come back where their peers look for them), `tlsDefault` (so that no cluster ever changes to TLS, or from it, by what
//! its spec does not say), and `rollout` and `stableTemplate` (so that a failed rollout stays
//! failed, and what worked can be made again).
//!
//! Nothing here changes with every write a client makes: lag is shown as 0 while a member is caught up.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    auth::AuthStatus,
    certificates::CertificatesStatus,
    network_policy::NetworkPolicyMode,
    quorum::Recovering,
    recovery::Recovery,
    repair::RepairStatus,
    space::Reclaiming,
    storage::StorageStatus,
    tls::{PeerListener, TlsDefault},
    update::{RolloutStatus, StableTemplate},
};

/// What the operator knows of a cluster.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RaftClusterStatus {
    /// Generation of the spec that the whole status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Available, Progressing, Degraded, Quorate, Supported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// Healthy, caught-up voters of the current template, of those wanted: `3/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// The same of learners for good; absent while none are wanted and none are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learners: Option<String>,
    /// Members there are, less the learners for good, for the scale subresource.
    #[serde(default)]
    pub replicas: i32,
    /// Healthy, caught-up voters of the current template.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Label selector of the member pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Id of the etcd cluster in hexadecimal, remembered when the first member has answered.
    #[serde(default, rename = "clusterID", skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// The version that all members run, or the oldest among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The image in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The image that the cluster runs where its spec names none: remembered from the first time it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_image: Option<String>,
    /// Who leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<Leader>,
    /// How near the cluster is to losing its majority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<Quorum>,
    /// The members, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub members: Vec<MemberStatus>,
    /// How far volumes have grown by themselves; absent while they have not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageStatus>,
    /// What the operator is doing; absent when all is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// The last serial that was given to a member.
    #[serde(default)]
    pub serial: i64,
    /// The member that is being added, remembered before anything of its name is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joining: Option<Joining>,
    /// Space that is being reclaimed after the alarm NOSPACE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reclaiming: Option<Reclaiming>,
    /// Things a person should know and only a person can decide, such as volumes left by an earlier cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// What is remembered of members that cannot come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<RepairStatus>,
    /// How the last failure of a voter went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// A rollout that is watched or has failed; absent when all members are of the template that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// The template on which the cluster last converged, to which a failed rollout goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_template: Option<StableTemplate>,
    /// The ports on which members listen for their peers: one, or two while they move to TLS or away from it. Remembered before
    /// any member listens there, and no pod is made without one that a peer URL of the membership may name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["port".to_string()]))]
    pub peer_listeners: Vec<PeerListener>,
    /// What a surface means that `spec.tls` does not name, from the cluster's first day on; absent for Disabled, in clusters that are
    /// older than TLS by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_default: Option<TlsDefault>,
    /// How certificates stand; absent without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<CertificatesStatus>,
    /// How authentication stands; absent where it was never asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthStatus>,
    /// Managed while there is, or may be, a NetworkPolicy of the operator's. Absent otherwise; nobody looks for one then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicyMode>,
    /// A recovery from quorum loss that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovering: Option<Recovering>,
}

/// Who leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Leader {
    /// Member name.
    pub name: String,
    /// Raft term.
    pub term: i64,
}

/// How near the cluster is to losing its majority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Quorum {
    /// Voters that must answer.
    pub required: i32,
    /// Voters that are healthy and caught up.
    pub healthy: i32,
    /// How many more may fail: healthy less required, never below 0.
    pub tolerance: i32,
}

/// What is known of one member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Member name, which is also its pod's.
    pub name: String,
    /// Member id in hexadecimal, remembered once the cluster has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Leader, follower, learner, or not known now.
    pub role: MemberRole,
    /// How far it is.
    pub phase: MemberPhase,
    /// Entries behind the leader; 0 while it counts as caught up; absent when it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
    /// Version it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Kubernetes node its pod is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Uid of its volume claim, remembered once seen: the member is never started with another.
    #[serde(default, rename = "claimUID", skip_serializing_if = "Option::is_none")]
    pub claim_uid: Option<String>,
}

/// A member's part in the consensus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MemberRole {
    /// It leads.
    Leader,
    /// It votes.
    Follower,
    /// It follows the log and does not vote, or not yet.
    Learner,
    /// It is no member of the consensus, or it is not known.
    #[default]
    Unknown,
}

/// How far a member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MemberPhase {
    /// Its objects are being made.
    #[default]
    Pending,
    /// Its pod is there and does not answer yet.
    Starting,
    /// It follows the log and is not near its end yet.
    CatchingUp,
    /// It answers, agrees on the leader and is caught up.
    Ready,
    /// It answered before, or should, and does not.
    Unhealthy,
    /// It is being taken away, or its pod is ending.
    Leaving,
    /// Its volume is gone: it can never start again.
    VolumeLost,
    /// Its pod is stopped, as `spec.runState` asks for; its volume is kept.
    Hibernated,
    /// Its pod is kept stopped, as a `RaftOperation` with `fence` asks for; its volume is kept.
    Fenced,
}

/// What the operator is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// The kind of work.
    #[serde(rename = "type")]
    pub kind: OperationType,
    /// The step in hand, as a CamelCase verb phrase.
    pub step: String,
    /// The member it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// When this work on this member began.
    pub started_at: Time,
    /// When it should be done; after it the cluster counts as degraded, and the operator goes on trying.
    pub deadline: Time,
    /// What it waits for, with numbers; empty while it moves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_by: Vec<BlockedBy>,
}

/// The kinds of work, in order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OperationType {
    /// The first member starts.
    Bootstrap,
    /// A member's pod is made again, or the remains of a removed member are cleared away.
    Repair,
    /// A member is added.
    ScaleUp,
    /// A member is taken away.
    ScaleDown,
    /// Members restart one by one with a changed template.
    Rollout,
    /// The leadership is moved away from a node that is about to be emptied.
    Evacuate,
    /// All members are stopped, because `spec.runState` asks for it.
    Hibernate,
    /// All members start again after hibernation.
    Wake,
    /// A new member takes over from one whose volume cannot be made as the spec wants it.
    Replace,
    /// Volumes grow in place.
    Resize,
    /// What a `RaftOperation` asks for.
    Requested,
    /// A CA is replaced.
    RotateCertificates,
    /// Authentication is switched on or off.
    Authentication,
    /// Members move to TLS between each other, or away from it.
    MovePeers,
}

impl OperationType {
    /// The word as it stands in status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bootstrap => "Bootstrap",
            Self::Repair => "Repair",
            Self::ScaleUp => "ScaleUp",
            Self::ScaleDown => "ScaleDown",
            Self::Rollout => "Rollout",
            Self::Evacuate => "Evacuate",
            Self::Hibernate => "Hibernate",
            Self::Wake => "Wake",
            Self::Replace => "Replace",
            Self::Resize => "Resize",
            Self::Requested => "Requested",
            Self::RotateCertificates => "RotateCertificates",
            Self::Authentication => "Authentication",
            Self::MovePeers => "MovePeers",
        }
    }
}

/// One thing that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockedBy {
    /// Which gate, as a CamelCase noun.
    pub gate: String,
    /// What is missing, with numbers and names.
    pub message: String,
}

/// A member that is being added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Joining {
    /// Its name.
    pub name: String,
    /// Its serial.
    pub serial: i64,
    /// Whether it is to follow without a vote for good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub learner: bool,
}

/// Conditions as a list that server-side apply merges by type.
fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let schema = json!({
        "type": "array",
        "description": "Ready, Available, Progressing, Degraded, Quorate, Supported.",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": generator.subschema_for::<Condition>(),
    });
    Schema::try_from(schema).expect("an object is a schema")
}
