//! What the node was told: etcd's flags and `ETCD_*` variables, read once into one typed value.
//!
//! A flag wins over its variable, the last of a repeated flag wins, `-flag` is `--flag`, an empty variable is none, and a
//! `--config-file` wins over all: all as etcd has it. Every flag of etcd 3.6 and 3.7 is known. What cannot work ends the start
//! with a sentence that names the flag and the way out; what has no meaning here is named in one warning, and refused where
//! ignoring it would endanger data or security.
//!
//! What this module does not do: read files but that one, resolve names, or look into the data directory. The `--initial-*` flags matter
//! only to a member that has no data yet, so that [`Config::check_founding`] is a step of its own.

mod arguments;
mod auth;
mod connections;
mod features;
mod file;
mod flags;
mod lists;
mod older;
mod retention;
mod security;
mod switch;
mod unserved;
mod url;

pub use auth::AuthSettings;
pub use connections::{Connections, Handshakes};
pub use features::Features;
pub use flags::{LogFormat, LogLevel, MetricsDetail, REQUEST_BYTES_LIMIT};
pub use retention::AutoCompaction;
pub use security::{KeyPair, Protocol, Side, TlsFlags};
pub use url::{Scheme, Url, UrlError};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Why the start ends. The text is for the user: one sentence, the flag's name, the way out.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ConfigError(pub(crate) String);

/// What the arguments ask for.
#[derive(Debug)]
pub enum Invocation {
    /// Run a member.
    Serve(Box<Config>),
    /// Print this text and end with success (`--help`, `--version`).
    Print(String),
}

/// Whether the member founds a cluster or joins one. Only read while the data directory is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ClusterState {
    /// All of `--initial-cluster` found the cluster together.
    New,
    /// The cluster exists and has added this member already; it asks the others who it is.
    Existing,
}

