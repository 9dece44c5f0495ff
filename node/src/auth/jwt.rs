//! Signed tokens (RFC 7519), with etcd's claims: `username`, `revision` (of users and roles when it was given out) and `exp`.
//!
//! No member remembers them. They end by their time, or at the next change of users, roles or permissions, as their revision is
//! old then; whoever shows one after that is told so, and asks for another.
//!
//! What this module deliberately does not do: take a token that is signed by another method than the one that was chosen.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Header, Validation};
use serde_json::{Value, json};

use super::Caller;
use super::keys::{self, Keys};
use super::options::JwtOptions;
use crate::refusal::Refusal;

/// Why the keys of `--auth-token` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    /// A file cannot be read.
    #[error("cannot read {} of --auth-token", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// It does not hold what the method needs.
    #[error("{} of --auth-token holds no {needed}", path.display())]
    NoKey {
        /// Which file.
        path: PathBuf,
        /// What there should be.
        needed: &'static str,
    },
    /// The two files belong to different keys.
    #[error(
        "auth: public and private keys don't match; give the two files of one key to --auth-token"
    )]
    Mismatch,
}

/// See the module.
pub struct Jwt {
    keys: Keys,
    header: Header,
    validation: Validation,
    ttl: Duration,
}

impl Jwt {
    pub(super) fn load(options: &JwtOptions) -> Result<Self, JwtError> {
        let keys = keys::load(options)?;
        let mut validation = Validation::new(options.algorithm);
        // Times are judged here: the library passes over those that it cannot read, as if the token never ended.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Ok(Self {
            keys,
            header: Header::new(options.algorithm),
            validation,
            ttl: options.ttl,
        })
    }

    /// A token of this user's.
    pub(super) fn sign(&self, name: &str, revision: u64) -> Result<String, Refusal> {
        let key = self.keys.sign.as_ref().ok_or(Refusal::VerifyOnly)?;
        let exp = (unix_time() + self.ttl).as_secs();
        let claims = json!({ "username": name, "revision": revision, "exp": exp });
        jsonwebtoken::encode(&self.header, &claims, key).map_err(|_| Refusal::VerifyOnly)
    }

    /// Whose token this is; none if it is not ours, or not good any more.
    pub(super) fn caller(&self, token: &str) -> Option<Caller> {
        let token = jsonwebtoken::decode::<Value>(token, &self.keys.verify, &self.validation);
        let claims = token.ok()?.claims;
        if !is_in_time(&claims, unix_time().as_secs()) {
            return None;
        }
        let name = claims.get("username")?.as_str()?.to_owned();
        let revision = claims.get("revision")?.as_f64()?;
        Some(Caller {
            name,
            // Saturates, and a fraction does not count.
            revision: Some(revision as u64),
        })
    }
}

/// Whether a token is good at this time, in seconds since 1970, as etcd's library judges it: up to the second before `exp`, and
/// from `nbf` on. The number 0 says nothing, and nothing that is there may be anything else than a number.
fn is_in_time(claims: &Value, now: u64) -> bool {
    let holds = |name, holds: fn(i64, i64) -> bool| match claims.get(name).map(Value::as_f64) {
        None | Some(Some(0.0)) => true,
        Some(Some(time)) => holds(moment(now as f64), moment(time)),
        Some(None) => false,
    };
    holds("exp", |now, end| now < end) && holds("nbf", |now, begin| now >= begin)
}

/// From the year 1 to 1970, in seconds.
const UNIX_EPOCH_SECONDS: i64 = 62_135_596_800;

/// In seconds since the year 1, as Go counts them: what is too late for its clock wraps into the past.
const fn moment(seconds: f64) -> i64 {
    (seconds.floor() as i64).wrapping_add(UNIX_EPOCH_SECONDS)
}

#[expect(
    clippy::disallowed_methods,
    reason = "tokens end by the wall clock, as other members and other programs check them"
)]
fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
