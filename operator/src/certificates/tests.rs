use std::sync::Arc;

use plan::Target;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;

use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(1_795_000_000).expect("a time")
}

fn issue(authority: Authority, replaces: Option<Target>) -> Issue {
    let mut secret = Secret::default();
    secret.metadata.name = Some("kv-peer-tls".to_owned());
    let leaf = |file, hosts: &[&str]| Leaf {
        file,
        common_name: "kv".to_owned(),
        hosts: hosts.iter().map(ToString::to_string).collect(),
    };
    let leaves = vec![
        leaf("tls", &["*.kv-peers.demo.svc", "127.0.0.1"]),
        leaf("client", &[]),
    ];
    Issue {
        surface: names::Surface::Peer,
        secret: Box::new(secret),
        replaces,
        version: None,
        authority,
        leaves,
    }
}

fn filled(entries: Entries) -> Secret {
    let mut secret = *issue(new(), None).secret;
    secret.metadata.uid = Some("1".to_owned());
    secret.data = Some(entries);
    secret
}

fn new() -> Authority {
    Authority::New {
        common_name: "ca".to_owned(),
    }
}

fn kept(secret: &Secret) -> Authority {
    Authority::Kept {
        secret: keyring(secret).target(),
    }
}

fn pem(secret: &Secret, entry: &str) -> CertificateDer<'static> {
    let text = text(secret, entry).expect("an entry");
    CertificateDer::from_pem_slice(text.as_bytes()).expect("a certificate")
}

/// Whether a member with the CA of `secret` believes who shows this certificate.
fn believes(secret: &Secret, shown: &CertificateDer<'_>, at: Timestamp) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(pem(secret, "ca.crt")).expect("a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = verifier.build().expect("a verifier");
    verifier.verify_client_cert(shown, &[], unix(at)).is_ok()
}

fn unix(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(at.duration_since(Timestamp::UNIX_EPOCH).unsigned_abs())
}

/// Whether a client with the CA of `secret` takes who shows this certificate for `host`.
fn serves(secret: &Secret, shown: &CertificateDer<'_>, host: &str) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(pem(secret, "ca.crt")).expect("a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = verifier.build().expect("a verifier");
    let host = ServerName::try_from(host.to_owned()).expect("a host");
    verifier
        .verify_server_cert(shown, &[], &host, &[], unix(now()))
        .is_ok()
}

