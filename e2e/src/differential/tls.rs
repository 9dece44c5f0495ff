//! Certificates for one run, and connections that show them.
//!
//! It deliberately signs nothing that anybody else would believe.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::text::Shown;
use super::wire;
use crate::authority::{Authority, authority};
use crate::folder::Folder;

/// What the server's certificate names: its address is not known when it is made.
const SERVER: &str = "etcd.test";

/// Files for a server, and who signs for its clients.
#[derive(Debug)]
pub struct Certificates {
    folder: Folder,
    ours: Authority,
    foreign: Authority,
}

impl Certificates {
    /// Makes `ca.crt`, `server.crt` and `server.key` in a folder of their own.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn make() -> Result<Self> {
        let folder = Folder::new("certificates")?;
        let (ours, foreign) = (authority("ours")?, authority("foreign")?);
        let (key, server) = leaf(&ours, SERVER, &[SERVER.to_owned()])?;
        for (name, text) in [
            ("ca.crt", ours.pem()),
            ("server.crt", server.pem()),
            ("server.key", key.serialize_pem()),
        ] {
            std::fs::write(folder.path().join(name), text).with_context(|| name)?;
        }
        Ok(Self {
            folder,
            ours,
            foreign,
        })
    }

    /// Where the files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// All went well: the files go.
    pub fn discard(&mut self) {
        self.folder.discard();
    }

    /// A way for a client that shows this.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn client(&self, shown: &Shown) -> Result<Way> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ours.der().clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let (authority, name) = match shown {
            Shown::Nothing => return Ok(Way(builder.with_no_client_auth())),
            Shown::Ours(name) => (&self.ours, name),
            Shown::Foreign(name) => (&self.foreign, name),
        };
        let (key, certificate) = leaf(authority, name, &[])?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let chain = vec![certificate.der().clone()];
        Ok(Way(builder.with_client_auth_cert(chain, key.into())?))
    }
}

/// A certificate for both sides, as a server of etcd's dials itself; without a common name if that is empty.
fn leaf(by: &Authority, cn: &str, names: &[String]) -> Result<(KeyPair, rcgen::Certificate)> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "tests");
    if !cn.is_empty() {
        params.distinguished_name.push(DnType::CommonName, cn);
    }
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, by)?;
    Ok((key, certificate))
}

/// How one client connects.
#[derive(Clone, Debug)]
pub struct Way(ClientConfig);

impl Way {
    /// A connection that speaks one protocol.
    ///
    /// # Errors
    /// When there is none; that a server does not take a certificate may only show when it is read from.
    pub async fn connect(
        &self,
        authority: &str,
        protocol: &str,
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut config = self.0.clone();
        config.alpn_protocols = vec![protocol.into()];
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(SERVER).map_err(io::Error::other)?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    /// A connection for calls; it is made when it is needed.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn channel(&self, url: &str) -> Result<Channel> {
        let (way, authority) = (self.clone(), authority_of(url).to_owned());
        let connector = tower::service_fn(move |_: Uri| {
            let (way, authority) = (way.clone(), authority.clone());
            async move { way.connect(&authority, "h2").await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_shared(url.to_owned())?.connect_timeout(wire::CONNECT);
        Ok(endpoint.connect_with_connector_lazy(connector))
    }

    /// With which alert a server sends this client away, if it does.
    ///
    /// # Errors
    /// When the connection ends otherwise.
    pub async fn refusal(&self, url: &str) -> Result<Option<String>> {
        let asked = tokio::time::timeout(wire::CONNECT, self.ask(authority_of(url))).await;
        let error = match asked.context("neither taken nor refused in time")? {
            Ok(()) => return Ok(None),
            Err(error) => error,
        };
        let inner = error.get_ref().and_then(|it| it.downcast_ref());
        match inner {
            Some(rustls::Error::AlertReceived(alert)) => Ok(Some(format!("{alert:?}"))),
            _ => Err(error).context("neither taken nor refused"),
        }
    }

    /// In TLS 1.3 a client is through before its certificate is looked at: the first answer tells.
    async fn ask(&self, authority: &str) -> io::Result<()> {
        let mut stream = self.connect(authority, "http/1.1").await?;
        let asked = format!("GET /version HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        // It may be cut already; the alert is read all the same.
        let _ = stream.write_all(asked.as_bytes()).await;
        let _ = stream.flush().await;
        stream.read_u8().await.map(drop)
    }
}

/// What stands behind the scheme.
pub fn authority_of(url: &str) -> &str {
    url.split_once("://").map_or(url, |it| it.1)
}
