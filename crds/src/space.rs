//! What is done where members have no space left, as the user wishes and as the status remembers.
//!
//! It deliberately says nothing of volumes: the space is that of `options.quotaBackendBytes`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is done when members raise the alarm NOSPACE and take no writes any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnNoSpace {
    /// Old revisions are compacted, members are defragmented one by one, and where that has made room, the alarm is disarmed:
    /// once for each alarm.
    #[default]
    Reclaim,
    /// It is reported, and nothing else.
    Report,
}

/// Space that is being reclaimed, remembered from the alarm to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reclaiming {
    /// Revisions before this one are given up: where the cluster was when the alarm was seen.
    pub revision: i64,
    /// Whether they are.
    #[serde(default)]
    pub compacted: bool,
}
