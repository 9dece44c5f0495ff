//! etcd's service `Auth`: authentication, users and roles.
//!
//! Stock etcd answers what is asked here through its log, so it is asked little: a cluster whose accounts have not changed says so in one
//! answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crds::PermissionType;
use futures::future::Future;
use plan::accounts::{Grant, Keys};
use plan::{AccountChange, Accounts, Asked, Listing};
use proto::authpb::permission::Type;
use proto::authpb::{Permission, UserAddOptions};
use proto::etcdserverpb::auth_client::AuthClient;
use proto::etcdserverpb::{
    AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest, AuthRoleDeleteRequest,
    AuthRoleGetRequest, AuthRoleGrantPermissionRequest, AuthRoleListRequest,
    AuthRoleRevokePermissionRequest, AuthStatusRequest, AuthUserAddRequest,
    AuthUserChangePasswordRequest, AuthUserDeleteRequest, AuthUserGetRequest,
    AuthUserGrantRoleRequest, AuthUserListRequest, AuthUserRevokeRoleRequest,
};
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::etcd::EtcdMembers;
use super::{CHANGE_TIMEOUT, Endpoint, MembersError, READ_TIMEOUT};

/// One member, asked about accounts.
struct Asking<'a> {
    members: &'a EtcdMembers,
    at: &'a Endpoint,
    limit: Duration,
}

impl Asking<'_> {
    async fn call<T, F>(
        &self,
        call: &'static str,
        send: impl FnOnce(AuthClient<Channel>) -> F,
    ) -> Result<T, MembersError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let send = |channel| send(AuthClient::new(channel));
        self.members.ask(self.at, (call, self.limit), send).await
    }
}

/// What the member says.
pub(super) async fn look(
    members: &EtcdMembers,
    at: &Endpoint,
    asked: &Asked,
) -> Result<Accounts, MembersError> {
    let limit = READ_TIMEOUT;
    let asking = Asking { members, at, limit };
    let status = asking
        .call("AuthStatus", async move |mut auth| {
            auth.auth_status(AuthStatusRequest {}).await
        })
        .await?;
    let (enabled, revision) = (status.enabled, status.auth_revision);
    let settled = enabled && asked.settled_at == Some(revision);
    Ok(Accounts {
        enabled,
        revision,
        listing: if settled {
            None
        } else {
            Some(list(&asking, asked).await?)
        },
    })
}

async fn list(asking: &Asking<'_>, asked: &Asked) -> Result<Listing, MembersError> {
    let users = asking
        .call("UserList", async move |mut auth| {
            auth.user_list(AuthUserListRequest {}).await
        })
        .await?;
    let roles = asking
        .call("RoleList", async move |mut auth| {
            auth.role_list(AuthRoleListRequest {}).await
        })
        .await?;
    let users = users.users.into_iter().map(|it| (it, BTreeSet::new()));
    let mut users: BTreeMap<String, BTreeSet<String>> = users.collect();
    for name in &asked.users {
        if let Some(roles) = users.get_mut(name) {
            let request = AuthUserGetRequest { name: name.clone() };
            let found = asking
                .call("UserGet", async move |mut auth| {
                    auth.user_get(request).await
                })
                .await?;
            roles.extend(found.roles);
        }
    }
    let roles = roles.roles.into_iter().map(|it| (it, BTreeMap::new()));
    let mut roles: BTreeMap<String, BTreeMap<Keys, PermissionType>> = roles.collect();
    for name in &asked.roles {
        if let Some(granted) = roles.get_mut(name) {
            let request = AuthRoleGetRequest { role: name.clone() };
            let found = asking
                .call("RoleGet", async move |mut auth| {
                    auth.role_get(request).await
                })
                .await?;
            granted.extend(found.perm.into_iter().map(granted_to));
        }
    }
    Ok(Listing { users, roles })
}

fn granted_to(permission: Permission) -> (Keys, PermissionType) {
    let kind = match permission.perm_type() {
        Type::Read => PermissionType::Read,
        Type::Write => PermissionType::Write,
        Type::Readwrite => PermissionType::ReadWrite,
    };
    let keys = Keys {
        key: permission.key.into(),
        range_end: permission.range_end.into(),
    };
    (keys, kind)
}

fn permission(grant: Grant) -> Permission {
    let kind = match grant.kind {
        PermissionType::Read => Type::Read,
        PermissionType::Write => Type::Write,
        PermissionType::ReadWrite => Type::Readwrite,
    };
    Permission {
        perm_type: kind.into(),
        key: grant.keys.key.into(),
        range_end: grant.keys.range_end.into(),
    }
}

/// Sends one request for a change, and gives whether it was made.
macro_rules! send {
    ($asking:ident, $call:literal => $method:ident($request:expr)) => {{
        let request = $request;
        let send = async move |mut auth: AuthClient<Channel>| auth.$method(request).await;
        $asking.call($call, send).await.map(drop)
    }};
}

/// Has the member make one change.
pub(super) async fn change(
    members: &EtcdMembers,
    at: &Endpoint,
    change: &AccountChange,
    password: Option<&str>,
) -> Result<(), MembersError> {
    let limit = CHANGE_TIMEOUT;
    let asking = Asking { members, at, limit };
    let sent = password.unwrap_or_default().to_owned();
    match change.clone() {
        AccountChange::Enable => send!(asking, "AuthEnable" => auth_enable(AuthEnableRequest {})),
        AccountChange::Disable => {
            send!(asking, "AuthDisable" => auth_disable(AuthDisableRequest {}))
        }
        AccountChange::AddRole { role: name } => {
            send!(asking, "RoleAdd" => role_add(AuthRoleAddRequest { name }))
        }
        AccountChange::DeleteRole { role } => {
            send!(asking, "RoleDelete" => role_delete(AuthRoleDeleteRequest { role }))
        }
        AccountChange::GrantPermission { role: name, grant } => {
            let perm = Some(permission(grant));
            let request = AuthRoleGrantPermissionRequest { name, perm };
            send!(asking, "RoleGrantPermission" => role_grant_permission(request))
        }
        AccountChange::RevokePermission { role, keys } => {
            let request = AuthRoleRevokePermissionRequest {
                role,
                key: keys.key.into(),
                range_end: keys.range_end.into(),
            };
            send!(asking, "RoleRevokePermission" => role_revoke_permission(request))
        }
        AccountChange::AddUser { user, password } => {
            let options = UserAddOptions {
                no_password: password.is_none(),
            };
            let request = AuthUserAddRequest {
                name: user,
                password: sent,
                options: Some(options),
                hashed_password: String::new(),
            };
            send!(asking, "UserAdd" => user_add(request))
        }
        AccountChange::DeleteUser { user: name } => {
            send!(asking, "UserDelete" => user_delete(AuthUserDeleteRequest { name }))
        }
        AccountChange::ChangePassword { user: name, .. } => {
            let request = AuthUserChangePasswordRequest {
                name,
                password: sent,
                hashed_password: String::new(),
            };
            send!(asking, "UserChangePassword" => user_change_password(request))
        }
        AccountChange::GrantRole { user, role } => {
            let request = AuthUserGrantRoleRequest { user, role };
            send!(asking, "UserGrantRole" => user_grant_role(request))
        }
        AccountChange::RevokeRole { user: name, role } => {
            let request = AuthUserRevokeRoleRequest { name, role };
            send!(asking, "UserRevokeRole" => user_revoke_role(request))
        }
    }
}
