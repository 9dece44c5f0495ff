//! One member, from its start to its end: who it is, its loop, its ports.
//!
//! What this module deliberately does not do: read flags, set up logs, or take signals; `main.rs` does. Health and metrics
//! come in as routes.

mod rounds;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use raft::{PeerId, Raft};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use store::MemberAttributes;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::api::counts::Counts;
use crate::api::port::{self, Port, Serves};
use crate::api::{self, LeaseIds, Limits};
use crate::auth::{Guard, JwtError, Passwords, Provider, Tokens};
use crate::bootstrap::{self, Beginning, BootstrapError};
use crate::config::{AutoCompaction, Config, Connections, Url};
use crate::driver;
use crate::handle::{EVENTS_MAX, Handle};
use crate::replica::{LeaseClock, Replica, Retention, Settings, Unreadable};
use crate::resolve::Resolver;
use crate::status::Status;
use crate::storage::{Identity, Options, StorageError, Vitals};
use crate::tls::{Acceptor, Security};
use crate::transport::{self, Context, Dialer, Peers, Traffic};
use crate::watch::Watches;
use rounds::{Channels, Rounds, Schedule};

/// How long a client's request may wait beside two election timeouts; etcd's figure.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How often long leases are checkpointed, if they are; etcd's figure.
const LEASE_CHECKPOINTS_EVERY: Duration = Duration::from_secs(300);
/// How long the disk may take to finish at the end: enough for a checkpoint that is half written, and with everything that
/// comes before it within the half minute that Kubernetes gives.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// Why a member cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It does not know who it is, or cannot read its data.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// The keys of its tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] JwtError),
    /// What its disk holds cannot have been written by a sound member.
    #[error("cannot recover the log")]
    Recover(#[source] raft::Unrecoverable),
    /// A port cannot be opened.
    #[error("cannot listen on {url}")]
    Listen {
        /// By the flags.
        url: Url,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// Why a member that ran ended, other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The disk failed; nothing can be promised any more.
    #[error("the disk failed, and a member that cannot write has nothing to say")]
    Storage(#[source] StorageError),
    /// The disk did not finish at the end. Nobody was told that what is missing is durable.
    #[error(
        "stopped, but the disk did not finish within {0:?}: it hangs, and its last writes are unconfirmed"
    )]
    DiskHangs(Duration),
    /// The log holds what this program cannot read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// How a member ended that ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// The cluster has removed it; it must not be started again.
    Removed,
}

/// A member that takes part: its loop runs, its ports are open; clients are served by [`Member::serve`].
#[derive(Debug)]
pub struct Member {
    handle: Handle,
    vitals: Arc<Vitals>,
    traffic: Arc<Traffic>,
    rounds: JoinHandle<Result<Ended, ServeError>>,
    stop_rounds: CancellationToken,
    /// Closes the client port and ends its streams.
    close: CancellationToken,
    clients: Vec<Port>,
    connections: Counts,
    peers: Vec<Port>,
    peer_routes: Router,
    client_routes: Router,
    health: HealthReporter,
}

