//! `--auth-token`: what kind of tokens this member gives out and takes.
//!
//! What this module deliberately does not do: read the files that it names. That is done once, when the member starts.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use jsonwebtoken::Algorithm;

/// What `--bcrypt-cost` may be.
pub const BCRYPT_COSTS: RangeInclusive<u32> = 4..=31;
/// What it is otherwise.
pub const BCRYPT_COST_DEFAULT: u32 = 10;

/// How long a signed token is good if it is not said; etcd's figure.
const JWT_TTL: Duration = Duration::from_secs(300);

/// The kinds of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenOptions {
    /// Drawn at random, and remembered by every member.
    Simple,
    /// Signed; whoever has the public key can check them.
    Jwt(JwtOptions),
    /// None: users are known by their certificates alone.
    None,
}

/// How tokens are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtOptions {
    /// `sign-method`.
    pub algorithm: Algorithm,
    /// `pub-key`: enough to check tokens.
    pub public_key: Option<PathBuf>,
    /// `priv-key`: to sign and to check them; for HMAC the secret itself.
    pub private_key: Option<PathBuf>,
    /// `ttl`: how long they are good.
    pub ttl: Duration,
}

impl TokenOptions {
    /// Reads the flag. `duration` reads a duration as Go writes it.
    ///
    /// # Errors
    /// What is wrong with which part, and the way out.
    pub fn read(
        text: &str,
        duration: impl FnOnce(&str) -> Option<Duration>,
    ) -> Result<Self, String> {
        let mut parts = text.split(',');
        let kind = parts.next().unwrap_or_default();
        let mut options = BTreeMap::new();
        for part in parts {
            let (name, value) = part
                .split_once('=')
                .filter(|(_, value)| !value.contains('='))
                .ok_or_else(|| format!("{part:?} in it does not have the form NAME=VALUE"))?;
            if options.insert(name, value).is_some() {
                return Err(format!("it gives {name} twice; remove one"));
            }
        }
        match kind {
            "simple" => Ok(Self::Simple),
            "jwt" => jwt(&options, duration).map(Self::Jwt),
            "" => Ok(Self::None),
            _ => Err(format!("there is no kind {kind:?}; give simple or jwt,...")),
        }
    }
}

fn jwt(
    options: &BTreeMap<&str, &str>,
    duration: impl FnOnce(&str) -> Option<Duration>,
) -> Result<JwtOptions, String> {
    const KNOWN: [&str; 4] = ["sign-method", "pub-key", "priv-key", "ttl"];
    if let Some(name) = options.keys().find(|name| !KNOWN.contains(name)) {
        let known = KNOWN.join(", ");
        return Err(format!("jwt has no option {name:?}; it has {known}"));
    }
    let given = |name: &str| options.get(name).copied().filter(|value| !value.is_empty());
    let method = given("sign-method").unwrap_or_default();
    let algorithm = algorithm(method).ok_or_else(|| unknown(method))?;
    let ttl = given("ttl").map_or(Some(JWT_TTL), duration);
    let ttl = ttl.filter(|ttl| *ttl > Duration::ZERO).ok_or_else(|| {
        let ttl = options.get("ttl").copied().unwrap_or_default();
        format!("ttl {ttl:?} is not a duration; give one as 10m or 1h30m")
    })?;
    let (public_key, private_key) = (given("pub-key"), given("priv-key"));
    let is_secret = matches!(
        algorithm,
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512
    );
    if private_key.is_none() && (is_secret || public_key.is_none()) {
        return Err(format!("jwt with {method} needs priv-key=FILE"));
    }
    Ok(JwtOptions {
        algorithm,
        public_key: public_key.map(PathBuf::from),
        private_key: private_key.map(PathBuf::from),
        ttl,
    })
}

/// etcd has one method more.
fn unknown(method: &str) -> String {
    let why = match method {
        "ES512" => "needs keys on the curve P-521, which are not served here",
        _ => "is none that is known here",
    };
    format!(
        "sign-method {method:?} {why}; give one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, \
         EdDSA"
    )
}

fn algorithm(method: &str) -> Option<Algorithm> {
    Some(match method {
        "HS256" => Algorithm::HS256,
        "HS384" => Algorithm::HS384,
        "HS512" => Algorithm::HS512,
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TokenOptions, String> {
        TokenOptions::read(text, |text| {
            let minutes = text.strip_suffix('m')?.parse::<u64>().ok()?;
            Some(Duration::from_secs(60 * minutes))
        })
    }

    #[test]
    fn every_kind_is_read() {
        assert_eq!(read("simple"), Ok(TokenOptions::Simple));
        assert_eq!(read(""), Ok(TokenOptions::None));
        let options = |public: Option<&str>, private: Option<&str>, minutes: u64| {
            TokenOptions::Jwt(JwtOptions {
                algorithm: Algorithm::RS256,
                public_key: public.map(PathBuf::from),
                private_key: private.map(PathBuf::from),
                ttl: Duration::from_secs(60 * minutes),
            })
        };
        let both = "jwt,pub-key=a.pub,priv-key=a.key,sign-method=RS256,ttl=10m";
        assert_eq!(read(both), Ok(options(Some("a.pub"), Some("a.key"), 10)));
        let public = "jwt,sign-method=RS256,pub-key=a.pub";
        assert_eq!(read(public), Ok(options(Some("a.pub"), None, 5)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("sample", "sample"),
            ("jwt", "sign-method"),
            ("jwt,sign-method=RS257,priv-key=k", "RS257"),
            (
                "jwt,sign-method=ES512,priv-key=k",
                "\"ES512\" needs keys on",
            ),
            ("jwt,sign-method=RS256", "priv-key"),
            ("jwt,sign-method=HS256,pub-key=k", "priv-key"),
            ("jwt,sign-method=RS256,priv-key=k,ttl=soon", "soon"),
            ("jwt,sign-method=RS256,priv-key=k,ttl=0m", "ttl"),
            ("jwt,sign-method=RS256,sign-method=RS256", "twice"),
            ("jwt,sign-method", "NAME=VALUE"),
            ("jwt,a=b=c", "NAME=VALUE"),
            ("jwt,sign-method=RS256,key=k", "\"key\""),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
