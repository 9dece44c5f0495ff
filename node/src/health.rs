//! Is this member alive, is it ready, does the cluster answer: `/health`, `/livez`, `/readyz` and `/version` as etcd has
//! them.
//!
//! - `/livez`: the loop answers. A member that is alive but cut off from the others must not be restarted for it.
//! - `/readyz`: besides, the disk takes writes and a majority confirms that this member is up to date.
//! - `/health`: etcd's older question, the same as `/readyz` in one JSON object.
//!
//! `?verbose` lists the checks, `/readyz/NAME` asks one, `?exclude=NAME` leaves one out.
//!
//! An alarm makes `/health` false (`?exclude=NOSPACE` looks past it), and `CORRUPT` makes a member not ready.
//!
//! What this module deliberately does not do: etcd's check `non_learner`, as whoever starts a learner waits for its readiness
//! before promoting it.

use std::fmt::Write;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use store::{Alarm, AlarmKind, Version};

use crate::event::Read;
use crate::handle::Handle;
use crate::metrics::Metrics;
use crate::plain;
use crate::status::alarm_name;
use crate::storage::Vitals;
use crate::version::{ETCD_VERSION, cluster_text};

/// What health is asked of.
pub trait Pulse: Send + Sync + 'static {
    /// Whether a leader is known.
    fn has_leader(&self) -> bool;

    /// The alarms that are up.
    fn alarms(&self) -> Vec<Alarm>;

    /// The version that all members speak; none before they agreed.
    fn cluster_version(&self) -> Option<Version>;

    /// How long the disk has been busy with one write; none while it has nothing to do.
    fn writing_for(&self) -> Option<Duration>;

    /// Reads what this member has.
    fn read_local(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// Waits until a majority has confirmed that this member is up to date.
    fn confirm(&self) -> impl Future<Output = Result<(), String>> + Send;
}

/// The pulse of a member that runs.
#[derive(Debug)]
pub struct Alive {
    handle: Handle,
    vitals: Arc<Vitals>,
}

impl Alive {
    /// Of the member with this handle and this disk.
    #[must_use]
    pub const fn new(handle: Handle, vitals: Arc<Vitals>) -> Self {
        Self { handle, vitals }
    }
}

impl Pulse for Alive {
    fn has_leader(&self) -> bool {
        self.handle.with_status(|status| status.leader.is_some())
    }

    fn alarms(&self) -> Vec<Alarm> {
        self.handle.with_status(|status| status.alarms.clone())
    }

    fn cluster_version(&self) -> Option<Version> {
        self.handle.with_status(|status| status.cluster_version)
    }

    fn writing_for(&self) -> Option<Duration> {
        self.vitals.waiting_for()
    }

    async fn read_local(&self) -> Result<(), String> {
        let read = self.handle.read_local(Read::Nothing).await;
        read.map(drop).map_err(|refusal| refusal.to_string())
    }

    async fn confirm(&self) -> Result<(), String> {
        let confirmed = self.handle.confirm().await;
        confirmed.map_err(|refusal| refusal.to_string())
    }
}

/// How long a check may take before it counts as failed. Probes rarely wait longer, and the answer should still say which
/// check it was.
const PATIENCE: Duration = Duration::from_secs(3);

/// One write that takes this long is a disk that stalls: etcd warns at one second, and no healthy disk takes two.
const STALL: Duration = Duration::from_secs(2);

/// One thing to look at. Its name is what `/readyz/NAME` and `?exclude=NAME` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    DiskWrite,
}

