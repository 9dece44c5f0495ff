//! The flags themselves, and how they become a [`Config`].
//!
//! What this module does not do: explain etcd. The help says in one line each what a flag does here.

use super::arguments::Arguments;
use super::auth::AuthFlags;
use super::connections::{ConnectionFlags, duration};
use super::features::Features;
use super::file;
use super::lists::{Cluster, Urls, cluster, listen_urls, optional_listen_urls, urls};
use super::retention::AutoCompaction;
use super::security::{self, Security};
use super::switch::switch;
use super::url::Url;
use super::{ClusterState, Config, ConfigError, Invocation};
use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `--log-level`, in etcd's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What an operator of the cluster wants to know.
    Info,
    /// What may need a hand.
    Warn,
    /// What went wrong.
    Error,
    /// As `error`; etcd's word.
    Panic,
    /// As `error`; etcd's word.
    Fatal,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line, as etcd writes it.
    Json,
    /// Lines for people; etcd's word for it.
    Console,
    /// The same as `console`.
    Text,
}

/// The most that `--max-request-bytes` can be, half a gibibyte: what peers can hand each other in one message. etcd warns
/// beyond 10 MiB.
pub const REQUEST_BYTES_LIMIT: usize = 512 << 20;

/// `--metrics`: `extensive` adds the histogram of gRPC handling times in etcd; here it is always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MetricsDetail {
    /// etcd's default.
    Basic,
    /// With the time each gRPC call took.
    Extensive,
}

