//! Whether members run at all.
//!
//! It deliberately has no third value: what is stopped for a while is hibernated, and what is left alone is paused.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether members run at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RunState {
    /// They run.
    #[default]
    Running,
    /// No pod runs: followers are stopped, then the leader. Volumes, services and the budget are kept, and so is the
    /// membership. Changes of the spec wait until the cluster runs again.
    Hibernated,
}