impl Member {
    /// Finds out who it is, opens storage and ports, and takes part in consensus.
    ///
    /// `security` is what both ports and the way to others are secured with; `rng` draws the numbers that must differ between members and starts; `options` lay the log out.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        config: &Config,
        resolver: Resolver,
        security: &Security,
        options: Options,
        rng: SmallRng,
    ) -> Result<Self, StartError> {
        Self::begin(config, resolver, security, options, rng, CLOSE_PATIENCE).await
    }

    async fn begin(
        config: &Config,
        resolver: Resolver,
        security: &Security,
        options: Options,
        mut rng: SmallRng,
        close_patience: Duration,
    ) -> Result<Self, StartError> {
        let provider = Provider::load(&config.auth.tokens)?;
        let (clients, connections) = client_ports(config, security)?;
        let dialer = Dialer::new(resolver, security.dialing());
        let beginning = bootstrap::begin(config, &dialer, options).await?;
        // Not before: founders ask each other whether they are running already, and a port that takes connections and
        // answers nothing would keep them all waiting for each other.
        let peers = ports(
            &config.listen_peer_urls,
            Some(&security.peers()),
            &config.connections.of_peers(),
        )?;
        let identity = beginning.identity;
        let vitals = beginning.storage.vitals();
        let (events, waiting) = mpsc::channel(EVENTS_MAX);
        let (status, published) = watch::channel(Status::new(identity));
        let (watches, asks) = Watches::new(config.watch_waiting_bytes);
        let handle = Handle::new(events, published).with_watches(watches);
        let tokens = Arc::new(Tokens::new(config.auth.token_ttl));
        let channels = Channels {
            events: waiting,
            asks,
            status,
            tokens: Arc::clone(&tokens),
        };
        let context = context(config, identity, dialer.clone(), handle.clone());
        let rounds = begin_rounds(config, beginning, &context, &mut rng, channels)?;
        let stop_rounds = CancellationToken::new();
        let rounds = tokio::spawn(rounds.run(stop_rounds.clone(), close_patience));
        let (health, health_service) = tonic_health::server::health_reporter();
        let guard = guard(config, handle.clone(), tokens, provider);
        let close = CancellationToken::new();
        let lease_ids = LeaseIds::new(rng.random());
        let client_routes = api::routes(
            guard,
            limits(config),
            dialer,
            lease_ids,
            health_service,
            close.clone(),
        );
        let traffic = Arc::clone(&context.traffic);
        let peer_routes = transport::routes(context);
        Ok(Self {
            handle,
            vitals,
            traffic,
            rounds,
            stop_rounds,
            close,
            clients,
            connections,
            peers,
            peer_routes,
            client_routes,
            health,
        })
    }

    /// The gRPC services of the client port, to be called in this process.
    pub fn client_routes(&self) -> Router {
        self.client_routes.clone()
    }

    /// How to ask it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// How its disk is doing.
    #[must_use]
    pub fn vitals(&self) -> Arc<Vitals> {
        Arc::clone(&self.vitals)
    }

    /// The connections of its clients.
    #[must_use]
    pub const fn connections(&self) -> &Counts {
        &self.connections
    }

    /// What goes to and comes from the other members.
    #[must_use]
    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// Serves clients and peers until `stop` resolves or the member ends by itself. When told to stop, it first hands
    /// leadership over and sees that it is taken, for up to two election timeouts; then it takes no more calls, answers
    /// everybody who waits, and closes its storage.
    ///
    /// `complete` makes of the gRPC routes everything that the client port serves.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn serve(
        self,
        complete: impl FnOnce(Router) -> Router,
        stop: impl Future<Output = ()>,
    ) -> Result<Ended, ServeError> {
        let close = self.close;
        let client_routes = complete(self.client_routes);
        let clients = open_ports(self.clients, &client_routes, &close);
        // Peers hold their streams open for ever: these ports close with the value, without waiting for anybody.
        let _peers = open_ports(self.peers, &self.peer_routes, &CancellationToken::new());
        let mut rounds = self.rounds;
        let ended = tokio::select! {
            ended = &mut rounds => ended,
            () = stop => {
                hand_over(&self.handle).await;
                // Calls under way may end well, as the loop still runs; no new ones come.
                self.health.set_service_status("", ServingStatus::NotServing).await;
                close.cancel();
                clients.join_all().await;
                self.stop_rounds.cancel();
                rounds.await
            }
        };
        close.cancel();
        match ended {
            Ok(ended) => ended,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

/// Who may do what, for all services.
fn guard(config: &Config, handle: Handle, tokens: Arc<Tokens>, provider: Provider) -> Guard {
    Guard {
        handle,
        tokens,
        provider,
        passwords: Passwords::new(config.auth.bcrypt_cost),
        client_cert_auth: config.client_tls.client_cert_auth,
        patience: request_timeout(config),
    }
}

fn open_ports(ports: Vec<Port>, routes: &Router, close: &CancellationToken) -> JoinSet<()> {
    let serve = |port: Port| port.serve(routes.clone(), close.clone());
    ports.into_iter().map(serve).collect()
}

async fn hand_over(handle: &Handle) {
    if !handle.with_status(Status::is_leader) {
        return;
    }
    match handle.hand_over().await {
        Ok(()) => tracing::info!("handed leadership over, or had nobody to hand it to"),
        Err(error) => tracing::warn!(%error, "nobody took leadership over; stopping all the same"),
    }
}

/// The ports of clients, and what counts on all of them: one kind for everything, or one for gRPC and one for HTTP.
fn client_ports(config: &Config, security: &Security) -> Result<(Vec<Port>, Counts), StartError> {
    let counts = Counts::default();
    let acceptor = security.clients();
    let open = |urls| {
        let ports = ports(urls, acceptor.as_ref(), &config.connections)?;
        let counted = ports.into_iter().map(|port| port.counted(counts.clone()));
        Ok::<Vec<Port>, StartError>(counted.collect())
    };
    let grpc = open(&config.listen_client_urls)?;
    if config.listen_client_http_urls.is_empty() {
        return Ok((grpc, counts));
    }
    let http = open(&config.listen_client_http_urls)?;
    let grpc = grpc.into_iter().map(|port| port.only(Serves::Grpc));
    let http = http.into_iter().map(|port| port.only(Serves::Http));
    Ok((grpc.chain(http).collect(), counts))
}

fn ports(
    urls: &[Url],
    acceptor: Option<&Arc<Acceptor>>,
    connections: &Connections,
) -> Result<Vec<Port>, StartError> {
    port::listen(urls, acceptor, connections)
        .map_err(|(url, source)| StartError::Listen { url, source })
}

/// What ways to the other members share.
fn context(config: &Config, identity: Identity, dialer: Dialer, handle: Handle) -> Context {
    let advertised = config.initial_advertise_peer_urls.iter();
    Context {
        identity,
        peer_urls: advertised.map(ToString::to_string).collect(),
        dialer,
        handle,
        removed: CancellationToken::new(),
        traffic: Arc::default(),
    }
}

fn begin_rounds(
    config: &Config,
    beginning: Beginning,
    context: &Context,
    rng: &mut SmallRng,
    channels: Channels,
) -> Result<Rounds, StartError> {
    let Beginning {
        identity,
        storage,
        store,
        recovered,
        durable,
        known,
    } = beginning;
    let settings = settings(config, identity.member_id, rng.random());
    let applied = recovered.snapshot.clone();
    let raft = Raft::recover(settings.raft.clone(), recovered, SmallRng::from_rng(rng))
        .map_err(StartError::Recover)?;
    let mut peers = Peers::new(context.clone());
    peers.update(&known);
    let schedule = Schedule {
        tick: Duration::from_millis(config.heartbeat_interval_ms),
        driver: driver::Schedule {
            farewell_ticks: config.election_ticks(),
            checkpoint_entries: config.snapshot_count,
        },
        warning_apply: config.warning_apply,
        watchers_max: config.connections.max_watchers_per_stream,
    };
    let mut replica = Replica::new(raft, store, applied, durable, settings);
    replica.campaign_if_alone();
    Ok(Rounds::new(
        replica,
        storage,
        peers,
        channels,
        schedule,
        context.removed.clone(),
    ))
}

fn settings(config: &Config, member_id: u64, starter: u64) -> Settings {
    let mut raft = raft::Config::new(PeerId(member_id));
    raft.election_ticks = u32::try_from(config.election_ticks()).unwrap_or(u32::MAX);
    raft.pre_vote = config.pre_vote;
    raft.catchup_entries = config.snapshot_catchup_entries;
    let tick_ms = config.heartbeat_interval_ms;
    let client_urls = config
        .advertise_client_urls
        .iter()
        .map(ToString::to_string)
        .collect();
    Settings {
        raft,
        request_timeout_ticks: request_timeout(config).as_millis() as u64 / tick_ms,
        strict_reconfig_check: config.strict_reconfig_check,
        attributes: MemberAttributes {
            id: member_id,
            name: config.name.clone(),
            client_urls,
        },
        retention: config.auto_compaction.map(|kept| retention(kept, tick_ms)),
        quota_bytes: config.quota_backend_bytes,
        leases: LeaseClock {
            tick_ms,
            checkpoint_every: config
                .features
                .is_on("LeaseCheckpoint")
                .then(|| (LEASE_CHECKPOINTS_EVERY.as_millis() as u64).div_ceil(tick_ms)),
        },
        starter,
    }
}

/// Durations in ticks, rounded up: no history is forgotten early.
fn retention(kept: AutoCompaction, tick_ms: u64) -> Retention {
    let ticks = |duration: Duration| (duration.as_millis() as u64).div_ceil(tick_ms);
    match kept {
        AutoCompaction::Periodic(window) => Retention::Window {
            ticks: ticks(window),
            hour: ticks(Duration::from_secs(3_600)),
        },
        AutoCompaction::Revisions(keep) => Retention::Revisions {
            keep: i64::try_from(keep).unwrap_or(i64::MAX),
            every: ticks(Duration::from_secs(300)),
        },
    }
}

fn request_timeout(config: &Config) -> Duration {
    REQUEST_TIMEOUT + 2 * Duration::from_millis(config.election_timeout_ms)
}

/// One and a half election timeouts in whole ticks, then in whole seconds: a lease must outlive a change of leader. etcd's rule.
fn min_lease_ttl(config: &Config) -> i64 {
    let ticks = 3 * config.election_ticks() / 2;
    let milliseconds = ticks.saturating_mul(config.heartbeat_interval_ms);
    i64::try_from(milliseconds.div_ceil(1_000)).unwrap_or(i64::MAX)
}

fn limits(config: &Config) -> Limits {
    Limits {
        max_request_bytes: config.max_request_bytes,
        max_txn_ops: config.max_txn_ops,
        max_learners: u32::try_from(config.max_learners).unwrap_or(u32::MAX),
        min_lease_ttl: min_lease_ttl(config),
        quota_bytes: config.quota_backend_bytes,
        progress_interval: config.watch_progress_notify_interval,
        election_timeout: Duration::from_millis(config.election_timeout_ms),
        request_timeout: request_timeout(config),
    }
}

#[cfg(test)]
mod tests;
