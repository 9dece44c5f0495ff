//! Certificates: made for a plan, and read for one.
//!
//! - A key is made here, put into a Secret, and forgotten: it is in no log, no error and no fact.
//! - A certificate is valid from an hour before it is made, for clocks that are late.
//!
//! This file deliberately decides nothing: what is made, for whom and when is the planner's to say.

mod der;

use std::collections::BTreeMap;
use std::time::SystemTime;

use crds::IssuerRef;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use plan::certificates::{AUTHORITY_LASTS, LEAF_LASTS};
use plan::{Authority, Issue, Keyring, Leaf, names};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use der::Certificate;

/// What a Secret holds, by name.
pub(crate) type Entries = BTreeMap<String, ByteString>;

/// How late a clock may be that looks at a new certificate.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// A certificate that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The maker's own words.
    #[error("a certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// The CA's Secret lacks something.
    #[error("the Secret {secret} has no readable {entry}; restore it")]
    Unreadable {
        /// Which Secret.
        secret: String,
        /// Which entry.
        entry: &'static str,
    },
    /// Certificate and key of a CA do not belong together.
    #[error("in the Secret {secret}, ca.key is not the key of ca.crt; restore both")]
    Mismatched {
        /// Which Secret.
        secret: String,
    },
}

/// Makes what is to be issued; `kept` is the Secret with the CA, where it is not to be made as well.
pub(crate) fn make(
    issue: &Issue,
    kept: Option<&Secret>,
    now: Timestamp,
) -> Result<Entries, CertificateError> {
    let mut entries = Entries::new();
    let mut put =
        |entry: String, text: String| entries.insert(entry, ByteString(text.into_bytes()));
    let kept = Kept(kept);
    let (issuer, believed) = match &issue.authority {
        Authority::New { common_name } => {
            let (issuer, certificate) = new_authority(common_name, now)?;
            put("ca.key".to_owned(), issuer.key().serialize_pem());
            (issuer, certificate)
        }
        Authority::Kept { .. } => (kept.authority("ca", now)?, kept.read("ca.crt")?),
        Authority::Beside { common_name, .. } => {
            let (issuer, certificate) = new_authority(common_name, now)?;
            put("next-ca.key".to_owned(), issuer.key().serialize_pem());
            put("next-ca.crt".to_owned(), certificate.clone());
            (issuer, kept.read("ca.crt")? + &certificate)
        }
        Authority::Next { .. } => {
            put("ca.key".to_owned(), kept.read("next-ca.key")?);
            let (next, old) = (kept.read("next-ca.crt")?, kept.read("ca.crt")?);
            (kept.authority("next-ca", now)?, next + first_text(&old))
        }
        Authority::Alone { .. } => {
            let both = kept.read("ca.crt")?;
            (kept.authority("ca", now)?, first_text(&both).to_owned())
        }
    };
    put("ca.crt".to_owned(), believed);
    for leaf in &issue.leaves {
        let key = KeyPair::generate()?;
        let certificate = leaf_params(leaf, now)?.signed_by(&key, &issuer)?;
        put(format!("{}.crt", leaf.file), certificate.pem());
        put(format!("{}.key", leaf.file), key.serialize_pem());
    }
    Ok(entries)
}

/// Entries that go when a Secret is changed so.
pub(crate) const fn gone(authority: &Authority) -> &'static [&'static str] {
    match authority {
        Authority::Next { .. } => &["next-ca.crt", "next-ca.key"],
        _ => &[],
    }
}

fn new_authority(
    common_name: &str,
    now: Timestamp,
) -> Result<(Issuer<'static, KeyPair>, String), CertificateError> {
    let (key, params) = (KeyPair::generate()?, authority(common_name, now));
    let certificate = params.self_signed(&key)?.pem();
    Ok((Issuer::new(params, key), certificate))
}

/// The Secret with the CA, as it was read right before.
struct Kept<'a>(Option<&'a Secret>);

impl Kept<'_> {
    fn read(&self, entry: &'static str) -> Result<String, CertificateError> {
        let found = self.0.and_then(|it| text(it, entry));
        found.ok_or_else(|| self.unreadable(entry))
    }

    fn unreadable(&self, entry: &'static str) -> CertificateError {
        let secret = self.0.map(ResourceExt::name_any).unwrap_or_default();
        CertificateError::Unreadable { secret, entry }
    }

    /// The CA in `<stem>.crt`, of which the first one signs, and `<stem>.key`.
    fn authority(
        &self,
        stem: &'static str,
        now: Timestamp,
    ) -> Result<Issuer<'static, KeyPair>, CertificateError> {
        let (certificate, key) = match stem {
            "ca" => ("ca.crt", "ca.key"),
            _ => ("next-ca.crt", "next-ca.key"),
        };
        let of = first(self.read(certificate)?.as_bytes());
        let of = of.ok_or_else(|| self.unreadable(certificate))?;
        // The parser's words may quote what it could not read.
        let pair = KeyPair::from_pem(&self.read(key)?).map_err(|_| self.unreadable(key))?;
        let name = of.subject.ok_or_else(|| self.unreadable(certificate))?;
        if of.public_key != pair.subject_public_key_info() {
            let secret = self.0.map(ResourceExt::name_any).unwrap_or_default();
            return Err(CertificateError::Mismatched { secret });
        }
        Ok(Issuer::new(authority(&name, now), pair))
    }
}

