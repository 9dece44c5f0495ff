//! The flags themselves, and how they become a [`Config`].
//!
//! What this module does not do: explain etcd. The help says in one line each what a flag does here.

use super::retention::AutoCompaction;
use super::security::{self, Security};
use super::switch::switch;
use super::unserved::{self, Unserved};
use super::url::{Url, UrlError};
use super::{ClusterState, Config, ConfigError, Invocation};
use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};
use std::collections::BTreeMap;
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

/// A comma list of URLs as one value: clap takes a bare `Vec` for a flag that repeats.
#[derive(Clone, Debug)]
struct Urls(Vec<Url>);

/// `name=url,name=url,…`; a name that comes again adds a URL.
#[derive(Clone, Debug)]
struct Cluster(BTreeMap<String, Vec<Url>>);

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
    /// Addresses to serve clients on, gRPC and HTTP.
    #[arg(long, value_name = "URLS", value_parser = listen_urls, default_value = "http://localhost:2379")]
    listen_client_urls: Urls,
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
    /// Entries kept behind a checkpoint for slow followers; of large ones fewer, as many as 64 MiB hold.
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    snapshot_catchup_entries: u64,
    /// Bytes a second of log and checkpoints to read again in the background, so that damage is found; 0 for none.
    #[arg(long, value_name = "BYTES", default_value_t = 1_048_576)]
    scrub_rate_bytes: u64,
    /// The most bytes the store may hold; 0 for 2 GiB.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    quota_backend_bytes: u64,
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
    /// The least serious line that is logged.
    #[arg(long, value_enum, default_value = "info")]
    log_level: LogLevel,
    /// The log's shape.
    #[arg(long, value_enum, default_value = "json")]
    log_format: LogFormat,
    #[command(flatten)]
    security: Security,
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
    let (from_environment, warnings) = variables(environment).map_err(ConfigError)?;
    let arguments = served(arguments).map_err(ConfigError)?;
    let all = std::iter::once("quorate-node".to_owned())
        .chain(from_environment)
        .chain(arguments);
    let matches = match Flags::command().try_get_matches_from(all) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => return Ok(Invocation::Print(error.to_string())),
        Err(error) => return Err(ConfigError(sentence(&error))),
    };
    let advertised_client = matches.value_source("listen_client_urls")
        == Some(clap::parser::ValueSource::CommandLine)
        && matches.value_source("advertise_client_urls").is_none();
    let flags = Flags::from_arg_matches(&matches).map_err(|error| ConfigError(sentence(&error)))?;
    if flags.version {
        return Ok(Invocation::Print(crate::version::text()));
    }
    if advertised_client {
        return Err(ConfigError(
            "--advertise-client-urls is missing: it is required when --listen-client-urls is set; \
             give the URLs that clients reach this member by"
                .to_owned(),
        ));
    }
    flags
        .into_config(warnings)
        .map(|config| Invocation::Serve(Box::new(config)))
}

