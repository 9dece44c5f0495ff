//! The `quorate-node` binary: flags, logs and signals around one member.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use quorate_node::config::{Config, Invocation, LogLevel};
use quorate_node::resolve::{HOSTS_FILE_VARIABLE, Resolver};
use quorate_node::server::{Ended, Member};
use quorate_node::storage::Options;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1);
    match Config::read(arguments, std::env::vars()) {
        Ok(Invocation::Print(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(Invocation::Serve(config)) => match run(&config) {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("quorate-node: {error:#}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("quorate-node: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: &Config) -> anyhow::Result<Ended> {
    let level = match config.log_level {
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Warn => tracing::Level::WARN,
        _ => tracing::Level::ERROR,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .init();
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let resolver = Resolver::new(std::env::var_os(HOSTS_FILE_VARIABLE).map(Into::into));
    let rng = SmallRng::seed_from_u64(seed());
    let member = Member::start(config, resolver, Options::default(), rng).await?;
    let mut terminate = signal(SignalKind::terminate()).context("take SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("take SIGINT")?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(member.serve(axum::Router::new(), stop).await?)
}

/// Differs between members and starts: what is drawn from it must not come twice.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the node draws its randomness"
)]
fn seed() -> u64 {
    let nanoseconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |age| age.as_nanos());
    (nanoseconds as u64) ^ u64::from(std::process::id()).rotate_left(40)
}
