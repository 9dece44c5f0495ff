//! The store's part of it: what is asked of users and roles as they are, and how they change.

use std::sync::Arc;

use prost::Message;

use super::permit::Permit;
use super::{Auth, AuthCommand, AuthRequest, AuthenticateResponse, Author};
use crate::store::EFFECT_AUTH;
use crate::{AuthResponse, Response, Store, StoreError, TxnRequest};

impl Store {
    /// Users and roles.
    #[must_use]
    pub const fn auth(&self) -> &Arc<Auth> {
        &self.auth
    }

    /// Whether this author may do, now, all that a transaction does. One that goes into the log is asked about when it is
    /// applied.
    ///
    /// # Errors
    /// Why not.
    pub fn check_txn(
        &self,
        request: &TxnRequest,
        author: Option<&Author>,
    ) -> Result<(), StoreError> {
        Ok(self.permit(author).check_txn(request)?)
    }

    pub(crate) fn permit<'a>(&'a self, author: Option<&'a Author>) -> Permit<'a> {
        Permit::new(&self.auth, self.leases(), author)
    }

    pub(crate) fn change_auth(&mut self, command: &AuthCommand) -> Result<Response, StoreError> {
        let revision = self.keyspace.revision;
        match &command.request {
            Some(AuthRequest::Authenticate(request)) => {
                self.auth.admit(request)?;
                Ok(Response::Authenticated(AuthenticateResponse {
                    revision,
                    auth_revision: self.auth.revision(),
                    token: request.token(self.applied_index),
                }))
            }
            Some(request) => {
                Arc::make_mut(&mut self.auth).apply(request)?;
                self.digest.number(EFFECT_AUTH);
                self.digest.bytes(&command.encode_to_vec());
                Ok(Response::Auth(AuthResponse { revision }))
            }
            None => unreachable!("a command without a request is refused when it is read"),
        }
    }
}
