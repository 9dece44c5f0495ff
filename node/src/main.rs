//! The `quorate-node` binary: flags, logs and signals around one member.

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use quorate_node::config::{Config, Invocation};
use quorate_node::resolve::{HOSTS_FILE_VARIABLE, Resolver};
use quorate_node::server::{Ended, Member};
use quorate_node::storage::{Options, Scrubbing};
use quorate_node::surface::Surface;
use quorate_node::tls::Security;
use quorate_node::{telemetry, version};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|first| first == "snapshot").is_some() {
        return quorate_node::snapshot::command::run(arguments);
    }
    let config = match Config::read(arguments, std::env::vars()) {
        Ok(Invocation::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Ok(Invocation::Serve(config)) => config,
        Err(error) => {
            // There is no log yet, and whoever typed the flags reads this.
            eprintln!("quorate-node: {error}");
            return ExitCode::FAILURE;
        }
    };
    match telemetry::Outputs::open(&config.log_outputs) {
        Ok(outputs) => telemetry::start(config.log_level, config.log_format, outputs),
        Err(error) => {
            eprintln!("quorate-node: {error}");
            return ExitCode::FAILURE;
        }
    }
    match run(&config) {
        Ok(ended) => {
            tracing::info!(?ended, "the member has ended");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: &Config) -> anyhow::Result<Ended> {
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    let ended = runtime.block_on(live(config));
    // A name server that never answers holds a thread, and must not hold the end.
    runtime.shutdown_background();
    ended
}

async fn live(config: &Config) -> anyhow::Result<Ended> {
    tracing::info!(
        name = config.name,
        data_dir = %config.data_dir.display(),
        etcd_version = version::ETCD_VERSION,
        version = version::QUORATE_VERSION,
        "starting a member"
    );
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let stop = asked_to_stop()?;
    tokio::pin!(stop);
    let resolver = Resolver::new(std::env::var_os(HOSTS_FILE_VARIABLE).map(Into::into));
    let security = Security::open(config, resolver.clone())?;
    let surface = Surface::open(config, &security)?;
    let options = Options {
        observer: surface.metrics(),
        scrub: scrubbing(config),
        ..Options::default()
    };
    let rng = SmallRng::seed_from_u64(seed());
    let member = tokio::select! {
        member = Member::start(config, resolver, &security, options, rng) => member?,
        () = &mut stop => return Ok(Ended::Stopped),
    };
    Ok(surface.serve(member, stop).await?)
}

/// An hour between two passes: damage at rest is rare, and a pass of a large member takes about as long.
const SCRUB_PAUSE: Duration = Duration::from_secs(3_600);

fn scrubbing(config: &Config) -> Option<Scrubbing> {
    let bytes_per_second = config.scrub_rate_bytes;
    let pause = SCRUB_PAUSE;
    (bytes_per_second > 0).then_some(Scrubbing {
        bytes_per_second,
        pause,
    })
}

/// Resolves at SIGTERM or SIGINT, also one that came before it was asked.
fn asked_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("take SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("take SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop");
    })
}

/// Differs between members and starts, as what is drawn from it must not come twice: the standard library keys every hasher
/// from the operating system's randomness. Time and process ids would not do; in containers all of these are 1.
fn seed() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
