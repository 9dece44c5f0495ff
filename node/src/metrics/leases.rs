//! What became of leases, under etcd's names.
//!
//! What this module deliberately does not do: `etcd_debugging_lease_ttl_total`, a histogram of granted times; nobody asks for it.

use prometheus::IntCounter;

use super::Maker;
use crate::replica::LeaseCounts;

/// See the module.
#[derive(Debug)]
pub(super) struct Leases {
    granted: IntCounter,
    revoked: IntCounter,
    renewed: IntCounter,
    expired: IntCounter,
}

impl Leases {
    pub(super) fn new(make: &Maker) -> Self {
        Self {
            granted: make.counter("etcd_debugging_lease_granted_total", "Leases granted."),
            revoked: make.counter(
                "etcd_debugging_lease_revoked_total",
                "Leases revoked, by clients or because they ended.",
            ),
            renewed: make.counter(
                "etcd_debugging_lease_renewed_total",
                "Renewals by this member, as the leader.",
            ),
            expired: make.counter(
                "etcd_debugging_server_lease_expired_total",
                "Leases that ended and were revoked by this member, as the leader.",
            ),
        }
    }

    pub(super) fn observe(&self, counts: LeaseCounts) {
        raise(&self.granted, counts.granted);
        raise(&self.revoked, counts.revoked);
        raise(&self.renewed, counts.renewed);
        raise(&self.expired, counts.expired);
    }
}

/// Brings a counter to what was counted elsewhere.
fn raise(counter: &IntCounter, counted: u64) {
    counter.inc_by(counted.saturating_sub(counter.get()));
}
