//! What authentication and authorisation refuse, in etcd's words; see [`crate::error`] for why they are its.

use crate::Code;

/// Why a request on users and roles, or one by a user, was refused. `Display` is etcd's exact text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AuthError {
    /// Authentication cannot be switched on without somebody who can switch it off.
    #[error("etcdserver: root user does not exist")]
    RootUserMissing,
    /// As before: the user is there, and may not do anything.
    #[error("etcdserver: root user does not have root role")]
    RootRoleMissing,
    /// A user of this name is there.
    #[error("etcdserver: user name already exists")]
    UserExists,
    /// A user to be added has no name; also whoever asks for something without saying who he is.
    #[error("etcdserver: user name is empty")]
    UserEmpty,
    /// No such user.
    #[error("etcdserver: user name not found")]
    UserNotFound,
    /// A role of this name is there.
    #[error("etcdserver: role name already exists")]
    RoleExists,
    /// No such role.
    #[error("etcdserver: role name not found")]
    RoleNotFound,
    /// A role to be added has no name.
    #[error("etcdserver: role name is empty")]
    RoleEmpty,
    /// No such user, or another password.
    #[error("etcdserver: authentication failed, invalid user ID or password")]
    AuthenticationFailed,
    /// A grant without a permission.
    #[error("etcdserver: permission not given")]
    PermissionNotGiven,
    /// The user may not do this.
    #[error("etcdserver: permission denied")]
    PermissionDenied,
    /// The user does not have the role that is to be taken from it.
    #[error("etcdserver: role is not granted to the user")]
    RoleNotGranted,
    /// The role does not have the permission that is to be taken from it.
    #[error("etcdserver: permission is not granted to the role")]
    PermissionNotGranted,
    /// Nobody can be authenticated while authentication is off.
    #[error("etcdserver: authentication is not enabled")]
    NotEnabled,
    /// What would leave nobody in charge, or a permission on no key at all.
    #[error("etcdserver: invalid auth management")]
    InvalidManagement,
    /// Users, roles or permissions have changed since the author was authenticated.
    #[error("etcdserver: revision of auth store is old")]
    OldRevision,
}

impl AuthError {
    /// The gRPC code that etcd answers with this error.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::UserEmpty
            | Self::RoleEmpty
            | Self::AuthenticationFailed
            | Self::PermissionNotGiven
            | Self::InvalidManagement
            | Self::OldRevision => Code::InvalidArgument,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::RootUserMissing
            | Self::RootRoleMissing
            | Self::UserExists
            | Self::UserNotFound
            | Self::RoleExists
            | Self::RoleNotFound
            | Self::RoleNotGranted
            | Self::PermissionNotGranted
            | Self::NotEnabled => Code::FailedPrecondition,
        }
    }
}
