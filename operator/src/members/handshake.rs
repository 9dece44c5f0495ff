//! A handshake with a member, only to see what it shows and whom it believes.
//!
//! A server that asks for a certificate names the CAs from which it takes one (RFC 8446, section 4.2.4), as its process has
//! them in memory at that moment. So nothing is shown to it, which between members must not be ours to show, and the connection
//! ends there.
//!
//! - What was seen counts only if the member has proved to be the host of its name, under a CA that the Secret has: its
//!   signature is over all that it said before, the CAs included. Up to TLS 1.2 it is not, so that 1.3 is insisted on.
//!
//! It deliberately asks for nothing over the connection, and is no proof of health.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plan::Handshake;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificates::{common_name, fingerprint, issuer};

/// How long it may take.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Where a member is met, and who must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// `address:port`.
    pub authority: String,
    /// The host that it must prove to be.
    pub host: String,
    /// The CAs that may say so, in PEM.
    pub roots: String,
}

impl Door {
    /// Shakes hands, as far as is needed to see.
    ///
    /// # Errors
    /// Why nothing was seen, in words for a person.
    pub async fn shake(&self) -> Result<Handshake, String> {
        let host = ServerName::try_from(self.host.clone()).map_err(|it| it.to_string())?;
        let (config, witness) = self.config().map_err(|it| it.to_string())?;
        let shaking = async {
            let stream = TcpStream::connect(&self.authority).await?;
            TlsConnector::from(config).connect(host, stream).await
        };
        let ended = tokio::time::timeout(TIMEOUT, shaking).await;
        let seen = witness.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match (&seen.trusts, &seen.proved, ended) {
            (Some(trusts), Some(shown), _) => Ok(Handshake {
                trusts: trusts.clone(),
                shows: fingerprint(shown),
                issuer: issuer(shown).unwrap_or_default(),
            }),
            (_, _, Ok(Ok(_))) => Err("it asks for no certificate".to_owned()),
            (_, _, Ok(Err(error))) => Err(error.to_string()),
            (_, _, Err(_)) => Err(format!("no handshake within {TIMEOUT:?}")),
        }
    }

    fn config(&self) -> Result<(Arc<ClientConfig>, Arc<Witness>), Error> {
        let mut roots = RootCertStore::empty();
        let all = CertificateDer::pem_slice_iter(self.roots.as_bytes());
        roots.add_parsable_certificates(all.filter_map(Result::ok));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let judge = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let judge = judge.build().map_err(|it| Error::General(it.to_string()))?;
        let witness = Arc::new(Witness {
            judge,
            provider: provider.clone(),
            seen: Mutex::default(),
        });
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(witness.clone())
            .with_client_cert_resolver(witness.clone());
        Ok((Arc::new(config), witness))
    }
}

/// Sees a handshake from within.
#[derive(Debug)]
struct Witness {
    judge: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Whom the server believes, as it says.
    trusts: Option<BTreeSet<String>>,
    /// The certificate that was shown and believed, once its key has signed all that was said.
    proved: Option<Vec<u8>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge.verify_server_cert(shown, chain, host, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls12_signature(message, shown, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.judge.verify_tls13_signature(message, shown, signed)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.proved = Some(shown.to_vec());
        Ok(verified)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ResolvesClientCert for Witness {
    fn resolve(&self, roots: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.trusts = Some(roots.iter().filter_map(|it| common_name(it)).collect());
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}
