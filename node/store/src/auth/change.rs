//! What each request does to users and roles, after its author was found to be allowed to want it.
//!
//! A request that changes nothing because it is so already (a role that the user has, authentication that is on) is answered as done
//! and leaves the revision as it is, as in etcd.

use super::{
    Auth, AuthError, AuthRequest, Authenticate, ROOT, Role, RoleName, RolePermission, User,
    UserAdd, UserName, UserPassword, UserRole,
};

impl Auth {
    /// Carries a request out. Nothing is changed when it is refused.
    pub(super) fn apply(&mut self, request: &AuthRequest) -> Result<(), AuthError> {
        match request {
            AuthRequest::Enable(_) => self.enable(),
            AuthRequest::Disable(_) => {
                self.disable();
                Ok(())
            }
            AuthRequest::Authenticate(request) => self.admit(request),
            AuthRequest::UserAdd(request) => self.add_user(request),
            AuthRequest::UserDelete(request) => self.delete_user(request),
            AuthRequest::UserChangePassword(request) => self.change_password(request),
            AuthRequest::UserGrantRole(request) => self.grant_role(request),
            AuthRequest::UserRevokeRole(request) => self.revoke_role(request),
            AuthRequest::RoleAdd(request) => self.add_role(request),
            AuthRequest::RoleDelete(request) => self.delete_role(request),
            AuthRequest::RoleGrantPermission(request) => self.grant_permission(request),
            AuthRequest::RoleRevokePermission(request) => self.revoke_permission(request),
        }
    }

    /// Switching on makes no revision, in etcd neither.
    fn enable(&mut self) -> Result<(), AuthError> {
        if !self.enabled {
            let root = self.user(ROOT).ok_or(AuthError::RootUserMissing)?;
            if !root.is_root() {
                return Err(AuthError::RootRoleMissing);
            }
            self.enabled = true;
        }
        Ok(())
    }

    fn disable(&mut self) {
        if self.enabled {
            self.enabled = false;
            self.advance();
        }
    }

    /// The password was found to be right before this was proposed.
    pub(super) fn admit(&self, Authenticate { name, .. }: &Authenticate) -> Result<(), AuthError> {
        if !self.enabled {
            return Err(AuthError::NotEnabled);
        }
        match self.user(name) {
            Some(user) if !user.no_password => Ok(()),
            _ => Err(AuthError::AuthenticationFailed),
        }
    }

    fn add_user(&mut self, request: &UserAdd) -> Result<(), AuthError> {
        let UserAdd {
            name,
            password,
            no_password,
        } = request;
        if name.is_empty() {
            return Err(AuthError::UserEmpty);
        }
        if self.user(name).is_some() {
            return Err(AuthError::UserExists);
        }
        let mut user = User {
            name: name.clone(),
            no_password: *no_password,
            ..User::default()
        };
        if !no_password {
            user.password.clone_from(password);
        }
        self.keep(user);
        self.advance();
        Ok(())
    }

    fn delete_user(&mut self, UserName { name }: &UserName) -> Result<(), AuthError> {
        if self.enabled && name == ROOT {
            return Err(AuthError::InvalidManagement);
        }
        let gone = self.accounts.remove(name);
        gone.ok_or(AuthError::UserNotFound)?;
        self.advance();
        Ok(())
    }

    fn change_password(&mut self, request: &UserPassword) -> Result<(), AuthError> {
        let account = self.accounts.get_mut(&request.name);
        let user = &mut account.ok_or(AuthError::UserNotFound)?.user;
        if !user.no_password {
            user.password.clone_from(&request.password);
        }
        self.advance();
        Ok(())
    }

    fn grant_role(&mut self, request: &UserRole) -> Result<(), AuthError> {
        let mut user = self.existing_user(&request.user)?;
        if request.role != ROOT && self.role(&request.role).is_none() {
            return Err(AuthError::RoleNotFound);
        }
        if let Err(place) = user.roles.binary_search(&request.role) {
            user.roles.insert(place, request.role.clone());
            self.keep(user);
            self.advance();
        }
        Ok(())
    }

    fn revoke_role(&mut self, request: &UserRole) -> Result<(), AuthError> {
        if self.enabled && request.user == ROOT && request.role == ROOT {
            return Err(AuthError::InvalidManagement);
        }
        let mut user = self.existing_user(&request.user)?;
        let before = user.roles.len();
        user.roles.retain(|role| *role != request.role);
        if user.roles.len() == before {
            return Err(AuthError::RoleNotGranted);
        }
        self.keep(user);
        self.advance();
        Ok(())
    }

    fn add_role(&mut self, RoleName { name }: &RoleName) -> Result<(), AuthError> {
        if name.is_empty() {
            return Err(AuthError::RoleEmpty);
        }
        if self.role(name).is_some() {
            return Err(AuthError::RoleExists);
        }
        let role = Role {
            name: name.clone(),
            ..Role::default()
        };
        self.roles.insert(name.clone(), role);
        self.advance();
        Ok(())
    }

    fn delete_role(&mut self, RoleName { name }: &RoleName) -> Result<(), AuthError> {
        if self.enabled && name == ROOT {
            return Err(AuthError::InvalidManagement);
        }
        self.roles.remove(name).ok_or(AuthError::RoleNotFound)?;
        for mut user in self.holders(name) {
            user.roles.retain(|role| role != name);
            self.keep(user);
        }
        self.advance();
        Ok(())
    }

    /// A permission on the same range is changed in kind. (etcd looks only at the first permission on the same key, and may
    /// thus leave an older, wider one beside the new.)
    fn grant_permission(&mut self, request: &RolePermission) -> Result<(), AuthError> {
        let given = request.permission.as_ref();
        let given = given.ok_or(AuthError::PermissionNotGiven)?;
        if !given.is_valid() {
            return Err(AuthError::InvalidManagement);
        }
        let role = self.roles.get_mut(&request.role);
        let permissions = &mut role.ok_or(AuthError::RoleNotFound)?.permissions;
        let same = permissions
            .iter_mut()
            .find(|permission| permission.is_on(&given.key, &given.range_end));
        if let Some(permission) = same {
            permission.kind = given.kind;
        } else {
            let place = permissions.partition_point(|permission| permission.key <= given.key);
            permissions.insert(place, given.detached());
        }
        self.refresh_holders(&request.role);
        self.advance();
        Ok(())
    }

    fn revoke_permission(&mut self, request: &RolePermission) -> Result<(), AuthError> {
        let role = self.roles.get_mut(&request.role);
        let permissions = &mut role.ok_or(AuthError::RoleNotFound)?.permissions;
        let (key, range_end) = request.permission.as_ref().map_or_else(
            || (&[][..], &[][..]),
            |permission| (&*permission.key, &*permission.range_end),
        );
        let before = permissions.len();
        permissions.retain(|permission| !permission.is_on(key, range_end));
        if permissions.len() == before {
            return Err(AuthError::PermissionNotGranted);
        }
        self.refresh_holders(&request.role);
        self.advance();
        Ok(())
    }

    fn existing_user(&self, name: &str) -> Result<User, AuthError> {
        self.user(name).cloned().ok_or(AuthError::UserNotFound)
    }

    fn holders(&self, role: &str) -> Vec<User> {
        let has = |user: &&User| user.roles.iter().any(|name| name == role);
        self.users().filter(has).cloned().collect()
    }

    fn refresh_holders(&mut self, role: &str) {
        let holders = self.holders(role);
        holders.into_iter().for_each(|user| self.keep(user));
    }

    fn advance(&mut self) {
        self.revision = self.revision.saturating_add(1);
    }
}
