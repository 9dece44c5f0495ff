//! The flags of a text, filled in for one run.
//!
//! It deliberately understands none of them.

use anyhow::Result;

use super::tls::{Certificates, authority_of};

/// What `KEYS` in a flag stands for.
const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../node/tests/keys");
/// A flag with this names a certificate that is made for the run.
const CERTIFICATES: &str = "TLS/";

/// What every member is started with.
#[derive(Debug)]
pub(super) struct Flags {
    all: Vec<String>,
    /// Where the flags name certificates; then every member listens for TLS too.
    pub(super) certificates: Option<Certificates>,
}

impl Flags {
    pub(super) fn of(text: &[String]) -> Result<Self> {
        let is_secure = text.iter().any(|it| it.contains(CERTIFICATES));
        let certificates = is_secure.then(Certificates::make).transpose()?;
        let folder = certificates.as_ref().map(|it| it.folder().display());
        let folder = folder.map_or_else(String::new, |it| format!("{it}/"));
        let filled = |it: &String| it.replace("KEYS", KEYS).replace(CERTIFICATES, &folder);
        Ok(Self {
            all: text.iter().map(filled).collect(),
            certificates,
        })
    }

    /// Those of one member. The plain port stays: whoever looks after the members is no part of a text.
    pub(super) fn of_member(&self, plain_url: &str) -> Vec<String> {
        let mut flags = self.all.clone();
        if self.certificates.is_some() {
            let secure = secure(plain_url);
            flags.push(format!("--listen-client-urls={plain_url},{secure}"));
        }
        flags
    }
}

/// Where a member with this plain URL listens for TLS: one port below, where nobody else does.
pub(super) fn secure(plain_url: &str) -> String {
    let (host, port) = authority_of(plain_url).rsplit_once(':').unwrap_or_default();
    format!("https://{host}:{}", port.parse().unwrap_or(1) - 1)
}
