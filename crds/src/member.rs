//! `RaftMember`: one per member, made by the operator and never edited.
//!
//! It is the member's identity: its name, its serial, the cluster it belongs to by uid. It owns the member's pod. Deleting
//! it is the user's way to have the member replaced by a new one with a new name. It carries no finalizer, so that the
//! deletion of a namespace never waits for an operator.
//!
//! It deliberately has no status: what is known of a member stands in the status of its cluster, in one place.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// The identity of one member. Immutable.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "quorate.io",
    version = "v1alpha1",
    kind = "RaftMember",
    namespaced,
    derive = "PartialEq",
    doc = "One member of a RaftCluster, made by the operator. Delete it to have the member replaced by a new one.",
    shortname = "raftm",
    category = "quorate",
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".spec.clusterName",
        description = "The RaftCluster this member belongs to"
    ),
    printcolumn(
        name = "Serial",
        type_ = "integer",
        json_path = ".spec.serial",
        description = "The how-manieth member of its cluster this is"
    ),
    printcolumn(
        name = "Learner",
        type_ = "boolean",
        json_path = ".spec.learner",
        description = "Does it follow without a vote for good"
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
    validation = Rule::new("self == oldSelf")
        .message("spec of a RaftMember is fixed for life; to replace the member, delete the RaftMember")
)]
pub struct RaftMemberSpec {
    /// Name of the RaftCluster in the same namespace.
    #[schemars(length(max = 40))]
    pub cluster_name: String,
    /// Uid of that RaftCluster; a member of an earlier cluster of the same name is never adopted.
    #[serde(rename = "clusterUID")]
    #[schemars(length(max = 64))]
    pub cluster_uid: String,
    /// The how-manieth member of its cluster this is, from 1; never reused.
    #[schemars(range(min = 1))]
    pub serial: i64,
    /// Whether it follows without a vote for good. One that is not said to is a learner only until it has caught up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub learner: bool,
}
