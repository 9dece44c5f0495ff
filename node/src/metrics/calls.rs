//! Counts gRPC calls under the names of etcd's gRPC library.
//!
//! A call is over when its trailers went out, or when its body was dropped before: then the client has gone away, which is
//! `Canceled`.
//!
//! What this module deliberately does not do: look into messages; only their frames are counted.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Frame, SizeHint};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntGauge};
use prost_reflect::MethodDescriptor;

use super::Maker;
use super::clients::Clients;
use super::frames::Frames;

/// gRPC's codes in the order of their numbers, as labels.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
const CANCELED: usize = 1;
const UNKNOWN: usize = 2;
const DEADLINE_EXCEEDED: usize = 4;
const UNAVAILABLE: usize = 14;

/// Of `grpc.health.v1`, whose descriptors are not ours.
const HEALTH: &str = "grpc.health.v1.Health";
const OF_HEALTH: [(&str, &str); 2] = [("Check", UNARY), ("Watch", SERVER_STREAM)];

const UNARY: &str = "unary";
const SERVER_STREAM: &str = "server_stream";

/// Calls that only read; every other one of these services goes through the log.
const READING: [&str; 12] = [
    "Range",
    "RangeStream",
    "Watch",
    "LeaseKeepAlive",
    "LeaseTimeToLive",
    "LeaseLeases",
    "AuthStatus",
    "Authenticate",
    "UserGet",
    "UserList",
    "RoleGet",
    "RoleList",
];
const WRITING_SERVICES: [&str; 3] = ["etcdserverpb.KV", "etcdserverpb.Lease", "etcdserverpb.Auth"];

/// Service, method and kind of everything that clients can call.
fn served() -> Vec<(String, String, &'static str)> {
    let kind = |method: &MethodDescriptor| match (
        method.is_client_streaming(),
        method.is_server_streaming(),
    ) {
        (false, false) => UNARY,
        (false, true) => SERVER_STREAM,
        (true, false) => "client_stream",
        (true, true) => "bidi_stream",
    };
    let pool = crate::gateway::pool();
    let services = pool
        .services()
        .filter(|service| service.package_name() != "quorate.peer.v1");
    let ours = services.flat_map(|service| {
        let named = |method: MethodDescriptor| {
            (
                service.full_name().to_owned(),
                method.name().to_owned(),
                kind(&method),
            )
        };
        service.methods().map(named).collect::<Vec<_>>()
    });
    let health = OF_HEALTH.map(|(method, kind)| (HEALTH.to_owned(), method.to_owned(), kind));
    ours.chain(health).collect()
}

/// etcd's buckets for the time a call takes.
const SECONDS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// All series about calls.
#[derive(Debug)]
pub(super) struct Calls {
    methods: HashMap<String, Arc<Method>>,
    clients: Clients,
    received_bytes: IntCounter,
    sent_bytes: IntCounter,
    proposals_failed: IntCounter,
}

#[derive(Debug)]
struct Method {
    path: String,
    started: IntCounter,
    handled: Vec<IntCounter>,
    received: IntCounter,
    sent: IntCounter,
    seconds: Histogram,
    is_stream: bool,
    proposes: bool,
    /// Of `Defragment` alone.
    upkeep: Option<Upkeep>,
}

/// Defragmentation under etcd's names for it.
#[derive(Clone, Debug)]
struct Upkeep {
    inflight: IntGauge,
    seconds: Histogram,
}

impl Upkeep {
    fn new(make: &Maker) -> Self {
        Self {
            inflight: make.gauge(
                "etcd_disk_defrag_inflight",
                "Whether compacted history is being swept on request.",
            ),
            seconds: make.histogram(
                "etcd_disk_backend_defrag_duration_seconds",
                "How long each sweep of compacted history on request took.",
                super::doubling(0.1, 13),
            ),
        }
    }
}

const LABELS: [&str; 3] = ["grpc_service", "grpc_method", "grpc_type"];

