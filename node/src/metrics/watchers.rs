//! Who watches, under etcd's names.

use prometheus::{IntCounter, IntGauge};

use super::{Maker, whole};
use crate::watch::Figures;

/// See the module.
#[derive(Debug)]
pub(super) struct Watchers {
    streams: IntGauge,
    watchers: IntGauge,
    slow: IntGauge,
    pending: IntGauge,
    waiting: IntGauge,
    events: IntCounter,
    refused: IntCounter,
}

impl Watchers {
    pub(super) fn new(make: &Maker) -> Self {
        Self {
            streams: make.gauge(
                "etcd_debugging_mvcc_watch_stream_total",
                "Open streams of watchers.",
            ),
            watchers: make.gauge("etcd_debugging_mvcc_watcher_total", "Watchers."),
            slow: make.gauge(
                "etcd_debugging_mvcc_slow_watcher_total",
                "Watchers that do not have everything yet: they catch up, or do not read.",
            ),
            pending: make.gauge(
                "etcd_debugging_mvcc_pending_events_total",
                "Events that wait to be sent.",
            ),
            waiting: make.gauge(
                "quorate_watch_waiting_bytes",
                "Bytes of events that wait in memory for all streams together.",
            ),
            events: make.counter("etcd_debugging_mvcc_events_total", "Events that were sent."),
            refused: make.counter(
                "quorate_watch_refused_total",
                "Watchers that were refused because their stream had too many.",
            ),
        }
    }

    /// `sent` is of the events that the loop gave to streams, `waiting_bytes` what it keeps for them.
    pub(super) fn observe(&self, figures: &Figures, sent: u64, waiting_bytes: u64) {
        self.streams.set(whole(figures.streams));
        self.watchers.set(whole(figures.watchers));
        self.slow.set(whole(figures.slow));
        self.waiting.set(whole(waiting_bytes));
        self.pending.set(whole(figures.events.saturating_sub(sent)));
        let raise =
            |counter: &IntCounter, to: u64| counter.inc_by(to.saturating_sub(counter.get()));
        raise(&self.events, sent);
        raise(&self.refused, figures.refused);
    }
}
