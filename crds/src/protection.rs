//! Whether a cluster may be deleted, and its only member evicted.
//!
//! It deliberately holds nothing that works by itself: the deletion is refused by an admission policy of the API server, which the
//! chart installs. There is no finalizer, so that no cluster hangs because an operator is not there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a cluster may be deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionProtection {
    /// It may.
    #[default]
    Disabled,
    /// The API server refuses it.
    Enabled,
}

/// What Kubernetes may do to members by eviction, as a drain does. Clusters of more than one member have no choice: their budget
/// always keeps a majority of the voters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Disruption {
    /// Whether the only member of a cluster of one may be evicted. Allow: a drain of its node goes on and costs a restart. Block: the
    /// drain waits until somebody deletes the pod, adds members or sets this to Allow.
    #[serde(default)]
    pub single_member_eviction: SingleMemberEviction,
}

/// Whether the only member of a cluster of one may be evicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SingleMemberEviction {
    /// It may.
    #[default]
    Allow,
    /// It may not.
    Block,
}
