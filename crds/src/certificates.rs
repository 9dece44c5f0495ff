//! Certificates that the operator makes: what may be asked of them once, and what the status remembers while a CA is replaced.
//!
//! A CA is replaced in three steps, each of which waits until every member was seen to have taken it: the new one is believed
//! beside the old one, then certificates of the new one are shown, then the old one is believed no more.
//!
//! This file deliberately says nothing of certificates of the user's own: who brings them replaces them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One of the two ways by which a member is spoken to.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum TlsSurface {
    /// Between members.
    #[default]
    Peer,
    /// Between clients and members.
    Client,
}

/// Certificates are made anew, before they have to be.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.certificateAuthority || !has(self.overlapSeconds)")
        .message("spec.rotateCertificates.overlapSeconds goes with certificateAuthority: true only: set that, or drop the field")
)]
pub struct RotateCertificates {
    /// Whether the CA is replaced as well. Without it, new certificates come from the CA there is.
    #[serde(default)]
    pub certificate_authority: bool,
    /// Whose certificates; all that the operator makes, if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub surfaces: Vec<TlsSurface>,
    /// How long applications have to take over their Secret: from when it holds the new CA until members show certificates of
    /// it, and again from then until the old CA is believed no more. 3600, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub overlap_seconds: Option<i64>,
}

/// How the certificates of a cluster stand.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificatesStatus {
    /// When the first of them ends that are shown, or of the CAs that sign. The operator renews its own long before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_expiry: Option<Time>,
    /// CAs that are being replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["surface".to_string()]))]
    pub rotations: Vec<CertificateRotation>,
    /// Names of the `Certificate`s that cert-manager was asked for, remembered before they are made and until they are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub requested: Vec<String>,
}

/// A CA that is being replaced: remembered before each step is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRotation {
    /// Whose CA.
    pub surface: TlsSurface,
    /// The step in hand.
    pub step: RotationStep,
    /// Since when.
    pub since: Time,
    /// When every member was first seen to have taken it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Time>,
    /// How long after that the next step may be taken: for applications, which nobody can see.
    #[serde(default)]
    pub overlap_seconds: i64,
}

/// A step of replacing a CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RotationStep {
    /// The new CA is believed beside the old one.
    Trust,
    /// Certificates of the new CA are shown; both are believed.
    Show,
    /// The old CA is believed no more.
    Forget,
}