#[test]
fn what_is_made_is_read_back() {
    let secret = filled(make(&issue(new(), None), None, now()).expect("it is made"));
    let keyring = keyring(&secret);
    let entries: Vec<&str> = keyring.entries.iter().map(String::as_str).collect();
    assert_eq!(
        entries,
        [
            "ca.crt",
            "ca.key",
            "client.crt",
            "client.key",
            "tls.crt",
            "tls.key"
        ]
    );
    assert_eq!(keyring.ends["ca"], now() + AUTHORITY_LASTS);
    assert_eq!(keyring.ends["tls"], now() + LEAF_LASTS);
    let shown = format!("{keyring:?}");
    assert!(!shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn a_renewal_is_signed_by_the_same_authority() {
    let old = filled(make(&issue(new(), None), None, now()).expect("it is made"));
    let later = now() + SignedDuration::from_hours(24 * 300);
    let again = issue(kept(&old), Some(keyring(&old).target()));
    let mut secret = filled(make(&again, Some(&old), later).expect("it is renewed"));
    assert_eq!(keyring(&secret).authority, keyring(&old).authority);
    assert!(
        text(&secret, "ca.key").is_none(),
        "the key of the CA stays where it is"
    );
    assert_eq!(keyring(&secret).ends["tls"], later + LEAF_LASTS);
    let other = filled(make(&issue(new(), None), None, now()).expect("it is made"));
    for entry in ["tls.crt", "client.crt"] {
        assert!(believes(&old, &pem(&secret, entry), later), "{entry}");
        assert!(!believes(&other, &pem(&secret, entry), later), "{entry}");
        assert!(
            !believes(&old, &pem(&secret, entry), later + LEAF_LASTS + LEAF_LASTS),
            "{entry}"
        );
    }
    secret.data.get_or_insert_default().remove("tls.crt");
    assert!(!keyring(&secret).has("tls.crt"));
}

#[test]
fn a_key_of_another_authority_is_refused_and_not_shown() {
    let mut old = filled(make(&issue(new(), None), None, now()).expect("it is made"));
    let other = make(&issue(new(), None), None, now()).expect("it is made");
    let data = old.data.get_or_insert_default();
    data.insert("ca.key".to_owned(), other["ca.key"].clone());
    let error = make(&issue(kept(&old), None), Some(&old), now()).expect_err("the wrong key");
    assert!(
        matches!(error, CertificateError::Mismatched { .. }),
        "{error}"
    );
    let data = old.data.get_or_insert_default();
    data.insert("ca.key".to_owned(), ByteString(b"secret words".to_vec()));
    let error = make(&issue(kept(&old), None), Some(&old), now()).expect_err("no key");
    assert!(!format!("{error:?}").contains("secret words"));
}

#[test]
fn only_who_is_called_by_a_name_may_serve() {
    let secret = filled(make(&issue(new(), None), None, now()).expect("it is made"));
    let (serving, dialing) = (pem(&secret, "tls.crt"), pem(&secret, "client.crt"));
    assert!(serves(&secret, &serving, "kv-a.kv-peers.demo.svc"));
    assert!(serves(&secret, &serving, "127.0.0.1"));
    assert!(!serves(&secret, &serving, "kv-a.kv-peers.other.svc"));
    assert!(!serves(&secret, &dialing, "kv-a.kv-peers.demo.svc"));
    assert!(believes(&secret, &serving, now()), "a member dials itself");
}

/// What a Secret holds after a change of it.
fn changed(secret: &Secret, authority: Authority, leaves: bool) -> Secret {
    let mut issue = issue(authority, Some(keyring(secret).target()));
    if !leaves {
        issue.leaves.clear();
    }
    let made = make(&issue, Some(secret), now()).expect("it is changed");
    let mut changed = secret.clone();
    let data = changed.data.get_or_insert_default();
    data.extend(made);
    for entry in gone(&issue.authority) {
        data.remove(*entry);
    }
    changed
}

#[test]
fn an_authority_is_replaced_in_three_changes() {
    let old = filled(make(&issue(new(), None), None, now()).expect("it is made"));
    let target = || keyring(&old).target();
    let beside = Authority::Beside {
        secret: target(),
        common_name: "next".to_owned(),
    };
    let prepared = changed(&old, beside, false);
    assert_eq!(keyring(&prepared).roots, ["ca", "next"]);
    assert_eq!(pem(&prepared, "tls.crt"), pem(&old, "tls.crt"));
    let renewed = changed(&prepared, kept(&prepared), true);
    assert_eq!(
        keyring(&renewed).roots,
        ["ca", "next"],
        "a renewal in between keeps both"
    );
    assert!(believes(&old, &pem(&renewed, "tls.crt"), now()));

    let shown = changed(&prepared, Authority::Next { secret: target() }, true);
    assert_eq!(keyring(&shown).roots, ["next", "ca"]);
    assert!(!keyring(&shown).has("next-ca.key"));
    let certificate = pem(&shown, "tls.crt");
    assert_eq!(issuer(&certificate).as_deref(), Some("next"));
    assert!(!believes(&old, &certificate, now()));
    assert!(
        believes(&shown, &certificate, now()),
        "the first in ca.crt signs"
    );
    let text = text(&shown, "ca.crt").expect("a bundle");
    assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 2);

    let alone = changed(&shown, Authority::Alone { secret: target() }, false);
    assert_eq!(keyring(&alone).roots, ["next"]);
    assert_eq!(pem(&alone, "tls.crt"), certificate);
    let again = changed(&alone, kept(&alone), true);
    assert!(
        believes(&alone, &pem(&again, "client.crt"), now()),
        "its key is there to sign"
    );
}
