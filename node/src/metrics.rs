//! Figures in Prometheus' text format, under etcd's names, so that etcd's dashboards and alerts work unchanged.
//!
//! What the loop publishes is read at each scrape; what happens in between (calls, syncs, checkpoints) is counted as it
//! happens. A series exists from the start with every label it can have, as an alert on a series that appears only with the
//! first failure stays silent about that failure. A name of etcd's is only there if something counts for it.
//!
//! What this module deliberately does not do: etcd's `etcd_debugging_*` beyond the revision, watching and leases, anything of Go's runtime, and
//! `etcd_disk_backend_commit_duration_seconds`' samples: there is no backend that commits beside the log, and a checkpoint,
//! which takes long and blocks nobody, would raise the alert on slow commits.

mod calls;
mod clients;
mod frames;
mod leases;
mod operations;
mod peers;
mod process;
mod watchers;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use prometheus::core::Collector;
use prometheus::{
    Counter, Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::handle::Handle;
use crate::status::{Status, alarm_name};
use crate::storage::{Observer, StorageError, Vitals};
use crate::transport::Traffic;
use crate::version::{ETCD_VERSION, served};
use calls::Calls;
use leases::Leases;
use operations::Operations;
use peers::Peers;
pub(crate) use process::open_files_max;

use process::Process;
use watchers::Watchers;

/// All figures of one member.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    calls: Arc<Calls>,
    process: Process,
    member: Member,
    operations: Operations,
    disk: Disk,
    health: Health,
    peers: Peers,
    watchers: Watchers,
    leases: Leases,
}

/// What the loop publishes.
#[derive(Debug)]
struct Member {
    has_leader: IntGauge,
    is_leader: IntGauge,
    is_learner: IntGauge,
    leader_changes: IntCounter,
    // Gauges in etcd too, for all their names.
    committed: IntGauge,
    applied: IntGauge,
    pending: IntGauge,
    id: IntGaugeVec,
    cluster_version: IntGaugeVec,
    quota: IntGauge,
    size: IntGauge,
    size_in_use: IntGauge,
    revision: IntGauge,
    known_peers: IntGaugeVec,
    alarms: IntGaugeVec,
}

/// What the storage tells.
#[derive(Debug)]
struct Disk {
    fsync: Histogram,
    write: Histogram,
    written: IntGauge,
    checkpoint: Histogram,
    log_bytes: IntGauge,
    waiting: Gauge,
    scrubbed: IntCounter,
    damaged: IntCounter,
}

#[derive(Debug)]
struct Health {
    success: IntCounter,
    failures: IntCounter,
    check: IntGaugeVec,
    checks: IntCounterVec,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Every series at its beginning.
    #[must_use]
    pub fn new() -> Self {
        let make = Maker(Registry::new());
        let metrics = Self {
            calls: Arc::new(Calls::new(&make)),
            process: Process::new(&make),
            member: Member::new(&make),
            operations: Operations::new(&make),
            disk: Disk::new(&make),
            health: Health::new(&make),
            peers: Peers::new(&make),
            watchers: Watchers::new(&make),
            leases: Leases::new(&make),
            registry: make.0,
        };
        metrics.empty_backend();
        metrics
    }

    /// Counts every gRPC call that goes through these routes; unary ones that take longer than `slow` are told in the log.
    pub fn count_calls(&self, routes: Router, slow: Duration) -> Router {
        calls::count(Arc::clone(&self.calls), routes, slow)
    }

    /// Shows what others count.
    pub(crate) fn show(&self, collectors: impl IntoIterator<Item = Box<dyn Collector>>) {
        for collector in collectors {
            // One that is there already counts on.
            drop(self.registry.register(collector));
        }
    }

    /// `/metrics` of the member with this handle, quota, disk and traffic.
    pub fn routes(
        self: Arc<Self>,
        handle: Handle,
        quota_bytes: u64,
        vitals: Arc<Vitals>,
        traffic: Arc<Traffic>,
    ) -> Router {
        // Refused where it is there already: whoever asks for the routes twice has them twice.
        drop(self.registry.register(Box::new(traffic.round_trips())));
        let scraped = Scraped {
            metrics: self,
            handle,
            quota_bytes,
            vitals,
            traffic,
        };
        Router::new()
            .route("/metrics", any(scrape))
            .with_state(Arc::new(scraped))
    }

    /// All figures as text, the published ones as of this status.
    fn text(&self, status: &Status, quota_bytes: u64, vitals: &Vitals) -> Result<String, String> {
        self.member.observe(status, quota_bytes);
        self.leases.observe(status.leases);
        self.operations.observe(status);
        self.disk.observe(vitals);
        self.process.observe();
        let mut text = Vec::new();
        let families = self.registry.gather();
        let encoded = TextEncoder::new().encode(&families, &mut text);
        encoded.map_err(|error| error.to_string())?;
        String::from_utf8(text).map_err(|error| error.to_string())
    }

