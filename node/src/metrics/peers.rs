//! What goes to and comes from every other member.
//!
//! What this module deliberately does not do: measure round trips; the transport does, into a family of its own.

use prometheus::{IntCounterVec, IntGaugeVec};

use super::Maker;
use crate::transport::Traffic;

/// Series by peer, under etcd's names and labels.
#[derive(Debug)]
pub(super) struct Peers {
    sent: IntCounterVec,
    received: IntCounterVec,
    failures: IntCounterVec,
    active: IntGaugeVec,
    disconnected: IntCounterVec,
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
            active: make.gauges(
                "etcd_network_active_peers",
                "Whether a stream to each peer is open.",
                &["Local", "Remote"],
            ),
            disconnected: make.counters(
                "etcd_network_disconnected_peers_total",
                "How often the stream to each peer was lost.",
                &["Local", "Remote"],
            ),
        }
    }

    pub(super) fn observe(&self, traffic: &Traffic, me: u64) {
        let me = format!("{me:x}");
        for (peer, counts) in traffic.all() {
            let peer = format!("{peer:x}");
            raise(&self.sent, &[&peer], counts.sent_bytes());
            raise(&self.received, &[&peer], counts.received_bytes());
            raise(&self.failures, &[&peer], counts.failures());
            let pair = [me.as_str(), peer.as_str()];
            raise(&self.disconnected, &pair, counts.disconnects());
            let active = self.active.with_label_values(&pair);
            active.set(i64::from(counts.is_connected()));
        }
    }
}

/// Brings a counter to what was counted elsewhere.
fn raise(series: &IntCounterVec, labels: &[&str], counted: u64) {
    let series = series.with_label_values(labels);
    series.inc_by(counted.saturating_sub(series.get()));
}
