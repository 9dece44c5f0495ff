//! The flags of connections: what HTTP may ask, how long silence may last, how sockets are opened.
//!
//! What this module does not do: hold anybody to it; the port does.

use std::time::Duration;

use tokio::sync::Semaphore;

use super::retention;
use super::switch::switch;
use crate::watch::WATCHERS_MAX;

/// How clients' connections are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connections {
    /// `--max-connections`: the most at once on one port; none as many as file descriptors can be spared for.
    pub max_connections: Option<usize>,
    /// `--request-head-timeout`: how long a client may take to say what it speaks, and to send the head of an HTTP/1 request.
    pub head_timeout: Duration,
    /// `--max-concurrent-streams`: calls at once on one connection.
    pub max_concurrent_streams: u32,
    /// TLS handshakes.
    pub handshakes: Handshakes,
    /// `--max-watchers-per-stream`.
    pub max_watchers_per_stream: usize,
    /// `--grpc-keepalive-min-time`: a client that pings more often is sent away; none lets it.
    pub keepalive_min_time: Option<Duration>,
    /// `--grpc-keepalive-interval`: how often a silent client is pinged; none never.
    pub keepalive_interval: Option<Duration>,
    /// `--grpc-keepalive-timeout`: how long it may take to answer.
    pub keepalive_timeout: Duration,
    /// `--socket-reuse-port`.
    pub reuse_port: bool,
    /// `--cors`: origins whose pages may ask; `*` for all.
    pub cors: Vec<String>,
    /// `--host-whitelist`: host names by which a plain port may be asked over HTTP; `*` for all.
    pub host_whitelist: Vec<String>,
}

/// What TLS handshakes may take of one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshakes {
    /// `--max-tls-handshakes`: at once; others wait for their turn.
    pub most: usize,
    /// `--tls-handshake-timeout`: how long each may take, waiting for its turn included.
    pub timeout: Duration,
}

impl Connections {
    /// Between members: they ping each other all the time, and what the flags say of clients is not for them.
    #[must_use]
    pub fn of_peers(&self) -> Self {
        Self {
            max_connections: None,
            max_concurrent_streams: STREAMS_MAX,
            keepalive_min_time: None,
            ..self.clone()
        }
    }
}

/// Calls at once on one connection, where no flag says another number. Load generators put thousands on one; beyond that
/// somebody leaks.
const STREAMS_MAX: u32 = 16_384;

/// Handshakes at once on one port, where no flag says another number. Each costs a signature, some milliseconds of a core at
/// worst: more of them would only make all of them late.
const HANDSHAKES_MAX: usize = 1_024;

/// As clap reads them.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Connections")]
pub(super) struct ConnectionFlags {
    /// Connections of clients at once on one port, beyond which they wait; 0 for as many as file descriptors can be spared for.
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_connections: usize,
    /// How long a client may take to send the head of a request.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    request_head_timeout: Duration,
    /// Calls at once on one connection; etcd's default is all that HTTP/2 can count.
    #[arg(long, value_name = "N", default_value_t = STREAMS_MAX)]
    max_concurrent_streams: u32,
    /// TLS handshakes at once on one port, beyond which they wait for their turn.
    #[arg(long, value_name = "N", default_value_t = HANDSHAKES_MAX)]
    max_tls_handshakes: usize,
    /// How long a TLS handshake may take, waiting for its turn included; the default is etcd's.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    tls_handshake_timeout: Duration,
    /// Watchers on one stream of watches.
    #[arg(long, value_name = "N", default_value_t = WATCHERS_MAX)]
    max_watchers_per_stream: usize,
    /// The shortest time between two pings of a client.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    grpc_keepalive_min_time: Duration,
    /// How often a silent client is asked whether it lives; 0 for never.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2h")]
    grpc_keepalive_interval: Duration,
    /// How long its answer may take; 0 for never asking.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "20s")]
    grpc_keepalive_timeout: Duration,
    /// Let several processes listen on one port (SO_REUSEPORT).
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_name = "BOOL", value_parser = switch, action = clap::ArgAction::Set)]
    socket_reuse_port: bool,
    /// Listen on a port whose last owner has just gone (SO_REUSEADDR): always so here, as in etcd.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_name = "BOOL", value_parser = switch, action = clap::ArgAction::Set)]
    socket_reuse_address: bool,
    /// Origins whose pages may ask over HTTP; * for all.
    #[arg(long, value_name = "ORIGINS", default_value = "*")]
    cors: String,
    /// Host names by which HTTP may ask a plain port; * for all.
    #[arg(long, value_name = "NAMES", default_value = "*")]
    host_whitelist: String,
}

impl ConnectionFlags {
    fn check(&self) -> Result<(), String> {
        let counts = [
            ("--max-concurrent-streams", self.max_concurrent_streams == 0),
            (
                "--max-watchers-per-stream",
                self.max_watchers_per_stream == 0,
            ),
            ("--max-tls-handshakes", self.max_tls_handshakes == 0),
        ];
        if let Some((flag, _)) = counts.iter().find(|(_, is_zero)| *is_zero) {
            return Err(format!("{flag} is 0; give at least 1"));
        }
        if self.max_tls_handshakes > Semaphore::MAX_PERMITS {
            let most = Semaphore::MAX_PERMITS;
            return Err(format!("--max-tls-handshakes is too large: at most {most}"));
        }
        let times = [
            ("--request-head-timeout", self.request_head_timeout),
            ("--tls-handshake-timeout", self.tls_handshake_timeout),
        ];
        match times.iter().find(|(_, time)| time.is_zero()) {
            Some((flag, _)) => Err(format!("{flag} is 0; give a time, 10s for one")),
            None => Ok(()),
        }
    }

    pub(super) fn read(self) -> Result<Connections, String> {
        self.check()?;
        let is_asked = !self.grpc_keepalive_timeout.is_zero();
        Ok(Connections {
            max_connections: Some(self.max_connections).filter(|most| *most > 0),
            head_timeout: self.request_head_timeout,
            max_concurrent_streams: self.max_concurrent_streams,
            handshakes: Handshakes {
                most: self.max_tls_handshakes,
                timeout: self.tls_handshake_timeout,
            },
            max_watchers_per_stream: self.max_watchers_per_stream,
            keepalive_min_time: some(self.grpc_keepalive_min_time),
            keepalive_interval: some(self.grpc_keepalive_interval).filter(|_| is_asked),
            keepalive_timeout: self.grpc_keepalive_timeout,
            reuse_port: self.socket_reuse_port,
            cors: all_if_empty(super::security::list(&self.cors)),
            host_whitelist: all_if_empty(super::security::list(&self.host_whitelist)),
        })
    }
}

fn some(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

fn all_if_empty(names: Vec<String>) -> Vec<String> {
    if names.is_empty() {
        vec!["*".to_owned()]
    } else {
        names
    }
}

/// A length of time as Go writes it.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    retention::duration(text)
        .ok_or_else(|| "it is a time with a unit: 500ms, 5s, 10m, 2h".to_owned())
}
