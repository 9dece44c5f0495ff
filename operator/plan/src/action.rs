//! `Action`: the complete list of what the operator can do to the world. One action is one call.
//!
//! Every action carries the ground it stands on. Creations demand that the name is free; deletions and changes name a
//! uid; calls that change the membership name the membership they were planned on. A stale plan therefore fails and never
//! regresses.
//!
//! This file deliberately does not know when an action is right: policies choose, `safety.rs` checks.

use std::fmt;

use crds::{AccountStatus, RaftMember, RaftOperation, RaftRole, RaftUser};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::accounts::AccountChange;
use crate::certificates::Issue;
use crate::names::Role;
use crate::objects::certificate::Certificate;
use crate::objects::snapshot::VolumeSnapshot;

/// One call to the API server or to a member.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Server-side apply, forced, of a whole service.
    ApplyService(Box<Service>),
    /// Server-side apply, forced, of the whole disruption budget.
    ApplyBudget(Box<PodDisruptionBudget>),
    /// Server-side apply, forced, of the whole NetworkPolicy.
    ApplyNetworkPolicy(Box<NetworkPolicy>),
    /// Delete with the uid as precondition.
    DeleteNetworkPolicy {
        /// The NetworkPolicy.
        policy: Target,
    },
    /// Server-side apply, forced, of a whole `Certificate` of cert-manager.
    ApplyCertificate(Box<Certificate>),
    /// Delete with the uid as precondition. The Secret that cert-manager has filled stays.
    DeleteCertificate {
        /// The `Certificate`.
        certificate: Target,
    },
    /// Make keys and certificates and keep them in a Secret: created, which fails if the name is taken, or replaced by a merge
    /// patch that carries the uid.
    IssueCertificates(Box<Issue>),
    /// Create; fails if the name is taken.
    CreateSnapshot(Box<VolumeSnapshot>),
    /// Create; fails if the name is taken.
    CreateMember(Box<RaftMember>),
    /// Create; fails if the name is taken.
    CreateClaim(Box<PersistentVolumeClaim>),
    /// Create; fails if the name is taken.
    CreatePod(Box<Pod>),
    /// Set the label `quorate.io/role` by a merge patch that carries the uid.
    LabelPod {
        /// The pod.
        pod: Target,
        /// The label's new value.
        role: Role,
    },
    /// Replace the owner references by a merge patch that carries the uid.
    OwnClaim {
        /// The claim.
        claim: Target,
        /// The one owner, or none.
        owner: Option<OwnerReference>,
    },
    /// Ask for another size by a merge patch that carries the uid; the annotation `quorate.io/size` says the same.
    GrowClaim {
        /// The claim.
        claim: Target,
        /// The size, a quantity.
        size: String,
    },
    /// Set an annotation by a merge patch that carries the uid.
    MarkClaim {
        /// The claim.
        claim: Target,
        /// The annotation.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// Delete with the uid as precondition, with the pod's own grace period.
    DeletePod {
        /// The pod.
        pod: Target,
        /// Why, for events and logs.
        why: String,
    },
    /// Delete with the uid as precondition, in the background.
    DeleteMember {
        /// The `RaftMember`.
        member: Target,
    },
    /// Delete with the uid as precondition. The data on the volume are lost.
    DeleteClaim {
        /// The claim.
        claim: Target,
    },
    /// `Cluster.MemberAdd` as a learner.
    AddLearner {
        /// Its name.
        name: String,
        /// URL at which its peers will reach it.
        peer_url: String,
        /// The membership this was planned on.
        ground: Ground,
    },
    /// `Cluster.MemberPromote`: a learner becomes a voter.
    Promote {
        /// Its name.
        name: String,
        /// Its id.
        id: u64,
        /// The membership this was planned on.
        ground: Ground,
    },
    /// `Cluster.MemberRemove`.
    RemoveMember {
        /// Its name.
        name: String,
        /// Its id.
        id: u64,
        /// The membership this was planned on.
        ground: Ground,
    },
    /// `Cluster.MemberUpdate`: where peers reach a member from now on.
    UpdatePeerUrl {
        /// Its name.
        name: String,
        /// Its id.
        id: u64,
        /// The one URL.
        peer_url: String,
        /// The membership this was planned on.
        ground: Ground,
    },
    /// `Maintenance.MoveLeader`, sent to the leader, which is `ground.via`.
    MoveLeader {
        /// Name of the voter that shall lead.
        to: String,
        /// Its id.
        to_id: u64,
        /// The membership this was planned on.
        ground: Ground,
    },
    /// `Maintenance.Defragment`, sent to the member, which serves nobody meanwhile.
    Defragment {
        /// Its name.
        name: String,
        /// The membership this was planned on.
        ground: Ground,
    },
    /// `KV.Compact`, with the physical removal waited for.
    Compact {
        /// The oldest revision that is kept.
        revision: i64,
        /// The membership this was planned on.
        ground: Ground,
    },
    /// `Maintenance.Alarm`, which takes the alarm of one member back.
    Disarm {
        /// Which alarm.
        alarm: Alarm,
        /// The member's id.
        id: u64,
        /// The membership this was planned on.
        ground: Ground,
    },
    /// A call of etcd's service `Auth`.
    ChangeAccount {
        /// Which, and what for.
        change: AccountChange,
        /// The membership this was planned on.
        ground: Ground,
    },
    /// Replace the status of a user, as of the version that was seen.
    TellUser(Box<RaftUser>),
    /// Replace the status of a role, as of the version that was seen.
    TellRole(Box<RaftRole>),
    /// Replace the status of an operation, as of the version that was seen.
    TellOperation(Box<RaftOperation>),
    /// Delete with the uid as precondition, in the background.
    DeleteOperation {
        /// The `RaftOperation`.
        operation: Target,
    },
}

