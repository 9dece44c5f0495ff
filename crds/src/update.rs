//! How changes of the template reach the members, and what is remembered of a change on its way.
//!
//! The template is all that makes a member's pod: image or version, options, resources and the partial pod. Rules:
//! - what is rolled back to is a template that was asked for and on which the cluster converged, never one that was seen;
//! - a failure stays written down until the template changes, so that neither a restart of the operator nor a member that is
//!   well again for a moment starts the failed change anew.
//!
//! This file deliberately holds no rule of *when* a member restarts: that is the planner's.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How changes of the template reach the members.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.type != 'OnDelete' || !has(self.rollingUpdate)")
        .message("spec.updateStrategy.rollingUpdate goes with type RollingUpdate or Surge: set one of them or drop the field")
        .field_path(".type"),
    validation = Rule::new("self.type != 'OnDelete' || !has(self.onFailure)")
        .message("spec.updateStrategy.onFailure goes with type RollingUpdate or Surge, because with OnDelete nothing is rolled: set one of them or drop the field")
        .field_path(".type")
)]
pub struct UpdateStrategy {
    /// Who restarts members with a changed template.
    #[serde(default, rename = "type")]
    pub kind: UpdateType,
    /// With type RollingUpdate or Surge: which members go first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling_update: Option<RollingUpdate>,
    /// How long a rollout may go on without one more member that is healthy on the new template, in seconds, before it has
    /// failed. The soak time of canaries does not count.
    #[serde(default = "ten_minutes")]
    #[schemars(range(min = 10, max = 604_800))]
    pub progress_deadline_seconds: i64,
    /// What becomes of a rollout that has failed. Absent: it waits for the members that are not healthy, and goes on when they
    /// are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// Which versions may follow upon which.
    #[serde(default)]
    pub version_policy: VersionPolicy,
    /// What becomes of members whose pods a newer operator would make in another way.
    #[serde(default)]
    pub operator_changes: OperatorChanges,
}

impl UpdateStrategy {
    /// The canaries, if any are asked for.
    #[must_use]
    pub fn canary(&self) -> Option<Canary> {
        self.rolling_update.as_ref()?.canary
    }
}

impl Default for UpdateStrategy {
    fn default() -> Self {
        Self {
            kind: UpdateType::default(),
            rolling_update: None,
            progress_deadline_seconds: ten_minutes(),
            on_failure: None,
            version_policy: VersionPolicy::default(),
            operator_changes: OperatorChanges::default(),
        }
    }
}

/// Who restarts members with a changed template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdateType {
    /// The operator, one by one: broken ones first, then followers, the leader last after a hand-over.
    #[default]
    RollingUpdate,
    /// Nobody: a new member of the new template takes over from each, one at a time, so that there is one voter more for the
    /// time of it and never one fewer. Each new member copies the data.
    Surge,
    /// The user, by deleting pods: one at a time is named when it can be spared, the leader's last, after it has handed over. A pod
    /// that is not ready is replaced by the operator all the same.
    OnDelete,
}

/// Which members go first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollingUpdate {
    /// Members that are watched for a while before the others follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
}

/// Members that are watched for a while before the others follow. Setting a template back to the one on which the cluster last
/// converged asks for no canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Canary {
    /// How many members. With as many as there are, nothing is left to follow.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 8))]
    pub count: i32,
    /// How long they must be healthy without a break, in seconds.
    #[schemars(range(min = 1, max = 604_800))]
    pub soak_seconds: i64,
}

/// What becomes of a rollout that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// No further member restarts until the template changes.
    Pause,
    /// The members go back to the template on which the cluster last converged, and stay there until the template changes.
    /// Where there is none yet, or `spec.tls` has changed since, it is as with Pause.
    Rollback,
}

/// Which versions may follow upon which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionPolicy {
    /// Whether an older minor version than the one on which the cluster last converged may be asked for. With engine Etcd it
    /// is the cluster that is asked, by `etcdctl downgrade enable`, whatever stands here.
    #[serde(default)]
    pub downgrade: Downgrade,
}

/// Whether an older version may be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Downgrade {
    /// It is refused.
    #[default]
    Deny,
    /// It is rolled as any other change.
    Allow,
}

/// What becomes of members whose pods a newer operator would make in another way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OperatorChanges {
    /// They stay as they are until the user changes the template, or they start again for another reason.
    #[default]
    Deferred,
    /// They are rolled; and where the spec names neither image nor version, so is the newer operator's default image.
    Immediate,
}

/// A rollout that is on its way or has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Hash of the template that is rolled.
    pub revision: String,
    /// The most members that have been healthy on it.
    pub updated: i32,
    /// When that last grew, the rollout began, or the canaries had soaked: the deadline counts from here.
    pub progressed_at: Time,
    /// Since when all canaries are healthy; absent while they are not, and when they have soaked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_healthy_since: Option<Time>,
    /// Whether the canaries have been healthy for long enough.
    #[serde(default)]
    pub canary_soaked: bool,
    /// Why it failed, until the template changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<RolloutFailure>,
}

/// Why a rollout failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutFailure {
    /// When.
    pub at: Time,
    /// Which member was not healthy, and what it said.
    pub message: String,
}

/// The template on which the cluster last converged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StableTemplate {
    /// Its hash. Should what is remembered not have this hash, it is not used.
    pub revision: String,
    /// Image, options, resources and partial pod, as they were asked for.
    #[schemars(schema_with = "anything")]
    pub template: Value,
}

const fn ten_minutes() -> i64 {
    600
}

const fn one() -> i32 {
    1
}

fn anything(_: &mut SchemaGenerator) -> Schema {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    Schema::try_from(schema).expect("an object is a schema")
}
