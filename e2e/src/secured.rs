//! Clients of members with TLS, with what an application finds in its Secret; and clusters that are to do without.
//!
//! It deliberately takes nothing but that Secret: who has it can connect, and who has it not cannot.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use plan::names;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Uri;

use crate::client::{CONNECT, Client};

/// Names each surface that a cluster's spec does not, as plain HTTP: for those who have something else in mind. A spec whose `tls`
/// is there and empty keeps the defaults.
pub fn plain(spec: &mut Value) {
    if spec["tls"].as_object().is_some_and(Map::is_empty) {
        return;
    }
    for surface in ["peer", "client"] {
        let named = &mut spec["tls"][surface];
        if named.is_null() {
            *named = json!({ "mode": "Disabled" });
        }
    }
}

/// What an application finds in its Secret, and by which host it calls the members.
#[derive(Clone, Serialize, Deserialize)]
pub struct Papers {
    /// The host that every member proves to be.
    pub host: String,
    /// `ca.crt`.
    authority: String,
    /// `tls.crt`.
    certificate: String,
    /// `tls.key`.
    key: String,
}

impl Papers {
    /// What applications of a cluster find in their Secret now, with mode CertManager or Operator.
    ///
    /// # Errors
    /// The API's; when something is missing there.
    pub async fn in_use(client: kube::Client, namespace: &str, cluster: &str) -> Result<Self> {
        let secrets: Api<Secret> = Api::namespaced(client, namespace);
        let signed = names::issued_application_secret(cluster);
        let secret = match secrets.get_opt(&signed).await? {
            Some(secret) => secret,
            None => secrets.get(&names::application_secret(cluster)).await?,
        };
        Self::of(&secret, format!("{cluster}.{namespace}.svc"))
    }

    /// From a Secret with `ca.crt`, `tls.crt` and `tls.key`.
    ///
    /// # Errors
    /// When something is missing there.
    pub fn of(secret: &Secret, host: String) -> Result<Self> {
        let entry = |name: &str| -> Result<String> {
            let found = secret.data.as_ref().and_then(|it| it.get(name));
            let bytes = found
                .with_context(|| format!("there is no {name}"))?
                .0
                .clone();
            Ok(String::from_utf8(bytes)?)
        };
        Ok(Self {
            host,
            authority: entry("ca.crt")?,
            certificate: entry("tls.crt")?,
            key: entry("tls.key")?,
        })
    }

    /// Writes them to files for other programs, and names them as etcdctl's flags do.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_to(&self, folder: &Path) -> Result<String> {
        let files = [
            ("cacert", "ca.crt", &self.authority),
            ("cert", "tls.crt", &self.certificate),
            ("key", "tls.key", &self.key),
        ];
        let mut flags = Vec::new();
        for (flag, name, text) in files {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            flags.push(format!("--{flag} {}", path.display()));
        }
        Ok(flags.join(" "))
    }
}

impl fmt::Debug for Papers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "papers for {}", self.host)
    }
}

/// What a client shows and believes. Clones share it: what one takes over, all do.
#[derive(Clone, Debug)]
pub struct Shown {
    config: Arc<Mutex<Arc<ClientConfig>>>,
    /// The host that every member proves to be.
    host: ServerName<'static>,
}

impl Shown {
    /// As its papers say.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn of(papers: &Papers) -> Result<Self> {
        Ok(Self {
            config: Arc::new(Mutex::new(Self::config(papers)?)),
            host: ServerName::try_from(papers.host.clone())?,
        })
    }

    /// Takes over other papers, for all connections that are made from now on.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn take_over(&self, papers: &Papers) -> Result<()> {
        let config = Self::config(papers)?;
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    fn config(papers: &Papers) -> Result<Arc<ClientConfig>> {
        let certificates = |text: &str| -> Result<Vec<CertificateDer<'static>>> {
            Ok(CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>()?)
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(&papers.authority)?);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(
                certificates(&papers.certificate)?,
                PrivateKeyDer::from_pem_slice(papers.key.as_bytes())?,
            )?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session shows no certificate and checks none: what it tells of the server is what was true when it began.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// A client of the member at `url` (`https://address:port`).
    ///
    /// # Errors
    /// When nobody answers there, or who answers is not believed.
    pub async fn client(&self, url: &str) -> Result<Client> {
        let (_, authority) = url.split_once("://").context("a URL has a scheme")?;
        let authority: Arc<str> = authority.into();
        let shown = self.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let (shown, authority) = (shown.clone(), Arc::clone(&authority));
            async move { shown.stream(&authority).await.map(TokioIo::new) }
        });
        let endpoint = Client::endpoint(url)?;
        Ok(Client::over(
            endpoint.connect_with_connector(connector).await?,
        ))
    }

    /// The certificate that the member at `url` shows to a new connection.
    ///
    /// # Errors
    /// As [`Shown::client`].
    pub async fn certificate_of(&self, url: &str) -> Result<CertificateDer<'static>> {
        let (_, authority) = url.split_once("://").context("a URL has a scheme")?;
        let stream = self.stream(authority).await?;
        let shown = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(<[_]>::first);
        Ok(shown.context("it shows none")?.clone().into_owned())
    }

    async fn stream(&self, authority: &str) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(self.current());
        let connected = tokio::time::timeout(CONNECT, async {
            let stream = TcpStream::connect(authority).await?;
            stream.set_nodelay(true)?;
            connector.connect(self.host.clone(), stream).await
        });
        connected.await?
    }

    fn current(&self) -> Arc<ClientConfig> {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&config)
    }
}
