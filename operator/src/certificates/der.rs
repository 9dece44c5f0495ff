//! What is read of a certificate: when it ends, whose key is in it, whom it names and who says so (RFC 5280, section 4.1).
//!
//! Lengths are believed only as far as there are bytes. It deliberately judges nothing: whether a certificate is to be
//! believed, rustls says.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
/// 2.5.4.3, the kind of name that is a common name.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
/// The version, which certificates of the first version lack.
const VERSION: u8 = 0xa0;

/// What is read of a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// The last moment at which it is valid.
    pub(super) ends: Timestamp,
    /// Its `SubjectPublicKeyInfo`, as it stands.
    pub(super) public_key: Vec<u8>,
    /// The common name of whom it names.
    pub(super) subject: Option<String>,
    /// The common name of who has signed it.
    pub(super) issuer: Option<String>,
}

/// The common name in a distinguished name.
pub(super) fn common_name(name: &[u8]) -> Option<String> {
    let mut parts = Reader(name).open(SEQUENCE)?;
    while !parts.0.is_empty() {
        let mut part = parts.open(SET)?.open(SEQUENCE)?;
        if part.next(OBJECT)? == COMMON_NAME {
            let text = part.next(*part.0.first()?)?;
            return String::from_utf8(text.to_vec()).ok();
        }
    }
    None
}

impl Certificate {
    /// Reads one; none if it is not one.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let mut rest = Reader(der).open(SEQUENCE)?.open(SEQUENCE)?;
        if rest.0.first() == Some(&VERSION) {
            rest.next(VERSION)?;
        }
        rest.next(INTEGER)?;
        rest.next(SEQUENCE)?;
        let issuer = common_name(rest.whole(SEQUENCE)?);
        let mut validity = rest.open(SEQUENCE)?;
        validity.time()?;
        let ends = validity.time()?;
        let subject = common_name(rest.whole(SEQUENCE)?);
        let public_key = rest.whole(SEQUENCE)?.to_vec();
        Some(Self {
            ends,
            public_key,
            subject,
            issuer,
        })
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The contents of the next value, which must be of this kind.
    fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            // Longer lengths than these are no certificate's.
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes
                    .iter()
                    .fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        (*found == tag).then_some(contents)
    }

    /// The next value with its head.
    fn whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = self.0;
        self.next(tag)?;
        Some(&before[..before.len() - self.0.len()])
    }

    fn open(&mut self, tag: u8) -> Option<Self> {
        self.next(tag).map(Reader)
    }

    /// Years before 2050 have two digits.
    fn time(&mut self) -> Option<Timestamp> {
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).ok();
        let whole = match *self.0.first()? {
            UTC_TIME => {
                let short = text(self.next(UTC_TIME)?)?;
                let century = if short.get(..2)? < "50" { "20" } else { "19" };
                format!("{century}{short}")
            }
            _ => text(self.next(GENERALIZED_TIME)?)?.to_owned(),
        };
        let time = DateTime::strptime("%Y%m%d%H%M%SZ", &whole).ok()?;
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PublicKeyData};

    use super::*;

    fn made(year: i32) -> (Vec<u8>, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(year, 2, 3);
        params
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, "o");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "me");
        let certificate = params.self_signed(&key).expect("a certificate");
        (certificate.der().to_vec(), key)
    }

    #[test]
    fn both_ways_to_write_a_year_are_read() {
        for year in [1999, 2026, 2049, 2050, 2136] {
            let (der, key) = made(year);
            let read = Certificate::read(&der).expect("a certificate");
            assert_eq!(read.ends.to_string(), format!("{year}-02-03T00:00:00Z"));
            assert_eq!(read.public_key, key.subject_public_key_info());
            let names = (read.subject.as_deref(), read.issuer.as_deref());
            assert_eq!(names, (Some("me"), Some("me")));
        }
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_none_or_another_and_never_a_panic() {
        let (der, _) = made(2030);
        for end in 0..der.len() {
            assert_eq!(Certificate::read(&der[..end]), None, "cut at {end}");
        }
        for at in 0..der.len() {
            for byte in [0x00, 0x30, 0x7f, 0x80, 0x84, 0xff] {
                let mut damaged = der.clone();
                damaged[at] = byte;
                let _ = Certificate::read(&damaged);
            }
        }
    }
}
