//! `RaftOperation`: one thing to be done once to a cluster, by the operator, as it does everything else: one step at a time,
//! behind the same gates, and gone on with after a crash.
//!
//! At most one runs on a cluster, the oldest first, but for members that are kept stopped, which hold nothing else up. What it
//! will do stands in `status.plan` before anything of it is done, and with `dryRun` nothing more happens. It is never started by
//! the operator itself.
//!
//! This file deliberately holds no behaviour; what is possible when is the planner's.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    certificates::RotateCertificates,
    quorum::{RecoverQuorum, RecoveryPlan},
    status::BlockedBy,
};

/// One thing to be done once to a cluster.
#[allow(
    clippy::duplicated_attributes,
    reason = "columns may be of the same type"
)]
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "quorate.io",
    version = "v1alpha1",
    kind = "RaftOperation",
    namespaced,
    derive = "PartialEq",
    derive = "Default",
    status = "RaftOperationStatus",
    doc = "One thing to be done once to a RaftCluster: restart, hand over, replace a member, defragment, compact, rotate certificates, recover from quorum loss; or a member that is kept stopped meanwhile.",
    shortname = "raftop",
    category = "quorate",
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".spec.clusterName",
        description = "The RaftCluster it is done to"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.message",
        description = "What it does, what it waits for, or how it ended"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    cel
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.transferLeader), has(self.restart), has(self.replaceMember), has(self.defragment), has(self.compact), has(self.rotateCertificates), has(self.fence), has(self.recoverQuorum)].filter(it, it).size() == 1")
        .message("spec: name exactly one of transferLeader, restart, replaceMember, defragment, compact, rotateCertificates, fence and recoverQuorum; create a RaftOperation for each thing that is to be done"),
    validation = Rule::new("has(self.recoverQuorum) && has(oldSelf.recoverQuorum) ? self.clusterName == oldSelf.clusterName && self.dryRun == oldSelf.dryRun && has(self.ttlSecondsAfterFinished) == has(oldSelf.ttlSecondsAfterFinished) && (!has(self.ttlSecondsAfterFinished) || self.ttlSecondsAfterFinished == oldSelf.ttlSecondsAfterFinished) && has(self.recoverQuorum.survivor) == has(oldSelf.recoverQuorum.survivor) && (!has(self.recoverQuorum.survivor) || self.recoverQuorum.survivor == oldSelf.recoverQuorum.survivor) : self == oldSelf")
        .message("spec of a RaftOperation cannot be changed, but for recoverQuorum.acknowledge and recoverQuorum.volumeSnapshots: delete it to end what is not done yet, and create another"),
)]
pub struct RaftOperationSpec {
    /// Name of the `RaftCluster` in the same namespace. While there is none, nobody looks at the operation.
    #[schemars(length(min = 1, max = 40))]
    pub cluster_name: String,
    /// Another member shall lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_leader: Option<TransferLeader>,
    /// Members restart one by one, the leader last, each when the one before is caught up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// A new member with an empty volume takes another's place. The other leaves when the new one votes; if it does not work,
    /// it leaves first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_member: Option<ReplaceMember>,
    /// Members give the space that deleted data took back to their file system, one by one, the leader last, after it has
    /// handed over. A member serves nobody meanwhile. Members that would gain less than a tenth are left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defragment: Option<Defragment>,
    /// Old revisions are thrown away: who watches or reads at one of them is refused from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compact: Option<Compact>,
    /// Certificates that the operator makes are made anew, and their CA is replaced if that is asked for. No member serves less
    /// meanwhile; those of engine Etcd restart one by one to take over another CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_certificates: Option<RotateCertificates>,
    /// A member is stopped, and kept stopped for as long as this resource is there; its volume, its identity and its place among
    /// the members are kept. It begins only where the others are a healthy, caught-up majority, and a leader hands over first.
    /// There is no other end: delete the resource to have the member start again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// A new cluster is made of what one member has, after too many voters were lost for good. `status.plan.recovery` says what
    /// is left and what may be lost; nothing is done until that plan is acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recover_quorum: Option<RecoverQuorum>,
    /// Says in status what would be done, and what stands against it now, and does nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// How long the resource is kept after its end, in seconds; for ever, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<i64>,
}

/// Another member shall lead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TransferLeader {
    /// Name of the member that shall lead.
    #[schemars(length(min = 1, max = 63))]
    pub to: String,
}

/// Members restart one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Restart {
    /// Names of the members; all, if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    pub members: Vec<String>,
}

/// A new member takes another's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplaceMember {
    /// Name of the member that leaves.
    #[schemars(length(min = 1, max = 63))]
    pub member: String,
}

/// A member is kept stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fence {
    /// Name of the member.
    #[schemars(length(min = 1, max = 63))]
    pub member: String,
}

/// Members give space back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Defragment {}

/// Old revisions are thrown away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Compact {
    /// All revisions before this one go; absent: all before the one at which the operation begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub revision: Option<i64>,
}

/// How an operation stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RaftOperationStatus {
    /// How far it is.
    #[serde(default)]
    pub phase: OperationPhase,
    /// What it does, what it waits for, or how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What it will do, remembered before anything of it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<OperationPlan>,
    /// Uid of the cluster that it was planned for: it is never done to a later one of the same name.
    #[serde(
        default,
        rename = "clusterUID",
        skip_serializing_if = "Option::is_none"
    )]
    pub cluster_uid: Option<String>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Complete or Failed, once it has ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OperationPhase {
    /// It waits for its turn.
    #[default]
    Pending,
    /// It was a dry run, and its plan stands. The end.
    Planned,
    /// It is being done.
    Running,
    /// It is done. The end.
    Succeeded,
    /// It cannot be done. The end.
    Failed,
}

impl OperationPhase {
    /// Whether nothing comes after it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Planned | Self::Succeeded | Self::Failed)
    }
}

/// What an operation will do, and has done of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationPlan {
    /// Its steps. Their order may change with who leads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<OperationStep>,
    /// Of a dry run: what stands against the next step now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_by: Vec<BlockedBy>,
    /// Of a recovery from quorum loss: what is left and what may be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryPlan>,
}

/// One step of an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationStep {
    /// What is done, as a CamelCase verb phrase.
    pub action: String,
    /// The member it is done to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Of a restart: the uid of the pod that is to go.
    #[serde(default, rename = "podUID", skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// Of a compaction: the oldest revision that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// Of certificates: the Secret that they are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Of certificates: the CA by its name, or the certificate by its fingerprint, that is to be replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Whether it is done; of a fence: whether the member is kept from starting.
    #[serde(default)]
    pub done: bool,
}

/// Conditions as a list that server-side apply merges by type.
fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let schema = json!({
        "type": "array",
        "description": "Complete or Failed, once it has ended.",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": generator.subschema_for::<Condition>(),
    });
    Schema::try_from(schema).expect("an object is a schema")
}
