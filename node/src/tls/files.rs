//! The files that the flags name, and what is in them.
//!
//! What this module deliberately does not do: verify anybody, or remember what it has read.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::validity::Own;
use crate::config::TlsFlags;

/// A file, or a choice of flags, that TLS cannot be spoken with. Never shows what is in a private key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One file.
    #[error("{flag} {}: {reason}", path.display())]
    File {
        /// Which flag names it.
        flag: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What was chosen leaves nothing to speak.
    #[error("{flag}: {reason}")]
    Choice {
        /// By which flag.
        flag: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Certificate,
    Key,
    DialingCertificate,
    DialingKey,
    Trusted,
    Revoked,
}

/// One file that a flag names.
#[derive(Clone, Debug)]
pub(super) struct Source {
    role: Role,
    flag: &'static str,
    path: PathBuf,
}

/// Every file of one side, in the order of its flags.
pub(super) fn sources(flags: &TlsFlags) -> Vec<Source> {
    let of = |role, client, peer, path: Option<&PathBuf>| {
        path.map(|path| Source {
            role,
            flag: flags.side.flag(client, peer),
            path: path.clone(),
        })
    };
    let (pair, dialing) = (flags.pair.as_ref(), flags.dialing_pair.as_ref());
    [
        of(
            Role::Certificate,
            "--cert-file",
            "--peer-cert-file",
            pair.map(|pair| &pair.cert_file),
        ),
        of(
            Role::Key,
            "--key-file",
            "--peer-key-file",
            pair.map(|pair| &pair.key_file),
        ),
        of(
            Role::DialingCertificate,
            "--client-cert-file",
            "--peer-client-cert-file",
            dialing.map(|pair| &pair.cert_file),
        ),
        of(
            Role::DialingKey,
            "--client-key-file",
            "--peer-client-key-file",
            dialing.map(|pair| &pair.key_file),
        ),
        of(
            Role::Trusted,
            "--trusted-ca-file",
            "--peer-trusted-ca-file",
            flags.trusted_ca_file.as_ref(),
        ),
        of(
            Role::Revoked,
            "--client-crl-file",
            "--peer-crl-file",
            flags.crl_file.as_ref(),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The files as they were at one moment.
pub(super) struct Contents<'a>(Vec<(&'a Source, io::Result<Vec<u8>>)>);

impl<'a> Contents<'a> {
    pub(super) fn read(sources: &'a [Source]) -> Self {
        let read = |source: &'a Source| (source, std::fs::read(&source.path));
        Self(sources.iter().map(read).collect())
    }

    /// Differs whenever anything in the files does.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for (_, bytes) in &self.0 {
            match bytes {
                Ok(bytes) => {
                    hash.update((bytes.len() as u64).to_le_bytes());
                    hash.update(bytes);
                }
                Err(error) => hash.update(error.to_string()),
            }
        }
        hash.finalize().into()
    }

    /// Our own certificates; nobody has spoken of them yet.
    pub(super) fn own(&self) -> Vec<Own> {
        [Role::Certificate, Role::DialingCertificate]
            .into_iter()
            .filter_map(|role| self.of(role).ok().flatten())
            .filter_map(|file| {
                let chain = file.certificates().ok()?;
                Own::of(file.source.flag, &file.source.path, chain.first()?)
            })
            .collect()
    }

    fn of(&self, role: Role) -> Result<Option<File<'_>>, TlsError> {
        let Some((source, bytes)) = self.0.iter().find(|(source, _)| source.role == role) else {
            return Ok(None);
        };
        match bytes {
            Ok(bytes) => Ok(Some(File { source, bytes })),
            Err(error) => Err(broken(source, format!("cannot be read: {error}"))),
        }
    }
}

fn broken(source: &Source, reason: impl Into<String>) -> TlsError {
    TlsError::File {
        flag: source.flag,
        path: source.path.clone(),
        reason: reason.into(),
    }
}

#[derive(Clone, Copy)]
struct File<'a> {
    source: &'a Source,
    bytes: &'a [u8],
}

