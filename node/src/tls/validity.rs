//! Whether a certificate of our own is valid now.
//!
//! One that is not is shown all the same, as etcd shows it: clients whose clocks differ may take it, and a member that does not
//! start helps nobody. It is said in the log, as those who refuse it say so only in theirs.
//!
//! What this module deliberately does not do: look at certificates of others; that is verification.

use std::time::{SystemTime, UNIX_EPOCH};

use x509_parser::prelude::{FromDer, Validity, X509Certificate};

/// Seconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "certificates end by the wall clock, as whoever is shown them checks them"
)]
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// What is wrong with the time of a certificate in DER.
pub(super) fn complaint(certificate: &[u8], now: i64) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    untimely(certificate.validity(), now)
}

fn untimely(validity: &Validity, now: i64) -> Option<String> {
    let Validity {
        not_before,
        not_after,
    } = validity;
    if now > not_after.timestamp() {
        return Some(format!("expired at {not_after}"));
    }
    (now < not_before.timestamp()).then(|| format!("is not valid before {not_before}"))
}
