//! The operator's metrics, under the names that `controller-runtime` and `client-go` gave them, so that dashboards which
//! know other operators know this one; and a few of the domain's own.
//!
//! It deliberately counts nothing that the members themselves expose on their own `/metrics`.

mod clusters;

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

pub use clusters::{ClusterFigures, RecoveryFigures};

use clusters::ClusterMetrics;

/// The `controller` and `name` label of everything here: there is one controller.
pub const CONTROLLER: &str = "raftcluster";

/// `controller-runtime`'s buckets of a reconcile, in seconds.
const RECONCILE_BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9,
    1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0,
    25.0, 30.0, 40.0, 50.0, 60.0,
];
/// `client-go`'s buckets of a request, in seconds.
const REQUEST_BUCKETS: &[f64] = &[
    0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0,
];
/// `controller-runtime`'s buckets of the work queue: powers of ten from 10 ns.
const QUEUE_BUCKETS: &[f64] = &[
    1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0,
];

/// How a reconcile ended; the value of the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing more to do.
    Success,
    /// To be looked at again after a while.
    RequeueAfter,
    /// It failed.
    Error,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::RequeueAfter => "requeue_after",
            Self::Error => "error",
        }
    }
}

/// All metrics of the process. One per process; shared by reference.
pub struct Metrics {
    registry: Registry,
    reconciles: ReconcileMetrics,
    queue: QueueMetrics,
    requests: RequestMetrics,
    own: OwnMetrics,
    clusters: ClusterMetrics,
}

struct ReconcileMetrics {
    total: IntCounterVec,
    seconds: HistogramVec,
    errors: IntCounterVec,
    panics: IntCounterVec,
    timeouts: IntCounterVec,
    active: IntGaugeVec,
    concurrency: IntGaugeVec,
}

struct QueueMetrics {
    depth: IntGaugeVec,
    adds: IntCounterVec,
    retries: IntCounterVec,
    wait: HistogramVec,
    work: HistogramVec,
    unfinished: GaugeVec,
    longest: GaugeVec,
}

struct RequestMetrics {
    total: IntCounterVec,
    seconds: HistogramVec,
    watch_restarts: IntCounterVec,
}

struct OwnMetrics {
    leading: IntGaugeVec,
    actions: IntCounterVec,
    unsafe_plans: IntCounterVec,
}

