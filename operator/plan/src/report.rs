//! `Report`: what one round found, what it does, and why nothing happens where nothing does.
//!
//! Conditions, `blockedBy`, events, logs and the command line all read from it. Building the status from it is
//! `status.rs`'s work; this file deliberately holds no rule.

use std::collections::{BTreeMap, BTreeSet};

use crds::{
    AuthStatus, BlockedBy, CertificateRotation, Joining, Leader, MemberStatus, NetworkPolicyMode,
    OperationType, PeerListener, Quorum, RaftClusterStatus, Reclaiming, Recovering, Recovery,
    RepairStatus, RolloutStatus, StableTemplate, StorageStatus, TlsDefault,
};
use jiff::Timestamp;

use crate::action::Action;

/// What one round found and decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The time the round was planned at.
    pub at: Timestamp,
    /// What is wrong with the spec; while anything is, nothing is changed.
    pub invalid: Vec<Invalid>,
    /// Whether no member runs because the user wants none to.
    pub asleep: bool,
    /// Why the operator keeps its hands off, if it does.
    pub hands_off: Option<HandsOff>,
    /// The one piece of work in hand; none when all is done.
    pub work: Option<Work>,
    /// How many voters are wanted.
    pub wanted: i32,
    /// Learners for good.
    pub learners: Learners,
    /// The members there are.
    pub members: Vec<MemberStatus>,
    /// Voters that are healthy, caught up and of the current template.
    pub ready: i32,
    /// Whether a majority answers: `None` before the first member has ever answered.
    pub quorate: Option<bool>,
    /// How near the cluster is to losing its majority.
    pub quorum: Option<Quorum>,
    /// Who leads.
    pub leader: Option<Leader>,
    /// Pods that the client service sends clients to.
    pub endpoints: usize,
    /// Alarms and troubles that members report of themselves.
    pub alarms: Vec<String>,
    /// What the alarm CORRUPT is about, while it is up.
    pub corruption: Option<String>,
    /// Who is kept stopped by a `RaftOperation`, and the way out; none if nobody is.
    pub fenced: Option<String>,
    /// Whether the engine can do what the spec asks for.
    pub support: Support,
    /// What the status must remember.
    pub memory: Memory,
    /// The rollout that has failed, if one has and the template has not changed since.
    pub fallen: Option<Fallen>,
    /// What a person should know and only a person can decide.
    pub notices: Vec<String>,
    /// How the last failure of a voter goes.
    pub recovery: Option<Recovery>,
    /// When the first certificate ends that is shown, or a CA that signs; none without TLS.
    pub first_expiry: Option<Timestamp>,
}

/// Learners for good, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learners {
    /// Those that are healthy, caught up and of the current template.
    pub ready: i32,
    /// Those in the status.
    pub there: i32,
    /// Those that are wanted.
    pub wanted: i32,
}

/// What must stand in the status before the next round may build on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Last serial given out.
    pub serial: i64,
    /// The member being added.
    pub joining: Option<Joining>,
    /// Id of the etcd cluster.
    pub cluster_id: Option<String>,
    /// The image in force.
    pub image: Option<String>,
    /// The image where the spec names none.
    pub default_image: Option<String>,
    /// Members that cannot come back, and replacements begun.
    pub repair: RepairStatus,
    /// How far volumes have grown by themselves.
    pub storage: Option<StorageStatus>,
    /// The rollout that is watched or has failed.
    pub rollout: Option<RolloutStatus>,
    /// The template on which the cluster last converged.
    pub stable_template: Option<StableTemplate>,
    /// Space that is being reclaimed.
    pub reclaiming: Option<Reclaiming>,
    /// CAs that are being replaced.
    pub rotations: Vec<CertificateRotation>,
    /// Names of the `Certificate`s that cert-manager was asked for.
    pub requested: BTreeSet<String>,
    /// A recovery from quorum loss that is under way.
    pub recovering: Option<Recovering>,
    /// How authentication stands.
    pub auth: Option<AuthStatus>,
    /// Whether there is, or may be, a NetworkPolicy of the operator's.
    pub network_policy: Option<NetworkPolicyMode>,
    /// What a surface means that the spec does not name.
    pub tls_default: Option<TlsDefault>,
    /// Where members listen for each other; empty before anybody has said where they are.
    pub peer_listeners: Vec<PeerListener>,
}

impl Memory {
    /// What a status remembers.
    #[must_use]
    pub fn of(status: &RaftClusterStatus) -> Self {
        Self {
            serial: status.serial,
            joining: status.joining.clone(),
            cluster_id: status.cluster_id.clone(),
            image: status.image.clone(),
            default_image: status.default_image.clone(),
            repair: status.repair.clone().unwrap_or_default(),
            storage: status.storage.clone(),
            rollout: status.rollout.clone(),
            stable_template: status.stable_template.clone(),
            reclaiming: status.reclaiming.clone(),
            rotations: status
                .certificates
                .as_ref()
                .map(|it| it.rotations.clone())
                .unwrap_or_default(),
            requested: status
                .certificates
                .iter()
                .flat_map(|it| it.requested.iter().cloned())
                .collect(),
            recovering: status.recovering.clone(),
            auth: status.auth.clone(),
            network_policy: status.network_policy,
            tls_default: status.tls_default,
            peer_listeners: status.peer_listeners.clone(),
        }
    }
}

/// Why the operator keeps its hands off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandsOff {
    /// The resource is being deleted: the garbage collector does all the work, with or without an operator.
    Deletion,
    /// `spec.paused` is set.
    Paused,
}

/// A rollout that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallen {
    /// Whether the members go back, or have gone, to the template on which the cluster last converged.
    pub rolled_back: bool,
    /// What failed, how the members stand and the way out.
    pub sentence: String,
}

/// Whether the engine can do what the spec asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// It can; in a sentence.
    Full(String),
    /// That is not known; why not.
    Untold(String),
    /// It cannot, so that nothing is changed until the spec is corrected.
    Lacking(Invalid),
}

/// A field that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Path of the field, such as `spec.podTemplate.spec.nodeSelectr`.
    pub field: String,
    /// What is wrong and the way out.
    pub message: String,
}

/// The work in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Its kind.
    pub kind: OperationType,
    /// The step, as a CamelCase verb phrase.
    pub step: &'static str,
    /// The member it is about.
    pub member: Option<String>,
    /// What it waits for; empty while it moves.
    pub blocked_by: Vec<BlockedBy>,
}

/// Who was taken into the membership, by name, and the ids they got.
pub type Entered = BTreeMap<String, u64>;

/// How the actions of a round went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The actions that took effect, in their order.
    pub done: Vec<Action>,
    /// Who was taken into the membership.
    pub entered: Entered,
    /// What a member said that will do what it was asked, but not yet: no failure, and the end of the round.
    pub postponed: Option<String>,
    /// The first that failed. Some of those after it may have been done all the same.
    pub failed: Option<Failure>,
}

/// An action that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The action, as its `Display` says it.
    pub action: String,
    /// Why, with its causes. Should be the same text for the same cause, or the status changes with every try.
    pub error: String,
}
