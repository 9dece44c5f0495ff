//! Whether a member's certificate names the address that it comes from, as etcd asks between members.
//!
//! A certificate without names passes. Otherwise the address is one of its addresses, or a name of the address is one of its
//! names (also by a wildcard), or one of its names leads to the address.
//!
//! What this module deliberately does not do: remember answers of name servers; links between members live long.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::resolve::Resolver;

#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    addresses: Vec<IpAddr>,
    exact: Vec<String>,
    /// What follows the asterisk: `.example.com`.
    suffixes: Vec<String>,
}

pub(super) async fn check(
    certificate: &CertificateDer<'_>,
    from: IpAddr,
    resolver: &Resolver,
) -> Result<(), String> {
    let names = Names::read(certificate)?;
    let from = from.to_canonical();
    let is_nameless = names.exact.is_empty() && names.suffixes.is_empty();
    if names.addresses.contains(&from) || is_nameless && names.addresses.is_empty() {
        return Ok(());
    }
    if is_nameless {
        return Err(format!(
            "the certificate is for {:?}, not for {from}, which it comes from",
            names.addresses
        ));
    }
    if names.lead_to(from, resolver).await {
        return Ok(());
    }
    let listed: Vec<String> = names
        .exact
        .iter()
        .cloned()
        .chain(wildcards(&names))
        .collect();
    Err(format!(
        "tls: \"{from}\" does not match any of DNSNames {listed:?}"
    ))
}

fn wildcards(names: &Names) -> impl Iterator<Item = String> {
    names.suffixes.iter().map(|suffix| format!("*{suffix}"))
}

impl Names {
    fn read(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        let mut names = Self::default();
        let extension = parsed
            .subject_alternative_name()
            .map_err(|error| error.to_string())?;
        let listed = extension.map_or(&[][..], |extension| &extension.value.general_names);
        for name in listed {
            match name {
                GeneralName::DNSName(name) => match name.strip_prefix('*') {
                    Some(suffix) if suffix.starts_with('.') => {
                        names.suffixes.push(suffix.to_ascii_lowercase());
                    }
                    _ => names.exact.push(name.to_ascii_lowercase()),
                },
                GeneralName::IPAddress(bytes) => names.addresses.extend(address(bytes)),
                _ => {}
            }
        }
        Ok(names)
    }

    async fn lead_to(&self, from: IpAddr, resolver: &Resolver) -> bool {
        for name in resolver.names(from).await {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let by_wildcard = self.suffixes.iter().any(|suffix| name.ends_with(suffix));
            if by_wildcard || self.exact.contains(&name) {
                return true;
            }
        }
        for name in &self.exact {
            let addresses = resolver.addresses(name, 0).await.unwrap_or_default();
            if addresses
                .iter()
                .any(|found| found.ip().to_canonical() == from)
            {
                return true;
            }
        }
        false
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let of4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    of4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn certificate(names: &[&str]) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[tokio::test]
    async fn a_certificate_names_the_address_it_comes_from() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = folder.path().join("hosts");
        std::fs::write(
            &hosts,
            "192.0.2.7 a.kv.example\n192.0.2.8 b.kv.example other.example\n",
        )
        .unwrap();
        let resolver = Resolver::new(Some(hosts));
        for (names, from, passes) in [
            (&[][..], "192.0.2.7", true),
            (&["192.0.2.7"], "192.0.2.7", true),
            (&["192.0.2.7"], "::ffff:192.0.2.7", true),
            (&["192.0.2.7"], "192.0.2.8", false),
            (&["A.kv.example"], "192.0.2.7", true),
            (&["a.kv.example"], "192.0.2.8", false),
            (&["*.kv.example"], "192.0.2.8", true),
            (&["*.other.example"], "192.0.2.8", false),
            (&["192.0.2.9", "other.example"], "192.0.2.8", true),
        ] {
            let checked = check(&certificate(names), from.parse().unwrap(), &resolver).await;
            assert_eq!(
                checked.is_ok(),
                passes,
                "{names:?} from {from}: {checked:?}"
            );
        }
    }
}