impl Metrics {
    /// Fresh metrics in a registry of their own, with every series of the one controller present from the start.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let metrics = Self {
            reconciles: ReconcileMetrics::new(&registry),
            queue: QueueMetrics::new(&registry),
            requests: RequestMetrics::new(&registry),
            own: OwnMetrics::new(&registry),
            clusters: ClusterMetrics::new(&registry),
            registry,
        };
        metrics.show_series();
        metrics
    }

    /// The text format of Prometheus.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        encoded.expect("metrics that were registered can be written into memory");
        String::from_utf8(text).expect("names and labels are text")
    }

    /// A reconcile began.
    pub fn reconcile_began(&self, waited: Duration) {
        self.reconciles
            .active
            .with_label_values(&[CONTROLLER])
            .inc();
        self.queue
            .wait
            .with_label_values(&[CONTROLLER])
            .observe(waited.as_secs_f64());
    }

    /// A reconcile ended, however it did.
    pub fn reconcile_ended(&self, outcome: Outcome, took: Duration) {
        self.reconciles
            .active
            .with_label_values(&[CONTROLLER])
            .dec();
        self.reconciles
            .total
            .with_label_values(&[CONTROLLER, outcome.label()])
            .inc();
        self.reconciles
            .seconds
            .with_label_values(&[CONTROLLER])
            .observe(took.as_secs_f64());
        self.queue
            .work
            .with_label_values(&[CONTROLLER])
            .observe(took.as_secs_f64());
        if outcome == Outcome::Error {
            self.reconciles
                .errors
                .with_label_values(&[CONTROLLER])
                .inc();
            self.queue.retries.with_label_values(&[CONTROLLER]).inc();
        }
    }

    /// A reconcile was cut off for its length.
    pub fn reconcile_timed_out(&self) {
        self.reconciles
            .timeouts
            .with_label_values(&[CONTROLLER])
            .inc();
    }

    /// A reconcile panicked.
    pub fn reconcile_panicked(&self) {
        self.reconciles
            .panics
            .with_label_values(&[CONTROLLER])
            .inc();
    }

    /// How many reconciles may run at once.
    pub fn concurrency(&self, workers: usize) {
        let workers = i64::try_from(workers).unwrap_or(i64::MAX);
        self.reconciles
            .concurrency
            .with_label_values(&[CONTROLLER])
            .set(workers);
    }

    /// A cluster was put into the queue.
    pub fn queued(&self) {
        self.queue.adds.with_label_values(&[CONTROLLER]).inc();
    }

    /// How the queue stands: how many wait, and how long those in hand have been worked on.
    pub fn queue_stands(&self, depth: usize, running: impl Iterator<Item = Duration>) {
        let depth = i64::try_from(depth).unwrap_or(i64::MAX);
        self.queue.depth.with_label_values(&[CONTROLLER]).set(depth);
        let ages: Vec<f64> = running.map(|age| age.as_secs_f64()).collect();
        self.queue
            .unfinished
            .with_label_values(&[CONTROLLER])
            .set(ages.iter().sum());
        let longest = ages.into_iter().fold(0.0, f64::max);
        self.queue
            .longest
            .with_label_values(&[CONTROLLER])
            .set(longest);
    }

    /// The API server answered a request, or did not (`code` is then `<error>`, as `client-go` has it).
    pub fn requested(&self, code: &str, method: &str, host: &str, took: Duration) {
        self.requests
            .total
            .with_label_values(&[code, method, host])
            .inc();
        self.requests
            .seconds
            .with_label_values(&[method, host])
            .observe(took.as_secs_f64());
    }

    /// Whether this process holds the lease called `lease`.
    pub fn leads(&self, lease: &str, leading: bool) {
        self.own
            .leading
            .with_label_values(&[lease])
            .set(i64::from(leading));
    }

    /// One action was carried out, or failed.
    pub fn acted(&self, action: &str, result: &'static str) {
        self.own.actions.with_label_values(&[action, result]).inc();
    }

    /// The safety check refused a plan: a bug of ours, worth an alert.
    pub fn refused_plan(&self) {
        self.own.unsafe_plans.with_label_values(&[CONTROLLER]).inc();
    }

    /// A watch was begun anew after an error.
    pub fn watch_restarted(&self, kind: &str) {
        self.requests
            .watch_restarts
            .with_label_values(&[kind])
            .inc();
    }

    /// What a look at a cluster found.
    pub fn cluster_stands(&self, namespace: &str, name: &str, figures: ClusterFigures) {
        self.clusters.stands(&[namespace, name], figures);
    }

    /// A cluster is gone: its series end.
    pub fn cluster_gone(&self, namespace: &str, name: &str) {
        self.clusters.gone(&[namespace, name]);
    }

    /// A series that exists only after its first event cannot be alerted on.
    fn show_series(&self) {
        for outcome in [Outcome::Success, Outcome::RequeueAfter, Outcome::Error] {
            let _ = self
                .reconciles
                .total
                .with_label_values(&[CONTROLLER, outcome.label()]);
        }
        let counters = [
            &self.reconciles.errors,
            &self.reconciles.panics,
            &self.reconciles.timeouts,
        ];
        for counter in counters.into_iter().chain([
            &self.own.unsafe_plans,
            &self.queue.adds,
            &self.queue.retries,
        ]) {
            let _ = counter.with_label_values(&[CONTROLLER]);
        }
        let _ = self.reconciles.active.with_label_values(&[CONTROLLER]);
        self.queue_stands(0, std::iter::empty());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl ReconcileMetrics {
    fn new(registry: &Registry) -> Self {
        let count = |name, text| counters(registry, name, text, &["controller"]);
        let gauge = |name, text| gauges(registry, name, text, &["controller"]);
        let (total, took) = (
            "controller_runtime_reconcile_total",
            "controller_runtime_reconcile_time_seconds",
        );
        let labels = &["controller", "result"];
        Self {
            total: counters(registry, total, "Reconciles by result", labels),
            seconds: seconds(
                registry,
                took,
                "Length of a reconcile",
                &["controller"],
                RECONCILE_BUCKETS,
            ),
            errors: count(
                "controller_runtime_reconcile_errors_total",
                "Reconciles that failed",
            ),
            panics: count(
                "controller_runtime_reconcile_panics_total",
                "Reconciles that panicked",
            ),
            timeouts: count(
                "controller_runtime_reconcile_timeouts_total",
                "Reconciles cut off for their length",
            ),
            active: gauge(
                "controller_runtime_active_workers",
                "Reconciles running now",
            ),
            concurrency: gauge(
                "controller_runtime_max_concurrent_reconciles",
                "Reconciles that may run at once",
            ),
        }
    }
}

impl QueueMetrics {
    fn new(registry: &Registry) -> Self {
        let count = |name, text| counters(registry, name, text, &["name"]);
        let float = |name, text| float_gauges(registry, name, text, &["name"]);
        let timed = |name, text| seconds(registry, name, text, &["name"], QUEUE_BUCKETS);
        let depth = "Clusters that are due and wait for a worker";
        let (unfinished, longest) = (
            "workqueue_unfinished_work_seconds",
            "workqueue_longest_running_processor_seconds",
        );
        Self {
            depth: gauges(registry, "workqueue_depth", depth, &["name"]),
            adds: count("workqueue_adds_total", "Clusters put into the queue"),
            retries: count(
                "workqueue_retries_total",
                "Clusters put back after a failure",
            ),
            wait: timed(
                "workqueue_queue_duration_seconds",
                "How long a due cluster waited",
            ),
            work: timed(
                "workqueue_work_duration_seconds",
                "How long a cluster was worked on",
            ),
            unfinished: float(unfinished, "Sum of the ages of reconciles running now"),
            longest: float(longest, "Age of the oldest reconcile running now"),
        }
    }
}

impl RequestMetrics {
    fn new(registry: &Registry) -> Self {
        let total = ("rest_client_requests_total", "Requests to the API server");
        let took = (
            "rest_client_request_duration_seconds",
            "Time to the head of the API server's answer",
        );
        let restarts = (
            "quorate_operator_watch_restarts_total",
            "Watches begun anew after an error",
        );
        Self {
            total: counters(registry, total.0, total.1, &["code", "method", "host"]),
            seconds: seconds(registry, took.0, took.1, &["verb", "host"], REQUEST_BUCKETS),
            watch_restarts: counters(registry, restarts.0, restarts.1, &["kind"]),
        }
    }
}

impl OwnMetrics {
    fn new(registry: &Registry) -> Self {
        let leading = (
            "leader_election_master_status",
            "1 while this process holds the lease",
        );
        let actions = (
            "quorate_operator_actions_total",
            "Actions carried out, by kind and result",
        );
        let refused = (
            "quorate_operator_unsafe_plans_total",
            "Plans that the safety check refused",
        );
        let build = Opts::new("quorate_operator_build_info", "The version that runs")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        registered(registry, Gauge::with_opts(build)).set(1.0);
        Self {
            leading: gauges(registry, leading.0, leading.1, &["name"]),
            actions: counters(registry, actions.0, actions.1, &["action", "result"]),
            unsafe_plans: counters(registry, refused.0, refused.1, &["controller"]),
        }
    }
}

fn counters(registry: &Registry, name: &str, text: &str, labels: &[&str]) -> IntCounterVec {
    registered(registry, IntCounterVec::new(Opts::new(name, text), labels))
}

fn gauges(registry: &Registry, name: &str, text: &str, labels: &[&str]) -> IntGaugeVec {
    registered(registry, IntGaugeVec::new(Opts::new(name, text), labels))
}

fn float_gauges(registry: &Registry, name: &str, text: &str, labels: &[&str]) -> GaugeVec {
    registered(registry, GaugeVec::new(Opts::new(name, text), labels))
}

fn seconds(
    registry: &Registry,
    name: &str,
    text: &str,
    labels: &[&str],
    buckets: &[f64],
) -> HistogramVec {
    let options = HistogramOpts::new(name, text).buckets(buckets.to_vec());
    registered(registry, HistogramVec::new(options, labels))
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<C>,
) -> C {
    let metric = metric.expect("the name, labels and buckets stand in this file and are valid");
    registry
        .register(Box::new(metric.clone()))
        .expect("each name stands in this file once");
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_dashboards_know() {
        let metrics = Metrics::new();
        metrics.reconcile_began(Duration::from_millis(1));
        metrics.reconcile_ended(Outcome::RequeueAfter, Duration::from_millis(20));
        metrics.requested("200", "GET", "10.0.0.1", Duration::from_millis(2));
        metrics.leads("quorate-operator", true);
        let text = metrics.text();
        for line in [
            r#"controller_runtime_reconcile_total{controller="raftcluster",result="requeue_after"} 1"#,
            r#"controller_runtime_reconcile_errors_total{controller="raftcluster"} 0"#,
            r#"controller_runtime_reconcile_time_seconds_bucket{controller="raftcluster",le="0.025"} 1"#,
            r#"workqueue_depth{name="raftcluster"} 0"#,
            r#"rest_client_requests_total{code="200",host="10.0.0.1",method="GET"} 1"#,
            r#"leader_election_master_status{name="quorate-operator"} 1"#,
            r#"controller_runtime_active_workers{controller="raftcluster"} 0"#,
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is missing in:\n{text}"
            );
        }
    }

    #[test]
    fn the_series_of_a_cluster_end_with_it() {
        let metrics = Metrics::new();
        let figures = ClusterFigures {
            ready: true,
            members: 3,
            tolerance: Some(1),
            first_expiry: Some(1_830_000_000),
            paused: false,
            recovery: Some(RecoveryFigures {
                at_risk: 0,
                failed_at: 1_795_000_000,
                detected_after: 2,
                restored_after: Some(40),
            }),
        };
        metrics.cluster_stands("ns", "kv", figures);
        assert!(
            metrics
                .text()
                .contains(r#"quorate_cluster_members{cluster="kv",namespace="ns"} 3"#)
        );
        let tolerance = r#"quorate_cluster_fault_tolerance{cluster="kv""#;
        assert!(metrics.text().contains(tolerance));
        let asleep = ClusterFigures {
            tolerance: None,
            ..figures
        };
        metrics.cluster_stands("ns", "kv", asleep);
        assert!(!metrics.text().contains(tolerance));
        assert!(metrics.text().contains(
            r#"quorate_cluster_last_failure_restored_seconds{cluster="kv",namespace="ns"} 40"#
        ));
        metrics.cluster_gone("ns", "kv");
        metrics.cluster_gone("ns", "never-was");
        assert!(!metrics.text().contains(r#"cluster="kv""#));
    }
}