/// A member of a replicated key-value cluster, with etcd's API and etcd's flags. Every flag can be given as an environment
/// variable: --data-dir as ETCD_DATA_DIR.
#[derive(Parser, Debug)]
#[command(
    name = "quorate-node",
    disable_version_flag = true,
    after_help = "quorate-node snapshot --help: look into snapshots of etcd's format, and make members of them.",
    args_override_self = true
)]
struct Flags {
    /// Print the etcd version that is served and our own.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    version: bool,
    /// This member's name.
    #[arg(long, value_name = "NAME", default_value = "default")]
    name: String,
    /// Where log and checkpoints live [default: NAME.etcd]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Where the log lives, if not in --data-dir. It stays there once it is there.
    #[arg(long, value_name = "DIR", default_value = "")]
    wal_dir: String,
    /// A file with all flags as keys, in YAML. Other flags and variables are ignored then.
    #[arg(long, value_name = "FILE", default_value = "")]
    config_file: String,
    /// Addresses to serve clients on, gRPC and HTTP.
    #[arg(long, value_name = "URLS", value_parser = listen_urls, default_value = "http://localhost:2379")]
    listen_client_urls: Urls,
    /// Addresses to serve HTTP on; those above then serve gRPC alone.
    #[arg(long, value_name = "URLS", value_parser = optional_listen_urls, default_value = "")]
    listen_client_http_urls: Urls,
    /// Client URLs to tell the cluster [default: http://localhost:2379]
    #[arg(long, value_name = "URLS", value_parser = urls)]
    advertise_client_urls: Option<Urls>,
    /// Addresses to hear other members on.
    #[arg(long, value_name = "URLS", value_parser = listen_urls, default_value = "http://localhost:2380")]
    listen_peer_urls: Urls,
    /// Peer URLs that other members reach this one by.
    #[arg(long, value_name = "URLS", value_parser = urls, default_value = "http://localhost:2380")]
    initial_advertise_peer_urls: Urls,
    /// The founding members [default: NAME=INITIAL-ADVERTISE-PEER-URLS]
    #[arg(long, value_name = "NAME=URL,...", value_parser = cluster)]
    initial_cluster: Option<Cluster>,
    /// Found a cluster, or join one that added this member already. Ignored once there is data.
    #[arg(long, value_enum, default_value = "new")]
    initial_cluster_state: ClusterState,
    /// Go on alone with this member's data and remove all other members, which must be lost for ever; for one start only.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_name = "BOOL", action = clap::ArgAction::Set)]
    force_new_cluster: bool,
    /// Keeps clusters with equal URLs apart.
    #[arg(long, value_name = "TOKEN", default_value = "etcd-cluster")]
    initial_cluster_token: String,
    /// Further addresses for /health, /livez, /readyz, /version and /metrics.
    #[arg(long, value_name = "URLS", value_parser = optional_listen_urls, default_value = "")]
    listen_metrics_urls: Urls,
    /// Taken for etcd's sake and without effect: what `extensive` adds there is always shown.
    #[arg(long, value_enum, default_value = "basic")]
    metrics: MetricsDetail,
    /// Milliseconds between a leader's heartbeats.
    #[arg(long, value_name = "MS", default_value_t = 100)]
    heartbeat_interval: u64,
    /// Milliseconds without a leader before an election; at least five heartbeats, at most 50000.
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    election_timeout: u64,
    /// Applied entries between two checkpoints.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    snapshot_count: u64,
    /// Entries kept behind a checkpoint for slow followers; of large ones fewer, as many as 64 MiB hold; none with a leader whom
    /// all followers follow.
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    snapshot_catchup_entries: u64,
    /// Bytes a second of log and checkpoints to read again in the background, so that damage is found; 0 for none.
    #[arg(long, value_name = "BYTES", default_value_t = 1_048_576)]
    scrub_rate_bytes: u64,
    /// Bytes of events that may wait in memory for all watchers that do not read; beyond it they are read from history again.
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20)]
    watch_waiting_bytes: u64,
    /// The most bytes the store may hold; 0 for 2 GiB, negative for no bound.
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    quota_backend_bytes: i64,
    /// What --auto-compaction-retention counts: periodic or revision.
    #[arg(long, value_name = "MODE", default_value = "periodic")]
    auto_compaction_mode: String,
    /// History to keep: hours (5), a duration (30m) or revisions; 0 keeps all.
    #[arg(long, value_name = "LENGTH", default_value = "0")]
    auto_compaction_retention: String,
    /// The most bytes a client's request may have.
    #[arg(long, value_name = "BYTES", default_value_t = 1_572_864)]
    max_request_bytes: usize,
    /// The most operations in one transaction.
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_txn_ops: usize,
    /// The most learners at a time.
    #[arg(long, value_name = "N", default_value_t = 1)]
    max_learners: usize,
    /// How often watchers are told of progress that want it; 0 for ten minutes, at least 100ms.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0")]
    watch_progress_notify_interval: Duration,
    /// Ask before an election whether it could be won.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", value_name = "BOOL", value_parser = switch, action = clap::ArgAction::Set)]
    pre_vote: bool,
    /// Refuse membership changes that would lose the quorum.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", value_name = "BOOL", value_parser = switch, action = clap::ArgAction::Set)]
    strict_reconfig_check: bool,
    #[command(flatten)]
    auth: AuthFlags,
    /// The least serious line that is logged.
    #[arg(long, value_enum, default_value = "info")]
    log_level: LogLevel,
    /// The log's shape.
    #[arg(long, value_enum, default_value = "json")]
    log_format: LogFormat,
    /// Taken for etcd's sake: zap, its only value.
    #[arg(long, value_name = "NAME", default_value = "zap")]
    logger: String,
    /// Where the log goes: default, stderr, stdout or files.
    #[arg(long, value_name = "PLACES", default_value = "default")]
    log_outputs: String,
    /// How long a unary call may take before the log tells of it.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "300ms")]
    warning_unary_request_duration: Duration,
    /// How long applying what is committed may take before the log tells of it.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "100ms")]
    warning_apply_duration: Duration,
    /// Serve JSON over HTTP under /v3/.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", value_name = "BOOL", value_parser = switch, action = clap::ArgAction::Set)]
    enable_grpc_gateway: bool,
    /// Name=true,...: etcd's gates.
    #[arg(long, value_name = "GATES", action = clap::ArgAction::Append)]
    feature_gates: Vec<String>,
    #[command(flatten)]
    connections: ConnectionFlags,
    #[command(flatten)]
    security: Security,
}

fn quota(bytes: i64) -> u64 {
    match bytes {
        0 => QUOTA_DEFAULT_BYTES,
        bytes => u64::try_from(bytes).unwrap_or(u64::MAX),
    }
}

/// etcd's default quota: 2 GiB.
const QUOTA_DEFAULT_BYTES: u64 = 2 << 30;

/// etcd's default interval between two notices of progress, and the shortest.
const PROGRESS_DEFAULT: Duration = Duration::from_mins(10);
const PROGRESS_MIN: Duration = Duration::from_millis(100);

/// etcd's upper limit: a cluster that takes longer to notice a dead leader is not one that serves.
const ELECTION_MAX_MS: u64 = 50_000;

