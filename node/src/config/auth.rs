//! The flags of authentication.
//!
//! What this module does not do: read the files that `--auth-token` names.

use std::time::Duration;

use clap::Args;

use super::retention::duration;
use crate::auth::{BCRYPT_COST_DEFAULT, BCRYPT_COSTS, TokenOptions};

/// etcd's default for tokens, in seconds.
const TOKEN_TTL_DEFAULT: u32 = 300;

/// How users are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthSettings {
    /// `--auth-token`.
    pub tokens: TokenOptions,
    /// `--auth-token-ttl`: how long a simple token is good that is not used; etcd's 300 s where 0 was given.
    pub token_ttl: Duration,
    /// `--bcrypt-cost`; etcd's 10 where what was given cannot be.
    pub bcrypt_cost: u32,
}

#[derive(Args, Debug)]
pub(super) struct AuthFlags {
    /// The tokens of users: simple, or jwt,sign-method=METHOD,priv-key=FILE,pub-key=FILE,ttl=10m.
    #[arg(long, value_name = "OPTIONS", default_value = "simple", value_parser = tokens)]
    auth_token: TokenOptions,
    /// Seconds that a simple token is good without being used.
    #[arg(long, value_name = "SECONDS", default_value_t = TOKEN_TTL_DEFAULT)]
    auth_token_ttl: u32,
    /// How much work hashing a password is: 4 to 31, each step doubles it.
    #[arg(long, value_name = "COST", default_value_t = BCRYPT_COST_DEFAULT)]
    bcrypt_cost: u32,
}

impl AuthFlags {
    pub(super) fn read(self, warnings: &mut Vec<String>) -> AuthSettings {
        let seconds = match self.auth_token_ttl {
            0 => TOKEN_TTL_DEFAULT,
            seconds => seconds,
        };
        AuthSettings {
            tokens: self.auth_token,
            token_ttl: Duration::from_secs(seconds.into()),
            bcrypt_cost: cost(self.bcrypt_cost, warnings),
        }
    }
}

fn tokens(text: &str) -> Result<TokenOptions, String> {
    TokenOptions::read(text, duration)
}

/// etcd does not refuse one that cannot be either.
fn cost(given: u32, warnings: &mut Vec<String>) -> u32 {
    if BCRYPT_COSTS.contains(&given) {
        return given;
    }
    let (least, most) = (BCRYPT_COSTS.start(), BCRYPT_COSTS.end());
    warnings.push(format!(
        "--bcrypt-cost is {given}, which is not between {least} and {most}; {BCRYPT_COST_DEFAULT} is used"
    ));
    BCRYPT_COST_DEFAULT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_that_cannot_be_is_told_and_not_used() {
        let mut warnings = Vec::new();
        assert_eq!((cost(4, &mut warnings), cost(31, &mut warnings)), (4, 31));
        assert!(warnings.is_empty());
        assert_eq!((cost(3, &mut warnings), cost(32, &mut warnings)), (10, 10));
        assert!(warnings[0].contains("--bcrypt-cost is 3"), "{warnings:?}");
    }
}
