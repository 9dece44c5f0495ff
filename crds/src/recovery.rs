//! `status.recovery`: how the last failure of a voter went, as the operator itself measured it.
//!
//! It is written when a voter fails, when the number of voters at risk changes, and when redundancy is full again; never in
//! between. What the operator does on purpose (rolls, scaling, hand-overs) is no failure.
//!
//! This file deliberately decides nothing: see `plan`'s `recovery.rs`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the last failure of a voter went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// When the voter failed, as far as Kubernetes tells; at the latest when that was detected.
    pub last_failure: Time,
    /// When the operator saw it.
    pub detected: Time,
    /// When as many voters as are wanted were healthy and caught up again; absent while they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Time>,
    /// How many voters fewer than are wanted are healthy and caught up.
    pub voters_at_risk: i32,
}
