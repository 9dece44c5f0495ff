//! Users for tests: root, and alice, who may read and write what begins with `mine/`. The password of each is its name and
//! `-secret`.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test file uses its part, and what cannot be made fails the test"
)]

use proto::etcdserverpb as pb;
use proto::etcdserverpb::auth_client::AuthClient;
use proto::{authpb, etcdserverpb::AuthRoleGrantPermissionRequest};
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::lab::Member;

pub fn client(member: &Member) -> AuthClient<Channel> {
    AuthClient::new(member.channel())
}

/// A request with a token.
pub fn by<T>(token: &str, message: T) -> Request<T> {
    by_some(Some(token), message)
}

/// A request with or without a token.
pub fn by_some<T>(token: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let token = token.parse().unwrap();
        request.metadata_mut().insert("token", token);
    }
    request
}

/// Makes the users, and switches authentication on.
pub async fn found(member: &Member) {
    let mut auth = client(member);
    for user in ["root", "alice"] {
        let add = pb::AuthUserAddRequest {
            name: user.to_owned(),
            password: format!("{user}-secret"),
            ..pb::AuthUserAddRequest::default()
        };
        auth.user_add(add).await.unwrap();
    }
    let name = "owner".to_owned();
    let add = pb::AuthRoleAddRequest { name: name.clone() };
    auth.role_add(add).await.unwrap();
    let perm = Some(authpb::Permission {
        perm_type: authpb::permission::Type::Readwrite.into(),
        key: "mine/".into(),
        range_end: "mine0".into(),
    });
    let grant = AuthRoleGrantPermissionRequest { name, perm };
    auth.role_grant_permission(grant).await.unwrap();
    for (user, role) in [("root", "root"), ("alice", "owner")] {
        let (user, role) = (user.to_owned(), role.to_owned());
        let grant = pb::AuthUserGrantRoleRequest { user, role };
        auth.user_grant_role(grant).await.unwrap();
    }
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
}

/// A token, for the password that it was founded with.
pub async fn token(member: &Member, user: &str) -> Result<String, Status> {
    token_with(member, user, &format!("{user}-secret")).await
}

pub async fn token_with(member: &Member, user: &str, password: &str) -> Result<String, Status> {
    let request = pb::AuthenticateRequest {
        name: user.to_owned(),
        password: password.to_owned(),
    };
    let answer = client(member).authenticate(request).await?;
    Ok(answer.into_inner().token)
}

/// To `another`.
pub async fn change_password(member: &Member, root: &str, user: &str) {
    let change = pb::AuthUserChangePasswordRequest {
        name: user.to_owned(),
        password: "another".to_owned(),
        ..pb::AuthUserChangePasswordRequest::default()
    };
    let mut auth = client(member);
    auth.user_change_password(by(root, change)).await.unwrap();
}
