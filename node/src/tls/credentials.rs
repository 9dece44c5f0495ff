//! The credentials of one side, kept equal to their files.
//!
//! What this module deliberately does not do: watch the files. They are looked at when they are needed, which is what etcd
//! does with certificates, and here goes for CAs and revocation lists as well.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::files::{self, Bundle, Contents, Source, TlsError};
use super::suites;
use super::validity::{self, Ends, Own, Remark};
use super::verify::{Admission, Allowed, AnyCertificate, Recognition};
use crate::config::{Protocol, Side, TlsFlags};

/// See the module.
#[derive(Debug)]
pub struct Credentials {
    flags: TlsFlags,
    protocol: Protocol,
    provider: Arc<CryptoProvider>,
    sources: Vec<Source>,
    ends: Ends,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Of the files as they were last read, sound or not.
    fingerprint: [u8; 32],
    current: Arc<Configs>,
    /// The certificates in it.
    own: Vec<Own>,
}

impl State {
    fn news(&mut self, now: i64) -> Vec<Remark> {
        self.own
            .iter_mut()
            .filter_map(|own| own.news(now))
            .collect()
    }
}

/// What is made of the files.
#[derive(Debug)]
pub(super) struct Configs {
    server: Option<Arc<ServerConfig>>,
    /// Made when somebody is dialed: most clusters without TLS never need the system's CAs.
    client: OnceLock<Result<Arc<ClientConfig>, String>>,
    bundle: Bundle,
}

impl Credentials {
    /// Reads the files, and tells `ends` of our own certificates.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub(super) fn open(
        flags: &TlsFlags,
        protocol: &Protocol,
        ends: Ends,
    ) -> Result<Self, TlsError> {
        let provider = suites::provider(protocol)?;
        let sources = files::sources(flags);
        let contents = Contents::read(&sources);
        let fingerprint = contents.fingerprint();
        let mut state = State {
            fingerprint,
            current: Arc::new(configs(flags, protocol, &provider, &contents)?),
            own: contents.own(),
        };
        state.own.iter().for_each(|own| own.show(&ends));
        let news = state.news(validity::now());
        news.iter().for_each(|remark| remark.log(flags.side));
        Ok(Self {
            flags: flags.clone(),
            protocol: protocol.clone(),
            provider,
            state: Mutex::new(state),
            sources,
            ends,
        })
    }

    /// Which side they are of.
    #[must_use]
    pub const fn side(&self) -> Side {
        self.flags.side
    }

    pub(super) const fn checks_address(&self) -> bool {
        self.flags.checks_address
    }

    /// What is shown to and asked of whoever connects, as of the files now. Reads them: not for a thread that must not wait.
    pub(super) fn server(&self) -> Option<Arc<ServerConfig>> {
        self.current().server.clone()
    }

    /// What is shown to and asked of whoever is dialed, likewise.
    pub(super) fn client(&self) -> io::Result<Arc<ClientConfig>> {
        let current = self.current();
        let made = current.client.get_or_init(|| {
            client_config(&self.flags, &self.protocol, &self.provider, &current.bundle)
        });
        made.clone().map_err(io::Error::other)
    }

    /// Looks at the files without needing them: what is to be said of them is said even while nobody connects.
    pub(super) fn mind(&self) {
        drop(self.current());
    }

    fn current(&self) -> Arc<Configs> {
        let (current, news) = self.look(validity::now());
        news.iter().for_each(|remark| remark.log(self.flags.side));
        current
    }

    /// As of the files now, and what is to be said of our own certificates at this time.
    pub(super) fn look(&self, now: i64) -> (Arc<Configs>, Vec<Remark>) {
        let contents = Contents::read(&self.sources);
        let fingerprint = contents.fingerprint();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if fingerprint != state.fingerprint {
            state.fingerprint = fingerprint;
            let side = self.flags.side;
            match configs(&self.flags, &self.protocol, &self.provider, &contents) {
                Ok(configs) => {
                    state.current = Arc::new(configs);
                    state.own = contents.own();
                    state.own.iter().for_each(|own| own.show(&self.ends));
                    tracing::info!(%side, "TLS files have changed and are used from now on");
                }
                Err(error) => {
                    tracing::warn!(%side, %error, "TLS files have changed and are broken; the ones before are used");
                }
            }
        }
        (Arc::clone(&state.current), state.news(now))
    }
}

fn configs(
    flags: &TlsFlags,
    protocol: &Protocol,
    provider: &Arc<CryptoProvider>,
    contents: &Contents<'_>,
) -> Result<Configs, TlsError> {
    let bundle = Bundle::parse(contents, provider)?;
    let server = server_config(flags, protocol, provider, &bundle)?;
    Ok(Configs {
        server: server.map(Arc::new),
        client: OnceLock::new(),
        bundle,
    })
}

fn allowed(flags: &TlsFlags) -> Allowed {
    Allowed {
        cns: flags.allowed_cns.clone(),
        hostnames: flags.allowed_hostnames.clone(),
    }
}

fn server_config(
    flags: &TlsFlags,
    protocol: &Protocol,
    provider: &Arc<CryptoProvider>,
    bundle: &Bundle,
) -> Result<Option<ServerConfig>, TlsError> {
    let Some(shown) = bundle.shown.clone() else {
        return Ok(None);
    };
    let wrong = |flag| move |reason: String| TlsError::Choice { flag, reason };
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&suites::versions(protocol))
        .map_err(|error| wrong("--tls-min-version")(error.to_string()))?;
    let builder = if bundle.roots.is_some() || flags.client_cert_auth {
        let flag = flags
            .side
            .flag("--client-cert-auth", "--peer-client-cert-auth");
        let roots = roots(bundle).map_err(wrong(flag))?;
        let chain = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
            .build()
            .map_err(|error| wrong(flag)(error.to_string()))?;
        builder.with_client_cert_verifier(Arc::new(Admission {
            chain,
            allowed: allowed(flags),
            revoked: Arc::clone(&bundle.revoked),
        }))
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Some(config))
}

/// The CAs that the flags name, or else the system's, as Go has it.
fn roots(bundle: &Bundle) -> Result<Arc<RootCertStore>, String> {
    if let Some(roots) = &bundle.roots {
        return Ok(Arc::clone(roots));
    }
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        return Err(
            "no CA is given, and this system has none: name one with --trusted-ca-file or --peer-trusted-ca-file"
                .to_owned(),
        );
    }
    Ok(Arc::new(roots))
}

fn client_config(
    flags: &TlsFlags,
    protocol: &Protocol,
    provider: &Arc<CryptoProvider>,
    bundle: &Bundle,
) -> Result<Arc<ClientConfig>, String> {
    let verifier: Arc<dyn ServerCertVerifier> = if flags.auto {
        Arc::new(AnyCertificate(Arc::clone(provider)))
    } else {
        let chain =
            WebPkiServerVerifier::builder_with_provider(roots(bundle)?, Arc::clone(provider))
                .build()
                .map_err(|error| error.to_string())?;
        Arc::new(Recognition {
            chain,
            allowed: allowed(flags),
        })
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&suites::versions(protocol))
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match bundle.shown_dialing.clone() {
        Some(shown) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}
