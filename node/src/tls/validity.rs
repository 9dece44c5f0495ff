//! When certificates of our own are valid, and what is said of that in the log.
//!
//! One that is not is shown all the same, as etcd shows it: clients whose clocks differ may take it, and a member that does not
//! start helps nobody. It is said in the log, as those who refuse it say so only in theirs.
//!
//! - Each thing is said once: that it is not valid yet, that it expires soon, that it has expired.
//! - The notice comes a day before the end, or with the last tenth of a life that is short: what lives for hours is renewed
//!   within hours.
//!
//! What this module deliberately does not do: look at certificates of others; that is verification.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{IntGaugeVec, Opts};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::config::Side;

/// How long before its end a certificate is spoken of, in seconds; enough to renew it by hand.
const NOTICE: i64 = 24 * 3_600;
/// Which part of its life is the most of that.
const PART: i64 = 10;

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

/// When certificates end, for a registry.
#[derive(Clone, Debug)]
pub(super) struct Ends(pub(super) IntGaugeVec);

impl Default for Ends {
    fn default() -> Self {
        let ends = Opts::new(
            "quorate_tls_certificate_expiry_timestamp_seconds",
            "When a certificate of this member's own expires, in seconds since 1970, by the flag that names it.",
        );
        let ends = IntGaugeVec::new(ends, &["flag"]);
        Self(ends.expect("a name of ours is a name of Prometheus'"))
    }
}

/// How a certificate stands to the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Early,
    Sound,
    Ending,
    Ended,
}

/// A certificate of our own.
#[derive(Debug)]
pub(super) struct Own {
    /// Which names it.
    flag: &'static str,
    path: PathBuf,
    not_before: ASN1Time,
    not_after: ASN1Time,
    /// What was said of it last.
    told: Standing,
}

impl Own {
    /// The certificate in DER, if it can be read.
    pub(super) fn of(flag: &'static str, path: &Path, certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        Some(Self {
            flag,
            path: path.to_owned(),
            not_before: certificate.validity().not_before,
            not_after: certificate.validity().not_after,
            told: Standing::Sound,
        })
    }

    /// Tells when it ends.
    pub(super) fn show(&self, ends: &Ends) {
        let flag = self.flag.trim_start_matches('-');
        let gauge = ends.0.with_label_values(&[flag]);
        gauge.set(self.not_after.timestamp());
    }

    /// What has become true of it since it was asked last.
    pub(super) fn news(&mut self, now: i64) -> Option<Remark> {
        let standing = self.standing(now);
        if std::mem::replace(&mut self.told, standing) == standing {
            return None;
        }
        let Self {
            not_before,
            not_after,
            ..
        } = self;
        let said = match standing {
            Standing::Sound => return None,
            Standing::Early => format!("is not valid before {not_before}"),
            Standing::Ending => format!("expires at {not_after}"),
            Standing::Ended => format!("expired at {not_after}"),
        };
        Some(Remark {
            certificate: format!("{} {}: {said}", self.flag, self.path.display()),
            is_valid: standing == Standing::Ending,
        })
    }

    fn standing(&self, now: i64) -> Standing {
        let (from, to) = (self.not_before.timestamp(), self.not_after.timestamp());
        let notice = NOTICE.min((to - from) / PART);
        if now > to {
            Standing::Ended
        } else if now < from {
            Standing::Early
        } else if now > to - notice {
            Standing::Ending
        } else {
            Standing::Sound
        }
    }
}

/// What is to be said of a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remark {
    certificate: String,
    is_valid: bool,
}

impl Remark {
    pub(super) fn log(&self, side: Side) {
        let certificate = &self.certificate;
        if self.is_valid {
            tracing::warn!(%side, certificate, "a certificate of this member's own expires soon");
        } else {
            tracing::warn!(%side, certificate, "a certificate of this member's own is not valid now: others will refuse it");
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.certificate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;
    const DAY: i64 = 24 * HOUR;
    const FROM: i64 = 1_700_000_000;

    fn own(life: i64) -> Own {
        let time = |at| ASN1Time::from_timestamp(at).unwrap();
        Own {
            flag: "--cert-file",
            path: "a.crt".into(),
            not_before: time(FROM),
            not_after: time(FROM + life),
            told: Standing::Sound,
        }
    }

    fn said(own: &mut Own, now: i64) -> String {
        let news = own.news(FROM + now);
        news.map_or_else(String::new, |remark| remark.to_string())
    }

    #[test]
    fn each_thing_is_said_once_and_when_it_is_true() {
        let mut own = own(90 * DAY);
        for (now, expected) in [
            (-1, "--cert-file a.crt: is not valid before "),
            (-1, ""),
            (0, ""),
            (89 * DAY, ""),
            (89 * DAY + 1, "--cert-file a.crt: expires at "),
            (89 * DAY + 60, ""),
            (90 * DAY, ""),
            (90 * DAY + 1, "--cert-file a.crt: expired at "),
            (90 * DAY + 60, ""),
            (900 * DAY, ""),
        ] {
            let said = said(&mut own, now);
            let is_so = said.starts_with(expected) && said.is_empty() == expected.is_empty();
            assert!(is_so, "{now}: {said:?}");
        }
    }

    #[test]
    fn a_short_life_is_spoken_of_in_its_last_tenth() {
        let mut own = own(10 * HOUR);
        assert_eq!(said(&mut own, 0), "");
        assert_eq!(said(&mut own, 9 * HOUR), "");
        assert!(said(&mut own, 9 * HOUR + 1).contains("expires at"));
    }

    #[test]
    fn whoever_slept_through_the_notice_hears_of_the_end() {
        let mut own = own(90 * DAY);
        assert!(said(&mut own, 91 * DAY).contains("expired at"));
        assert_eq!(said(&mut own, 91 * DAY + 1), "");
    }
}