impl Action {
    /// Whether the actions after it can be tried even though the API server has refused it. None of them builds on its
    /// effect: what it makes or marks is an object of its own, which a policy asks for again in the next round.
    #[must_use]
    pub const fn stands_alone(&self) -> bool {
        matches!(
            self,
            Self::ApplyService(_)
                | Self::ApplyBudget(_)
                | Self::ApplyNetworkPolicy(_)
                | Self::DeleteNetworkPolicy { .. }
                | Self::ApplyCertificate(_)
                | Self::DeleteCertificate { .. }
                | Self::CreatePod(_)
                | Self::LabelPod { .. }
                | Self::OwnClaim { .. }
                | Self::GrowClaim { .. }
        )
    }

    /// Whether it starts the member that founds the cluster, which needs the names that the services give.
    #[must_use]
    pub fn founds(&self) -> bool {
        let Self::CreatePod(pod) = self else {
            return false;
        };
        let containers = pod.spec.iter().flat_map(|it| &it.containers);
        let mut args = containers.flat_map(|it| it.args.iter().flatten());
        args.any(|it| it == "--initial-cluster-state=new")
    }
}

/// An alarm of etcd's API. It stays up until somebody takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A member's quota is used up: nobody takes what makes the store larger.
    NoSpace,
    /// A member's data differ from the others': nobody takes a command on keys, leases or history.
    Corrupt,
}

impl Alarm {
    /// Its name in etcd's API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSpace => "NOSPACE",
            Self::Corrupt => "CORRUPT",
        }
    }
}

/// An object that must still be the one that was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Its name, in the cluster's namespace.
    pub name: String,
    /// Its uid, the call's precondition.
    pub uid: String,
}

/// The membership that a call was planned on. The executor asks `via` for a linearizable `MemberList` right before the
/// call and gives up if [`Ground::holds`] says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// Name of the member through which the call is made.
    pub via: String,
    /// The etcd cluster.
    pub cluster_id: u64,
    /// Every member's id and whether it is a learner, sorted.
    pub members: Vec<(u64, bool)>,
}

