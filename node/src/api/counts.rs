//! Connections of clients, counted: how many there are, why some were cut, and how often one had all the calls it may have.
//!
//! What this module deliberately does not do: count calls that are served; the metrics of gRPC do.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts};

/// Why a connection was cut, or never begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Its certificate, its address, or what it said is not taken.
    HandshakeRefused,
    /// Its handshake took too long.
    HandshakeLate,
    /// It said nothing.
    OpeningLate,
    /// A request's head took too long.
    HeadLate,
    /// It answered no ping.
    Silent,
    /// It pinged too often.
    Pings,
}

impl Cut {
    const ALL: [Self; 6] = [
        Self::HandshakeRefused,
        Self::HandshakeLate,
        Self::OpeningLate,
        Self::HeadLate,
        Self::Silent,
        Self::Pings,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::HandshakeRefused => "handshake_refused",
            Self::HandshakeLate => "handshake_late",
            Self::OpeningLate => "opening_late",
            Self::HeadLate => "head_late",
            Self::Silent => "silent",
            Self::Pings => "too_many_pings",
        }
    }
}

/// The figures of all client ports.
#[derive(Clone, Debug)]
pub struct Counts {
    open: IntGauge,
    most: IntGauge,
    accepted: IntCounter,
    cut: IntCounterVec,
    full: IntCounter,
    refused: IntCounter,
}

impl Default for Counts {
    fn default() -> Self {
        let valid = "a name of ours is a name of Prometheus'";
        let gauge = |name, help| IntGauge::new(name, help).expect(valid);
        let counter = |name, help| IntCounter::new(name, help).expect(valid);
        let cut = Opts::new(
            "quorate_client_connections_cut_total",
            "Connections of clients that were cut or not taken.",
        );
        let cut = IntCounterVec::new(cut, &["reason"]).expect(valid);
        for reason in Cut::ALL {
            cut.with_label_values(&[reason.name()]);
        }
        Self {
            open: gauge(
                "quorate_client_connections",
                "Connections of clients that are open.",
            ),
            most: gauge(
                "quorate_client_connections_max",
                "The most connections that one port takes; beyond it they wait.",
            ),
            accepted: counter(
                "quorate_client_connections_accepted_total",
                "Connections that clients have opened.",
            ),
            cut,
            full: counter(
                "quorate_client_streams_limit_reached_total",
                "How often a connection of a client came to have as many calls open as --max-concurrent-streams lets it.",
            ),
            refused: counter(
                "quorate_client_streams_refused_total",
                "Calls beyond --max-concurrent-streams, which were refused.",
            ),
        }
    }
}

impl Counts {
    /// For a registry.
    #[must_use]
    pub fn collectors(&self) -> [Box<dyn Collector>; 6] {
        [
            Box::new(self.open.clone()),
            Box::new(self.most.clone()),
            Box::new(self.accepted.clone()),
            Box::new(self.cut.clone()),
            Box::new(self.full.clone()),
            Box::new(self.refused.clone()),
        ]
    }

    pub(super) fn allow(&self, connections: usize) {
        self.most
            .set(i64::try_from(connections).unwrap_or(i64::MAX));
    }

    /// A connection, open until the value goes.
    pub(super) fn open(&self) -> Open {
        self.accepted.inc();
        self.open.inc();
        Open(self.open.clone())
    }

    /// Counts one that is cut.
    pub(super) fn cut(&self, reason: Cut) {
        self.counter(reason).inc();
    }

    pub(super) fn counter(&self, reason: Cut) -> IntCounter {
        self.cut.with_label_values(&[reason.name()])
    }

    /// Counts connections each time they come to have as many calls open as they may.
    pub(super) fn full(&self) -> IntCounter {
        self.full.clone()
    }

    /// Counts calls beyond that.
    pub(super) fn refused(&self) -> IntCounter {
        self.refused.clone()
    }

    /// Waits until so many were cut for a reason, and no more.
    #[cfg(test)]
    pub(crate) async fn until_cut(&self, reason: Cut, count: u64) {
        until(&self.counter(reason), count).await;
    }
}

#[derive(Debug)]
pub(super) struct Open(IntGauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Waits until something was counted so often, and not more often.
#[cfg(test)]
pub(crate) async fn until(counter: &IntCounter, count: u64) {
    let counting = async {
        while counter.get() < count {
            tokio::task::yield_now().await;
        }
    };
    let patience = std::time::Duration::from_secs(20);
    let counted = tokio::time::timeout(patience, counting).await;
    assert!(counted.is_ok() && counter.get() == count, "{counter:?}");
}
