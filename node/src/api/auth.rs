//! The Auth service: users, roles, permissions, and tokens.
//!
//! What changes something goes through the log and is judged there; what only looks is a linearizable read of users and roles, and
//! is judged by them. (etcd puts both into its log.) A password is hashed here, before anything is proposed, so that none stands
//! in a log.
//!
//! What this module deliberately does not do: the rules; they stand in the store.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use proto::authpb;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::auth_server;
use store::{
    Auth as Users, AuthError, AuthRequest, Authenticate, AuthenticateResponse, Author, Command,
    Nothing, Permission, PermissionKind, ROOT, Response as Answer, RoleName, RolePermission,
    UserAdd, UserName, UserPassword, UserRole,
};
use tonic::{Request, Response, Status};

use super::Shared;
use crate::auth::Credentials;
use crate::event::{Outcome, Read};
use crate::refusal::Refusal;

/// See the module.
#[derive(Debug)]
pub(super) struct Auth(pub(super) Arc<Shared>);

type Header = Option<pb::ResponseHeader>;

#[tonic::async_trait]
impl auth_server::Auth for Auth {
    async fn auth_enable(
        &self,
        request: Request<pb::AuthEnableRequest>,
    ) -> Result<Response<pb::AuthEnableResponse>, Status> {
        let header = self
            .change(&request, AuthRequest::Enable(Nothing {}))
            .await?;
        Ok(Response::new(pb::AuthEnableResponse { header }))
    }

    async fn auth_disable(
        &self,
        request: Request<pb::AuthDisableRequest>,
    ) -> Result<Response<pb::AuthDisableResponse>, Status> {
        let header = self
            .change(&request, AuthRequest::Disable(Nothing {}))
            .await?;
        Ok(Response::new(pb::AuthDisableResponse { header }))
    }

    async fn auth_status(
        &self,
        request: Request<pb::AuthStatusRequest>,
    ) -> Result<Response<pb::AuthStatusResponse>, Status> {
        let (users, _) = self.look(&request).await?;
        Ok(Response::new(pb::AuthStatusResponse {
            header: self.header(),
            enabled: users.is_enabled(),
            auth_revision: users.revision(),
        }))
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        let pb::AuthenticateRequest { name, password } = request.into_inner();
        let answer = self.admit(&name, password).await;
        let answer = answer.inspect_err(|status| {
            let error = status.message();
            tracing::warn!(user = name, error, "invalid authentication was requested");
        })?;
        let token = self.0.guard.provider.token(&name, &answer)?;
        let header = self.0.header(answer.revision);
        Ok(Response::new(pb::AuthenticateResponse { header, token }))
    }

    async fn user_add(
        &self,
        request: Request<pb::AuthUserAddRequest>,
    ) -> Result<Response<pb::AuthUserAddResponse>, Status> {
        let credentials = Credentials::of(&request);
        let request = request.into_inner();
        let no_password = request.options.is_some_and(|options| options.no_password);
        let hash = if no_password {
            Bytes::new()
        } else {
            self.0.guard.passwords.hash(request.password).await?
        };
        let add = UserAdd {
            name: request.name,
            password: hash.into(),
            no_password,
        };
        let header = self
            .propose(&credentials, AuthRequest::UserAdd(add))
            .await?;
        Ok(Response::new(pb::AuthUserAddResponse { header }))
    }

    async fn user_get(
        &self,
        request: Request<pb::AuthUserGetRequest>,
    ) -> Result<Response<pb::AuthUserGetResponse>, Status> {
        let (users, author) = self.look(&request).await?;
        let name = &request.get_ref().name;
        // Whoever is nobody has no name; asking for it is answered as asking for one's own.
        let own = author.as_ref().map_or("", |author| &author.name);
        if own != name {
            users.check_root(author.as_ref()).map_err(Refusal::from)?;
        }
        let user = users.user(name).ok_or(AuthError::UserNotFound);
        let roles = user.map_err(Refusal::from)?.roles.clone();
        let header = self.header();
        Ok(Response::new(pb::AuthUserGetResponse { header, roles }))
    }

