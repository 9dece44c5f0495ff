//! The words of a script about users and roles.

use super::parse::key_range;
use store::{
    AuthRequest, Authenticate, Command, Nothing, Permission, RoleName, RolePermission, UserAdd,
    UserName, UserPassword, UserRole,
};

pub(super) fn command(verb: &str, words: &[&str]) -> Command {
    let word = |at: usize| words.get(at).copied().unwrap_or_default();
    let name = || word(0).replace("''", "");
    let password = || word(1).to_owned().into();
    let user_role = || UserRole {
        user: name(),
        role: word(1).to_owned(),
    };
    let request = match verb {
        "auth-enable" => AuthRequest::Enable(Nothing {}),
        "auth-disable" => AuthRequest::Disable(Nothing {}),
        "authenticate" => AuthRequest::Authenticate(Authenticate {
            name: name(),
            token_prefix: password(),
        }),
        "user-add" => AuthRequest::UserAdd(UserAdd {
            name: name(),
            password: password(),
            no_password: words.contains(&"no_password"),
        }),
        "user-delete" => AuthRequest::UserDelete(UserName { name: name() }),
        "user-password" => AuthRequest::UserChangePassword(UserPassword {
            name: name(),
            password: password(),
        }),
        "user-grant" => AuthRequest::UserGrantRole(user_role()),
        "user-revoke" => AuthRequest::UserRevokeRole(user_role()),
        "role-add" => AuthRequest::RoleAdd(RoleName { name: name() }),
        "role-delete" => AuthRequest::RoleDelete(RoleName { name: name() }),
        "role-grant" => AuthRequest::RoleGrantPermission(RolePermission {
            role: name(),
            permission: words.get(2).map(|range| permission(word(1), range)),
        }),
        "role-revoke" => AuthRequest::RoleRevokePermission(RolePermission {
            role: name(),
            permission: Some(permission("read", word(1))),
        }),
        other => panic!("no command is called {other}"),
    };
    request.into()
}

fn permission(kind: &str, range: &str) -> Permission {
    let kind = match kind {
        "read" => 0,
        "write" => 1,
        "readwrite" => 2,
        number => number.parse().expect("a kind"),
    };
    let (key, range_end) = key_range(range);
    Permission {
        kind,
        key,
        range_end,
    }
}
