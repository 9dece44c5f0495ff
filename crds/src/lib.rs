//! The API of Quorate: the types of group `quorate.io`, version `v1alpha1`.
//!
//! [`RaftCluster`] is what a user writes; [`RaftMember`] is what the operator makes of it, one per member. The manifests
//! in `yaml/` are generated from these types and `tests/yaml_is_current.rs` keeps them so.
//!
//! What can never work is refused by the API server itself, through CEL rules that stand on the types and name the field
//! and the way out; there is no webhook. What CEL cannot see (a typo inside the pod overlay) is reported by the planner.
//!
//! This crate deliberately holds no behaviour: no defaults in code that are not in the schema, no reading, no writing.

// `KubeSchema` repeats each struct inside a function, where `pub` reaches nobody.
#![allow(unreachable_pub)]

pub mod cluster;
pub mod conditions;
pub mod member;
pub mod overlay;
pub mod status;

pub use cluster::{
    AutoCompaction, CompactionMode, DeletionPolicy, Engine, Options, RaftCluster, RaftClusterSpec,
    Resources, Storage,
};
pub use conditions::{ConditionType, Reason, Truth};
pub use member::{RaftMember, RaftMemberSpec};
pub use overlay::{OverlayMetadata, PodOverlay};
pub use status::{
    BlockedBy, Joining, Leader, MemberPhase, MemberRole, MemberStatus, Operation, OperationType,
    Quorum, RaftClusterStatus,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The API group of every kind in this crate.
pub const GROUP: &str = "quorate.io";
/// The one version there is, served and stored.
pub const VERSION: &str = "v1alpha1";

/// Every custom resource definition of Quorate, in the order they are installed.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![RaftCluster::crd(), RaftMember::crd()]
}
