//! Names that etcd 3.6 still takes for flags of today.
//!
//! What this module does not do: know those of 3.5 that 3.6 has dropped; they are unknown there, and here.

use std::fmt;

/// What an older name says today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Today {
    /// Another flag.
    Flag(&'static str),
    /// A feature gate that is switched.
    Gate(&'static str),
}

impl fmt::Display for Today {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Gate(name) => write!(f, "--feature-gates={name}=true"),
        }
    }
}

/// Flags that lost nothing but `experimental-`.
const RENAMED: &[&str] = &[
    "bootstrap-defrag-threshold-megabytes",
    "compact-hash-check-time",
    "compaction-batch-limit",
    "compaction-sleep-interval",
    "corrupt-check-time",
    "distributed-tracing-address",
    "distributed-tracing-instance-id",
    "distributed-tracing-sampling-rate",
    "distributed-tracing-service-name",
    "downgrade-check-time",
    "enable-distributed-tracing",
    "memory-mlock",
    "peer-skip-client-san-verification",
    "snapshot-catchup-entries",
    "warning-apply-duration",
    "warning-unary-request-duration",
    "watch-progress-notify-interval",
];

/// Flags that became feature gates.
const GATES: &[(&str, &str)] = &[
    ("compact-hash-check-enabled", "CompactHashCheck"),
    ("enable-lease-checkpoint", "LeaseCheckpoint"),
    ("enable-lease-checkpoint-persist", "LeaseCheckpointPersist"),
    ("initial-corrupt-check", "InitialCorruptCheck"),
    ("stop-grpc-service-on-defrag", "StopGRPCServiceOnDefrag"),
    (
        "txn-mode-write-with-shared-buffer",
        "TxnModeWriteWithSharedBuffer",
    ),
];

/// What a flag's name, without its dashes, says today; none if it is no older name.
pub(super) fn today(name: &str) -> Option<Today> {
    let rest = name.strip_prefix("experimental-")?;
    // A configuration file has always had it with another hyphen.
    let rest = if rest == "snapshot-catch-up-entries" {
        "snapshot-catchup-entries"
    } else {
        rest
    };
    let renamed = RENAMED.iter().find(|renamed| **renamed == rest);
    let gate = GATES.iter().find(|(older, _)| *older == rest);
    renamed
        .map(|renamed| Today::Flag(renamed))
        .or_else(|| gate.map(|(_, gate)| Today::Gate(gate)))
}