/// The first certificate of a text in PEM, as text.
fn first_text(text: &str) -> &str {
    const END: &str = "-----END CERTIFICATE-----";
    let end = text.find(END).map_or(text.len(), |at| at + END.len());
    let newline = text[end..].find('\n').map_or(0, |at| at + 1);
    &text[..end + newline]
}

fn authority(common_name: &str, now: Timestamp) -> CertificateParams {
    let mut params = valid(CertificateParams::default(), now, AUTHORITY_LASTS);
    params.distinguished_name = named(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// For both sides: a member dials itself for its JSON gateway.
fn leaf_params(leaf: &Leaf, now: Timestamp) -> Result<CertificateParams, rcgen::Error> {
    let mut params = valid(CertificateParams::new(leaf.hosts.clone())?, now, LEAF_LASTS);
    params.distinguished_name = named(&leaf.common_name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if !leaf.hosts.is_empty() {
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    Ok(params)
}

fn valid(
    mut params: CertificateParams,
    now: Timestamp,
    lasts: SignedDuration,
) -> CertificateParams {
    let time = |at: Timestamp| SystemTime::from(at).into();
    (params.not_before, params.not_after) = (time(now - BACKDATED), time(now + lasts));
    params
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// What is known of a Secret with certificates.
#[must_use]
pub fn keyring(secret: &Secret) -> Keyring {
    let entries = secret
        .data
        .iter()
        .flatten()
        .filter(|(_, it)| !it.0.is_empty());
    let parsed = |(name, text): (&String, &ByteString)| {
        let stem = name.strip_suffix(".crt")?;
        let der = CertificateDer::from_pem_slice(&text.0).ok()?;
        Some((stem.to_owned(), Certificate::read(&der)?, fingerprint(&der)))
    };
    let parsed: Vec<(String, Certificate, String)> = entries.clone().filter_map(parsed).collect();
    let authority = secret.data.as_ref().and_then(|it| it.get("ca.crt"));
    Keyring {
        secret: secret.name_any(),
        uid: secret.uid().unwrap_or_default(),
        version: secret.resource_version(),
        cluster_uid: secret.annotations().get(names::CLUSTER_UID).cloned(),
        certificate: secret.annotations().get(names::CERTIFICATE_NAME).cloned(),
        issuer: issuer_of(secret),
        authority: authority.map(|it| fingerprint(&it.0)),
        ends: parsed
            .iter()
            .map(|(stem, it, _)| (stem.clone(), it.ends))
            .collect(),
        fingerprints: parsed
            .iter()
            .map(|(stem, _, it)| (stem.clone(), it.clone()))
            .collect(),
        subjects: parsed
            .iter()
            .filter_map(|(stem, it, _)| Some((stem.clone(), it.subject.clone()?)))
            .collect(),
        roots: authority.map(|it| roots(&it.0)).unwrap_or_default(),
        entries: entries.map(|(name, _)| name.clone()).collect(),
    }
}

/// Who has signed what is in a Secret, where cert-manager has filled it and says so.
fn issuer_of(secret: &Secret) -> Option<IssuerRef> {
    let annotation = |key: &str| secret.annotations().get(key).cloned();
    let [name, kind, group] = names::ISSUER.map(annotation);
    Some(IssuerRef {
        name: name?,
        kind: kind?,
        group: group?,
    })
}

/// Common names of all certificates of a text in PEM.
#[must_use]
pub fn roots(text: &[u8]) -> Vec<String> {
    let all = CertificateDer::pem_slice_iter(text).filter_map(Result::ok);
    all.filter_map(|it| Certificate::read(&it)?.subject)
        .collect()
}

/// The common name of whoever has signed a certificate.
pub(crate) fn issuer(certificate: &[u8]) -> Option<String> {
    Certificate::read(certificate)?.issuer
}

/// The common name of whoever has signed the first certificate of an entry.
#[must_use]
pub fn signer(secret: &Secret, entry: &str) -> Option<String> {
    let text = secret.data.as_ref()?.get(entry)?;
    issuer(&CertificateDer::from_pem_slice(&text.0).ok()?)
}

/// The common name in a distinguished name.
pub(crate) fn common_name(name: &[u8]) -> Option<String> {
    der::common_name(name)
}

/// A short name for a text.
pub(crate) fn fingerprint(text: &[u8]) -> String {
    let digest = Sha256::digest(text);
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// An entry as text.
pub(crate) fn text(secret: &Secret, entry: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(entry)?.0.clone()).ok()
}

/// The first certificate of a text.
fn first(text: &[u8]) -> Option<Certificate> {
    let der = CertificateDer::from_pem_slice(text).ok()?;
    Certificate::read(&der)
}

#[cfg(test)]
mod tests;