impl Check {
    const fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::DiskWrite => "disk_write",
        }
    }

    async fn run<P: Pulse>(self, pulse: &P, patience: Duration) -> Result<(), String> {
        match self {
            Self::DataCorruption => {
                let is_corrupt = |alarm: &Alarm| alarm.is(AlarmKind::Corrupt);
                let up = pulse.alarms().iter().any(is_corrupt);
                // etcd's words.
                (!up)
                    .then_some(())
                    .ok_or_else(|| "alarm activated: CORRUPT".to_owned())
            }
            Self::SerializableRead => in_time(patience, pulse.read_local()).await,
            Self::LinearizableRead if !pulse.has_leader() => {
                Err("etcdserver: no leader".to_owned())
            }
            Self::LinearizableRead => in_time(patience, pulse.confirm()).await,
            Self::DiskWrite => match pulse.writing_for() {
                Some(busy) if busy > STALL => Err(format!(
                    "one write to the disk has been waiting for {:.1} s",
                    busy.as_secs_f64()
                )),
                _ => Ok(()),
            },
        }
    }
}

async fn in_time(
    patience: Duration,
    check: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    let late = || format!("no answer within {patience:?}");
    tokio::time::timeout(patience, check)
        .await
        .unwrap_or_else(|_| Err(late()))
}

/// The two questions with checks behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Livez,
    Readyz,
}

impl Question {
    const fn name(self) -> &'static str {
        match self {
            Self::Livez => "livez",
            Self::Readyz => "readyz",
        }
    }

    const fn checks(self) -> &'static [Check] {
        match self {
            Self::Livez => &[Check::SerializableRead],
            Self::Readyz => &[
                Check::DataCorruption,
                Check::SerializableRead,
                Check::DiskWrite,
                Check::LinearizableRead,
            ],
        }
    }
}

/// Every check there is, with the question it belongs to, for the metrics' series.
pub fn checks() -> impl Iterator<Item = (&'static str, &'static str)> {
    [Question::Livez, Question::Readyz]
        .into_iter()
        .flat_map(|question| {
            let checks = question.checks().iter();
            checks.map(move |check| (question.name(), check.name()))
        })
}

struct Shared<P> {
    pulse: P,
    metrics: Arc<Metrics>,
    patience: Duration,
}

/// The routes, for the client port and for `--listen-metrics-urls`.
pub fn routes<P: Pulse>(pulse: P, metrics: Arc<Metrics>) -> Router {
    routes_of(Shared {
        pulse,
        metrics,
        patience: PATIENCE,
    })
}

fn routes_of<P: Pulse>(shared: Shared<P>) -> Router {
    let shared = Arc::new(shared);
    Router::new()
        .route(
            "/health",
            get(health::<P>).head(only_get).fallback(only_get),
        )
        .route("/livez", get(livez::<P>).head(only_get).fallback(only_get))
        .route(
            "/livez/{check}",
            get(one_of_livez::<P>).head(only_get).fallback(only_get),
        )
        .route(
            "/readyz",
            get(readyz::<P>).head(only_get).fallback(only_get),
        )
        .route(
            "/readyz/{check}",
            get(one_of_readyz::<P>).head(only_get).fallback(only_get),
        )
        .route(
            "/version",
            get(version::<P>).head(only_get).fallback(only_get),
        )
        .with_state(shared)
}

async fn only_get() -> Response {
    plain::only_get()
}

type Asked<P> = State<Arc<Shared<P>>>;

async fn livez<P: Pulse>(State(shared): Asked<P>, RawQuery(query): RawQuery) -> Response {
    shared
        .answer(Question::Livez, None, &Query::read(query))
        .await
}

async fn readyz<P: Pulse>(State(shared): Asked<P>, RawQuery(query): RawQuery) -> Response {
    shared
        .answer(Question::Readyz, None, &Query::read(query))
        .await
}

async fn one_of_livez<P: Pulse>(
    State(shared): Asked<P>,
    Path(check): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    shared
        .answer(Question::Livez, Some(check), &Query::read(query))
        .await
}

async fn one_of_readyz<P: Pulse>(
    State(shared): Asked<P>,
    Path(check): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    shared
        .answer(Question::Readyz, Some(check), &Query::read(query))
        .await
}