/// The settings of one member, each under the name of its flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `--name`: this member's name in `initial_cluster`.
    pub name: String,
    /// `--data-dir`: where log and checkpoints live.
    pub data_dir: PathBuf,
    /// `--wal-dir`: where the log lives, if apart.
    pub wal_dir: Option<PathBuf>,
    /// `--listen-client-urls`: where gRPC and HTTP are served. Every host is an address or `localhost`.
    pub listen_client_urls: Vec<Url>,
    /// `--listen-client-http-urls`: where HTTP is served; if there are any, the ports above serve gRPC alone.
    pub listen_client_http_urls: Vec<Url>,
    /// `--advertise-client-urls`: what the member list says about this member.
    pub advertise_client_urls: Vec<Url>,
    /// `--listen-peer-urls`: where other members are heard. Every host is an address or `localhost`.
    pub listen_peer_urls: Vec<Url>,
    /// `--initial-advertise-peer-urls`: how other members reach this one.
    pub initial_advertise_peer_urls: Vec<Url>,
    /// `--initial-cluster`: the founding members' peer URLs by name.
    pub initial_cluster: BTreeMap<String, Vec<Url>>,
    /// `--initial-cluster-state`.
    pub initial_cluster_state: ClusterState,
    /// `--force-new-cluster`: this member goes on without all others, for ever.
    pub force_new_cluster: bool,
    /// `--initial-cluster-token`: keeps clusters with equal URLs apart; part of every id derived at founding.
    pub initial_cluster_token: String,
    /// `--listen-metrics-urls`: where health and metrics are served besides the client port, with its certificate.
    pub listen_metrics_urls: Vec<Url>,
    /// `--metrics`.
    pub metrics: MetricsDetail,
    /// `--heartbeat-interval`, which is also the length of a tick.
    pub heartbeat_interval_ms: u64,
    /// `--election-timeout`, at least five heartbeats.
    pub election_timeout_ms: u64,
    /// `--snapshot-count`: applied entries between two checkpoints.
    pub snapshot_count: u64,
    /// `--watch-waiting-bytes`: what may wait for all streams of watchers together, in bytes.
    pub watch_waiting_bytes: u64,
    /// `--scrub-rate-bytes`: bytes a second that are read again in the background; 0: none.
    pub scrub_rate_bytes: u64,
    /// `--snapshot-catchup-entries`: entries kept in memory behind a checkpoint for slow followers.
    pub snapshot_catchup_entries: u64,
    /// `--quota-backend-bytes`; etcd's 2 GiB where 0 was given, and no bound at all where it was negative.
    pub quota_backend_bytes: u64,
    /// `--auto-compaction-mode` with `--auto-compaction-retention`; none where the retention is 0.
    pub auto_compaction: Option<AutoCompaction>,
    /// `--max-request-bytes`.
    pub max_request_bytes: usize,
    /// `--max-txn-ops`.
    pub max_txn_ops: usize,
    /// `--max-learners`.
    pub max_learners: usize,
    /// `--watch-progress-notify-interval`; etcd's ten minutes where 0 was given.
    pub watch_progress_notify_interval: Duration,
    /// `--pre-vote`.
    pub pre_vote: bool,
    /// `--strict-reconfig-check`.
    pub strict_reconfig_check: bool,
    /// `--auth-token`, `--auth-token-ttl` and `--bcrypt-cost`.
    pub auth: AuthSettings,
    /// `--log-level`.
    pub log_level: LogLevel,
    /// `--log-format`.
    pub log_format: LogFormat,
    /// `--log-outputs`: `default`, `stderr`, `stdout` or files.
    pub log_outputs: Vec<String>,
    /// `--enable-grpc-gateway`.
    pub enable_grpc_gateway: bool,
    /// `--warning-unary-request-duration`: how long a unary call may take before the log tells of it.
    pub warning_unary: Duration,
    /// `--warning-apply-duration`: the same of applying what is committed.
    pub warning_apply: Duration,
    /// `--feature-gates`.
    pub features: Features,
    /// How clients' connections are kept.
    pub connections: Connections,
    /// TLS on the client port and on `--listen-metrics-urls`.
    pub client_tls: TlsFlags,
    /// TLS between members.
    pub peer_tls: TlsFlags,
    /// `--cipher-suites`, `--tls-min-version` and `--tls-max-version`.
    pub tls_protocol: Protocol,
    /// `--self-signed-cert-validity`.
    pub self_signed_years: u32,
    /// What to tell the user once the log is open: odd, yet nothing that keeps the member from working.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the arguments (without the program's name) and the environment.
    ///
    /// # Errors
    /// A sentence naming the first flag that is unknown, malformed, contradictory or not served.
    pub fn read(
        arguments: impl IntoIterator<Item = String>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Invocation, ConfigError> {
        flags::read(arguments, environment)
    }

    /// How many ticks (heartbeat intervals) an election timeout has, rounded down, never under 5.
    #[must_use]
    pub const fn election_ticks(&self) -> u64 {
        self.election_timeout_ms / self.heartbeat_interval_ms
    }

    /// Whether the flags that found or join a cluster agree with each other. To be asked only when the data directory is
    /// new: a member that has data knows who it is, and its flags may have aged.
    ///
    /// # Errors
    /// A sentence naming the flags that contradict each other.
    pub fn check_founding(&self) -> Result<(), ConfigError> {
        let Some(listed) = self.initial_cluster.get(&self.name) else {
            return Err(ConfigError(format!(
                "--initial-cluster does not list this member: it names {}, and --name is {:?}; add \
                 \"{}=<peer URL>\" to --initial-cluster or correct --name",
                names(&self.initial_cluster),
                self.name,
                self.name
            )));
        };
        if listed != &self.initial_advertise_peer_urls {
            return Err(ConfigError(format!(
                "--initial-cluster has {} for {:?} while --initial-advertise-peer-urls has {}; make the two equal",
                joined(listed),
                self.name,
                joined(&self.initial_advertise_peer_urls)
            )));
        }
        self.check_urls_are_distinct()
    }

    fn check_urls_are_distinct(&self) -> Result<(), ConfigError> {
        let mut owners: BTreeMap<&Url, &str> = BTreeMap::new();
        for (name, urls) in &self.initial_cluster {
            for url in urls {
                if let Some(other) = owners.insert(url, name) {
                    return Err(ConfigError(format!(
                        "--initial-cluster gives {url} to both {other:?} and {name:?}; every member needs a peer URL of its own"
                    )));
                }
            }
        }
        Ok(())
    }
}

fn names(cluster: &BTreeMap<String, Vec<Url>>) -> String {
    let names: Vec<_> = cluster.keys().map(|name| format!("{name:?}")).collect();
    names.join(", ")
}

fn joined(urls: &[Url]) -> String {
    let urls: Vec<_> = urls.iter().map(ToString::to_string).collect();
    urls.join(",")
}

#[cfg(test)]
mod tests;
