//! Users, roles and what they may do, replicated like everything else; etcd's rules throughout.
//!
//! A user has a password (its bcrypt hash) or none, and roles; a role has permissions on ranges of keys. Whoever has the role
//! `root` may do everything. A command carries its [`Author`], who is checked when it is applied, against the state that it
//! meets: what was allowed when it was proposed may not be any more.
//!
//! 1. The revision starts at 1 and rises with every change of users, roles or permissions, and when authentication is switched off.
//!    An author of an older revision is refused, because what he was told about himself may have changed.
//! 2. While authentication is on, the user `root` exists and has the role `root`.
//! 3. What a user may do, merged over his roles, follows from users and roles, and is made anew whenever they change or are
//!    read back. (etcd forgot the second: after a restart its members refused what others allowed, and diverged.)
//! 4. No hash and no token shows in any `Debug` output.
//!
//! What this module deliberately does not do: hash, compare passwords, or know tokens; all of these need time or randomness.

mod apply;
mod change;
mod error;
mod permit;
mod ranges;
mod request;

use std::collections::BTreeMap;

use prost::Message;

pub use error::AuthError;
pub use permit::Access;
pub use ranges::{Permission, PermissionKind};
pub use request::{
    AuthCommand, AuthRequest, Authenticate, AuthenticateResponse, Author, Nothing, RoleName,
    RolePermission, Secret, UserAdd, UserName, UserPassword, UserRole,
};

use ranges::Granted;

/// The user, and the role, that may do everything.
pub const ROOT: &str = "root";

/// The revision of a cluster that has never heard of users.
const FIRST_REVISION: u64 = 1;

/// One user. Field numbers are etcd's as far as it has them (`api/authpb/auth.proto`).
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct User {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The bcrypt hash of its password; empty if it has none, so that none fits.
    #[prost(message, required, tag = "2")]
    pub password: Secret,
    /// Names of its roles, ascending.
    #[prost(string, repeated, tag = "3")]
    pub roles: Vec<String>,
    /// Whether it can be authenticated by its client's certificate alone.
    #[prost(bool, tag = "4")]
    pub no_password: bool,
}

impl User {
    /// Whether it may do everything.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.roles.iter().any(|role| role == ROOT)
    }
}

/// One role. Field numbers are etcd's.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Role {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What it may, ascending by key.
    #[prost(message, repeated, tag = "2")]
    pub permissions: Vec<Permission>,
}

/// A user, and what it may do by all its roles together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    user: User,
    granted: Granted,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    enabled: bool,
    revision: u64,
    accounts: BTreeMap<String, Account>,
    roles: BTreeMap<String, Role>,
}

/// How it stands in an image.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct AuthImage {
    #[prost(bool, tag = "1")]
    enabled: bool,
    #[prost(uint64, tag = "2")]
    revision: u64,
    #[prost(message, repeated, tag = "3")]
    users: Vec<User>,
    #[prost(message, repeated, tag = "4")]
    roles: Vec<Role>,
}

impl Default for Auth {
    fn default() -> Self {
        Self::restore(false, FIRST_REVISION, [], [])
    }
}

impl Auth {
    /// As it was elsewhere: in an image of ours, or in a snapshot of etcd's.
    #[must_use]
    pub fn restore(
        enabled: bool,
        revision: u64,
        users: impl IntoIterator<Item = User>,
        roles: impl IntoIterator<Item = Role>,
    ) -> Self {
        let roles = roles.into_iter().map(|role| (role.name.clone(), role));
        let mut auth = Self {
            enabled,
            revision: revision.max(FIRST_REVISION),
            accounts: BTreeMap::new(),
            roles: roles.collect(),
        };
        users.into_iter().for_each(|user| auth.keep(user));
        auth
    }

    /// Whether anything is refused.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// How often users, roles or permissions have changed, in short.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// All users, by name.
    pub fn users(&self) -> impl ExactSizeIterator<Item = &User> {
        self.accounts.values().map(|account| &account.user)
    }

    /// All roles, by name.
    pub fn roles(&self) -> impl ExactSizeIterator<Item = &Role> {
        self.roles.values()
    }

    /// The user of this name.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<&User> {
        self.accounts.get(name).map(|account| &account.user)
    }

    /// The role of this name.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.get(name)
    }

    /// None if there is nothing to tell, so that a cluster without users has the image that it always had.
    pub(crate) fn to_image(&self) -> Option<AuthImage> {
        let image = || AuthImage {
            enabled: self.enabled,
            revision: self.revision,
            users: self.users().cloned().collect(),
            roles: self.roles().cloned().collect(),
        };
        (*self != Self::default()).then(image)
    }

    pub(crate) fn of_image(image: Option<&AuthImage>) -> Self {
        image.cloned().map_or_else(Self::default, |image| {
            Self::restore(image.enabled, image.revision, image.users, image.roles)
        })
    }

    /// Puts a user in the place of the one of its name, with what it may do by the roles as they are.
    fn keep(&mut self, user: User) {
        let roles = user.roles.iter().filter_map(|name| self.roles.get(name));
        let granted = Granted::of(roles.flat_map(|role| &role.permissions));
        self.accounts
            .insert(user.name.clone(), Account { user, granted });
    }
}

#[cfg(test)]
mod tests;