pub(super) fn read(
    arguments: impl IntoIterator<Item = String>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Invocation, ConfigError> {
    let known = Flags::command();
    let is_flag = |name: &str| {
        known
            .get_arguments()
            .any(|flag| flag.get_long() == Some(name))
    };
    let mut given = Arguments::default();
    given
        .take_environment(environment, is_flag)
        .and_then(|()| given.take_line(arguments))
        .map_err(ConfigError)?;
    let first = match parse(&given.kept)? {
        Ok(first) => first,
        Err(text) => return Ok(Invocation::Print(text)),
    };
    if first.flags.version {
        return Ok(Invocation::Print(crate::version::text()));
    }
    if first.flags.config_file.is_empty() {
        first.check_advertised()?;
        return first.flags.serve(given).map_err(ConfigError);
    }
    let path = PathBuf::from(&first.flags.config_file);
    from_file(&path, given.kept.len() > 1).map_err(ConfigError)
}

/// The names of all flags that are served.
#[cfg(test)]
pub(super) fn names() -> Vec<String> {
    let command = Flags::command();
    let named = command.get_arguments().filter_map(clap::Arg::get_long);
    named.map(str::to_owned).collect()
}

/// What clap makes of arguments.
struct Parsed {
    flags: Flags,
    listens: bool,
    advertises: bool,
}

/// The flags, or a text that was asked for.
fn parse(kept: &[String]) -> Result<Result<Parsed, String>, ConfigError> {
    let all = std::iter::once("quorate-node").chain(kept.iter().map(String::as_str));
    let matches = match Flags::command().try_get_matches_from(all) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => return Ok(Err(error.to_string())),
        Err(error) => return Err(ConfigError(sentence(&error))),
    };
    let flags = Flags::from_arg_matches(&matches).map_err(|error| ConfigError(sentence(&error)))?;
    let given = Some(clap::parser::ValueSource::CommandLine);
    Ok(Ok(Parsed {
        flags,
        listens: matches.value_source("listen_client_urls") == given,
        advertises: matches.value_source("advertise_client_urls") == given,
    }))
}

impl Parsed {
    /// Only what is typed is asked for it: in a file, etcd has its default.
    fn check_advertised(&self) -> Result<(), ConfigError> {
        if !self.listens || self.advertises {
            return Ok(());
        }
        Err(ConfigError(
            "--advertise-client-urls is missing: it is required when --listen-client-urls is set; \
             give the URLs that clients reach this member by"
                .to_owned(),
        ))
    }
}

/// Everything from a file, as etcd has it: what else was given does not count.
fn from_file(path: &Path, is_not_alone: bool) -> Result<Invocation, String> {
    let (pairs, forgotten) = file::read(path)?;
    let mut given = Arguments::default();
    if is_not_alone {
        given.warnings.push(format!(
            "--config-file {} is read; other flags and ETCD_* variables are ignored",
            path.display()
        ));
    }
    let forgotten = forgotten
        .iter()
        .map(|key| format!("{key} (etcd ignores it too)"));
    given.without_meaning.extend(forgotten);
    let within = |error: String| format!("{error}; that is in --config-file {}", path.display());
    for (key, value) in pairs {
        given
            .take(&key, &key, Some(value), || None)
            .map_err(within)?;
    }
    match parse(&given.kept).map_err(|error| within(error.0))? {
        Ok(parsed) => parsed.flags.serve(given).map_err(within),
        Err(_) => Err(within("help is no key".to_owned())),
    }
}

impl Flags {
    fn serve(self, mut given: Arguments) -> Result<Invocation, String> {
        if self.logger != "zap" {
            return Err(format!(
                "--logger: unknown logger option {:?}; it is zap",
                self.logger
            ));
        }
        let features = Features::read(&self.feature_gates.join(","))?;
        given.without_meaning.extend(features.without_meaning());
        if !given.without_meaning.is_empty() {
            given.warnings.push(format!(
                "flags of etcd that have no meaning here: {}",
                given.without_meaning.join(", ")
            ));
        }
        let config = self.into_config(features, given.warnings)?;
        Ok(Invocation::Serve(Box::new(config)))
    }