async fn health<P: Pulse>(State(shared): Asked<P>, RawQuery(query): RawQuery) -> Response {
    let query = Query::read(query);
    let reason = match shared.healthy(&query).await {
        Ok(()) => String::new(),
        Err(reason) => reason,
    };
    let is_healthy = reason.is_empty();
    shared.metrics.health(is_healthy);
    let body = serde_json::json!({ "health": is_healthy.to_string(), "reason": reason });
    if is_healthy {
        (
            [(CONTENT_TYPE, "text/plain; charset=utf-8")],
            format!("{body}"),
        )
            .into_response()
    } else {
        plain::error(StatusCode::SERVICE_UNAVAILABLE, &format!("{body}"))
    }
}

async fn version<P: Pulse>(State(shared): Asked<P>) -> Response {
    let cluster = cluster_text(shared.pulse.cluster_version());
    // There is no storage whose version lags behind.
    let body = format!(
        r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"{cluster}","storage":"{cluster}"}}"#
    );
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

impl<P: Pulse> Shared<P> {
    async fn healthy(&self, query: &Query) -> Result<(), String> {
        let alarms = self.pulse.alarms();
        let is_asked = |alarm: &&Alarm| !query.excluded.contains(&alarm_name(alarm.kind));
        if let Some(alarm) = alarms.iter().find(is_asked) {
            return Err(alarm_reason(alarm));
        }
        let range_error = |reason| format!("RANGE ERROR:{reason}");
        if query.serializable {
            let read = Check::SerializableRead.run(&self.pulse, self.patience);
            return read.await.map_err(range_error);
        }
        if !self.pulse.has_leader() {
            // etcd's words, which dashboards look for.
            return Err("RAFT NO LEADER".to_owned());
        }
        Check::DiskWrite.run(&self.pulse, self.patience).await?;
        let read = Check::LinearizableRead.run(&self.pulse, self.patience);
        read.await.map_err(range_error)
    }

    /// Runs the checks of a question, or the one that is named.
    async fn answer(&self, question: Question, only: Option<String>, query: &Query) -> Response {
        let asked = |check: &&Check| match &only {
            Some(only) => only == check.name(),
            None => !query
                .excluded
                .iter()
                .any(|excluded| excluded == check.name()),
        };
        let checks: Vec<_> = question.checks().iter().filter(asked).collect();
        if only.is_some() && checks.is_empty() {
            return plain::not_found();
        }
        let (mut lines, mut is_well) = (String::new(), true);
        for check in checks {
            let name = check.name();
            let outcome = check.run(&self.pulse, self.patience).await;
            self.metrics.check(question.name(), name, outcome.is_ok());
            match outcome {
                Ok(()) => line(&mut lines, format_args!("[+]{name} ok")),
                Err(reason) => {
                    is_well = false;
                    line(&mut lines, format_args!("[-]{name} failed: {reason}"));
                }
            }
        }
        match (is_well, query.verbose) {
            (true, false) => plain::text(StatusCode::OK, "ok\n".to_owned()),
            (true, true) => plain::text(StatusCode::OK, format!("{lines}ok\n")),
            (false, _) => plain::error(StatusCode::SERVICE_UNAVAILABLE, &lines),
        }
    }
}

/// etcd's words, which dashboards look for.
fn alarm_reason(alarm: &Alarm) -> String {
    match AlarmKind::try_from(alarm.kind) {
        Ok(AlarmKind::NoSpace | AlarmKind::Corrupt) => format!("ALARM {}", alarm_name(alarm.kind)),
        _ => "ALARM UNKNOWN".to_owned(),
    }
}

fn line(lines: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(lines, "{text}").expect("a string takes everything");
}

/// What a question says after its `?`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    verbose: bool,
    serializable: bool,
    excluded: Vec<String>,
}

impl Query {
    fn read(query: Option<String>) -> Self {
        let mut read = Self::default();
        for pair in query.unwrap_or_default().split('&') {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("verbose", _) => read.verbose = true,
                ("serializable", value) => read.serializable = value == "true",
                ("exclude", name) => read.excluded.push(name.to_owned()),
                _ => {}
            }
        }
        read
    }
}

#[cfg(test)]
mod tests;