impl Calls {
    pub(super) fn new(make: &Maker) -> Self {
        let counters = |name, help| make.counters(name, help, &LABELS);
        let started = counters("grpc_server_started_total", "Calls that were begun.");
        let received = counters("grpc_server_msg_received_total", "Messages received.");
        let sent = counters("grpc_server_msg_sent_total", "Messages sent.");
        let [service, method, kind] = LABELS;
        let handled = make.counters(
            "grpc_server_handled_total",
            "Calls that ended, by how.",
            &[service, method, kind, "grpc_code"],
        );
        let options = HistogramOpts::new("grpc_server_handling_seconds", "How long calls took.");
        let seconds = HistogramVec::new(options.buckets(SECONDS.to_vec()), &LABELS);
        let seconds = make.register(seconds);
        let upkeep = Upkeep::new(make);
        let series = |(service, method, kind): (String, String, &'static str)| {
            let labels = [service.as_str(), method.as_str(), kind];
            let [of, name, _] = labels;
            let by_code = |code: &&str| handled.with_label_values(&[of, name, kind, *code]);
            let path = format!("/{service}/{method}");
            let series = Method {
                path: path.clone(),
                started: started.with_label_values(&labels),
                handled: CODES.iter().map(by_code).collect(),
                received: received.with_label_values(&labels),
                sent: sent.with_label_values(&labels),
                seconds: seconds.with_label_values(&labels),
                is_stream: kind != UNARY,
                proposes: WRITING_SERVICES.contains(&of) && !READING.contains(&name),
                upkeep: (method == "Defragment").then(|| upkeep.clone()),
            };
            (path, Arc::new(series))
        };
        Self {
            methods: served().into_iter().map(series).collect(),
            clients: Clients::new(make),
            received_bytes: make.counter(
                "etcd_network_client_grpc_received_bytes_total",
                "Bytes of messages received from clients.",
            ),
            sent_bytes: make.counter(
                "etcd_network_client_grpc_sent_bytes_total",
                "Bytes of messages sent to clients.",
            ),
            proposals_failed: make.counter(
                "etcd_server_proposals_failed_total",
                "Writing calls that ended without saying whether they took effect, or for want of a leader.",
            ),
        }
    }
}

/// Counts what goes through the routes, and tells of unary calls that take longer than this.
pub(super) fn count(calls: Arc<Calls>, routes: Router, slow: Duration) -> Router {
    routes.layer(from_fn_with_state((calls, slow), around))
}

async fn around(
    State((calls, slow)): State<(Arc<Calls>, Duration)>,
    request: Request,
    next: Next,
) -> Response {
    let Some(method) = calls.methods.get(request.uri().path()).map(Arc::clone) else {
        return next.run(request).await;
    };
    method.started.inc();
    calls.clients.count(request.headers(), method.is_stream);
    if let Some(upkeep) = &method.upkeep {
        upkeep.inflight.inc();
    }
    let mut call = Call {
        calls: Arc::clone(&calls),
        method,
        begun: Instant::now(),
        slow,
        ended: false,
    };
    let received = call.method.received.clone();
    let request = request.map(|body| {
        Body::new(Counted {
            body,
            bytes: calls.received_bytes.clone(),
            messages: received,
            frames: Frames::default(),
            call: None,
        })
    });
    // A client that goes away while its call is handled drops this future, and with it the call.
    let (parts, body) = next.run(request).await.into_parts();
    if parts.headers.contains_key(GRPC_STATUS) {
        call.end(code(&parts.headers));
    }
    let body = Body::new(Counted {
        body,
        bytes: calls.sent_bytes.clone(),
        messages: call.method.sent.clone(),
        frames: Frames::default(),
        call: Some(call),
    });
    Response::from_parts(parts, body)
}

const GRPC_STATUS: &str = "grpc-status";

fn code(headers: &HeaderMap) -> usize {
    let code = headers.get(GRPC_STATUS).and_then(|code| code.to_str().ok());
    let code = code.and_then(|code| code.parse().ok());
    code.filter(|code| *code < CODES.len()).unwrap_or(UNKNOWN)
}

/// One call, counted as ended once.
struct Call {
    calls: Arc<Calls>,
    method: Arc<Method>,
    begun: Instant,
    slow: Duration,
    ended: bool,
}

impl Call {
    fn end(&mut self, code: usize) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let (method, took) = (&self.method, self.begun.elapsed());
        if !method.is_stream && took > self.slow {
            // etcd's line.
            tracing::warn!("time spent" = ?took, "response type" = method.path, "request stats");
        }
        method.handled[code].inc();
        method.seconds.observe(took.as_secs_f64());
        if let Some(upkeep) = &method.upkeep {
            upkeep.inflight.dec();
            upkeep.seconds.observe(took.as_secs_f64());
        }
        if method.proposes && matches!(code, DEADLINE_EXCEEDED | UNAVAILABLE) {
            self.calls.proposals_failed.inc();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(CANCELED);
    }
}

/// A body whose bytes are counted, and with it the end of its call.
struct Counted {
    body: Body,
    bytes: IntCounter,
    messages: IntCounter,
    frames: Frames,
    call: Option<Call>,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            if let Some(bytes) = frame.data_ref() {
                self.bytes.inc_by(bytes.len() as u64);
                let ended = self.frames.count(bytes);
                self.messages.inc_by(ended);
            }
            if let (Some(trailers), Some(call)) = (frame.trailers_ref(), &mut self.call) {
                call.end(code(trailers));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
