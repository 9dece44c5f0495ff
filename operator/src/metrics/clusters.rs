//! The domain's own gauges: how each cluster stands.
//!
//! It deliberately shows nothing of a cluster that was never looked at.

use prometheus::{IntGaugeVec, Registry};

use super::gauges;

pub(super) struct ClusterMetrics {
    ready: IntGaugeVec,
    members: IntGaugeVec,
    tolerance: IntGaugeVec,
    paused: IntGaugeVec,
    first_expiry: IntGaugeVec,
    recovery: RecoveryMetrics,
}

struct RecoveryMetrics {
    at_risk: IntGaugeVec,
    failed_at: IntGaugeVec,
    detected_after: IntGaugeVec,
    restored_after: IntGaugeVec,
}

/// How the last failure of a voter went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryFigures {
    /// How many voters fewer than are wanted are healthy now.
    pub at_risk: i64,
    /// When it failed, in seconds since 1970.
    pub failed_at: i64,
    /// How long the operator took to see it, in seconds.
    pub detected_after: i64,
    /// How long it took until redundancy was full again, in seconds; none while it is not.
    pub restored_after: Option<i64>,
}

/// What a look at one cluster found, as the domain's gauges show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterFigures {
    /// Whether its condition `Ready` is true.
    pub ready: bool,
    /// How many members it has.
    pub members: i64,
    /// How many healthy voters it may lose and still have a quorum; negative without one. None while it hibernates: a
    /// cluster that has no quorum because nobody wants one must wake nobody.
    pub tolerance: Option<i64>,
    /// Whether it is paused.
    pub paused: bool,
    /// When the first of its certificates ends, in seconds since 1970; none without TLS.
    pub first_expiry: Option<i64>,
    /// How the last failure of a voter went, if one has ever failed.
    pub recovery: Option<RecoveryFigures>,
}

impl ClusterMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let of = |name, text| gauges(registry, name, text, &["namespace", "cluster"]);
        Self {
            ready: of("quorate_cluster_ready", "1 while the cluster is Ready"),
            members: of("quorate_cluster_members", "Members of the cluster"),
            tolerance: of(
                "quorate_cluster_fault_tolerance",
                "Healthy voters it may lose and keep a quorum",
            ),
            paused: of("quorate_cluster_paused", "1 while the cluster is paused"),
            first_expiry: of(
                "quorate_cluster_certificate_expiry_timestamp_seconds",
                "When the first certificate ends that is shown in the cluster, or a CA that signs",
            ),
            recovery: RecoveryMetrics::new(registry),
        }
    }

    /// What a look at the cluster of these labels, namespace and name, found.
    pub(super) fn stands(&self, labels: &[&str], figures: ClusterFigures) {
        self.ready
            .with_label_values(labels)
            .set(i64::from(figures.ready));
        self.members.with_label_values(labels).set(figures.members);
        match figures.tolerance {
            Some(tolerance) => self.tolerance.with_label_values(labels).set(tolerance),
            // An error says that there was none, which is what is wanted.
            None => drop(self.tolerance.remove_label_values(labels)),
        }
        self.paused
            .with_label_values(labels)
            .set(i64::from(figures.paused));
        match figures.first_expiry {
            Some(seconds) => self.first_expiry.with_label_values(labels).set(seconds),
            // An error says that there was none, which is what is wanted.
            None => drop(self.first_expiry.remove_label_values(labels)),
        }
        if let Some(recovery) = figures.recovery {
            self.recovery.stands(labels, recovery);
        }
    }

    /// The cluster is gone: its series end.
    pub(super) fn gone(&self, labels: &[&str]) {
        for series in [
            &self.ready,
            &self.members,
            &self.tolerance,
            &self.paused,
            &self.first_expiry,
            &self.recovery.at_risk,
            &self.recovery.failed_at,
            &self.recovery.detected_after,
            &self.recovery.restored_after,
        ] {
            // An error says that there was none, which is what is wanted.
            let _ = series.remove_label_values(labels);
        }
    }
}

impl RecoveryMetrics {
    fn new(registry: &Registry) -> Self {
        let of = |name, text| gauges(registry, name, text, &["namespace", "cluster"]);
        Self {
            at_risk: of(
                "quorate_cluster_voters_at_risk",
                "Voters fewer than are wanted that are healthy, since the last failure",
            ),
            failed_at: of(
                "quorate_cluster_last_failure_timestamp_seconds",
                "When a voter last failed",
            ),
            detected_after: of(
                "quorate_cluster_last_failure_detected_seconds",
                "How long the operator took to see the last failure",
            ),
            restored_after: of(
                "quorate_cluster_last_failure_restored_seconds",
                "How long it took from the last failure that is over to full redundancy",
            ),
        }
    }

    fn stands(&self, labels: &[&str], figures: RecoveryFigures) {
        let set = |series: &IntGaugeVec, value| series.with_label_values(labels).set(value);
        set(&self.at_risk, figures.at_risk);
        set(&self.failed_at, figures.failed_at);
        set(&self.detected_after, figures.detected_after);
        if let Some(seconds) = figures.restored_after {
            set(&self.restored_after, seconds);
        }
    }
}
