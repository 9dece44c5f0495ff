//! Users and roles, and who may ask.
//!
//! Whoever shows a certificate is `root` here, as the operator is, and whoever does not is nobody. It deliberately knows no
//! password but whether there is one.

use std::collections::{BTreeMap, BTreeSet};

use crds::PermissionType;
use plan::accounts::Keys;
use plan::{AccountChange, Accounts, Asked, Listing};
use quorate_operator::members::Endpoint;

use super::{Model, State};

/// All of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Book {
    enabled: bool,
    revision: u64,
    users: BTreeMap<String, User>,
    roles: BTreeMap<String, BTreeMap<Keys, PermissionType>>,
}

const NO_ROLE: &str = "etcdserver: role name not found";
const NO_USER: &str = "etcdserver: user name not found";

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct User {
    has_password: bool,
    roles: BTreeSet<String>,
}

impl Model {
    /// The accounts of every cluster, in words.
    #[must_use]
    pub fn accounts(&self) -> Vec<String> {
        let state = self.state();
        let of = |book: &Book| {
            format!(
                "enabled {}, users {:?}, roles {:?}",
                book.enabled, book.users, book.roles
            )
        };
        state.clusters.values().map(|it| of(&it.book)).collect()
    }
}

impl State {
    /// Whether a member says more to this caller than that it knows no such user.
    pub(super) fn lets_in(&self, at: &Endpoint) -> bool {
        let Some(process) = self.processes.get(&at.url) else {
            return true;
        };
        let cluster = self.disks[&process.claim_uid].cluster;
        at.tls.is_some() || !self.clusters[&cluster].book.enabled
    }

    pub(super) fn accounts(
        &mut self,
        at: &Endpoint,
        asked: &Asked,
    ) -> Result<Accounts, &'static str> {
        let cluster = self.writable(&at.url)?;
        let book = &self.clusters[&cluster].book;
        let settled = book.enabled && asked.settled_at == Some(book.revision);
        let listing = || Listing {
            users: book
                .users
                .iter()
                .map(|(name, user)| (name.clone(), user.roles.clone()))
                .collect(),
            roles: book.roles.clone(),
        };
        Ok(Accounts {
            enabled: book.enabled,
            revision: book.revision,
            listing: (!settled).then(listing),
        })
    }

    pub(super) fn change_account(
        &mut self,
        at: &Endpoint,
        change: &AccountChange,
    ) -> Result<(), &'static str> {
        let cluster = self.writable(&at.url)?;
        let cluster = self.clusters.get_mut(&cluster).expect("it answered");
        cluster.book.change(change)
    }
}

impl Book {
    fn change(&mut self, change: &AccountChange) -> Result<(), &'static str> {
        match change {
            AccountChange::Enable => {
                let root = self.users.get("root");
                let root = root.ok_or("etcdserver: root user does not exist")?;
                if !root.roles.contains("root") {
                    return Err("etcdserver: root user does not have root role");
                }
                self.enabled = true;
                return Ok(());
            }
            AccountChange::Disable => self.enabled = false,
            AccountChange::AddRole { role } => {
                if self.roles.contains_key(role) {
                    return Err("etcdserver: role name already exists");
                }
                self.roles.insert(role.clone(), BTreeMap::new());
            }
            AccountChange::DeleteRole { role } => {
                self.roles.remove(role).ok_or(NO_ROLE)?;
                for user in self.users.values_mut() {
                    user.roles.remove(role);
                }
            }
            AccountChange::GrantPermission { role, grant } => {
                let role = self.roles.get_mut(role).ok_or(NO_ROLE)?;
                role.insert(grant.keys.clone(), grant.kind);
            }
            AccountChange::RevokePermission { role, keys } => {
                let role = self.roles.get_mut(role).ok_or(NO_ROLE)?;
                let gone = role.remove(keys);
                gone.ok_or("etcdserver: permission is not granted to the role")?;
            }
            change => self.change_user(change)?,
        }
        self.revision += 1;
        Ok(())
    }

    fn change_user(&mut self, change: &AccountChange) -> Result<(), &'static str> {
        match change {
            AccountChange::AddUser { user, password } => {
                if self.users.contains_key(user) {
                    return Err("etcdserver: user name already exists");
                }
                let made = User {
                    has_password: password.is_some(),
                    roles: BTreeSet::new(),
                };
                self.users.insert(user.clone(), made);
            }
            AccountChange::DeleteUser { user } => drop(self.users.remove(user).ok_or(NO_USER)?),
            AccountChange::ChangePassword { user, .. } => drop(self.user(user)?),
            AccountChange::GrantRole { user, role } => {
                if !self.roles.contains_key(role) {
                    return Err(NO_ROLE);
                }
                self.user(user)?.roles.insert(role.clone());
            }
            AccountChange::RevokeRole { user, role } => {
                let had_it = self.user(user)?.roles.remove(role);
                if !had_it {
                    return Err("etcdserver: role is not granted to the user");
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn user(&mut self, name: &str) -> Result<&mut User, &'static str> {
        self.users.get_mut(name).ok_or(NO_USER)
    }
}
