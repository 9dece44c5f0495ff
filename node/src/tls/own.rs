//! Certificates of our own making, for `--auto-tls` and `--peer-auto-tls`.
//!
//! Made once and kept in the data directory, so that whoever has learned to trust one need not learn it again.
//!
//! What this module deliberately does not do: make one that proves anything, or renew it. It is for trying TLS out.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair as Key,
    KeyUsagePurpose,
};

use super::files::TlsError;
use crate::config::KeyPair;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// The certificate in `folder`, made if there is none, for these hosts.
pub(super) fn certificate(
    flag: &'static str,
    folder: &Path,
    hosts: Vec<String>,
    years: u32,
) -> Result<KeyPair, TlsError> {
    let pair = KeyPair {
        cert_file: folder.join("cert.pem"),
        key_file: folder.join("key.pem"),
    };
    if pair.cert_file.exists() && pair.key_file.exists() {
        return Ok(pair);
    }
    let failed = |path: &Path, reason: String| TlsError::File {
        flag,
        path: path.to_path_buf(),
        reason,
    };
    let (certificate, key) =
        make(hosts, years).map_err(|error| failed(folder, format!("cannot be made: {error}")))?;
    let cannot = |path: &Path| {
        let path = path.to_path_buf();
        move |error: io::Error| failed(&path, format!("cannot be written: {error}"))
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(cannot(folder))?;
    fs::write(&pair.cert_file, certificate).map_err(cannot(&pair.cert_file))?;
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&pair.key_file)
        .and_then(|mut file| file.write_all(key.as_bytes()))
        .map_err(cannot(&pair.key_file))?;
    tracing::warn!(folder = %folder.display(), years, "made a certificate, which proves nothing to anybody");
    Ok(pair)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a certificate is valid from now on; nothing else depends on the clock"
)]
fn make(hosts: Vec<String>, years: u32) -> Result<(String, String), rcgen::Error> {
    let key = Key::generate()?;
    let mut params = CertificateParams::new(hosts)?;
    let now = SystemTime::now();
    params.not_before = now.into();
    // Beyond what a certificate can say there is no later.
    let longest = Duration::from_secs(1_000 * YEAR.as_secs());
    params.not_after = (now + YEAR.saturating_mul(years).min(longest)).into();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "quorate");
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
