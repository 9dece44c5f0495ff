//! The keys of signed tokens, from the files that `--auth-token` names: for HMAC the secret as it is, otherwise PEM.
//!
//! A private key may stand in PKCS #8, PKCS #1 (RSA) or SEC1 (elliptic curves), a public one as such or in a certificate. Those
//! who check signatures want the bare key, those who make them PKCS #8 or, for RSA, PKCS #1; so each form is brought into PKCS #8
//! first.
//!
//! What this module deliberately does not do: P-521, which the library that signs does not have.

use std::path::Path;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use rcgen::{KeyPair, SignatureAlgorithm};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer,
};
use x509_parser::der_parser::der::parse_der;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::jwt::JwtError;
use super::options::JwtOptions;

/// What signs, if anything does, and what checks.
pub(super) struct Keys {
    pub(super) sign: Option<EncodingKey>,
    pub(super) verify: DecodingKey,
}

/// A family of methods with one kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Rsa,
    P256,
    P384,
    Ed25519,
}

const RSA: &str = "1.2.840.113549.1.1.1";
const ELLIPTIC: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";

pub(super) fn load(options: &JwtOptions) -> Result<Keys, JwtError> {
    let (public, private) = (&options.public_key, &options.private_key);
    let family = match options.algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
            return secret(private.as_deref().unwrap_or(Path::new("")));
        }
        Algorithm::ES256 => Family::P256,
        Algorithm::ES384 => Family::P384,
        Algorithm::EdDSA => Family::Ed25519,
        _ => Family::Rsa,
    };
    let public = public.as_deref().map(|path| family.public(path));
    let public = public.transpose()?;
    let Some(path) = private.as_deref() else {
        let verify = family.verifier(&public.unwrap_or_default());
        return Ok(Keys { sign: None, verify });
    };
    let (sign, own) = family.private(path)?;
    if public.is_some_and(|public| public != own) {
        return Err(JwtError::Mismatch);
    }
    Ok(Keys {
        sign: Some(sign),
        verify: family.verifier(&own),
    })
}

fn secret(path: &Path) -> Result<Keys, JwtError> {
    let secret = read(path)?;
    if secret.is_empty() {
        return Err(no_key(path, "secret"));
    }
    Ok(Keys {
        sign: Some(EncodingKey::from_secret(&secret)),
        verify: DecodingKey::from_secret(&secret),
    })
}

impl Family {
    /// The bare key in a file.
    fn public(self, path: &Path) -> Result<Vec<u8>, JwtError> {
        let pem = read(path)?;
        let key = self.public_of(&pem);
        key.ok_or_else(|| no_key(path, self.needs_public()))
    }

