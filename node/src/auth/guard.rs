//! The guard at the door of every service: whose a request is, and whether that is enough for it.
//!
//! What this module deliberately does not do: judge what goes into the log, or what is read there; both are judged where they are
//! done (`Store::apply_by`, `replica::answer`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{Auth, AuthError, Author};

use super::tokens::index_of;
use super::{Caller, Credentials, Passwords, Provider, Tokens};
use crate::handle::Handle;
use crate::refusal::Refusal;

/// See the module.
#[derive(Debug)]
pub struct Guard {
    /// Where users and roles are read, as this member has applied them.
    pub handle: Handle,
    /// The simple tokens that are good here.
    pub tokens: Arc<Tokens>,
    /// Which kind of tokens is given out and taken.
    pub provider: Provider,
    /// Hashes and compares.
    pub passwords: Passwords,
    /// `--client-cert-auth`: whether a certificate's common name makes its owner a user.
    pub client_cert_auth: bool,
    /// How long to wait for the entry that gave a token out.
    pub patience: Duration,
}

impl Guard {
    /// Users and roles, as this member knows them now.
    #[must_use]
    pub fn auth(&self) -> Arc<Auth> {
        self.handle.with_status(|status| Arc::clone(&status.auth))
    }

    /// Whose the request is; nobody's while authentication is off.
    ///
    /// # Errors
    /// It carries a token that is not good.
    pub async fn caller(&self, credentials: &Credentials) -> Result<Option<Caller>, Refusal> {
        if !self.auth().is_enabled() {
            return Ok(None);
        }
        if let Some(token) = &credentials.token {
            let caller = match &self.provider {
                Provider::Simple => self.bearer(token).await,
                Provider::Jwt(jwt) => jwt.caller(token),
                Provider::None => None,
            };
            return caller.map(Some).ok_or(Refusal::InvalidAuthToken);
        }
        let name = credentials.common_name.clone();
        let name = name.filter(|_| self.client_cert_auth);
        Ok(name.map(|name| Caller {
            name,
            revision: None,
        }))
    }

    /// Waits for the entry that gave the token out, if this member has yet to apply it.
    async fn bearer(&self, token: &str) -> Option<Caller> {
        let index = index_of(token)?;
        let mut name = self.tokens.find(token, Instant::now());
        if name.is_none() {
            let mut status = self.handle.watch_status();
            let applied = status.wait_for(|status| status.applied >= index);
            tokio::time::timeout(self.patience, applied)
                .await
                .ok()?
                .ok()?;
            name = self.tokens.find(token, Instant::now());
        }
        let revision = None;
        name.map(|name| Caller { name, revision })
    }

    /// The author of what the request wants in the log, as of now.
    ///
    /// # Errors
    /// As [`Guard::caller`].
    pub async fn author(&self, credentials: &Credentials) -> Result<Option<Author>, Refusal> {
        let caller = self.caller(credentials).await?;
        Ok(caller.map(|caller| caller.author(&self.auth())))
    }

    /// Lets only those pass who have the role `root`.
    ///
    /// # Errors
    /// Why not.
    pub async fn require_root(&self, credentials: &Credentials) -> Result<(), Refusal> {
        let author = self.author(credentials).await?;
        Ok(self.auth().check_root(author.as_ref())?)
    }

    /// Lets everybody pass who says who he is.
    ///
    /// # Errors
    /// That he does not.
    pub async fn require_known(&self, credentials: &Credentials) -> Result<(), Refusal> {
        let author = self.author(credentials).await?;
        Ok(self.auth().check_known(author.as_ref())?)
    }

    /// Lets those pass who may read, and so watch, the whole range, under etcd's rule for `range_end`: it must be asked with
    /// the range as the client wrote it.
    ///
    /// # Errors
    /// Why not.
    pub async fn require_read(
        &self,
        credentials: &Credentials,
        key: &[u8],
        range_end: &[u8],
    ) -> Result<(), Refusal> {
        let author = self.author(credentials).await?;
        let auth = self.auth();
        Ok(auth.access(author.as_ref()).read(key, range_end)?)
    }

    /// The revision of users and roles at which this was the user's password.
    ///
    /// # Errors
    /// It is not; or nobody can be authenticated so.
    pub async fn check_password(&self, name: &str, password: String) -> Result<u64, Refusal> {
        let auth = self.auth();
        if !auth.is_enabled() {
            return Err(AuthError::NotEnabled.into());
        }
        let user = auth.user(name);
        if user.is_some_and(|user| user.no_password) {
            return Err(Refusal::NoPasswordUser);
        }
        let hash = user.map(|user| user.password.bytes.clone());
        if self.passwords.matches(password, hash).await? {
            Ok(auth.revision())
        } else {
            Err(AuthError::AuthenticationFailed.into())
        }
    }
}
