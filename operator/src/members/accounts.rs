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

/// Has the member make one change.
pub(super) async fn change(
    members: &EtcdMembers,
    at: &Endpoint,
    change: &AccountChange,
    password: Option<&str>,
) -> Result<(), MembersError> {
    let limit = CHANGE_TIMEOUT;
    let asking = Asking { members, at, limit };
    match change.clone() {
        AccountChange::Enable => asking
            .call("AuthEnable", async move |mut auth| {
                auth.auth_enable(AuthEnableRequest {}).await
            })
            .await
            .map(drop),
        AccountChange::Disable => asking
            .call("AuthDisable", async move |mut auth| {
                auth.auth_disable(AuthDisableRequest {}).await
            })
            .await
            .map(drop),
        change @ (AccountChange::AddRole { .. }
        | AccountChange::DeleteRole { .. }
        | AccountChange::GrantPermission { .. }
        | AccountChange::RevokePermission { .. }) => change_role(&asking, change).await,
        change => {
            let password = password.unwrap_or_default().to_owned();
            change_user(&asking, change, password).await
        }
    }
}

async fn change_role(asking: &Asking<'_>, change: AccountChange) -> Result<(), MembersError> {
    match change {
        AccountChange::AddRole { role: name } => asking
            .call("RoleAdd", async move |mut auth| {
                auth.role_add(AuthRoleAddRequest { name }).await
            })
            .await
            .map(drop),
        AccountChange::DeleteRole { role } => asking
            .call("RoleDelete", async move |mut auth| {
                auth.role_delete(AuthRoleDeleteRequest { role }).await
            })
            .await
            .map(drop),
        AccountChange::GrantPermission { role: name, grant } => {
            let perm = Some(permission(grant));
            asking
                .call("RoleGrantPermission", async move |mut auth| {
                    let request = AuthRoleGrantPermissionRequest { name, perm };
                    auth.role_grant_permission(request).await
                })
                .await
                .map(drop)
        }
        AccountChange::RevokePermission { role, keys } => {
            let request = AuthRoleRevokePermissionRequest {
                role,
                key: keys.key.into(),
                range_end: keys.range_end.into(),
            };
            asking
                .call("RoleRevokePermission", async move |mut auth| {
                    auth.role_revoke_permission(request).await
                })
                .await
                .map(drop)
        }
        _ => Ok(()),
    }
}

async fn change_user(
    asking: &Asking<'_>,
    change: AccountChange,
    password: String,
) -> Result<(), MembersError> {
    match change {
        AccountChange::AddUser { user, password: at } => {
            let options = UserAddOptions {
                no_password: at.is_none(),
            };
            let request = AuthUserAddRequest {
                name: user,
                password,
                options: Some(options),
                hashed_password: String::new(),
            };
            asking
                .call("UserAdd", async move |mut auth| {
                    auth.user_add(request).await
                })
                .await
                .map(drop)
        }
        AccountChange::DeleteUser { user: name } => asking
            .call("UserDelete", async move |mut auth| {
                auth.user_delete(AuthUserDeleteRequest { name }).await
            })
            .await
            .map(drop),
        AccountChange::ChangePassword { user: name, .. } => {
            let request = AuthUserChangePasswordRequest {
                name,
                password,
                hashed_password: String::new(),
            };
            asking
                .call("UserChangePassword", async move |mut auth| {
                    auth.user_change_password(request).await
                })
                .await
                .map(drop)
        }
        AccountChange::GrantRole { user, role } => asking
            .call("UserGrantRole", async move |mut auth| {
                auth.user_grant_role(AuthUserGrantRoleRequest { user, role })
                    .await
            })
            .await
            .map(drop),
        AccountChange::RevokeRole { user: name, role } => asking
            .call("UserRevokeRole", async move |mut auth| {
                auth.user_revoke_role(AuthUserRevokeRoleRequest { name, role })
                    .await
            })
            .await
            .map(drop),
        _ => Ok(()),
    }
}
