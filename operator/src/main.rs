//! The operator's program: reads its flags, connects, and lives until told to stop.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Parser;
use quorate_operator::config::Config;
use quorate_operator::context::Context;
use quorate_operator::gate::Gate;
use quorate_operator::members::etcd::EtcdMembers;
use quorate_operator::metrics::Metrics;
use quorate_operator::process::{Election, Ended, live};
use quorate_operator::run::Scope;
use quorate_operator::serve::{Pulse, serve};
use quorate_operator::{connect, telemetry};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let config = Config::parse();
    match start(config) {
        Ok(Ended::Stopped) => ExitCode::SUCCESS,
        // The lease is somebody else's now. A successor with an empty head is safer than any going on.
        Ok(Ended::LostLease) => ExitCode::from(3),
        Err(error) => {
            eprintln!("quorate-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn start(config: Config) -> anyhow::Result<Ended> {
    config.check().map_err(|sentence| anyhow!(sentence))?;
    telemetry::begin(config.log_format, &config.log_level).context("read --log-level")?;
    let stop = stop_on_signals()?;
    let metrics = Arc::new(Metrics::new());
    let server = kube::Config::infer().await.context("find the API server")?;
    let client =
        connect(server, Arc::clone(&metrics)).context("make a client for the API server")?;
    let election = config.leader_elect.then(|| election(&config));
    let mut ctx = Context::new(client, Arc::new(EtcdMembers::default()));
    ctx.metrics = Arc::clone(&metrics);
    ctx.instance = config.identity.as_str().into();
    ctx.own_pods = config.own_pods();
    ctx.gate = if election.is_some() {
        Gate::leased()
    } else {
        Gate::always()
    };
    let pulse = Pulse::default();
    let address = config.metrics_bind_address;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address}"))?;
    let served = CancellationToken::new();
    let pages = tokio::spawn(serve(listener, metrics, pulse.clone(), served.clone()));
    let scope = Scope {
        namespaces: config.namespaces,
        resync: config.resync,
        workers: config.workers,
    };
    let ended = live(ctx, election, scope, pulse, stop).await;
    served.cancel();
    pages
        .await
        .context("serve metrics")?
        .context("serve metrics")?;
    Ok(ended)
}

fn election(config: &Config) -> Election {
    // A name alone is not enough: a pod's container may be started anew while the old one still has a write in flight.
    let suffix: u64 = rand::random();
    Election {
        namespace: config.lease_namespace.clone(),
        name: config.lease_name.clone(),
        identity: format!("{}_{suffix:016x}", config.identity),
        timing: config.timing(),
    }
}

/// SIGTERM and SIGINT ask for a stop in good order; a second one ends the process where it stands.
fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("asked to stop");
        asked.cancel();
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        std::process::exit(130);
    });
    Ok(stop)
}
