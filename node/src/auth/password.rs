//! Passwords: hashed and compared as etcd does, with bcrypt.
//!
//! Each takes a good part of a second of a processor, on purpose. So this happens on threads of its own, a few at a time, and
//! whoever guesses passwords cannot take the member's time from everybody else.
//!
//! What this module deliberately does not do: keep a password. It is dropped with the request it came in.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bcrypt::Version;
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::refusal::Refusal;

/// How many are worked on at once.
const AT_ONCE: usize = 2;
/// How long one may wait for those before it.
const PATIENCE: Duration = Duration::from_secs(5);
/// bcrypt looks at no more; a longer password would be a shorter one in truth.
const BYTES_MAX: usize = 72;

/// See the module.
pub struct Passwords {
    cost: u32,
    turns: Arc<Semaphore>,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Passwords(cost {})", self.cost)
    }
}

impl Passwords {
    /// Hashes at this `--bcrypt-cost`: each step doubles the time.
    #[must_use]
    pub fn new(cost: u32) -> Self {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        Self { cost, turns }
    }

    /// The hash of a password, as etcd writes it.
    ///
    /// # Errors
    /// [`Refusal::PasswordTooLong`]; [`Refusal::Timeout`] if too many wait.
    pub async fn hash(&self, password: String) -> Result<Bytes, Refusal> {
        if password.len() > BYTES_MAX {
            return Err(Refusal::PasswordTooLong);
        }
        let cost = self.cost;
        let hash = self.work(move || bcrypt::hash_with_result(password, cost));
        let hash = hash.await?;
        let hash =
            hash.expect("the cost is one that bcrypt allows, and the system gives random bytes");
        Ok(hash.format_for_version(Version::TwoA).into())
    }

    /// Whether a password is the one with this hash. Without a hash it is not, which takes as long to find out.
    ///
    /// # Errors
    /// [`Refusal::Timeout`] if too many wait.
    pub async fn matches(&self, password: String, hash: Option<Bytes>) -> Result<bool, Refusal> {
        let is_known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.hash_of_nobody());
        let matches = self.work(move || {
            let hash = String::from_utf8_lossy(&hash);
            bcrypt::verify(password, &hash).unwrap_or(false)
        });
        Ok(matches.await? && is_known)
    }

    /// Looks like a hash at our cost.
    fn hash_of_nobody(&self) -> Bytes {
        format!("$2a${:02}${}", self.cost, ".".repeat(53)).into()
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let turn = tokio::time::timeout(PATIENCE, turn).await;
        let turn = turn
            .map_err(|_| Refusal::Timeout)?
            .map_err(|_| Refusal::Stopped)?;
        let working = tokio::task::spawn_blocking(move || {
            // Held until it is done, also for a client that has gone away.
            let _turn = turn;
            work()
        });
        working.await.map_err(|_| Refusal::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_hash_alone() {
        let passwords = Passwords::new(4);
        let hash = passwords.hash("secret".to_owned()).await.unwrap();
        assert!(hash.starts_with(b"$2a$04$") && hash.len() == 60);
        let matches = |password: &str, hash| passwords.matches(password.to_owned(), hash);
        assert!(matches("secret", Some(hash.clone())).await.unwrap());
        assert!(!matches("Secret", Some(hash)).await.unwrap());
        assert!(!matches("", Some(Bytes::new())).await.unwrap());
        assert!(!matches("secret", None).await.unwrap());
        let nobodys = passwords.hash_of_nobody();
        let parsed = String::from_utf8_lossy(&nobodys).parse::<bcrypt::HashParts>();
        assert_eq!(
            parsed.unwrap().get_cost(),
            4,
            "it takes as long as a real one"
        );
    }

    #[tokio::test]
    async fn hashes_of_etcd_match() {
        // As etcd 3.7.3 stored them with `--bcrypt-cost=4`, read out of its snapshots.
        let stored = [
            (
                "root-secret",
                "$2a$04$0.z9ZZbHm9NVyV6zayZUuu6CX111mNRsAB.719exTr7WaQHbdGmOy",
            ),
            (
                "alice-secret",
                "$2a$04$SsyBhqGvpCNMk9a2KY1PbuUD5c0Zv3R/9DZD3d7C13vgyDy67TmYS",
            ),
        ];
        let passwords = Passwords::new(4);
        let matches = async |password: &str, hash: &'static str| {
            let hash = Some(Bytes::from_static(hash.as_bytes()));
            passwords.matches(password.to_owned(), hash).await.unwrap()
        };
        for (password, hash) in stored {
            assert!(matches(password, hash).await, "{password}");
            assert!(!matches("another", hash).await, "{password}");
        }
    }

    #[tokio::test]
    async fn a_password_that_would_be_cut_is_refused() {
        let passwords = Passwords::new(4);
        let hash = |len| passwords.hash("x".repeat(len));
        assert!(hash(72).await.is_ok());
        assert_eq!(hash(73).await, Err(Refusal::PasswordTooLong));
    }
}
