//! `spec.repairPolicy` and `status.repair`: when a member that cannot come back is replaced by a new one, and what is
//! remembered of it.
//!
//! Two things in the status are memory: since when a member is suspected (a volume that is gone tells no time), and which
//! replacements were begun (written before the first step, so that a crash between two steps never begins one more than the
//! policy allows). Both lists are bounded: by the number of members, and by `maxReplacements.count`.
//!
//! This file deliberately decides nothing: see `plan`'s `repair.rs`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a member that cannot come back, or whose data the alarm CORRUPT calls wrong, is replaced by a new one.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepairPolicy {
    /// Whether the operator replaces such a member, says how to, or does neither. Deleting a `RaftMember` replaces it in any
    /// mode.
    #[serde(default)]
    pub mode: RepairMode,
    /// How long a volume claim, the volume behind it, or the only node on which it can be used must have been gone, in
    /// seconds: a single read is no ground to give a member up.
    #[serde(default = "volume_lost")]
    #[schemars(range(min = 0, max = 604_800))]
    pub volume_lost_seconds: i64,
    /// How long a member must not have answered while Kubernetes does not hear of the node to which its volume is tied, or on
    /// which its pod cannot end, in seconds. Where the operator may not read nodes and volumes, this is not noticed.
    #[serde(default = "node_unreachable")]
    #[schemars(range(min = 0, max = 604_800))]
    pub node_unreachable_seconds: i64,
    /// How many restarts of a member, since it was first seen waiting in `CrashLoopBackOff`, are a crash loop. Kills for want
    /// of memory do not count, nor do crashes while no other member works with the same template.
    #[serde(default = "crash_loop")]
    #[schemars(range(min = 1, max = 1000))]
    pub crash_loop_restarts: i32,
    /// How many replacements may begin within which time. It holds back only what the operator begins by itself.
    #[serde(default)]
    pub max_replacements: MaxReplacements,
}

impl Default for RepairPolicy {
    fn default() -> Self {
        Self {
            mode: RepairMode::default(),
            volume_lost_seconds: volume_lost(),
            node_unreachable_seconds: node_unreachable(),
            crash_loop_restarts: crash_loop(),
            max_replacements: MaxReplacements::default(),
        }
    }
}

/// Who replaces a member that cannot come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RepairMode {
    /// The operator.
    #[default]
    Automatic,
    /// The user: a notice says which member, why, and the command.
    Recommend,
    /// Nobody, and nothing is said but how the member is.
    Disabled,
}

/// How many replacements may begin within which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaxReplacements {
    /// How many.
    #[serde(default = "count")]
    #[schemars(range(min = 1, max = 9))]
    pub count: i32,
    /// Within how many seconds.
    #[serde(default = "period")]
    #[schemars(range(min = 1, max = 604_800))]
    pub period_seconds: i64,
}

impl Default for MaxReplacements {
    fn default() -> Self {
        Self {
            count: count(),
            period_seconds: period(),
        }
    }
}

/// What is remembered of members that cannot come back.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepairStatus {
    /// Members that look as if they could not come back, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspects: Vec<Suspect>,
    /// The last replacements that the operator began by itself, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replacements: Vec<Replacement>,
}

/// A member that looks as if it could not come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Suspect {
    /// Its name.
    pub member: String,
    /// Why.
    pub cause: RepairCause,
    /// Since when it has been so, without a break, as far as the operator has seen.
    pub since: Time,
    /// With cause `CrashLoop`: how often its container had restarted then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<i32>,
}

/// A replacement that the operator began by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replacement {
    /// The member that was given up.
    pub member: String,
    /// Why.
    pub cause: RepairCause,
    /// When.
    pub at: Time,
}

/// Why a member cannot come back, the most certain first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum RepairCause {
    /// The alarm CORRUPT names it: its data differ from the others'.
    Corrupt,
    /// Its volume claim, or the volume behind it, is gone.
    VolumeLost,
    /// No node is left on which its volume can be used.
    NodeGone,
    /// It does not answer, and Kubernetes does not hear of the node that it cannot leave.
    NodeUnreachable,
    /// Its container ends again and again, while another with the same template works.
    CrashLoop,
}

/// Longer than any read is late, and short against the time in which a second failure is likely.
const fn volume_lost() -> i64 {
    10
}

/// Kubernetes itself takes most of a minute to miss a node; with this, and the time to catch up, a member that died with its node
/// is replaced within two.
const fn node_unreachable() -> i64 {
    30
}

/// With the kubelet's back-off, about five minutes.
const fn crash_loop() -> i32 {
    5
}

/// A minority of seven voters: all of them may have to go before a new one can come.
const fn count() -> i32 {
    3
}

const fn period() -> i64 {
    3600
}
