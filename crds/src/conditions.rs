//! Condition types and reasons, the only place where they are spelled.
//!
//! A reason appears verbatim in status, events, logs and metrics. Messages are made where the facts are known, by the
//! planner; this file deliberately holds none.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The conditions of a `RaftCluster`, each set on every visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConditionType {
    /// Everything the spec asks for is there: all members are voters, caught up, and of the current template.
    Ready,
    /// Clients can read and write now.
    Available,
    /// The operator is changing something, or waiting to.
    Progressing,
    /// Something is less than it should be: a member is broken, the spec cannot be followed, a write failed.
    Degraded,
    /// A majority of the voters answers and agrees on a leader.
    Quorate,
    /// The engine can do what the spec asks for; the message says what it cannot do.
    Supported,
}

impl ConditionType {
    /// All types, in the order in which they stand in status.
    pub const ALL: [Self; 6] = [
        Self::Ready,
        Self::Available,
        Self::Progressing,
        Self::Degraded,
        Self::Quorate,
        Self::Supported,
    ];

    /// The word as it stands in status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Available => "Available",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::Quorate => "Quorate",
            Self::Supported => "Supported",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The three values of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Truth {
    /// The state named by the type holds.
    True,
    /// It does not hold.
    False,
    /// The operator could not find out.
    Unknown,
}

impl Truth {
    /// The word as it stands in status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// Why a condition has its value. CamelCase nouns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// All that was asked for is there.
    Converged,
    /// The first member starts.
    Bootstrap,
    /// A member is being added.
    ScaleUp,
    /// A member is being taken away.
    ScaleDown,
    /// A member is being replaced or its remains are cleared away.
    Repair,
    /// Members restart one by one with a changed template.
    Rollout,
    /// The leadership is moved away from a node that is about to be emptied.
    Evacuate,
    /// All members are stopped, as `spec.runState` asks for.
    Hibernated,
    /// All members are being stopped, as `spec.runState` asks for.
    Hibernate,
    /// All members start again after hibernation.
    Wake,
    /// A new member takes over from one whose volume cannot be made as the spec wants it.
    Replace,
    /// Volumes grow in place.
    Resize,
    /// A rollout has failed, and no further member restarts until the template changes.
    RolloutFailed,
    /// A rollout has failed, and the members are on the template on which the cluster last converged, or on their way there.
    RolledBack,
    /// What a `RaftOperation` asks for is being done.
    Requested,
    /// All is there but for members that a `RaftOperation` keeps stopped; the message names it.
    Fenced,
    /// A CA is being replaced.
    RotateCertificates,
    /// Authentication is switched on or off.
    Authentication,
    /// Members move to TLS between each other, or away from it.
    MovePeers,
    /// `spec.paused` is set.
    Paused,
    /// The resource is being deleted.
    Deletion,
    /// The spec cannot be followed; the message names the field.
    InvalidSpec,
    /// The step in hand has not finished within its deadline; the operator goes on trying.
    DeadlineExceeded,
    /// The last round could not write to the API server or to a member.
    ActionFailed,
    /// A majority answers.
    QuorumHealthy,
    /// Too few voters answer.
    QuorumLost,
    /// No voter has answered yet.
    NotBootstrapped,
    /// Some members are not healthy.
    MembersUnhealthy,
    /// All members are healthy.
    MembersHealthy,
    /// A member reports an alarm of its own, such as a quota that is used up.
    MemberAlarm,
    /// The alarm CORRUPT is up: a member's data differ from the others', and no writes are taken.
    DataCorrupt,
    /// No member that the client service selects is ready.
    NoEndpoint,
    /// Clients are served.
    Serving,
    /// The engine can do what the spec asks for.
    EngineCapable,
    /// The engine cannot do what the spec asks for; the message names the field.
    EngineIncapable,
    /// Nobody knows whether the engine can: its version is not known, or newer than any we have run.
    EngineUntried,
}

impl Reason {
    /// The word as it stands in status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Converged => "Converged",
            Self::Bootstrap => "Bootstrap",
            Self::ScaleUp => "ScaleUp",
            Self::ScaleDown => "ScaleDown",
            Self::Repair => "Repair",
            Self::Rollout => "Rollout",
            Self::Evacuate => "Evacuate",
            Self::Hibernated => "Hibernated",
            Self::Hibernate => "Hibernate",
            Self::Wake => "Wake",
            Self::Replace => "Replace",
            Self::Resize => "Resize",
            Self::RolloutFailed => "RolloutFailed",
            Self::RolledBack => "RolledBack",
            Self::Requested => "Requested",
            Self::Fenced => "Fenced",
            Self::RotateCertificates => "RotateCertificates",
            Self::Authentication => "Authentication",
            Self::MovePeers => "MovePeers",
            Self::Paused => "Paused",
            Self::Deletion => "Deletion",
            Self::InvalidSpec => "InvalidSpec",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::ActionFailed => "ActionFailed",
            Self::QuorumHealthy => "QuorumHealthy",
            Self::QuorumLost => "QuorumLost",
            Self::NotBootstrapped => "NotBootstrapped",
            Self::MembersUnhealthy => "MembersUnhealthy",
            Self::MembersHealthy => "MembersHealthy",
            Self::MemberAlarm => "MemberAlarm",
            Self::DataCorrupt => "DataCorrupt",
            Self::NoEndpoint => "NoEndpoint",
            Self::Serving => "Serving",
            Self::EngineCapable => "EngineCapable",
            Self::EngineIncapable => "EngineIncapable",
            Self::EngineUntried => "EngineUntried",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
