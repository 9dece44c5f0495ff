//! What goes to and comes from every other member.
//!
//! What this module deliberately does not do: etcd's round trip times; nothing measures them.

use prometheus::IntCounterVec;

use super::Maker;
use crate::transport::Traffic;

/// Series by peer, under etcd's names and labels.
#[derive(Debug)]
pub(super) struct Peers {
    sent: IntCounterVec,
    received: IntCounterVec,
    failures: IntCounterVec,
}

impl Peers {
    pub(super) fn new(make: &Maker) -> Self {
        let counters = |name, help, label| make.counters(name, help, &[label]);
        Self {
            sent: counters(
                "etcd_network_peer_sent_bytes_total",
                "Bytes of messages sent to each peer.",
                "To",
            ),
            received: counters(
                "etcd_network_peer_received_bytes_total",
                "Bytes of messages received from each peer.",
                "From",
            ),
            failures: counters(
                "etcd_network_peer_sent_failures_total",
                "Messages to each peer that could not be sent.",
                "To",
            ),
        }
    }

    pub(super) fn observe(&self, traffic: &Traffic) {
        for (peer, counts) in traffic.all() {
            let peer = format!("{peer:x}");
            raise(&self.sent, &peer, counts.sent_bytes());
            raise(&self.received, &peer, counts.received_bytes());
            raise(&self.failures, &peer, counts.failures());
        }
    }
}

/// Brings a counter to what was counted elsewhere.
fn raise(series: &IntCounterVec, peer: &str, counted: u64) {
    let series = series.with_label_values(&[peer]);
    series.inc_by(counted.saturating_sub(series.get()));
}
