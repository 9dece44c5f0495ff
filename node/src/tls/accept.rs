//! Handshakes with whoever connects.
//!
//! What this module deliberately does not do: accept connections; the port does, and runs each handshake in a task of the
//! connection's own.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::{CertificateError, OtherError};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::verify::common_name;
use super::{ClientIdentity, Credentials, address};
use crate::config::{Handshakes, Side};
use crate::resolve::Resolver;

/// Why a connection was not taken.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It took too long.
    #[error("TLS handshake timed out after {0:?} (--tls-handshake-timeout)")]
    Late(Duration),
    /// There is no certificate to show.
    #[error("there is no certificate to show")]
    NoCertificate,
    /// The client has no certificate that is taken, or speaks something else.
    #[error("{0}")]
    Refused(String),
    /// It comes from an address that its certificate does not name.
    #[error("{0}")]
    Address(String),
}

/// Shakes hands on one port.
#[derive(Debug)]
pub struct Acceptor {
    credentials: Arc<Credentials>,
    /// By whom names are asked for that must lead to the address a certificate comes from.
    resolver: Option<Resolver>,
    turns: Semaphore,
    patience: Duration,
}

impl Acceptor {
    pub(super) fn new(
        credentials: Arc<Credentials>,
        resolver: Option<Resolver>,
        limits: Handshakes,
    ) -> Self {
        Self {
            credentials,
            resolver,
            turns: Semaphore::new(limits.most),
            patience: limits.timeout,
        }
    }

    /// How many more may shake hands now.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.turns.available_permits()
    }

    /// Which side it is on.
    #[must_use]
    pub fn side(&self) -> Side {
        self.credentials.side()
    }

    /// Shakes hands, and says whose certificate was shown.
    ///
    /// # Errors
    /// [`HandshakeError`]; the connection is gone.
    pub async fn accept(
        &self,
        stream: TcpStream,
        from: SocketAddr,
    ) -> Result<(TlsStream<TcpStream>, ClientIdentity), HandshakeError> {
        let shaking = async { self.identify(self.shake(stream).await?, from.ip()).await };
        tokio::time::timeout(self.patience, shaking)
            .await
            .unwrap_or(Err(HandshakeError::Late(self.patience)))
    }

    async fn shake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let _turn = self.turns.acquire().await;
        let credentials = Arc::clone(&self.credentials);
        let config = tokio::task::spawn_blocking(move || credentials.server()).await;
        let config = config.map_err(|error| HandshakeError::Refused(error.to_string()))?;
        let config = config.ok_or(HandshakeError::NoCertificate)?;
        let shaking = TlsAcceptor::from(config).accept(stream);
        shaking
            .await
            .map_err(|error| HandshakeError::Refused(reason(&error)))
    }

    async fn identify(
        &self,
        stream: TlsStream<TcpStream>,
        from: IpAddr,
    ) -> Result<(TlsStream<TcpStream>, ClientIdentity), HandshakeError> {
        let shown = stream.get_ref().1.peer_certificates();
        let mut identity = ClientIdentity::default();
        if let Some(certificate) = shown.and_then(|chain| chain.first()) {
            if let Some(resolver) = &self.resolver {
                let checked = address::check(certificate, from, resolver).await;
                checked.map_err(HandshakeError::Address)?;
            }
            identity.common_name = Some(common_name(certificate).unwrap_or_default());
        }
        Ok((stream, identity))
    }
}

/// rustls shows what a verifier of ours has said only as Rust prints values.
fn reason(error: &io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(said)))) => {
            said.to_string()
        }
        _ => error.to_string(),
    }
}
