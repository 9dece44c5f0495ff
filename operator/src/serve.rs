//! `/metrics`, `/healthz` and `/readyz`, over plain HTTP.
//!
//! `/healthz` fails when the process has stopped making progress: the election or a watch has heard nothing from the API
//! server for far longer than its rhythm allows, although it should have. A restart may then help; an API server that is
//! away is no reason for one, so what counts is that the *attempts* go on. `/readyz` says whether the API server has
//! been reached since the start.
//!
//! It deliberately offers no TLS and no authentication: nothing here is secret, and a NetworkPolicy or a proxy does it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// The signs of life of the process's loops. Clones share it.
#[derive(Clone, Default)]
pub struct Pulse(Arc<Mutex<BTreeMap<String, Beat>>>);

#[derive(Debug, Clone, Copy)]
struct Beat {
    last: Instant,
    patience: Duration,
    reached: bool,
}

impl Pulse {
    /// The loop called `name` has tried; silence for longer than `patience` will mean that it hangs.
    pub fn tried(&self, name: &str, patience: Duration) {
        let mut beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reached = beats.get(name).is_some_and(|beat| beat.reached);
        beats.insert(
            name.to_owned(),
            Beat {
                last: Instant::now(),
                patience,
                reached,
            },
        );
    }

    /// The loop called `name` has been answered by the API server.
    pub fn reached(&self, name: &str, patience: Duration) {
        let mut beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        beats.insert(
            name.to_owned(),
            Beat {
                last: Instant::now(),
                patience,
                reached: true,
            },
        );
    }

    /// The loop called `name` has ended on purpose.
    pub fn ended(&self, name: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }

    /// The loops that have been silent for too long at `now`.
    #[must_use]
    pub fn silent(&self, now: Instant) -> Vec<String> {
        let beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let late = |beat: &Beat| now.saturating_duration_since(beat.last) > beat.patience;
        beats
            .iter()
            .filter(|(_, beat)| late(beat))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The loops that the API server has never answered.
    #[must_use]
    pub fn unreached(&self) -> Vec<String> {
        let beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        beats
            .iter()
            .filter(|(_, beat)| !beat.reached)
            .map(|(name, _)| name.clone())
            .collect()
    }
}

#[derive(Clone)]
struct Served {
    metrics: Arc<Metrics>,
    pulse: Pulse,
}

/// The three pages.
pub fn router(metrics: Arc<Metrics>, pulse: Pulse) -> Router {
    Router::new()
        .route(
            "/metrics",
            get(|State(served): State<Served>| async move { served.metrics.text() }),
        )
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Served { metrics, pulse })
}

/// Serves the three pages until `stop`.
///
/// # Errors
/// If the listener breaks.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    pulse: Pulse,
    stop: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, router(metrics, pulse))
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
}

async fn healthz(State(served): State<Served>) -> (StatusCode, String) {
    verdict(served.pulse.silent(Instant::now()), "silent for too long")
}

async fn readyz(State(served): State<Served>) -> (StatusCode, String) {
    verdict(
        served.pulse.unreached(),
        "not yet answered by the API server",
    )
}

fn verdict(wrong: Vec<String>, what: &str) -> (StatusCode, String) {
    if wrong.is_empty() {
        return (StatusCode::OK, "ok".into());
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("{what}: {}", wrong.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn a_loop_is_silent_only_after_its_patience_and_not_once_it_ended() {
        let pulse = Pulse::default();
        pulse.tried("lease", PATIENCE);
        pulse.tried("watch Pod", PATIENCE * 10);
        let later = Instant::now() + PATIENCE + Duration::from_secs(1);
        assert_eq!(pulse.silent(Instant::now()), Vec::<String>::new());
        assert_eq!(pulse.silent(later), ["lease"]);
        pulse.ended("lease");
        assert_eq!(pulse.silent(later), Vec::<String>::new());
    }

    #[test]
    fn being_reached_once_is_enough_to_be_ready() {
        let pulse = Pulse::default();
        pulse.tried("lease", PATIENCE);
        assert_eq!(pulse.unreached(), ["lease"]);
        pulse.reached("lease", PATIENCE);
        pulse.tried("lease", PATIENCE);
        assert_eq!(pulse.unreached(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn the_pages_answer() {
        let (metrics, pulse) = (Arc::new(Metrics::new()), Pulse::default());
        pulse.tried("lease", PATIENCE);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, metrics, pulse.clone(), stop.clone()));
        assert!(page(address, "/metrics").await.contains("workqueue_depth"));
        assert!(page(address, "/healthz").await.ends_with("ok"));
        assert!(
            page(address, "/readyz")
                .await
                .contains("not yet answered by the API server: lease")
        );
        pulse.reached("lease", PATIENCE);
        assert!(page(address, "/readyz").await.ends_with("ok"));
        stop.cancel();
        server.await.expect("no panic").expect("a clean end");
    }

    async fn page(address: std::net::SocketAddr, path: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(address)
            .await
            .expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }
}
