//! Tokens of every method, signed and checked, and what is not taken.

use std::path::Path;

use jsonwebtoken::Algorithm;
use tempfile::TempDir;

use super::*;

/// A key of each kind: its methods, its file in PKCS #8 or in the older form, and its public half.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys");

fn options(algorithm: Algorithm, private: Option<&str>, public: Option<&str>) -> JwtOptions {
    let path = |name: &str| Path::new(FIXTURES).join(name);
    JwtOptions {
        algorithm,
        public_key: public.map(path),
        private_key: private.map(path),
        ttl: Duration::from_secs(60),
    }
}

fn alice(revision: u64) -> Option<Caller> {
    Some(Caller {
        name: "alice".to_owned(),
        revision: Some(revision),
    })
}

#[test]
fn a_signed_token_is_known_by_either_key() {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let rsa = [RS256, RS384, RS512, PS256, PS384, PS512].map(|method| (method, "rsa"));
    let others = [(ES256, "p256"), (ES384, "p384"), (EdDSA, "ed25519")];
    for (algorithm, name) in rsa.into_iter().chain(others) {
        let (public, older) = (format!("{name}.pub.pem"), format!("{name}.older.pem"));
        let forms = [format!("{name}.pem"), older];
        let verifier = Jwt::load(&options(algorithm, None, Some(&public))).unwrap();
        for form in forms
            .iter()
            .filter(|form| Path::new(FIXTURES).join(form).exists())
        {
            let signer = Jwt::load(&options(algorithm, Some(form), Some(&public))).unwrap();
            let token = signer.sign("alice", 7).unwrap();
            assert_eq!(signer.caller(&token), alice(7), "{form}");
            assert_eq!(verifier.caller(&token), alice(7), "{form}");
        }
        assert_eq!(verifier.sign("alice", 7), Err(Refusal::VerifyOnly));
    }
}

#[test]
fn a_secret_signs_too() {
    let jwt = Jwt::load(&options(Algorithm::HS256, Some("rsa.pem"), None)).unwrap();
    let token = jwt.sign("alice", 7).unwrap();
    assert_eq!(jwt.caller(&token), alice(7));
    let other = Jwt::load(&options(Algorithm::HS256, Some("p256.pem"), None)).unwrap();
    assert_eq!(other.caller(&token), None);
}

fn signed_with(jwt: &Jwt, header: &Header, claims: &Value) -> String {
    jsonwebtoken::encode(header, claims, jwt.keys.sign.as_ref().unwrap()).unwrap()
}

#[test]
fn a_token_that_is_not_ours_is_nobodys() {
    let jwt = Jwt::load(&options(Algorithm::HS256, Some("rsa.pem"), None)).unwrap();
    let now = unix_time().as_secs();
    let claims = json!({ "username": "alice", "revision": 7, "exp": now + 60 });
    let caller = |claims: &Value| jwt.caller(&signed_with(&jwt, &jwt.header, claims));
    assert_eq!(caller(&claims), alice(7));
    assert_eq!(
        caller(&json!({ "username": "alice", "revision": 7 })),
        alice(7)
    );
    for bad in [
        json!({ "username": "alice", "revision": 7, "exp": now - 1 }),
        json!({ "username": "alice", "revision": 7, "nbf": now + 60 }),
        json!({ "username": "alice", "revision": 7, "exp": (now + 60).to_string() }),
        json!({ "username": "alice", "revision": 7, "exp": null }),
        json!({ "username": "alice", "revision": 7, "nbf": "now" }),
        json!({ "username": "alice", "revision": "7" }),
        json!({ "username": 7, "revision": 7 }),
        json!({ "revision": 7 }),
        json!({ "username": "alice" }),
    ] {
        assert_eq!(caller(&bad), None, "{bad}");
    }
    let other_method = signed_with(&jwt, &Header::new(Algorithm::HS512), &claims);
    assert_eq!(jwt.caller(&other_method), None);
    let unsigned = "eyJhbGciOiJub25lIn0.eyJ1c2VybmFtZSI6InJvb3QiLCJyZXZpc2lvbiI6N30.";
    for garbage in ["", "a.1", "a.b.c", unsigned] {
        assert_eq!(jwt.caller(garbage), None, "{garbage}");
    }
}

#[test]
fn a_token_is_good_from_its_beginning_to_its_end() {
    let now = 1_700_000_000;
    for (claims, is_good) in [
        (json!({}), true),
        (json!({ "exp": now + 1 }), true),
        (json!({ "exp": now }), false),
        (json!({ "exp": now as f64 + 0.9 }), false),
        (json!({ "exp": now as f64 + 1.1 }), true),
        (json!({ "exp": 0 }), true),
        (json!({ "exp": 0.0 }), true),
        (json!({ "exp": 0.5 }), false),
        (json!({ "exp": -1 }), false),
        (json!({ "exp": 9e18 }), true),
        (json!({ "exp": i64::MAX }), false),
        (json!({ "exp": u64::MAX }), false),
        (json!({ "exp": 1e300 }), false),
        (json!({ "exp": -1e300 }), false),
        (json!({ "exp": "1800000000" }), false),
        (json!({ "exp": null }), false),
        (json!({ "nbf": now }), true),
        (json!({ "nbf": now as f64 + 0.9 }), true),
        (json!({ "nbf": now + 1 }), false),
        (json!({ "nbf": 0 }), true),
        (json!({ "nbf": -1 }), true),
        (json!({ "nbf": "0" }), false),
        (json!({ "exp": now + 1, "nbf": now }), true),
        (json!({ "exp": now, "nbf": now }), false),
    ] {
        assert_eq!(is_in_time(&claims, now), is_good, "{claims}");
    }
}

#[test]
fn a_key_that_does_not_serve_is_named() {
    let error = |algorithm, private, public| {
        let loaded = Jwt::load(&options(algorithm, private, public));
        loaded.err().expect("it cannot be used").to_string()
    };
    let missing = error(Algorithm::RS256, Some("missing.pem"), None);
    assert!(missing.contains("missing.pem") && missing.contains("--auth-token"));
    let wrong_kind = error(Algorithm::RS256, Some("p256.pem"), None);
    assert!(wrong_kind.contains("p256.pem") && wrong_kind.contains("private RSA key"));
    let wrong_curve = error(Algorithm::ES384, None, Some("p256.pub.pem"));
    assert!(wrong_curve.contains("public P-384 key"), "{wrong_curve}");
    let of_two = error(Algorithm::RS256, Some("rsa.pem"), Some("other.pub.pem"));
    assert!(
        of_two.contains("public and private keys don't match"),
        "{of_two}"
    );
}

#[test]
fn an_empty_secret_is_none() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "").unwrap();
    let options = JwtOptions {
        private_key: Some(path),
        ..options(Algorithm::HS256, None, None)
    };
    assert!(matches!(Jwt::load(&options), Err(JwtError::NoKey { .. })));
}
