//! How much goes to and comes from every other member.
//!
//! What this module deliberately does not do: measure time. Nothing is asked of a peer only to see how long it takes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts of all peers that were ever heard of since the start. Cheap to share, and read by whoever likes at any time.
#[derive(Debug, Default)]
pub struct Traffic {
    peers: Mutex<BTreeMap<u64, Arc<Counts>>>,
}

/// Counts of one peer, all growing.
#[derive(Debug, Default)]
pub struct Counts {
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    failures: AtomicU64,
}

impl Traffic {
    /// The counts of a peer; zeros if it was not heard of before.
    #[must_use]
    pub fn of(&self, peer: u64) -> Arc<Counts> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(peers.entry(peer).or_default())
    }

    /// All peers, by id.
    #[must_use]
    pub fn all(&self) -> Vec<(u64, Arc<Counts>)> {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let each = peers
            .iter()
            .map(|(peer, counts)| (*peer, Arc::clone(counts)));
        each.collect()
    }
}

impl Counts {
    /// Bytes of messages given to the stream to the peer.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of messages that came from the peer.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// Messages that could not be sent, for want of a stream or of room in its queue.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}
