//! What the store has been asked to do, under etcd's names.

use prometheus::{IntCounter, IntGauge};

use super::{Maker, whole};
use crate::status::Status;

/// Counted by the loop, shown at each scrape.
#[derive(Debug)]
pub(super) struct Operations {
    puts: IntCounter,
    deletes: IntCounter,
    ranges: IntCounter,
    txns: IntCounter,
    slow_applies: IntCounter,
    keys: IntGauge,
    compacted: IntGauge,
}

impl Operations {
    pub(super) fn new(make: &Maker) -> Self {
        Self {
            puts: make.counter("etcd_mvcc_put_total", "Puts, those of transactions too."),
            deletes: make.counter(
                "etcd_mvcc_delete_total",
                "Deletions, those of transactions too.",
            ),
            ranges: make.counter(
                "etcd_mvcc_range_total",
                "Ranges, those of transactions too.",
            ),
            txns: make.counter(
                "etcd_mvcc_txn_total",
                "Transactions that did more than one thing.",
            ),
            slow_applies: make.counter(
                "etcd_server_slow_apply_total",
                "How often what was committed took longer to apply than --warning-apply-duration.",
            ),
            keys: make.gauge(
                "etcd_debugging_mvcc_keys_total",
                "Keys that are known, deleted ones in kept history included.",
            ),
            compacted: make.gauge(
                "etcd_debugging_mvcc_compact_revision",
                "The revision up to which history is gone.",
            ),
        }
    }

    pub(super) fn observe(&self, status: &Status) {
        let tally = &status.tally;
        for (counter, counted) in [
            (&self.puts, tally.puts),
            (&self.deletes, tally.deletes),
            (&self.ranges, tally.ranges),
            (&self.txns, tally.txns),
            (&self.slow_applies, status.slow_applies),
        ] {
            counter.inc_by(counted.saturating_sub(counter.get()));
        }
        self.keys.set(whole(status.keys));
        self.compacted.set(status.compact_revision);
    }
}