    fn public_of(self, pem: &[u8]) -> Option<Vec<u8>> {
        if let Ok(key) = SubjectPublicKeyInfoDer::from_pem_slice(pem) {
            let (_, key) = SubjectPublicKeyInfo::from_der(&key).ok()?;
            return self.bare(&key);
        }
        let certificate = CertificateDer::from_pem_slice(pem).ok()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&certificate).ok()?;
        self.bare(certificate.public_key())
    }

    fn bare(self, key: &SubjectPublicKeyInfo<'_>) -> Option<Vec<u8>> {
        let bare = &*key.subject_public_key.data;
        let (algorithm, length) = match self {
            Self::Rsa => (RSA, bare.len()),
            Self::P256 => (ELLIPTIC, 65),
            Self::P384 => (ELLIPTIC, 97),
            Self::Ed25519 => (ED25519, 32),
        };
        let fits = key.algorithm.algorithm.to_id_string() == algorithm && bare.len() == length;
        fits.then(|| bare.to_vec())
    }

    fn verifier(self, bare: &[u8]) -> DecodingKey {
        match self {
            Self::Rsa => DecodingKey::from_rsa_der(bare),
            Self::P256 | Self::P384 => DecodingKey::from_ec_der(bare),
            Self::Ed25519 => DecodingKey::from_ed_der(bare),
        }
    }

    /// What signs, and the bare public key that belongs to it.
    fn private(self, path: &Path) -> Result<(EncodingKey, Vec<u8>), JwtError> {
        let pem = read(path)?;
        let key = self.private_of(&pem);
        key.ok_or_else(|| no_key(path, self.needs_private()))
    }

    fn private_of(self, pem: &[u8]) -> Option<(EncodingKey, Vec<u8>)> {
        let pkcs8 = match PrivateKeyDer::from_pem_slice(pem).ok()? {
            PrivateKeyDer::Pkcs8(key) => key.secret_pkcs8_der().to_vec(),
            PrivateKeyDer::Pkcs1(key) => to_pkcs8(RSA_IDENTIFIER, key.secret_pkcs1_der()),
            PrivateKeyDer::Sec1(key) => to_pkcs8(self.identifier(), key.secret_sec1_der()),
            _ => return None,
        };
        let pair = PrivatePkcs8KeyDer::from(pkcs8.as_slice());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&pair, self.signature()).ok()?;
        let sign = match self {
            Self::Rsa => EncodingKey::from_rsa_der(&inner_key(&pkcs8)?),
            Self::P256 | Self::P384 => EncodingKey::from_ec_der(&pkcs8),
            Self::Ed25519 => EncodingKey::from_ed_der(&pkcs8),
        };
        Some((sign, pair.public_key_raw().to_vec()))
    }

    fn signature(self) -> &'static SignatureAlgorithm {
        match self {
            Self::Rsa => &rcgen::PKCS_RSA_SHA256,
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        }
    }

    const fn identifier(self) -> &'static [u8] {
        match self {
            Self::P384 => P384_IDENTIFIER,
            _ => P256_IDENTIFIER,
        }
    }

    const fn needs_public(self) -> &'static str {
        match self {
            Self::Rsa => "public RSA key in PEM",
            Self::P256 => "public P-256 key in PEM",
            Self::P384 => "public P-384 key in PEM",
            Self::Ed25519 => "public Ed25519 key in PEM",
        }
    }

    const fn needs_private(self) -> &'static str {
        match self {
            Self::Rsa => "private RSA key in PEM",
            Self::P256 => "private P-256 key in PEM",
            Self::P384 => "private P-384 key in PEM",
            Self::Ed25519 => "private Ed25519 key in PEM",
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, JwtError> {
    std::fs::read(path).map_err(|source| JwtError::Read {
        path: path.to_owned(),
        source,
    })
}

fn no_key(path: &Path, needed: &'static str) -> JwtError {
    JwtError::NoKey {
        path: path.to_owned(),
        needed,
    }
}

// `AlgorithmIdentifier`s of RFC 3279 and RFC 5480.
const RSA_IDENTIFIER: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
const P256_IDENTIFIER: &[u8] =
    b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384_IDENTIFIER: &[u8] =
    b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";

/// `PrivateKeyInfo` of RFC 5208: version 0, the algorithm, the key.
fn to_pkcs8(identifier: &[u8], key: &[u8]) -> Vec<u8> {
    let key = element(0x04, key);
    element(0x30, &[b"\x02\x01\x00", identifier, &key].concat())
}

/// The key inside of a `PrivateKeyInfo`.
fn inner_key(pkcs8: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = parse_der(pkcs8).ok()?;
    let key = parsed.as_sequence().ok()?.get(2)?.as_slice().ok()?;
    Some(key.to_vec())
}

/// One element of DER: tag, length, content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let digits = &length[length.iter().take_while(|digit| **digit == 0).count()..];
    let mut element = vec![tag];
    if content.len() >= 0x80 {
        element.push(0x80 | digits.len() as u8);
        element.extend_from_slice(digits);
    } else {
        element.push(content.len() as u8);
    }
    element.extend_from_slice(content);
    element
}
