//! etcd's service `Auth`: authentication, users and roles.
//!
//! Stock etcd answers what is asked here through its log, so it is asked little: a cluster whose accounts have not changed says so in one
//! answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::Future;
use plan::{AccountChange, Accounts, Asked, Listing};
use proto::authpb::UserAddOptions;
use proto::etcdserverpb::auth_client::AuthClient;
use proto::etcdserverpb::{
    AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest, AuthRoleListRequest,
    AuthStatusRequest, AuthUserAddRequest, AuthUserChangePasswordRequest, AuthUserGetRequest,
    AuthUserGrantRoleRequest, AuthUserListRequest,
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
    let roles = roles.roles.into_iter().collect();
    Ok(Listing { users, roles })
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
    let password = password.unwrap_or_default().to_owned();
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
        AccountChange::AddRole { role: name } => asking
            .call("RoleAdd", async move |mut auth| {
                auth.role_add(AuthRoleAddRequest { name }).await
            })
            .await
            .map(drop),
        AccountChange::AddUser { user: name, .. } => {
            let request = AuthUserAddRequest {
                name,
                password,
                options: Some(UserAddOptions { no_password: false }),
                hashed_password: String::new(),
            };
            asking
                .call("UserAdd", async move |mut auth| {
                    auth.user_add(request).await
                })
                .await
                .map(drop)
        }
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
    }
}
