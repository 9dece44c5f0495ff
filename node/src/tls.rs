//! TLS on both ports, and the way to other members.
//!
//! - One provider (ring) for the whole process, named wherever a configuration is made, so that no default decides.
//! - The files are looked at before every handshake. What is new and sound is used from then on; what is new and broken is
//!   logged once, with flag, file and reason, and what was there before goes on. Connections that are open stay as they are.
//! - Whoever gives a CA asks everybody on that port for a certificate that it has signed, as etcd does. Names and revocation
//!   are looked at within the handshake, so that the client is told.
//! - No handshake holds anything up: each has a task of its own, a time (`--tls-handshake-timeout`), and a limit on how many run
//!   at once (`--max-tls-handshakes`).
//! - That a certificate of our own expires is said a day before and when it has, whether anybody connects or not.
//! - No private key, nor a part of one, gets into a message.
//! - No session is resumed: whoever comes back shows its certificate again.
//!
//! What this module deliberately does not do: decide who may do what; it says whose certificate a connection has shown.
//! Certificates are not fetched or renewed; whoever writes the files does that.

mod accept;
mod address;
mod credentials;
mod dial;
mod files;
mod own;
mod suites;
mod validity;
mod verify;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use accept::{Acceptor, HandshakeError};
pub use credentials::Credentials;
pub use files::TlsError;

use prometheus::core::Collector;
use tokio::time::MissedTickBehavior;

use crate::config::{Config, Handshakes, KeyPair, Side, TlsFlags};
use crate::resolve::Resolver;
use validity::Ends;

/// How often certificates are looked at while nobody connects: that one ends is told a day before.
const MIND_EVERY: Duration = Duration::from_secs(60);

/// Who has shown a certificate on a connection; an extension of every request that comes over it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The common name of the certificate, if one was asked for, shown and verified. Whoever has none there has the empty one,
    /// as in etcd: that is no user's, and not nobody's either.
    pub common_name: Option<String>,
}

/// An extension of every request that comes over TLS.
#[derive(Clone, Copy, Debug)]
pub struct OverTls;

/// The credentials of both sides.
#[derive(Clone, Debug)]
pub struct Security {
    client: Option<Arc<Credentials>>,
    peer: Arc<Credentials>,
    resolver: Resolver,
    handshakes: Handshakes,
    ends: Ends,
}

impl Security {
    /// Reads the files that the flags name, after making those that they ask for (`--auto-tls`).
    ///
    /// # Errors
    /// The first file that cannot be used, by flag.
    pub fn open(config: &Config, resolver: Resolver) -> Result<Self, TlsError> {
        let ends = Ends::default();
        let needed = |side: &TlsFlags| side.has_certificate();
        let open = |flags: &TlsFlags| {
            let flags = completed(config, flags)?;
            Credentials::open(&flags, &config.tls_protocol, ends.clone()).map(Arc::new)
        };
        let is_secure = config
            .listen_client_urls
            .iter()
            .chain(&config.listen_client_http_urls)
            .chain(&config.listen_metrics_urls)
            .any(crate::config::Url::is_secure);
        let client = (is_secure && needed(&config.client_tls)).then(|| open(&config.client_tls));
        Ok(Self {
            client: client.transpose()?,
            peer: open(&config.peer_tls)?,
            resolver,
            handshakes: config.connections.handshakes,
            ends,
        })
    }

    /// When the certificates end, for a registry.
    #[must_use]
    pub fn ends(&self) -> Box<dyn Collector> {
        Box::new(self.ends.0.clone())
    }

    /// Looks at the certificates every minute, for ever.
    pub async fn mind(self) {
        let mut clock = tokio::time::interval(MIND_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            for credentials in self.client.iter().chain([&self.peer]) {
                let credentials = Arc::clone(credentials);
                let minded = tokio::task::spawn_blocking(move || credentials.mind()).await;
                if let Err(error) = minded {
                    tracing::warn!(%error, "cannot look at the certificates");
                }
            }
        }
    }

    /// What accepts connections of clients; none where no URL asks for TLS.
    #[must_use]
    pub fn clients(&self) -> Option<Arc<Acceptor>> {
        let credentials = Arc::clone(self.client.as_ref()?);
        Some(Arc::new(Acceptor::new(credentials, None, self.handshakes)))
    }

    /// What accepts connections to `--listen-metrics-urls`. etcd looks at addresses there, as between members.
    #[must_use]
    pub fn scrapers(&self) -> Option<Arc<Acceptor>> {
        let credentials = Arc::clone(self.client.as_ref()?);
        let resolver = self.resolver.clone();
        let acceptor = Acceptor::new(credentials, Some(resolver), self.handshakes);
        Some(Arc::new(acceptor))
    }

    /// What accepts connections of members.
    #[must_use]
    pub fn peers(&self) -> Arc<Acceptor> {
        let resolver = self.peer.checks_address().then(|| self.resolver.clone());
        let credentials = Arc::clone(&self.peer);
        Arc::new(Acceptor::new(credentials, resolver, self.handshakes))
    }

    /// What members are dialed with.
    #[must_use]
    pub fn dialing(&self) -> Arc<Credentials> {
        Arc::clone(&self.peer)
    }
}

/// The flags with the certificate that they ask to be made.
fn completed(config: &Config, flags: &TlsFlags) -> Result<TlsFlags, TlsError> {
    let mut flags = flags.clone();
    if !flags.auto {
        return Ok(flags);
    }
    let flag = flags.side.flag("--auto-tls", "--peer-auto-tls");
    if flags.pair.is_some() {
        tracing::warn!("{flag} is ignored, as certificates are given");
        flags.auto = false;
        return Ok(flags);
    }
    let urls = match flags.side {
        Side::Client => {
            let (grpc, http) = (&config.listen_client_urls, &config.listen_client_http_urls);
            grpc.iter().chain(http).collect()
        }
        Side::Peer => config.listen_peer_urls.iter().collect::<Vec<_>>(),
    };
    if !urls.iter().any(|url| url.is_secure()) {
        flags.auto = false;
        return Ok(flags);
    }
    let folder = Path::new("fixtures").join(flags.side.to_string());
    let hosts = urls.iter().map(|url| url.host().to_owned()).collect();
    let made: KeyPair = own::certificate(
        flag,
        &config.data_dir.join(folder),
        hosts,
        config.self_signed_years,
    )?;
    flags.pair = Some(made);
    Ok(flags)
}

#[cfg(test)]
mod tests;
