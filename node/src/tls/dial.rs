//! TLS towards a member that is dialed.
//!
//! What this module deliberately does not do: make the connection below; the resolver does.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Credentials;

/// How long a member may take to shake hands. It is a neighbour, and a link that waits for it sends nothing meanwhile.
const TIMEOUT: Duration = Duration::from_secs(5);

impl Credentials {
    /// Shakes hands with whoever answers for `host` (a name, or an address with or without brackets).
    ///
    /// # Errors
    /// The certificate is not believed, ours is not, or it takes too long.
    pub async fn connect(
        self: Arc<Self>,
        host: &str,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(io::Error::other)?;
        let config = tokio::task::spawn_blocking(move || self.client()).await??;
        let shaking = TlsConnector::from(config).connect(name, stream);
        tokio::time::timeout(TIMEOUT, shaking)
            .await
            .unwrap_or_else(|_| {
                let late = format!("no TLS handshake with {host} within {TIMEOUT:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, late))
            })
    }
}
