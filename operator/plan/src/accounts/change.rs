//! Changes of authentication, users and roles, each one call of etcd's service `Auth`.
//!
//! This file deliberately does not know when a change is right, and holds no password.

use std::fmt;

use crds::{Permission, PermissionType};

use crate::action::Target;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountChange {
    /// `AuthEnable`.
    Enable,
    /// `AuthDisable`.
    Disable,
    /// `RoleAdd`.
    AddRole {
        /// The role.
        role: String,
    },
    /// `RoleDelete`, which takes it from all users.
    DeleteRole {
        /// The role.
        role: String,
    },
    /// `RoleGrantPermission`, in place of another one with the same keys.
    GrantPermission {
        /// The role.
        role: String,
        /// What is granted.
        grant: Grant,
    },
    /// `RoleRevokePermission`.
    RevokePermission {
        /// The role.
        role: String,
        /// With which keys.
        keys: Keys,
    },
    /// `UserAdd`.
    AddUser {
        /// The user.
        user: String,
        /// Where its password stands; none for one that is known by its certificate alone.
        password: Option<PasswordSource>,
    },
    /// `UserDelete`.
    DeleteUser {
        /// The user.
        user: String,
    },
    /// `UserChangePassword`.
    ChangePassword {
        /// The user.
        user: String,
        /// Where its password stands.
        password: PasswordSource,
    },
    /// `UserGrantRole`.
    GrantRole {
        /// The user.
        user: String,
        /// The role.
        role: String,
    },
    /// `UserRevokeRole`.
    RevokeRole {
        /// The user.
        user: String,
        /// The role.
        role: String,
    },
}

/// Where a password stands. It is read again when it is set, and must still be of this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordSource {
    /// The Secret.
    pub secret: Target,
    /// The entry.
    pub key: String,
    /// The Secret's resource version.
    pub version: String,
}

/// Keys as etcd has them: the first, and the first that is no more among them. No end is one key, an end of one zero byte is all keys
/// from there on.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Keys {
    /// The first.
    pub key: Vec<u8>,
    /// The end.
    pub range_end: Vec<u8>,
}

/// What may be done with some keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What.
    pub kind: PermissionType,
    /// With which.
    pub keys: Keys,
}

impl Keys {
    /// Those that a declared permission names.
    #[must_use]
    pub fn of(permission: &Permission) -> Self {
        let (key, range_end) = match permission {
            Permission { key: Some(key), .. } => (key.clone().into_bytes(), Vec::new()),
            Permission {
                range: Some(range), ..
            } => (
                range.from.clone().into_bytes(),
                range.to.clone().into_bytes(),
            ),
            Permission { prefix, .. } => match prefix.as_deref().unwrap_or_default() {
                "" => (vec![0], vec![0]),
                prefix => (prefix.as_bytes().to_vec(), after(prefix.as_bytes())),
            },
        };
        Self { key, range_end }
    }
}

/// The first key after all those with this prefix.
fn after(prefix: &[u8]) -> Vec<u8> {
    let kept = prefix.iter().rposition(|it| *it < u8::MAX);
    let Some(last) = kept else {
        return vec![0];
    };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end
}

impl AccountChange {
    /// Where the password stands that it sets, if it sets one.
    #[must_use]
    pub const fn password(&self) -> Option<&PasswordSource> {
        match self {
            Self::AddUser { password, .. } => password.as_ref(),
            Self::ChangePassword { password, .. } => Some(password),
            _ => None,
        }
    }
}

impl fmt::Display for AccountChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enable => f.write_str("enable authentication"),
            Self::Disable => f.write_str("disable authentication"),
            Self::AddRole { role } => write!(f, "add role {role}"),
            Self::DeleteRole { role } => write!(f, "delete role {role}"),
            Self::GrantPermission { role, grant } => {
                write!(f, "let role {role} {} {}", verb(grant.kind), grant.keys)
            }
            Self::RevokePermission { role, keys } => {
                write!(f, "take {keys} from role {role}")
            }
            Self::AddUser { user, .. } => write!(f, "add user {user}"),
            Self::DeleteUser { user } => write!(f, "delete user {user}"),
            Self::ChangePassword { user, .. } => write!(f, "change the password of user {user}"),
            Self::GrantRole { user, role } => write!(f, "grant role {role} to user {user}"),
            Self::RevokeRole { user, role } => write!(f, "revoke role {role} from user {user}"),
        }
    }
}

const fn verb(kind: PermissionType) -> &'static str {
    match kind {
        PermissionType::Read => "read",
        PermissionType::Write => "write",
        PermissionType::ReadWrite => "read and write",
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.escape_ascii();
        match self.range_end.as_slice() {
            [] => write!(f, "{key}"),
            [0] => write!(f, "{key} and all after it"),
            end => write!(f, "{key} to {}", end.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_that_etcd_means() {
        let keys = |text: &str| {
            let permission = serde_json::from_str(text).expect("a permission");
            let Keys { key, range_end } = Keys::of(&permission);
            let text = |it: Vec<u8>| it.escape_ascii().to_string();
            (text(key), text(range_end))
        };
        let both = |key: &str, end: &str| (key.to_owned(), end.to_owned());
        assert_eq!(keys(r#"{"type":"Read","key":"a"}"#), both("a", ""));
        assert_eq!(keys(r#"{"type":"Read","prefix":"a/"}"#), both("a/", "a0"));
        assert_eq!(
            keys(r#"{"type":"Read","prefix":""}"#),
            both("\\x00", "\\x00")
        );
        let range = r#"{"type":"Read","range":{"from":"a","to":"c"}}"#;
        assert_eq!(keys(range), both("a", "c"));
        assert_eq!(after(&[1, 255]), [2]);
        assert_eq!(after(&[255]), [0]);
    }
}
