//! Simple tokens: drawn at random, given out through the log, and remembered by every member.
//!
//! A token is `LETTERS.INDEX`: sixteen letters from the member that was asked, and the index of the entry that gave it out. So
//! a member that has not yet applied that entry knows that it must wait before it calls the token invalid.
//!
//! Tokens are forgotten when the process ends, and when a snapshot takes the place of entries, as among these may be one that
//! ended them. Entries that were in the log before this start give no tokens: they would come to life again.
//!
//! What this module deliberately does not do: draw the letters.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use store::{AuthRequest, Command, Response};

/// How often tokens that have run out are looked for; until then they only take memory. etcd's figure.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What an applied entry means for tokens.
#[derive(Clone, PartialEq, Eq)]
pub enum News {
    /// A user got a token.
    Given {
        /// The token.
        token: String,
        /// Whose it is.
        name: String,
    },
    /// All tokens of a user end.
    Ended(String),
    /// All tokens end.
    AllEnded,
}

impl fmt::Debug for News {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given { name, .. } => write!(formatter, "Given to {name:?}"),
            Self::Ended(name) => write!(formatter, "Ended for {name:?}"),
            Self::AllEnded => formatter.write_str("AllEnded"),
        }
    }
}

/// What a command that was applied, and answered so, means for tokens.
#[must_use]
pub fn news(command: &Command, response: &Response) -> Option<News> {
    let Command::Auth(command) = command else {
        return None;
    };
    match (command.request.as_ref()?, response) {
        (AuthRequest::Authenticate(request), Response::Authenticated(answer)) => {
            let token = String::from_utf8_lossy(&answer.token.bytes).into_owned();
            let name = request.name.clone();
            // Without letters it is one that nobody remembers.
            (!request.token_prefix.bytes.is_empty()).then_some(News::Given { token, name })
        }
        (AuthRequest::UserDelete(user), Response::Auth(_)) => Some(News::Ended(user.name.clone())),
        (AuthRequest::UserChangePassword(user), Response::Auth(_)) => {
            Some(News::Ended(user.name.clone()))
        }
        (AuthRequest::Disable(_), Response::Auth(_)) => Some(News::AllEnded),
        _ => None,
    }
}

/// The tokens that are good at this member. The loop writes them, the services look them up.
pub struct Tokens {
    ttl: Duration,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    tokens: HashMap<String, Token>,
    sweep_at: Option<Instant>,
}

struct Token {
    name: String,
    ends_at: Instant,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.table().tokens.len();
        write!(formatter, "Tokens({tokens})")
    }
}

impl Tokens {
    /// None yet; each ends when it is not used for `ttl`.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            table: Mutex::default(),
        }
    }

    /// Takes note of what the loop has applied, in its order.
    pub fn take(&self, news: impl IntoIterator<Item = News>, now: Instant) {
        let mut table = self.table();
        for news in news {
            match news {
                News::Given { token, name } => {
                    let ends_at = now + self.ttl;
                    table.tokens.insert(token, Token { name, ends_at });
                    table.sweep(now);
                }
                News::Ended(name) => table.tokens.retain(|_, token| token.name != name),
                News::AllEnded => table.tokens.clear(),
            }
        }
    }

    /// Whose this token is; it is good for longer, now that it was used.
    #[must_use]
    pub fn find(&self, token: &str, now: Instant) -> Option<String> {
        let mut table = self.table();
        let found = table.tokens.get_mut(token);
        let found = found.filter(|token| token.ends_at > now)?;
        found.ends_at = now + self.ttl;
        Some(found.name.clone())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change of it is one call on a map, so that nothing is ever left half done.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn sweep(&mut self, now: Instant) {
        if self.sweep_at.is_none_or(|at| at <= now) {
            self.tokens.retain(|_, token| token.ends_at > now);
            self.sweep_at = Some(now + SWEEP_EVERY);
        }
    }
}

/// The index of the entry that gave a simple token out; none if it does not look like one.
pub(super) fn index_of(token: &str) -> Option<u64> {
    let (_, index) = token.split_once('.')?;
    let all_digits = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| index.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn given(token: &str, name: &str) -> News {
        News::Given {
            token: token.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_token_lives_as_long_as_it_is_used() {
        let (tokens, start) = (Tokens::new(TTL), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        tokens.take([given("a.1", "alice")], start);
        assert_eq!(tokens.find("a.1", at(9)).as_deref(), Some("alice"));
        assert_eq!(tokens.find("a.1", at(18)).as_deref(), Some("alice"));
        assert_eq!(tokens.find("a.1", at(28)), None);
        assert_eq!(tokens.find("b.1", start), None);
        tokens.take([given("c.2", "carol")], at(29));
        assert_eq!(tokens.table().tokens.len(), 1, "what has run out is gone");
    }

    #[test]
    fn tokens_end_with_their_user_and_with_authentication() {
        let (tokens, now) = (Tokens::new(TTL), Instant::now());
        let all = [
            given("a.1", "alice"),
            given("b.2", "bob"),
            given("c.3", "alice"),
        ];
        tokens.take(all, now);
        tokens.take([News::Ended("alice".to_owned())], now);
        let found = ["a.1", "b.2", "c.3"].map(|token| tokens.find(token, now));
        assert_eq!(found, [None, Some("bob".to_owned()), None]);
        tokens.take([News::AllEnded], now);
        assert_eq!(tokens.find("b.2", now), None);
    }

    #[test]
    fn a_token_names_its_entry() {
        assert_eq!(index_of("abc.17"), Some(17));
        for other in [
            "",
            "abc",
            "abc.",
            "abc.x",
            "abc.+1",
            "a.b.1",
            "abc.99999999999999999999",
        ] {
            assert_eq!(index_of(other), None, "{other}");
        }
    }

    #[test]
    fn no_token_shows() {
        let tokens = Tokens::new(TTL);
        tokens.take([given("abcdef.1", "alice")], Instant::now());
        let shown = format!("{tokens:?} {:?}", given("abcdef.1", "alice"));
        assert!(!shown.contains("abcdef"), "{shown}");
    }
}