impl Flags {
    fn into_config(self, mut warnings: Vec<String>) -> Result<Config, ConfigError> {
        self.check_timing().map_err(ConfigError)?;
        self.check_sizes().map_err(ConfigError)?;
        let auto_compaction =
            AutoCompaction::read(&self.auto_compaction_mode, &self.auto_compaction_retention)
                .map_err(ConfigError)?;
        let advertise_client_urls = self
            .advertise_client_urls
            .map_or_else(|| vec![Url::new("localhost", 2379)], |urls| urls.0);
        warn_of_unspecified(
            "--advertise-client-urls",
            &advertise_client_urls,
            &mut warnings,
        );
        let initial_advertise_peer_urls = self.initial_advertise_peer_urls.0;
        warn_of_unspecified(
            "--initial-advertise-peer-urls",
            &initial_advertise_peer_urls,
            &mut warnings,
        );
        let initial_cluster = self.initial_cluster.map_or_else(
            || BTreeMap::from([(self.name.clone(), initial_advertise_peer_urls.clone())]),
            |cluster| cluster.0,
        );
        let secured = self.security.read().map_err(ConfigError)?;
        let urls = security::Urls {
            client: &self.listen_client_urls.0,
            metrics: &self.listen_metrics_urls.0,
            peer: &self.listen_peer_urls.0,
        };
        secured.check(&urls, &mut warnings).map_err(ConfigError)?;
        let data_dir = self
            .data_dir
            .unwrap_or_else(|| format!("{}.etcd", self.name));
        Ok(Config {
            name: self.name,
            data_dir: data_dir.into(),
            listen_client_urls: self.listen_client_urls.0,
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
            snapshot_catchup_entries: self.snapshot_catchup_entries,
            quota_backend_bytes: match self.quota_backend_bytes {
                0 => QUOTA_DEFAULT_BYTES,
                bytes => bytes,
            },
            auto_compaction,
            max_request_bytes: self.max_request_bytes,
            max_txn_ops: self.max_txn_ops,
            max_learners: self.max_learners,
            watch_progress_notify_interval: interval(self.watch_progress_notify_interval),
            pre_vote: self.pre_vote,
            strict_reconfig_check: self.strict_reconfig_check,
            log_level: self.log_level,
            log_format: self.log_format,
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

fn warn_of_unspecified(flag: &str, urls: &[Url], warnings: &mut Vec<String>) {
    for url in urls.iter().filter(|url| url.is_unspecified()) {
        warnings.push(format!(
            "{flag} has {url}, which nobody else can reach this member by; give its own address"
        ));
    }
}

/// Go's `-flag` becomes `--flag`, and flags of etcd's that are not served are taken out or refused.
fn served(arguments: impl IntoIterator<Item = String>) -> Result<Vec<String>, String> {
    let mut kept = Vec::new();
    let mut arguments = arguments.into_iter().map(doubled_dash).peekable();
    while let Some(argument) = arguments.next() {
        let (spelled, value) = match argument.split_once('=') {
            Some((spelled, value)) => (spelled.to_owned(), Some(value.to_owned())),
            None => (argument.clone(), None),
        };
        let Some(flag) = spelled.strip_prefix("--").and_then(unserved::named) else {
            kept.push(argument);
            continue;
        };
        let value = match value {
            None if flag.is_switch() => "true".to_owned(),
            None => arguments.next().unwrap_or_default(),
            Some(value) => value,
        };
        Unserved::check(flag, &spelled, &value)?;
    }
    Ok(kept)
}

fn doubled_dash(argument: String) -> String {
    let mut characters = argument.chars();
    let single =
        characters.next() == Some('-') && characters.next().is_some_and(char::is_alphabetic);
    if single && argument.len() > 2 {
        format!("-{argument}")
    } else {
        argument
    }
}

/// The `ETCD_*` variables as flags, and warnings about those that are no flag's.
fn variables(
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(Vec<String>, Vec<String>), String> {
    let known = Flags::command();
    let (mut flags, mut warnings) = (Vec::new(), Vec::new());
    for (variable, value) in environment {
        let Some(name) = variable.strip_prefix("ETCD_") else {
            continue;
        };
        let name = name.to_ascii_lowercase().replace('_', "-");
        if value.is_empty() {
            continue;
        }
        if let Some(flag) = unserved::named(&name) {
            flag.check(&variable, &value)?;
        } else if known
            .get_arguments()
            .any(|flag| flag.get_long() == Some(&name))
        {
            flags.push(format!("--{name}={value}"));
        } else {
            warnings.push(format!(
                "the variable {variable} belongs to no flag and is ignored"
            ));
        }
    }
    flags.sort();
    Ok((flags, warnings))
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

fn urls(text: &str) -> Result<Urls, UrlError> {
    Url::list(text).map(Urls)
}

fn duration(text: &str) -> Result<Duration, String> {
    let read = super::retention::duration(text);
    read.ok_or_else(|| "a duration is a number with its unit, as 10m, 1h30m or 500ms".to_owned())
}

fn listen_urls(text: &str) -> Result<Urls, UrlError> {
    let urls = Url::list(text)?;
    urls.iter()
        .try_for_each(|url| url.listen_address().map(drop))?;
    Ok(Urls(urls))
}

fn optional_listen_urls(text: &str) -> Result<Urls, UrlError> {
    if text.is_empty() {
        Ok(Urls(Vec::new()))
    } else {
        listen_urls(text)
    }
}

fn cluster(text: &str) -> Result<Cluster, String> {
    let mut members: BTreeMap<String, Vec<Url>> = BTreeMap::new();
    for member in text
        .split(',')
        .map(str::trim)
        .filter(|member| !member.is_empty())
    {
        let (name, url) = member
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| format!("{member:?} does not have the form <name>=<peer URL>"))?;
        let url = url.parse().map_err(|error: UrlError| error.to_string())?;
        members.entry(name.to_owned()).or_default().push(url);
    }
    if members.is_empty() {
        return Err("at least one <name>=<peer URL> is needed".to_owned());
    }
    for urls in members.values_mut() {
        urls.sort();
        urls.dedup();
    }
    Ok(Cluster(members))
}
