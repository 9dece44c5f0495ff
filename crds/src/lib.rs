//! The API of Quorate: the types of group `quorate.io`, version `v1alpha1`.
//!
//! [`RaftCluster`] is what a user writes; [`RaftMember`] is what the operator makes of it, one per member;
//! [`RaftOperation`] is one thing to be done once; [`RaftUser`] and [`RaftRole`] say who may do what in a cluster. The manifests
//! in `yaml/` are generated from these types and `tests/yaml_is_current.rs` keeps them so.
//!
//! What can never work is refused by the API server itself, through CEL rules that stand on the types and name the field
//! and the way out; there is no webhook. What CEL cannot see (a typo inside the pod overlay) is reported by the planner.
//!
//! This crate deliberately holds no behaviour: no defaults in code that are not in the schema, no reading, no writing.

// `KubeSchema` repeats each struct inside a function, where `pub` reaches nobody.
#![allow(unreachable_pub)]

pub mod account;
pub mod auth;
pub mod certificates;
pub mod cluster;
pub mod conditions;
pub mod maintenance;
pub mod member;
pub mod network_policy;
pub mod operation;
pub mod overlay;
pub mod protection;
pub mod quorum;
pub mod recovery;
pub mod repair;
pub mod run_state;
pub mod scheduling;
pub mod space;
pub mod status;
pub mod storage;
pub mod tls;
pub mod update;

pub use account::{
    AccountStatus, KeyRange, PasswordSecret, Permission, PermissionType, RaftRole, RaftRoleSpec,
    RaftUser, RaftUserSpec,
};
pub use auth::{Auth, AuthStatus, UserAccount};
pub use certificates::{
    CertificateRotation, CertificatesStatus, RotateCertificates, RotationStep, TlsSurface,
};
pub use cluster::{
    AutoCompaction, CompactionMode, DeletionPolicy, Engine, Options, RaftCluster, RaftClusterSpec,
    Resources,
};
pub use conditions::{ConditionType, Reason, Truth};
pub use maintenance::{Day, MaintenanceWindow};
pub use member::{RaftMember, RaftMemberSpec};
pub use network_policy::{
    AdmittedPods, LabelOperator, LabelRequirement, LabelSelector, NetworkPolicyMode,
    NetworkPolicyOptions,
};
pub use operation::{
    Compact, Defragment, Fence, OperationPhase, OperationPlan, OperationStep, RaftOperation,
    RaftOperationSpec, RaftOperationStatus, ReplaceMember, Restart, TransferLeader,
};
pub use overlay::{OverlayMetadata, PodOverlay};
pub use protection::{DeletionProtection, Disruption, SingleMemberEviction};
pub use quorum::{LostMember, RecoverQuorum, Recovering, RecoveryPlan, Survivor, VolumeSnapshots};
pub use recovery::Recovery;
pub use repair::{
    MaxReplacements, RepairCause, RepairMode, RepairPolicy, RepairStatus, Replacement, Suspect,
};
pub use run_state::RunState;
pub use scheduling::{AntiAffinity, Apart, Scheduling};
pub use space::{OnNoSpace, Reclaiming};
pub use status::{
    BlockedBy, Joining, Leader, MemberPhase, MemberRole, MemberStatus, Operation, OperationType,
    Quorum, RaftClusterStatus,
};
pub use storage::{AutoGrow, ChangePolicy, RetentionPolicy, Storage, StorageStatus};
pub use tls::{ClientTls, IssuerRef, PeerListener, PeerTls, Plaintext, Tls, TlsDefault, TlsMode};
pub use update::{
    Canary, Downgrade, OnFailure, OperatorChanges, RollingUpdate, RolloutFailure, RolloutStatus,
    StableTemplate, UpdateStrategy, UpdateType, VersionPolicy,
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
    vec![
        RaftCluster::crd(),
        RaftMember::crd(),
        RaftOperation::crd(),
        RaftUser::crd(),
        RaftRole::crd(),
    ]
}
