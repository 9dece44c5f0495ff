//! Where members may run beside each other.
//!
//! Invariants:
//! - The defaults never keep a pod from starting: a cluster of three comes up on one node.
//! - What is the default is not part of a pod's template, so that naming it restarts nothing.
//!
//! It deliberately repeats nothing of a pod: node selectors, tolerations, priorities and further spreading go into
//! `spec.podTemplate`, and a spreading over zones that stands there replaces the one that is made from this.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where members may run beside each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scheduling {
    /// How members are kept apart.
    #[serde(default)]
    pub anti_affinity: AntiAffinity,
}

/// How members are kept apart. Changing it restarts the members one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AntiAffinity {
    /// On nodes: `Required` never puts two members on one node, and a member for which no node is left waits.
    #[serde(default)]
    pub hostname: Apart,
    /// Over zones: `Required` never lets one zone have two members more than another, and a member for which only such a
    /// zone is left waits, as it does where nodes have no label `topology.kubernetes.io/zone`.
    #[serde(default)]
    pub zone: Apart,
}

/// How much it matters that members are apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Apart {
    /// A member that would break it does not start.
    Required,
    /// It is kept where it can be.
    #[default]
    Preferred,
    /// The scheduler is told nothing.
    None,
}