    async fn user_list(
        &self,
        request: Request<pb::AuthUserListRequest>,
    ) -> Result<Response<pb::AuthUserListResponse>, Status> {
        let (all, author) = self.look(&request).await?;
        all.check_root(author.as_ref()).map_err(Refusal::from)?;
        let users = all.users().map(|user| user.name.clone()).collect();
        let header = self.header();
        Ok(Response::new(pb::AuthUserListResponse { header, users }))
    }

    async fn user_delete(
        &self,
        request: Request<pb::AuthUserDeleteRequest>,
    ) -> Result<Response<pb::AuthUserDeleteResponse>, Status> {
        let name = request.get_ref().name.clone();
        let delete = AuthRequest::UserDelete(UserName { name });
        let header = self.change(&request, delete).await?;
        Ok(Response::new(pb::AuthUserDeleteResponse { header }))
    }

    async fn user_change_password(
        &self,
        request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Result<Response<pb::AuthUserChangePasswordResponse>, Status> {
        let credentials = Credentials::of(&request);
        let request = request.into_inner();
        // A client may bring the hash instead.
        let hash = if request.password.is_empty() {
            let hash = BASE64.decode(&request.hashed_password);
            hash.map_err(|_| Refusal::NoPasswordUser)?.into()
        } else {
            self.0.guard.passwords.hash(request.password).await?
        };
        let change = UserPassword {
            name: request.name,
            password: hash.into(),
        };
        let change = AuthRequest::UserChangePassword(change);
        let header = self.propose(&credentials, change).await?;
        Ok(Response::new(pb::AuthUserChangePasswordResponse { header }))
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Result<Response<pb::AuthUserGrantRoleResponse>, Status> {
        let pb::AuthUserGrantRoleRequest { user, role } = request.get_ref().clone();
        let grant = AuthRequest::UserGrantRole(UserRole { user, role });
        let header = self.change(&request, grant).await?;
        Ok(Response::new(pb::AuthUserGrantRoleResponse { header }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Result<Response<pb::AuthUserRevokeRoleResponse>, Status> {
        let pb::AuthUserRevokeRoleRequest { name, role } = request.get_ref().clone();
        let revoke = AuthRequest::UserRevokeRole(UserRole { user: name, role });
        let header = self.change(&request, revoke).await?;
        Ok(Response::new(pb::AuthUserRevokeRoleResponse { header }))
    }

    async fn role_add(
        &self,
        request: Request<pb::AuthRoleAddRequest>,
    ) -> Result<Response<pb::AuthRoleAddResponse>, Status> {
        let name = request.get_ref().name.clone();
        let add = AuthRequest::RoleAdd(RoleName { name });
        let header = self.change(&request, add).await?;
        Ok(Response::new(pb::AuthRoleAddResponse { header }))
    }

    async fn role_get(
        &self,
        request: Request<pb::AuthRoleGetRequest>,
    ) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
        let (users, author) = self.look(&request).await?;
        let name = &request.get_ref().role;
        let own = author.as_ref().and_then(|author| users.user(&author.name));
        if !own.is_some_and(|user| user.roles.contains(name)) {
            users.check_root(author.as_ref()).map_err(Refusal::from)?;
        }
        let role = users.role(name).ok_or(AuthError::RoleNotFound);
        let role = role.map_err(Refusal::from)?;
        let perm = if role.name == ROOT {
            vec![everything()]
        } else {
            role.permissions.iter().map(permission_to_wire).collect()
        };
        let header = self.header();
        Ok(Response::new(pb::AuthRoleGetResponse { header, perm }))
    }

    async fn role_list(
        &self,
        request: Request<pb::AuthRoleListRequest>,
    ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
        let (all, author) = self.look(&request).await?;
        all.check_root(author.as_ref()).map_err(Refusal::from)?;
        let roles = all.roles().map(|role| role.name.clone()).collect();
        let header = self.header();
        Ok(Response::new(pb::AuthRoleListResponse { header, roles }))
    }

    async fn role_delete(
        &self,
        request: Request<pb::AuthRoleDeleteRequest>,
    ) -> Result<Response<pb::AuthRoleDeleteResponse>, Status> {
        let name = request.get_ref().role.clone();
        let delete = AuthRequest::RoleDelete(RoleName { name });
        let header = self.change(&request, delete).await?;
        Ok(Response::new(pb::AuthRoleDeleteResponse { header }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<pb::AuthRoleGrantPermissionResponse>, Status> {
        let pb::AuthRoleGrantPermissionRequest { name, perm } = request.get_ref().clone();
        let grant = AuthRequest::RoleGrantPermission(RolePermission {
            role: name,
            permission: perm.map(permission),
        });
        let header = self.change(&request, grant).await?;
        Ok(Response::new(pb::AuthRoleGrantPermissionResponse {
            header,
        }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<pb::AuthRoleRevokePermissionResponse>, Status> {
        let pb::AuthRoleRevokePermissionRequest {
            role,
            key,
            range_end,
        } = request.get_ref().clone();
        let permission = Some(Permission {
            kind: PermissionKind::Read.into(),
            key,
            range_end,
        });
        let revoke = AuthRequest::RoleRevokePermission(RolePermission { role, permission });
        let header = self.change(&request, revoke).await?;
        Ok(Response::new(pb::AuthRoleRevokePermissionResponse {
            header,
        }))
    }
}

impl Auth {
    fn header(&self) -> Header {
        let revision = self.0.handle.with_status(|status| status.revision);
        self.0.header(revision)
    }

    /// Users and roles as they were when it was asked, and who asks.
    async fn look<T>(&self, request: &Request<T>) -> Result<(Arc<Users>, Option<Author>), Refusal> {
        let credentials = Credentials::of(request);
        let read = self.0.read_and_tell(&credentials, Read::Auth, false);
        match read.await? {
            (Outcome::Auth(users), caller) => {
                let author = caller.map(|caller| caller.author(&users));
                Ok((users, author))
            }
            (other, _) => unreachable!("users and roles are not answered by {other:?}"),
        }
    }

    async fn change<T>(&self, request: &Request<T>, change: AuthRequest) -> Result<Header, Status> {
        self.propose(&Credentials::of(request), change).await
    }

    async fn propose(
        &self,
        credentials: &Credentials,
        change: AuthRequest,
    ) -> Result<Header, Status> {
        let command = Command::from(change);
        match self.0.propose_by(credentials, &command).await? {
            Answer::Auth(answer) => Ok(self.0.header(answer.revision)),
            other => unreachable!("a change of users and roles is not answered by {other:?}"),
        }
    }

    /// Lets the log say that a user is who he is. If users and roles have changed since his password was compared, it may be
    /// another one by now, and is compared again.
    async fn admit(&self, name: &str, password: String) -> Result<AuthenticateResponse, Status> {
        self.0.handle.confirm().await?;
        loop {
            let guard = &self.0.guard;
            let checked_at = guard.check_password(name, password.clone()).await?;
            let request = Authenticate {
                name: name.to_owned(),
                token_prefix: guard.provider.draw_prefix().into(),
            };
            let command = Command::from(AuthRequest::Authenticate(request));
            match self.0.propose(&command).await? {
                Answer::Authenticated(answer) if answer.auth_revision == checked_at => {
                    return Ok(answer);
                }
                Answer::Authenticated(_) => {}
                other => unreachable!("an authentication is not answered by {other:?}"),
            }
        }
    }
}

/// What the role `root` may, whatever it was granted.
fn everything() -> authpb::Permission {
    authpb::Permission {
        perm_type: authpb::permission::Type::Readwrite.into(),
        key: Bytes::new(),
        range_end: Bytes::from_static(&[0]),
    }
}

fn permission(permission: authpb::Permission) -> Permission {
    Permission {
        kind: permission.perm_type,
        key: permission.key,
        range_end: permission.range_end,
    }
}

fn permission_to_wire(permission: &Permission) -> authpb::Permission {
    authpb::Permission {
        perm_type: permission.kind,
        key: permission.key.clone(),
        range_end: permission.range_end.clone(),
    }
}
