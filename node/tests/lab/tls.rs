//! Clients that speak TLS.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test file uses its part, and what cannot be made fails the test"
)]

use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::authority::{Authority, Leaf};
use crate::lab::Member;

pub fn client(authority: &Authority, shown: &Leaf, protocol: &[u8]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
        .unwrap();
    let chain = vec![CertificateDer::from_pem_slice(shown.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config).into()
}

pub async fn connect(
    ip: String,
    tls: TlsConnector,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect((ip.as_str(), 2379)).await?;
    let name = ServerName::try_from(ip).map_err(std::io::Error::other)?;
    tls.connect(name, stream).await
}

/// A way to the member's client port.
pub fn channel(member: &Member, tls: TlsConnector) -> Channel {
    let ip = member.ip.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let connecting = connect(ip.clone(), tls.clone());
        async { connecting.await.map(TokioIo::new) }
    });
    let url = format!("https://{}:2379", member.ip);
    let endpoint = Endpoint::from_shared(url).unwrap();
    endpoint.connect_with_connector_lazy(connector)
}
