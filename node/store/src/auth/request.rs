//! What may enter the log about users and roles, and who wants a command.

use std::fmt;

use bytes::Bytes;
use prost::{Message, Oneof};

use super::Permission;

/// Who wants a command to be applied. A command without one is refused what needs a permission, while authentication is on.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Author {
    /// The user's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The revision of users and roles that the author was authenticated against; 0 is older than any.
    #[prost(uint64, tag = "2")]
    pub revision: u64,
}

impl Author {
    /// The cluster itself, for what it does of its own accord: it revokes leases that have run out.
    #[must_use]
    pub fn root() -> Self {
        Self {
            name: super::ROOT.to_owned(),
            revision: u64::MAX,
        }
    }
}

/// A request on users and roles, as a command.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct AuthCommand {
    /// Never none in a command that was read back.
    #[prost(oneof = "AuthRequest", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12")]
    pub request: Option<AuthRequest>,
}

/// One request. Its numbers are never reused.
#[derive(Clone, PartialEq, Eq, Hash, Oneof)]
pub enum AuthRequest {
    /// From now on permissions count.
    #[prost(message, tag = "1")]
    Enable(Nothing),
    /// From now on everybody may do everything.
    #[prost(message, tag = "2")]
    Disable(Nothing),
    /// A user, whose password was found to be right, gets a token.
    #[prost(message, tag = "3")]
    Authenticate(Authenticate),
    /// A new user.
    #[prost(message, tag = "4")]
    UserAdd(UserAdd),
    /// A user leaves.
    #[prost(message, tag = "5")]
    UserDelete(UserName),
    /// Another password for a user.
    #[prost(message, tag = "6")]
    UserChangePassword(UserPassword),
    /// A user gets a role.
    #[prost(message, tag = "7")]
    UserGrantRole(UserRole),
    /// A user loses a role.
    #[prost(message, tag = "8")]
    UserRevokeRole(UserRole),
    /// A new role.
    #[prost(message, tag = "9")]
    RoleAdd(RoleName),
    /// A role goes, from its users too.
    #[prost(message, tag = "10")]
    RoleDelete(RoleName),
    /// A role may more, or the same range in another way.
    #[prost(message, tag = "11")]
    RoleGrantPermission(RolePermission),
    /// A role may less; the kind of the permission does not matter.
    #[prost(message, tag = "12")]
    RoleRevokePermission(RolePermission),
}

impl From<AuthRequest> for crate::Command {
    fn from(request: AuthRequest) -> Self {
        Self::Auth(AuthCommand {
            request: Some(request),
        })
    }
}

/// A request that says everything by its kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct Nothing {}

/// See [`AuthRequest::Authenticate`].
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Authenticate {
    /// Who.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Drawn by the proposer: the beginning of the token; empty if the tokens are none that members must remember.
    #[prost(message, required, tag = "2")]
    pub token_prefix: Secret,
}

impl Authenticate {
    /// What the user shows from now on, if the entry at `index` is this.
    pub(crate) fn token(&self, index: u64) -> Secret {
        let index = format!(".{index}").into_bytes();
        Secret::from([&*self.token_prefix.bytes, &index].concat())
    }
}

/// Answer to [`Authenticate`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthenticateResponse {
    /// The newest revision of the keys; authentication makes none.
    pub revision: i64,
    /// The revision of users and roles.
    pub auth_revision: u64,
    /// The token: its prefix, a dot, and the index of the entry. The same on every member that applies the entry.
    pub token: Secret,
}

/// See [`AuthRequest::UserAdd`].
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct UserAdd {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The bcrypt hash of its password; of no meaning with `no_password`.
    #[prost(message, required, tag = "2")]
    pub password: Secret,
    /// Whether it has none.
    #[prost(bool, tag = "3")]
    pub no_password: bool,
}

/// A user by its name.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct UserName {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// See [`AuthRequest::UserChangePassword`].
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct UserPassword {
    /// Who.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The bcrypt hash of its new password; empty: from now on none fits.
    #[prost(message, required, tag = "2")]
    pub password: Secret,
}

/// A user and a role.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct UserRole {
    /// The user's name.
    #[prost(string, tag = "1")]
    pub user: String,
    /// The role's name.
    #[prost(string, tag = "2")]
    pub role: String,
}

/// A role by its name.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct RoleName {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// A role and a permission.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct RolePermission {
    /// The role's name.
    #[prost(string, tag = "1")]
    pub role: String,
    /// The permission; none is refused.
    #[prost(message, optional, tag = "2")]
    pub permission: Option<Permission>,
}

/// Bytes that no log and no test's output shows: a hash, a token or a part of one.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
#[prost(skip_debug)]
pub struct Secret {
    /// Them.
    #[prost(bytes = "bytes", tag = "1")]
    pub bytes: Bytes,
}

impl<T: Into<Bytes>> From<T> for Secret {
    fn from(bytes: T) -> Self {
        // Not a slice of the request it came in, which would be kept alive whole.
        let bytes = Bytes::copy_from_slice(&bytes.into());
        Self { bytes }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}
