//! The lab's traffic: the clients of [`e2e::traffic`] as a small server that runs in the cluster and is told over HTTP.
//!
//! `POST /runs/NAME` starts clients, `GET /runs/NAME` says how they stand, `GET /runs/NAME/gap` measures, and
//! `POST /runs/NAME/finish` ends them and gives the whole history; `DELETE /runs/NAME` drops the run. Several may be under way,
//! each against a cluster of its own. `e2e::kind::traffic` is the other end.
//!
//! It judges nothing, keeps nothing on disk, and is no load generator to measure with: it records every operation.

mod run;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use e2e::history::{Gap, History};
use e2e::kind::traffic::{Order, PORT, State as Standing, Stretch};
use run::Run;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// All runs by name.
type Runs = Arc<Mutex<HashMap<String, Arc<Run>>>>;
/// A refusal is a status and a sentence.
type Refusal = (StatusCode, String);

#[tokio::main]
async fn main() -> Result<()> {
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/runs/{name}", post(start).get(standing).delete(forget))
        .route("/runs/{name}/gap", get(gap))
        .route("/runs/{name}/finish", post(finish))
        .with_state(Runs::default());
    let listener = TcpListener::bind(("0.0.0.0", PORT))
        .await
        .with_context(|| format!("listen on port {PORT}"))?;
    let mut stop = signal(SignalKind::terminate()).context("take SIGTERM")?;
    tokio::select! {
        served = axum::serve(listener, routes) => served.context("serve"),
        _ = stop.recv() => Ok(()),
    }
}

async fn start(
    State(runs): State<Runs>,
    Path(name): Path<String>,
    Json(order): Json<Order>,
) -> Result<(), Refusal> {
    let run = Run::start(order).map_err(|text| (StatusCode::BAD_REQUEST, text))?;
    // What was there of this name is left to its last holder, and ends with it.
    runs.lock().expect("no holder panics").insert(name, run);
    Ok(())
}

async fn forget(State(runs): State<Runs>, Path(name): Path<String>) {
    runs.lock().expect("no holder panics").remove(&name);
}

async fn standing(
    State(runs): State<Runs>,
    Path(name): Path<String>,
) -> Result<Json<Standing>, Refusal> {
    Ok(Json(find(&runs, &name)?.standing().await.map_err(gone)?))
}

async fn gap(
    State(runs): State<Runs>,
    Path(name): Path<String>,
    Query(stretch): Query<Stretch>,
) -> Result<Json<Option<Gap>>, Refusal> {
    Ok(Json(find(&runs, &name)?.gap(stretch).await.map_err(gone)?))
}

async fn finish(
    State(runs): State<Runs>,
    Path(name): Path<String>,
) -> Result<Json<History>, Refusal> {
    let run = find(&runs, &name)?;
    let unread = |text| (StatusCode::SERVICE_UNAVAILABLE, text);
    run.finish().await.map(Json).map_err(unread)
}

fn find(runs: &Runs, name: &str) -> Result<Arc<Run>, Refusal> {
    let runs = runs.lock().expect("no holder panics");
    let missing = || (StatusCode::NOT_FOUND, format!("there is no run {name}"));
    runs.get(name).cloned().ok_or_else(missing)
}

fn gone(text: String) -> Refusal {
    (StatusCode::CONFLICT, text)
}
