//! Which kind of tokens a member gives out and takes, with the keys that it needs.

use std::fmt;

use store::{AuthError, AuthenticateResponse};

use super::jwt::{Jwt, JwtError};
use super::options::TokenOptions;
use crate::refusal::Refusal;

/// Letters of a simple token.
const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
/// How many of them: etcd's figure, and 91 bits of chance.
const LENGTH: usize = 16;

/// See the module.
pub enum Provider {
    /// Drawn at random, and remembered by every member.
    Simple,
    /// Signed.
    Jwt(Box<Jwt>),
    /// None.
    None,
}

impl fmt::Debug for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Simple => "Simple",
            Self::Jwt(_) => "Jwt(..)",
            Self::None => "None",
        })
    }
}

impl Provider {
    /// Reads the keys that `--auth-token` names.
    ///
    /// # Errors
    /// [`JwtError`] names the file.
    pub fn load(options: &TokenOptions) -> Result<Self, JwtError> {
        Ok(match options {
            TokenOptions::Simple => Self::Simple,
            TokenOptions::Jwt(options) => Self::Jwt(Jwt::load(options).map(Box::new)?),
            TokenOptions::None => Self::None,
        })
    }

    /// What a token that members must remember begins with; empty if they need not.
    #[must_use]
    pub fn draw_prefix(&self) -> String {
        match self {
            Self::Simple => letters(),
            Self::Jwt(_) | Self::None => String::new(),
        }
    }

    /// The token for a user whose authentication was applied and answered so.
    ///
    /// # Errors
    /// This member cannot give any out.
    pub fn token(&self, name: &str, answer: &AuthenticateResponse) -> Result<String, Refusal> {
        match self {
            Self::Simple => Ok(String::from_utf8_lossy(&answer.token.bytes).into_owned()),
            Self::Jwt(jwt) => jwt.sign(name, answer.auth_revision),
            Self::None => Err(AuthError::AuthenticationFailed.into()),
        }
    }
}

/// From the system's randomness, each as likely as the others: bytes beyond the last whole round of the alphabet are drawn
/// again.
fn letters() -> String {
    let random = rustls::crypto::ring::default_provider().secure_random;
    let mut letters = String::with_capacity(LENGTH);
    let mut bytes = [0; 2 * LENGTH];
    while letters.len() < LENGTH {
        random
            .fill(&mut bytes)
            .expect("the system gives random bytes");
        let fair = bytes.iter().filter(|byte| **byte < 208);
        let missing = LENGTH - letters.len();
        letters.extend(
            fair.take(missing)
                .map(|byte| LETTERS[usize::from(*byte) % 52] as char),
        );
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_tokens_begin_with_letters_that_never_come_twice() {
        let (one, other) = (letters(), letters());
        assert_eq!(one.len(), LENGTH);
        assert!(one.bytes().all(|byte| LETTERS.contains(&byte)));
        assert_ne!(one, other);
        assert_eq!(Provider::None.draw_prefix(), "");
    }

    #[test]
    fn without_tokens_nobody_gets_one() {
        let answer = AuthenticateResponse::default();
        let refused = Provider::None.token("u", &answer).unwrap_err();
        assert_eq!(refused, AuthError::AuthenticationFailed.into());
    }
}