    fn into_config(self, features: Features, mut warnings: Vec<String>) -> Result<Config, String> {
        self.check_timing()?;
        self.check_sizes()?;
        let connections = self.connections.read()?;
        let auto_compaction =
            AutoCompaction::read(&self.auto_compaction_mode, &self.auto_compaction_retention)?;
        let advertise_client_urls = self
            .advertise_client_urls
            .map_or_else(|| vec![Url::new("localhost", 2379)], |urls| urls.0);
        let initial_advertise_peer_urls = self.initial_advertise_peer_urls.0;
        let flag = "--advertise-client-urls";
        warn_of_unspecified(flag, &advertise_client_urls, &mut warnings);
        let flag = "--initial-advertise-peer-urls";
        warn_of_unspecified(flag, &initial_advertise_peer_urls, &mut warnings);
        let founders = self.initial_cluster.map(|cluster| cluster.0);
        let alone = || BTreeMap::from([(self.name.clone(), initial_advertise_peer_urls.clone())]);
        let initial_cluster = founders.unwrap_or_else(alone);
        let secured = self.security.read()?;
        let urls = security::Urls {
            client: &self.listen_client_urls.0,
            http: &self.listen_client_http_urls.0,
            metrics: &self.listen_metrics_urls.0,
            peer: &self.listen_peer_urls.0,
        };
        secured.check(&urls, &mut warnings)?;
        Ok(Config {
            data_dir: data_dir(self.data_dir, &self.name),
            name: self.name,
            wal_dir: given(self.wal_dir),
            listen_client_urls: self.listen_client_urls.0,
            listen_client_http_urls: self.listen_client_http_urls.0,
            advertise_client_urls,
            listen_peer_urls: self.listen_peer_urls.0,
            initial_advertise_peer_urls,
            initial_cluster,
            initial_cluster_state: self.initial_cluster_state,
            force_new_cluster: self.force_new_cluster,
            initial_cluster_token: self.initial_cluster_token,
            listen_metrics_urls: self.listen_metrics_urls.0,
            metrics: self.metrics,
            heartbeat_interval_ms: self.heartbeat_interval,
            election_timeout_ms: self.election_timeout,
            snapshot_count: self.snapshot_count,
            scrub_rate_bytes: self.scrub_rate_bytes,
            watch_waiting_bytes: self.watch_waiting_bytes,
            snapshot_catchup_entries: self.snapshot_catchup_entries,
            quota_backend_bytes: quota(self.quota_backend_bytes),
            auto_compaction,
            max_request_bytes: self.max_request_bytes,
            max_txn_ops: self.max_txn_ops,
            max_learners: self.max_learners,
            watch_progress_notify_interval: interval(self.watch_progress_notify_interval),
            pre_vote: self.pre_vote,
            strict_reconfig_check: self.strict_reconfig_check,
            auth: self.auth.read(&mut warnings),
            log_level: self.log_level,
            log_format: self.log_format,
            log_outputs: security::list(&self.log_outputs),
            warning_unary: self.warning_unary_request_duration,
            warning_apply: self.warning_apply_duration,
            enable_grpc_gateway: self.enable_grpc_gateway,
            features,
            connections,
            client_tls: secured.client,
            peer_tls: secured.peer,
            tls_protocol: secured.protocol,
            self_signed_years: secured.self_signed_years,
            warnings,
        })
    }

    fn check_timing(&self) -> Result<(), String> {
        let (heartbeat, election) = (self.heartbeat_interval, self.election_timeout);
        if heartbeat == 0 {
            return Err("--heartbeat-interval is 0; give at least 1 millisecond".to_owned());
        }
        if election / 5 < heartbeat {
            return Err(format!(
                "--election-timeout[{election}ms] must be at least 5 times --heartbeat-interval[{heartbeat}ms]: raise the \
                 first to {}ms or lower the second",
                heartbeat.saturating_mul(5)
            ));
        }
        if election > ELECTION_MAX_MS {
            return Err(format!(
                "--election-timeout[{election}ms] is too long: at most {ELECTION_MAX_MS}ms"
            ));
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), String> {
        let zero = [
            ("--snapshot-count", self.snapshot_count == 0),
            ("--max-request-bytes", self.max_request_bytes == 0),
            ("--max-txn-ops", self.max_txn_ops == 0),
            ("--max-learners", self.max_learners == 0),
        ];
        if self.max_request_bytes > REQUEST_BYTES_LIMIT {
            return Err(format!(
                "--max-request-bytes[{}] is too large: at most {REQUEST_BYTES_LIMIT}",
                self.max_request_bytes
            ));
        }
        match zero.iter().find(|(_, zero)| *zero) {
            Some((flag, _)) => Err(format!(
                "{flag} is 0; give at least 1, or leave it out for its default"
            )),
            None if self.name.is_empty() => {
                Err("--name is empty; give this member a name".to_owned())
            }
            None => Ok(()),
        }
    }
}

/// Of progress notices.
fn interval(asked: Duration) -> Duration {
    if asked.is_zero() {
        PROGRESS_DEFAULT
    } else {
        asked.max(PROGRESS_MIN)
    }
}

/// Go takes an empty value for none.
fn given(path: String) -> Option<PathBuf> {
    (!path.is_empty()).then(|| path.into())
}

fn data_dir(given: Option<String>, name: &str) -> PathBuf {
    let given = given.filter(|dir| !dir.is_empty());
    given.unwrap_or_else(|| format!("{name}.etcd")).into()
}

fn warn_of_unspecified(flag: &str, urls: &[Url], warnings: &mut Vec<String>) {
    for url in urls.iter().filter(|url| url.is_unspecified()) {
        warnings.push(format!(
            "{flag} has {url}, which nobody else can reach this member by; give its own address"
        ));
    }
}

/// clap's message without its colours, its "error: " and its usage block.
fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let lines: Vec<_> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    format!("{}; --help lists every flag", lines.join("; "))
}
