//! Users and roles, and who may ask.
//!
//! Whoever shows a certificate is `root` here, as the operator is, and whoever does not is nobody. It deliberately knows no permission and
//! no password: a user has one of the version of its Secret.

use std::collections::{BTreeMap, BTreeSet};

use plan::{AccountChange, Accounts, Asked, Listing};
use quorate_operator::members::Endpoint;

use super::{Model, State};

/// All of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Book {
    enabled: bool,
    revision: u64,
    users: BTreeMap<String, User>,
    roles: BTreeSet<String>,
}

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct User {
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
                if !self.roles.insert(role.clone()) {
                    return Err("etcdserver: role name already exists");
                }
            }
            AccountChange::AddUser { user, .. } => {
                if self.users.contains_key(user) {
                    return Err("etcdserver: user name already exists");
                }
                self.users.insert(user.clone(), User::default());
            }
            AccountChange::ChangePassword { user, .. } => drop(self.user(user)?),
            AccountChange::GrantRole { user, role } => {
                if !self.roles.contains(role) {
                    return Err("etcdserver: role name not found");
                }
                self.user(user)?.roles.insert(role.clone());
            }
        }
        self.revision += 1;
        Ok(())
    }

    fn user(&mut self, name: &str) -> Result<&mut User, &'static str> {
        let found = self.users.get_mut(name);
        found.ok_or("etcdserver: user name not found")
    }
}