impl Ground {
    /// Whether the membership found now is the one the action was planned on.
    #[must_use]
    pub fn holds(&self, cluster_id: u64, found: impl IntoIterator<Item = (u64, bool)>) -> bool {
        let mut found: Vec<(u64, bool)> = found.into_iter().collect();
        found.sort_unstable();
        self.cluster_id == cluster_id && self.members == found
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApplyService(it) => about(f, "apply service", &it.metadata),
            Self::ApplyBudget(it) => about(f, "apply disruption budget", &it.metadata),
            Self::ApplyNetworkPolicy(it) => about(f, "apply network policy", &it.metadata),
            Self::DeleteNetworkPolicy { policy } => {
                write!(f, "delete network policy {}", policy.name)
            }
            Self::ApplyCertificate(it) => about(f, "apply certificate", &it.metadata),
            Self::DeleteCertificate { certificate } => {
                write!(f, "delete certificate {}", certificate.name)
            }
            Self::IssueCertificates(it) => about(f, "issue certificates in", &it.secret.metadata),
            Self::CreateSnapshot(it) => about(f, "create volume snapshot", &it.metadata),
            Self::CreateMember(it) => about(f, "create member", &it.metadata),
            Self::CreateClaim(it) => about(f, "create claim", &it.metadata),
            Self::CreatePod(it) => about(f, "create pod", &it.metadata),
            Self::LabelPod { pod, role } => {
                write!(f, "label pod {} as {}", pod.name, role.as_str())
            }
            Self::OwnClaim {
                claim,
                owner: Some(owner),
            } => {
                write!(f, "make {} the owner of claim {}", owner.name, claim.name)
            }
            Self::OwnClaim { claim, owner: None } => {
                write!(f, "make claim {} stay behind", claim.name)
            }
            Self::GrowClaim { claim, size } => write!(f, "grow claim {} to {size}", claim.name),
            Self::MarkClaim { claim, key, value } => {
                write!(f, "mark claim {}: {key}={value}", claim.name)
            }
            Self::DeletePod { pod, why } => write!(f, "delete pod {}: {why}", pod.name),
            Self::DeleteMember { member } => write!(f, "delete member {}", member.name),
            Self::DeleteClaim { claim } => write!(f, "delete claim {}", claim.name),
            Self::AddLearner { name, .. } => write!(f, "add {name} to the membership as a learner"),
            Self::Promote { name, .. } => write!(f, "promote {name} to voter"),
            Self::RemoveMember { name, .. } => write!(f, "remove {name} from the membership"),
            Self::UpdatePeerUrl { name, peer_url, .. } => {
                write!(f, "have peers reach {name} at {peer_url}")
            }
            Self::MoveLeader { to, ground, .. } => {
                write!(f, "hand leadership over from {} to {to}", ground.via)
            }
            Self::Defragment { name, .. } => write!(f, "defragment {name}"),
            Self::Compact { revision, .. } => write!(f, "compact to revision {revision}"),
            Self::ChangeAccount { change, .. } => change.fmt(f),
            Self::Disarm { alarm, id, .. } => write!(f, "disarm {} of {id:x}", alarm.as_str()),
            Self::TellUser(it) => {
                let said = said(it.status.as_ref());
                write!(f, "tell user {}: {said}", name(&it.metadata.name))
            }
            Self::TellRole(it) => {
                let said = said(it.status.as_ref());
                write!(f, "tell role {}: {said}", name(&it.metadata.name))
            }
            Self::TellOperation(it) => {
                let status = it.status.clone().unwrap_or_default();
                let said = status.message.unwrap_or_default();
                write!(
                    f,
                    "tell operation {} {:?}: {said}",
                    name(&it.metadata.name),
                    status.phase
                )
            }
            Self::DeleteOperation { operation } => write!(f, "delete operation {}", operation.name),
        }
    }
}

/// What is done to an object, and its name.
fn about(f: &mut fmt::Formatter<'_>, what: &str, metadata: &ObjectMeta) -> fmt::Result {
    write!(f, "{what} {}", name(&metadata.name))
}

fn said(status: Option<&AccountStatus>) -> &str {
    let ready = status.and_then(|it| it.conditions.first());
    ready.map_or("", |it| it.message.as_str())
}

fn name(name: &Option<String>) -> &str {
    name.as_deref().unwrap_or("without a name")
}
