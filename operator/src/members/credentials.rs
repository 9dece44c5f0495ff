//! What the operator shows to members with TLS, and whom it believes.
//!
//! A member is reached at its pod's address and must prove to be the host of its name: whoever has taken over the address
//! of a pod that is gone cannot.
//!
//! It deliberately reads no file and keeps nothing: each round makes its own from the Secret as it is then.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificates::{fingerprint, text};

/// See the module. Two are equal when they were made of the same texts.
#[derive(Clone)]
pub struct Credentials {
    config: Arc<ClientConfig>,
    fingerprint: String,
}

/// A member that speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Secured {
    /// The host that it must prove to be.
    pub host: String,
    /// With what.
    pub credentials: Credentials,
}

impl Credentials {
    /// From a Secret with `ca.crt`, `<stem>.crt` and `<stem>.key`; none where one of them is missing or broken, which the
    /// planner says.
    #[must_use]
    pub fn of(secret: &Secret, stem: &str) -> Option<Self> {
        let (authority, certificate, key) = (
            text(secret, "ca.crt")?,
            text(secret, &format!("{stem}.crt"))?,
            text(secret, &format!("{stem}.key"))?,
        );
        let certificates = |text: &str| -> Option<Vec<CertificateDer<'static>>> {
            CertificateDer::pem_slice_iter(text.as_bytes())
                .collect::<Result<_, _>>()
                .ok()
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(&authority)?);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .ok()?;
        let shown = PrivateKeyDer::from_pem_slice(key.as_bytes()).ok()?;
        let mut config = builder
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&certificate)?, shown)
            .ok()?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Some(Self {
            config: Arc::new(config),
            fingerprint: fingerprint([authority, certificate, key].concat().as_bytes()),
        })
    }
}

impl Secured {
    /// A connection to `authority` (`address:port`) with whoever proves to be the host.
    pub(super) async fn connect(&self, authority: &str) -> io::Result<TlsStream<TcpStream>> {
        let host = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(&self.credentials.config));
        connector.connect(host, stream).await
    }
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Credentials {}

impl Hash for Credentials {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}
