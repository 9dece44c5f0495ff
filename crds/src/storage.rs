//! `spec.storage`: the volume of each member, and how it may change.
//!
//! A volume that has to be larger grows in place where its class can; all else (another class, a smaller volume, a larger one
//! where the class cannot) is done by new members on new volumes that take over from the old ones, one at a time.
//!
//! This file deliberately knows nothing of claims: what is asked of Kubernetes is the planner's.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::{DeletionPolicy, quantity};

/// The volume of each member.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.changePolicy != 'Deny' || string(self.size) == string(oldSelf.size)")
        .message("spec.storage.size cannot be changed while spec.storage.changePolicy is Deny: set it back, or set changePolicy to InPlaceOnly or ReplaceMember")
        .field_path(".size"),
    validation = Rule::new("self.changePolicy != 'InPlaceOnly' || !isQuantity(string(self.size)) || !isQuantity(string(oldSelf.size)) || !quantity(string(self.size)).isLessThan(quantity(string(oldSelf.size)))")
        .message("spec.storage.size cannot be lowered while spec.storage.changePolicy is InPlaceOnly, because no volume shrinks in place: set it back, or set changePolicy to ReplaceMember")
        .field_path(".size"),
    validation = Rule::new("self.changePolicy == 'ReplaceMember' || (has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName))")
        .message("spec.storage.storageClassName can be changed only while spec.storage.changePolicy is ReplaceMember, because a volume stays in its class: set it back, or set changePolicy to ReplaceMember"),
    validation = Rule::new("!has(self.autoGrow) || self.changePolicy != 'Deny'")
        .message("spec.storage.autoGrow needs volumes that may change: set spec.storage.changePolicy to InPlaceOnly or ReplaceMember, or drop autoGrow"),
    validation = Rule::new("!has(self.autoGrow) || !isQuantity(string(self.size)) || !isQuantity(string(self.autoGrow.maxSize)) || !quantity(string(self.autoGrow.maxSize)).isLessThan(quantity(string(self.size)))")
        .message("spec.storage.autoGrow.maxSize must not be less than spec.storage.size: raise it, or drop autoGrow")
)]
pub struct Storage {
    /// Size of each member's volume, at least 256Mi: the log alone reserves 128Mi ahead. A larger one makes the volumes grow
    /// without a restart where their class can (`allowVolumeExpansion`); any other change replaces the members one by one, as
    /// `changePolicy` lets it. Where `options.quotaBackendBytes` is not set, a member's quota follows when it next starts.
    #[schemars(schema_with = "quantity")]
    #[x_kube(validation = Rule::new("isQuantity(string(self)) && !quantity(string(self)).isLessThan(quantity('256Mi'))")
        .message("spec.storage.size: a quantity of at least 256Mi, such as 4Gi"))]
    pub size: Quantity,
    /// Storage class of the volumes; absent: the default class of the Kubernetes cluster for new volumes, and no wish about
    /// those there are. Another class makes new members on new volumes take over, one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// How volumes may be changed after they were made.
    #[serde(default)]
    pub change_policy: ChangePolicy,
    /// What becomes of volumes that no member uses any more, by why that is so. What is not named here goes by
    /// `deletionPolicy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_policy: Option<RetentionPolicy>,
    /// Makes `size` the least size: volumes grow by themselves, before they are full, up to a ceiling. Absent: they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_grow: Option<AutoGrow>,
}

/// When, by how much and how far volumes grow by themselves.
///
/// Members tell how large their database is, not how full their disk is. A volume holds the database, the log, and a second
/// copy of the database while it is defragmented or checkpointed: so a database of half of the volume counts as 100 percent.
/// Where `options.quotaBackendBytes` is not set, the members' quota is taken from `maxSize` in place of `size`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.increment.matches('^[1-9][0-9]{0,2}%$') || (isQuantity(self.increment) && quantity(self.increment).isGreaterThan(quantity('0')))")
        .message("spec.storage.autoGrow.increment: a percentage of the size, such as 20%, or a quantity, such as 5Gi")
        .field_path(".increment")
)]
pub struct AutoGrow {
    /// How full the fullest member's volume must be, in percent.
    #[serde(default = "threshold")]
    #[schemars(range(min = 10, max = 95))]
    pub threshold_percent: i32,
    /// By how much all volumes grow at a time: a percentage of their size, or a quantity.
    #[serde(default = "increment")]
    #[schemars(length(min = 1, max = 32))]
    pub increment: String,
    /// How large they may become.
    #[schemars(schema_with = "quantity")]
    #[x_kube(validation = Rule::new("isQuantity(string(self))")
        .message("spec.storage.autoGrow.maxSize: a quantity, such as 200Gi"))]
    pub max_size: Quantity,
    /// How long after one growth the next may begin, in seconds: some storage systems allow one in six hours.
    #[serde(default = "cooldown")]
    #[schemars(range(min = 0, max = 604_800))]
    pub cooldown_seconds: i64,
}

const fn threshold() -> i32 {
    80
}

fn increment() -> String {
    "20%".to_owned()
}

const fn cooldown() -> i64 {
    21_600
}

/// How far volumes have grown by themselves. It is memory: written before any claim is asked for more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageStatus {
    /// `spec.storage.size` by which this was decided. A lower one there is a wish to shrink, and ends what is remembered here.
    pub asked: String,
    /// The size that all volumes are to have.
    pub size: String,
    /// When the last growth was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grown_at: Option<Time>,
}

/// What becomes of volumes that no member uses any more, by why that is so.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.replacedTTLSeconds) || (has(self.whenReplaced) && self.whenReplaced == 'Retain')")
        .message("spec.storage.retentionPolicy.replacedTTLSeconds goes with whenReplaced Retain only: set whenReplaced to Retain, or drop the field"),
    validation = Rule::new("!has(self.scaledTTLSeconds) || (has(self.whenScaled) && self.whenScaled == 'Retain')")
        .message("spec.storage.retentionPolicy.scaledTTLSeconds goes with whenScaled Retain only: set whenScaled to Retain, or drop the field")
)]
pub struct RetentionPolicy {
    /// When the cluster is deleted: the volumes of its members then. Those that were kept before stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_deleted: Option<DeletionPolicy>,
    /// When a member is taken away because fewer are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_scaled: Option<DeletionPolicy>,
    /// When another member has taken over from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_replaced: Option<DeletionPolicy>,
    /// How long the volume of a member that was replaced is kept, in seconds; absent: for good. It is deleted only while all
    /// voters are healthy and caught up.
    #[serde(
        default,
        rename = "replacedTTLSeconds",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub replaced_ttl_seconds: Option<i64>,
    /// The same for the volume of a member that was taken away because fewer are wanted.
    #[serde(
        default,
        rename = "scaledTTLSeconds",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub scaled_ttl_seconds: Option<i64>,
}

/// How volumes may be changed after they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ChangePolicy {
    /// In place where that can be done, else by replacing members one at a time: a new one with a new volume joins, catches up
    /// and votes before the old one leaves.
    #[default]
    ReplaceMember,
    /// They may grow in place where their class can, and nothing else.
    InPlaceOnly,
    /// Not at all.
    Deny,
}