    /// Counts an answer of `/health`.
    pub(crate) fn health(&self, is_healthy: bool) {
        if is_healthy {
            self.health.success.inc();
        } else {
            self.health.failures.inc();
        }
    }

    /// Counts one check of `/livez` or `/readyz`.
    pub(crate) fn check(&self, question: &str, check: &str, is_well: bool) {
        let status = if is_well { "success" } else { "error" };
        let gauge = self.health.check.with_label_values(&[question, check]);
        gauge.set(i64::from(is_well));
        let count = [question, check, status];
        self.health.checks.with_label_values(&count).inc();
    }

    /// A family that etcd's dashboards ask for and that never has a sample here.
    fn empty_backend(&self) {
        Maker(self.registry.clone()).histogram(
            "etcd_disk_backend_commit_duration_seconds",
            "The latency distributions of commit called by backend. Nothing commits beside the log, so it stays empty.",
            disk_buckets(),
        );
    }
}

struct Scraped {
    metrics: Arc<Metrics>,
    handle: Handle,
    quota_bytes: u64,
    vitals: Arc<Vitals>,
    traffic: Arc<Traffic>,
}

async fn scrape(State(scraped): State<Arc<Scraped>>) -> Response {
    let status = scraped.handle.status();
    let me = status.identity.member_id;
    scraped.metrics.peers.observe(&scraped.traffic, me);
    let watches = scraped.handle.watches();
    let (sent, waiting) = (watches.events_taken(), watches.waiting_bytes());
    scraped
        .metrics
        .watchers
        .observe(&status.watch, sent, waiting);
    match scraped
        .metrics
        .text(&status, scraped.quota_bytes, &scraped.vitals)
    {
        Ok(text) => (
            [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

impl Observer for Metrics {
    fn wrote(&self, bytes: u64, took: Duration) {
        self.disk.written.add(whole(bytes));
        self.disk.write.observe(took.as_secs_f64());
    }

    fn synced(&self, took: Duration) {
        self.disk.fsync.observe(took.as_secs_f64());
    }

    fn scrubbed(&self, bytes: u64) {
        self.disk.scrubbed.inc_by(bytes);
    }

    fn damaged(&self, _error: &StorageError) {
        self.disk.damaged.inc();
    }

    fn checkpointed(&self, _bytes: u64, took: Duration) {
        self.disk.checkpoint.observe(took.as_secs_f64());
    }
}

impl Member {
    fn new(make: &Maker) -> Self {
        let version = make.gauges(
            "etcd_server_version",
            "Which etcd version is served. 1 for the label.",
            &["server_version"],
        );
        version.with_label_values(&[ETCD_VERSION]).set(1);
        Self {
            has_leader: make.gauge("etcd_server_has_leader", "Whether a leader is known."),
            is_leader: make.gauge("etcd_server_is_leader", "Whether this member leads."),
            is_learner: make.gauge(
                "etcd_server_is_learner",
                "Whether this member is a learner.",
            ),
            leader_changes: make.counter(
                "etcd_server_leader_changes_seen_total",
                "How often the leader changed since the start.",
            ),
            committed: make.gauge(
                "etcd_server_proposals_committed_total",
                "The newest index known to be committed.",
            ),
            applied: make.gauge(
                "etcd_server_proposals_applied_total",
                "The newest index that is applied.",
            ),
            pending: make.gauge(
                "etcd_server_proposals_pending",
                "Commands of clients that wait to be applied.",
            ),
            id: make.gauges(
                "etcd_server_id",
                "This member's id in hexadecimal. 1 for the label.",
                &["server_id"],
            ),
            cluster_version: make.gauges(
                "etcd_cluster_version",
                "Which version all members speak. 1 for the label.",
                &["cluster_version"],
            ),
            quota: make.gauge(
                "etcd_server_quota_backend_bytes",
                "The most bytes that the store may hold.",
            ),
            size: make.gauge(
                "etcd_mvcc_db_total_size_in_bytes",
                "Bytes that the store holds, history included, compacted history until it is swept.",
            ),
            size_in_use: make.gauge(
                "etcd_mvcc_db_total_size_in_use_in_bytes",
                "The same, as the store keeps no file with holes; etcd's name for dashboards.",
            ),
            revision: make.gauge(
                "etcd_debugging_mvcc_current_revision",
                "The store's newest revision.",
            ),
            known_peers: make.gauges(
                "etcd_network_known_peers",
                "The members that this one knows.",
                &["Local", "Remote"],
            ),
            alarms: make.gauges(
                "etcd_debugging_server_alarms",
                "The alarms that are up, by the member that each is about. 1 for the labels.",
                &["server_id", "alarm_type"],
            ),
        }
    }

    fn observe(&self, status: &Status, quota_bytes: u64) {
        self.has_leader.set(i64::from(status.leader.is_some()));
        self.is_leader.set(i64::from(status.is_leader()));
        self.is_learner.set(i64::from(status.is_learner));
        let seen = self.leader_changes.get();
        self.leader_changes
            .inc_by(status.leader_changes.saturating_sub(seen));
        self.committed.set(whole(status.commit));
        self.applied.set(whole(status.applied));
        self.pending.set(whole(status.pending));
        self.quota.set(whole(quota_bytes));
        self.size.set(whole(status.size_bytes));
        self.size_in_use.set(whole(status.size_bytes));
        self.revision.set(status.revision);
        let me = format!("{:x}", status.identity.member_id);
        self.id.with_label_values(&[&me]).set(1);
        self.cluster_version.reset();
        let minor = status.cluster_version.unwrap_or_else(served).to_string();
        self.cluster_version.with_label_values(&[&minor]).set(1);
        self.alarms.reset();
        for alarm in &status.alarms {
            let labels = [format!("{:x}", alarm.member), alarm_name(alarm.kind)];
            self.alarms.with_label_values(&labels).set(1);
        }
        self.known_peers.reset();
        for peer in status.membership.members.keys() {
            let peer = format!("{peer:x}");
            self.known_peers.with_label_values(&[&me, &peer]).set(1);
        }
    }
}

impl Disk {
    fn new(make: &Maker) -> Self {
        Self {
            fsync: make.histogram(
                "etcd_disk_wal_fsync_duration_seconds",
                "How long each fdatasync of the log took.",
                disk_buckets(),
            ),
            write: make.histogram(
                "etcd_disk_wal_write_duration_seconds",
                "How long each write to the log took.",
                disk_buckets(),
            ),
            written: make.gauge("etcd_disk_wal_write_bytes_total", "Bytes written to the log."),
            checkpoint: make.histogram(
                "etcd_snap_db_save_total_duration_seconds",
                "How long each checkpoint took from its beginning until it was durable.",
                doubling(0.1, 10),
            ),
            log_bytes: make.gauge("quorate_disk_wal_bytes", "Bytes of the log that are in use."),
            waiting: make.float(
                "quorate_disk_wal_write_waiting_seconds",
                "How long the write that runs now has been running; 0 while none runs. A disk that hangs shows here alone.",
            ),
            scrubbed: make.counter(
                "quorate_disk_scrubbed_bytes_total",
                "Bytes of log and checkpoints that were read again in the background.",
            ),
            damaged: make.counter(
                "quorate_disk_damage_found_total",
                "How often a file was found damaged in the background; one that stays is found with every pass.",
            ),
        }
    }

    fn observe(&self, vitals: &Vitals) {
        self.log_bytes.set(whole(vitals.log_bytes()));
        let waiting = vitals.waiting_for().unwrap_or_default();
        self.waiting.set(waiting.as_secs_f64());
    }
}

impl Health {
    fn new(make: &Maker) -> Self {
        let health = Self {
            success: make.counter("etcd_server_health_success", "How often /health said true."),
            failures: make.counter(
                "etcd_server_health_failures",
                "How often /health said false.",
            ),
            check: make.gauges(
                "etcd_server_healthcheck",
                "What each check said last.",
                &["type", "name"],
            ),
            checks: make.counters(
                "etcd_server_healthchecks_total",
                "How often each check was made.",
                &["type", "name", "status"],
            ),
        };
        for (question, check) in crate::health::checks() {
            health.check.with_label_values(&[question, check]);
            for status in ["success", "error"] {
                health.checks.with_label_values(&[question, check, status]);
            }
        }
        health
    }
}

/// etcd's buckets for the disk: one millisecond, doubling to eight seconds.
fn disk_buckets() -> Vec<f64> {
    doubling(0.001, 14)
}

fn doubling(first: f64, count: usize) -> Vec<f64> {
    prometheus::exponential_buckets(first, 2.0, count)
        .expect("first, factor and count are positive")
}

/// Gauges are signed in this world; what counts bytes or entries never comes near the end.
fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Makes series and registers them. Names and labels are constants of ours, so that a refusal is a mistake of ours.
struct Maker(Registry);

impl Maker {
    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let made = made.expect("names and labels are well formed");
        let registered = self.0.register(Box::new(made.clone()));
        registered.expect("every name is registered once");
        made
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    fn float(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::new(name, help))
    }

    fn float_counter(&self, name: &str, help: &str) -> Counter {
        self.register(Counter::new(name, help))
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(buckets);
        self.register(Histogram::with_opts(options))
    }
}

#[cfg(test)]
mod tests;