impl File<'_> {
    fn broken(&self, reason: impl Into<String>) -> TlsError {
        broken(self.source, reason)
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(self.bytes)
            .collect::<Result<_, _>>()
            .map_err(|error| self.broken(format!("is no certificate in PEM: {error}")))?;
        if certificates.is_empty() {
            return Err(self.broken("holds no certificate in PEM"));
        }
        Ok(certificates)
    }

    /// Says nothing of what it has read: it is a secret, or was meant to be one.
    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(self.bytes).map_err(|_| {
            self.broken(
                "holds no private key in PEM that can be read (PKCS #8, PKCS #1 or SEC 1, not encrypted)",
            )
        })
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots
                .add(certificate)
                .map_err(|error| self.broken(format!("holds what is no CA: {error}")))?;
        }
        Ok(roots)
    }

    /// The serial numbers of a list in PEM, of which there may be several in one file, or in DER, as etcd takes it.
    fn revoked(&self) -> Result<Revoked, TlsError> {
        let lists: Vec<Vec<u8>> = if self.bytes.trim_ascii_start().starts_with(b"-----") {
            CertificateRevocationListDer::pem_slice_iter(self.bytes)
                .map(|list| list.map(|list| list.to_vec()))
                .collect::<Result<_, _>>()
                .map_err(|error| self.broken(format!("is no revocation list in PEM: {error}")))?
        } else {
            vec![self.bytes.to_vec()]
        };
        if lists.is_empty() {
            return Err(self.broken("holds no revocation list"));
        }
        let mut serials = BTreeSet::new();
        for list in &lists {
            let (_, list) = CertificateRevocationList::from_der(list)
                .map_err(|error| self.broken(format!("is no revocation list: {error}")))?;
            let revoked = list.iter_revoked_certificates();
            serials.extend(revoked.map(|entry| number(entry.raw_serial())));
        }
        Ok(Revoked(serials))
    }
}

/// A serial number without the zeros before it.
pub(super) fn number(serial: &[u8]) -> Vec<u8> {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    serial[zeros..].to_vec()
}

/// The serial numbers of certificates that are revoked, whoever has issued them; etcd compares no more than that.
#[derive(Debug, Default)]
pub(super) struct Revoked(pub(super) BTreeSet<Vec<u8>>);

/// What the files of one side hold, each checked by itself.
pub(super) struct Bundle {
    pub(super) shown: Option<Arc<CertifiedKey>>,
    pub(super) shown_dialing: Option<Arc<CertifiedKey>>,
    pub(super) roots: Option<Arc<RootCertStore>>,
    pub(super) revoked: Arc<Revoked>,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle").finish_non_exhaustive()
    }
}

impl Bundle {
    pub(super) fn parse(
        contents: &Contents<'_>,
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let shown = pair(contents, Role::Certificate, Role::Key, provider)?;
        let dialing = pair(
            contents,
            Role::DialingCertificate,
            Role::DialingKey,
            provider,
        )?;
        let trusted = contents.of(Role::Trusted)?;
        let roots = trusted.map(|file| file.roots()).transpose()?;
        let list = contents.of(Role::Revoked)?;
        let revoked = list.map(|file| file.revoked()).transpose()?;
        Ok(Self {
            shown_dialing: dialing.or_else(|| shown.clone()),
            shown,
            roots: roots.map(Arc::new),
            revoked: Arc::new(revoked.unwrap_or_default()),
        })
    }
}

fn pair(
    contents: &Contents<'_>,
    certificate: Role,
    key: Role,
    provider: &CryptoProvider,
) -> Result<Option<Arc<CertifiedKey>>, TlsError> {
    let Some(certificate) = contents.of(certificate)? else {
        return Ok(None);
    };
    let chain = certificate.certificates()?;
    let Some(key) = contents.of(key)? else {
        return Ok(None);
    };
    let private = provider
        .key_provider
        .load_private_key(key.key()?)
        .map_err(|_| {
            key.broken(
                "is a kind of key that is not served: use RSA, ECDSA P-256 or P-384, or Ed25519",
            )
        })?;
    let pair = CertifiedKey::new(chain, private);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(Some(Arc::new(pair)))
        }
        Err(rustls::Error::InconsistentKeys(_)) => {
            let certificate = Path::display(&certificate.source.path);
            Err(key.broken(format!(
                "is not the key of the certificate in {certificate}"
            )))
        }
        Err(error) => Err(certificate.broken(format!("holds no certificate to show: {error}"))),
    }
}
