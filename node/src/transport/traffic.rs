//! How much goes to and comes from every other member.
//!
//! What this module deliberately does not do: keep single times. Round trips are told apart by etcd's buckets and no finer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec};

/// Counts of all peers that were ever heard of since the start. Cheap to share, and read by whoever likes at any time.
#[derive(Debug)]
pub struct Traffic {
    peers: Mutex<BTreeMap<u64, Arc<Counts>>>,
    round_trips: HistogramVec,
}

impl Default for Traffic {
    fn default() -> Self {
        let name = "etcd_network_peer_round_trip_time_seconds";
        let options = HistogramOpts::new(name, "How long a word to each peer and back takes.");
        let buckets = prometheus::exponential_buckets(0.0001, 2.0, 16);
        let options = options.buckets(buckets.expect("first, factor and count are positive"));
        let round_trips = HistogramVec::new(options, &["To"]);
        Self {
            peers: Mutex::default(),
            round_trips: round_trips.expect("name and label are well formed"),
        }
    }
}

/// Counts of one peer, all growing.
#[derive(Debug)]
pub struct Counts {
    is_connected: AtomicBool,
    disconnects: AtomicU64,
    round_trips: Histogram,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    failures: AtomicU64,
}

impl Traffic {
    /// The counts of a peer; zeros if it was not heard of before.
    #[must_use]
    pub fn of(&self, peer: u64) -> Arc<Counts> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = || Arc::new(Counts::new(&self.round_trips, peer));
        Arc::clone(peers.entry(peer).or_insert_with(begin))
    }

    /// Round trip times of all peers, to be shown under etcd's name.
    #[must_use]
    pub fn round_trips(&self) -> HistogramVec {
        self.round_trips.clone()
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
    fn new(round_trips: &HistogramVec, peer: u64) -> Self {
        Self {
            is_connected: AtomicBool::new(false),
            disconnects: AtomicU64::new(0),
            round_trips: round_trips.with_label_values(&[&format!("{peer:x}")]),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// Whether a stream to the peer is open.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    /// How often a stream to the peer was lost.
    #[must_use]
    pub fn disconnects(&self) -> u64 {
        self.disconnects.load(Ordering::Relaxed)
    }

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

    pub(super) fn connected(&self) {
        self.is_connected.store(true, Ordering::Relaxed);
    }

    pub(super) fn disconnected(&self) {
        self.is_connected.store(false, Ordering::Relaxed);
        self.disconnects.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn round_trip(&self, took: Duration) {
        self.round_trips.observe(took.as_secs_f64());
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
