//! Getting a cluster back of which too few voters are left to agree: what is asked for, the plan that a person reads, and what
//! the operator remembers while it rebuilds.
//!
//! A plan is named by a hash of all facts that it rests on. Nothing is done before it stands in the operation's status and the
//! operation acknowledges that very plan; whatever changes meanwhile gives it another name.
//!
//! This file deliberately decides nothing: see `plan`'s `operate/recover.rs`.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A new cluster is made of what one member has, because too few voters are left to agree on anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoverQuorum {
    /// Name of the member whose data are kept; absent: the one that knows of most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub survivor: Option<String>,
    /// The plan that may be carried out, by its name in `status.plan.recovery.name`. Until it is here, and whenever it is not the
    /// plan of now, nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub acknowledge: Option<String>,
    /// Whether volumes are snapshotted before anything is restored. It can be changed while that is waited for.
    #[serde(default)]
    pub volume_snapshots: VolumeSnapshots,
}

/// Whether the volumes of survivors are snapshotted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VolumeSnapshots {
    /// A `VolumeSnapshot` is made of each whose storage class has a `VolumeSnapshotClass`, once its member has stopped, and
    /// nothing is restored before all are taken. They stay until somebody deletes them.
    #[default]
    WhereSupported,
    /// None is made, and none is waited for.
    Never,
}

/// What a recovery would keep, and what it may lose.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryPlan {
    /// What it is acknowledged by.
    pub name: String,
    /// The member whose data are kept.
    pub survivor: String,
    /// Members that answer, the one that knows of most first.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["member".to_string()]))]
    pub survivors: Vec<Survivor>,
    /// Members that do not answer. They and all other survivors are removed, and their volumes are treated as those of replaced
    /// members.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["member".to_string()]))]
    pub lost: Vec<LostMember>,
    /// What may be lost, in words.
    pub may_lose: String,
}

/// What a member that answers has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Survivor {
    /// Its name.
    pub member: String,
    /// Its Raft term.
    pub term: i64,
    /// Index of the last entry that it knows to be committed.
    pub last_index: i64,
    /// Revision of the last write that it has.
    pub last_revision: i64,
    /// The `VolumeSnapshotClass` by which its volume is snapshotted before anything is restored; absent where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_class: Option<String>,
}

/// A member that does not answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LostMember {
    /// Its name.
    pub member: String,
    /// Why it cannot come back, or how it might.
    pub why: String,
    /// Whether it might.
    #[serde(default)]
    pub may_return: bool,
}

/// A recovery that was acknowledged and is under way, remembered before anything of it is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recovering {
    /// Name of the operation that asks for it.
    pub operation: String,
    /// Its uid.
    #[serde(rename = "operationUID")]
    pub operation_uid: String,
    /// The plan that was acknowledged.
    pub plan: String,
    /// The member whose data are kept.
    pub survivor: String,
    /// Uid of its volume claim.
    #[serde(rename = "claimUID")]
    pub claim_uid: String,
    /// Id of the cluster that was lost, in hexadecimal.
    #[serde(rename = "lostClusterID")]
    pub lost_cluster_id: String,
    /// Of a survivor that was rebuilt before: by which pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_before: Option<String>,
    /// Of which members' volumes snapshots are taken first, each with the `VolumeSnapshotClass`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub snapshots: BTreeMap<String, String>,
}
