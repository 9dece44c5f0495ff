//! Who is believed: a certificate's chain first, as rustls verifies it, then what the flags ask of it besides.
//!
//! What this module deliberately does not do: look at addresses, which may need a name server and must not hold up a
//! handshake's thread.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::files::{Revoked, number};

/// Why a certificate whose chain is sound is not taken.
#[derive(Debug, thiserror::Error)]
enum Unwanted {
    #[error("client certificate authentication failed")]
    Name,
    #[error("certificate serial {0} revoked")]
    Revoked(String),
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
}

impl From<Unwanted> for Error {
    fn from(unwanted: Unwanted) -> Self {
        let other = OtherError(Arc::new(unwanted));
        Self::InvalidCertificate(CertificateError::Other(other))
    }
}

/// Names, one of which a certificate must have.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed {
    pub(super) cns: Vec<String>,
    pub(super) hostnames: Vec<String>,
}

impl Allowed {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let has_cn = || common_name(certificate).is_some_and(|name| self.cns.contains(&name));
        let allowed = match (self.cns.is_empty(), self.hostnames.is_empty()) {
            (true, true) => true,
            (false, _) => has_cn(),
            (true, false) => {
                let parsed = ParsedCertificate::try_from(certificate)?;
                let is_for = |host: &String| {
                    ServerName::try_from(host.as_str())
                        .is_ok_and(|host| verify_server_name(&parsed, &host).is_ok())
                };
                self.hostnames.iter().any(is_for)
            }
        };
        if allowed {
            Ok(())
        } else {
            Err(Unwanted::Name.into())
        }
    }
}

/// The last common name of a subject, which is the one that Go reads; none if there is none or an empty one.
pub(super) fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let last = parsed.subject().iter_common_name().last()?;
    let name = last.as_str().ok().filter(|name| !name.is_empty());
    name.map(str::to_owned)
}

impl Revoked {
    fn check<'a>(&self, chain: impl Iterator<Item = &'a CertificateDer<'a>>) -> Result<(), Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        for certificate in chain {
            let (_, parsed) = X509Certificate::from_der(certificate)
                .map_err(|error| Unwanted::Unreadable(error.to_string()))?;
            if self.0.contains(&number(parsed.raw_serial())) {
                return Err(Unwanted::Revoked(parsed.raw_serial_as_string()).into());
            }
        }
        Ok(())
    }
}

/// Verifies whoever connects.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) chain: Arc<dyn ClientCertVerifier>,
    pub(super) allowed: Allowed,
    pub(super) revoked: Arc<Revoked>,
}

impl ClientCertVerifier for Admission {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        self.revoked
            .check(std::iter::once(end_entity).chain(intermediates))?;
        self.allowed.check(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Verifies whoever is dialed: a member, whose certificate must be for the name that was dialed and, as etcd has it, one of
/// those that are allowed.
#[derive(Debug)]
pub(super) struct Recognition {
    pub(super) chain: Arc<dyn ServerCertVerifier>,
    pub(super) allowed: Allowed,
}

impl ServerCertVerifier for Recognition {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.chain.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        self.allowed.check(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Believes everybody who holds the key of the certificate that it shows: all that `--peer-auto-tls` can ask for, where every
/// member has made its own.
#[derive(Debug)]
pub(super) struct AnyCertificate(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
