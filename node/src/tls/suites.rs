//! Which versions and cipher suites are spoken.
//!
//! Names are etcd's, which are Go's. A suite of TLS 1.3 cannot be chosen there and is always spoken here.
//!
//! What this module deliberately does not do: offer suites without forward secrecy or without authenticated encryption. Go
//! has them for old clients; whoever lists them beside better ones gets the better ones.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, cipher_suite as suite};
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use super::files::TlsError;
use crate::config::Protocol;

/// Go's names of what is served, with the two older spellings that etcd takes as well.
const SERVED: [(&str, SupportedCipherSuite); 11] = [
    ("TLS_AES_128_GCM_SHA256", suite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", suite::TLS13_AES_256_GCM_SHA384),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        suite::TLS13_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// What Go knows and nobody should speak any more.
const UNSAFE: [&str; 16] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

const FLAG: &str = "--cipher-suites";

/// The provider with the suites that were chosen.
pub(super) fn provider(protocol: &Protocol) -> Result<Arc<CryptoProvider>, TlsError> {
    let mut provider = ring::default_provider();
    if !protocol.cipher_suites.is_empty() {
        let chosen = chosen(&protocol.cipher_suites)?;
        let speaks =
            |suite: &SupportedCipherSuite| suite.tls13().is_some() || chosen.contains(suite);
        provider.cipher_suites.retain(speaks);
        let has12 = provider
            .cipher_suites
            .iter()
            .any(|suite| suite.tls13().is_none());
        if !has12 && !protocol.tls13 {
            return Err(TlsError::Choice {
                flag: FLAG,
                reason: "none of the suites is served, and TLS1.3 is switched off; choose one of the GCM or CHACHA20 suites"
                    .to_owned(),
            });
        }
    }
    Ok(Arc::new(provider))
}

fn chosen(names: &[String]) -> Result<Vec<SupportedCipherSuite>, TlsError> {
    let mut chosen = Vec::new();
    for name in names {
        if let Some((_, suite)) = SERVED.iter().find(|(served, _)| served == name) {
            chosen.push(*suite);
        } else if UNSAFE.contains(&name.as_str()) {
            tracing::warn!("{FLAG} has {name}, which is not safe and not served; the others are");
        } else {
            return Err(TlsError::Choice {
                flag: FLAG,
                reason: format!("unexpected TLS cipher suite {name:?}"),
            });
        }
    }
    Ok(chosen)
}

/// The versions, never none.
pub(super) fn versions(protocol: &Protocol) -> Vec<&'static SupportedProtocolVersion> {
    let tls12 = protocol.tls12.then_some(&TLS12);
    let tls13 = protocol.tls13.then_some(&TLS13);
    tls12.into_iter().chain(tls13).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocol(suites: &[&str], tls12: bool, tls13: bool) -> Protocol {
        Protocol {
            cipher_suites: suites.iter().map(ToString::to_string).collect(),
            tls12,
            tls13,
        }
    }

    #[test]
    fn suites_are_known_by_gos_names() {
        let names = [
            "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        ];
        let provider = provider(&protocol(&names, true, true)).unwrap();
        let spoken = &provider.cipher_suites;
        assert_eq!(spoken.len(), 4);
        assert!(spoken.contains(&suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256));
        assert!(spoken.contains(&suite::TLS13_AES_256_GCM_SHA384));
    }

    #[test]
    fn what_leaves_nothing_to_speak_is_refused() {
        let said = |suites: &[&str], tls13| {
            let refused = provider(&protocol(suites, true, tls13));
            refused.map(drop).unwrap_err().to_string()
        };
        assert!(said(&["TLS_X"], true).contains("unexpected TLS cipher suite \"TLS_X\""));
        assert!(said(&["TLS_RSA_WITH_RC4_128_SHA"], false).contains("--cipher-suites"));
        assert!(provider(&protocol(&["TLS_RSA_WITH_RC4_128_SHA"], true, true)).is_ok());
    }
}
