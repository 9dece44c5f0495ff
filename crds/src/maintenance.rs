//! When the operator may take down members that work for a change that can wait.
//!
//! It deliberately knows no cron: days, a time and a length say all that a schema can check.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A time, again every week, in which the operator may restart or replace members that work, because the spec has changed.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceWindow {
    /// The days on which it begins; every day if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7))]
    pub days: Vec<Day>,
    /// When it begins, such as 02:00, by the clocks of its time zone.
    #[schemars(length(max = 5))]
    #[x_kube(validation = Rule::new("self.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')")
        .message("spec.maintenanceWindows.startTime: hours and minutes of 24 hours, such as 02:00"))]
    pub start_time: String,
    /// How long it is, in seconds: a quarter of an hour to a week.
    #[schemars(range(min = 900, max = 604_800))]
    pub duration_seconds: i64,
    /// Its time zone, by its name in the IANA database, such as Europe/Berlin.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

fn utc() -> String {
    "UTC".to_owned()
}
