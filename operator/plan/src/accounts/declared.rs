//! Users and roles that resources declare, against those that the cluster has.
//!
//! - A name is written into the cluster's status before it is made there. What stands in the status and is declared no more, is taken
//!   away: a deleted resource needs nobody to wait for it.
//! - Of two resources that declare the same, the older one counts.
//! - A permission is granted before another one is revoked, so that what both allow stays allowed.
//! - A user that is found and not known to have been made as it is declared, is made anew.
//!
//! This file deliberately does not know `root`: see `root.rs`.

use std::collections::{BTreeMap, BTreeSet};

use crds::{AuthStatus, PermissionType, RaftRole, RaftUser, UserAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{
    AccountChange, PasswordSource,
    change::{Grant, Keys},
    sound,
    tell::Verdict,
};
use crate::{names::ROOT, observed::Listing, view::View};

/// What is to be changed for one resource, and how it stands.
#[derive(Default)]
pub(super) struct Declared {
    /// In this order.
    pub(super) changes: Vec<AccountChange>,
    /// What is declared no more is taken away, after all else.
    pub(super) withdrawn: Vec<AccountChange>,
    /// By the resource's name; none while it is on its way.
    pub(super) verdicts: BTreeMap<String, Verdict>,
}

/// What a user is called in the cluster.
pub(super) fn user_name(user: &RaftUser) -> &str {
    let own = user.metadata.name.as_deref().unwrap_or_default();
    user.spec.user_name.as_deref().unwrap_or(own)
}

/// What a role is called in the cluster.
pub(super) fn role_name(role: &RaftRole) -> &str {
    let own = role.metadata.name.as_deref().unwrap_or_default();
    role.spec.role_name.as_deref().unwrap_or(own)
}

/// The resources that count, by what they declare; how the others stand is said.
fn counting<'a, K>(
    all: &'a [K],
    meta: impl Fn(&K) -> &ObjectMeta,
    declares: impl Fn(&K) -> &str,
    verdicts: &mut BTreeMap<String, Verdict>,
) -> BTreeMap<String, &'a K> {
    let name = |it: &K| meta(it).name.clone().unwrap_or_default();
    let mut sorted: Vec<&K> = all
        .iter()
        .filter(|it| meta(it).deletion_timestamp.is_none())
        .collect();
    sorted.sort_by_key(|it| (meta(it).creation_timestamp.clone(), name(it)));
    let mut counting: BTreeMap<String, &K> = BTreeMap::new();
    for one in sorted {
        match counting.get(declares(one)) {
            Some(older) => {
                let verdict = Verdict::name_taken(declares(one), &name(older));
                verdicts.insert(name(one), verdict);
            }
            None => drop(counting.insert(declares(one).to_owned(), one)),
        }
    }
    counting
}

/// The roles; `memory` remembers those that are to be made.
pub(super) fn roles(view: &View<'_>, listing: &Listing, memory: &mut AuthStatus) -> Declared {
    let mut declared = Declared::default();
    let all = &view.observed.declarations.roles;
    let counting = counting(all, |it| &it.metadata, role_name, &mut declared.verdicts);
    let latched = memory.roles.clone();
    for (name, role) in &counting {
        if !latched.contains(name) {
            memory.roles.push(name.clone());
            continue;
        }
        let changes = role_changes(name, role, listing);
        if changes.is_empty() {
            let resource = role.metadata.name.clone().unwrap_or_default();
            declared.verdicts.insert(resource, Verdict::in_force());
        }
        declared.changes.extend(changes);
    }
    memory
        .roles
        .retain(|it| counting.contains_key(it) || listing.roles.contains_key(it));
    let gone = memory.roles.iter().filter(|it| !counting.contains_key(*it));
    let delete = |role: &String| AccountChange::DeleteRole { role: role.clone() };
    declared.withdrawn.extend(gone.map(delete));
    memory.roles.sort();
    declared
}

fn role_changes(name: &str, role: &RaftRole, listing: &Listing) -> Vec<AccountChange> {
    let mut wanted: BTreeMap<Keys, PermissionType> = BTreeMap::new();
    for permission in &role.spec.permissions {
        let kind = wanted
            .entry(Keys::of(permission))
            .or_insert(permission.kind);
        if *kind != permission.kind {
            *kind = PermissionType::ReadWrite;
        }
    }
    let (none, found) = (BTreeMap::new(), listing.roles.get(name));
    let has = found.unwrap_or(&none);
    let role = || name.to_owned();
    let add = found
        .is_none()
        .then(|| AccountChange::AddRole { role: role() });
    let granted = wanted
        .iter()
        .filter(|(keys, kind)| has.get(*keys) != Some(*kind));
    let granted = granted.map(|(keys, kind)| AccountChange::GrantPermission {
        role: role(),
        grant: Grant {
            kind: *kind,
            keys: keys.clone(),
        },
    });
    let revoked = has.keys().filter(|it| !wanted.contains_key(*it));
    let revoked = revoked.map(|keys| AccountChange::RevokePermission {
        role: role(),
        keys: keys.clone(),
    });
    add.into_iter().chain(granted).chain(revoked).collect()
}

/// The users, with the roles that there are and those that are being made; `memory` remembers those that are to be made.
pub(super) fn users(
    view: &View<'_>,
    (listing, roles): (&Listing, &Declared),
    memory: &mut AuthStatus,
) -> Declared {
    let mut declared = Declared::default();
    let all = &view.observed.declarations.users;
    let counting = counting(all, |it| &it.metadata, user_name, &mut declared.verdicts);
    let added = roles.changes.iter().filter_map(|it| match it {
        AccountChange::AddRole { role } => Some(role),
        _ => None,
    });
    let there: BTreeSet<&String> = listing.roles.keys().chain(added).collect();
    for (name, user) in &counting {
        let Some(known) = memory.users.iter().find(|it| it.name == *name) else {
            memory.users.push(UserAccount {
                name: name.clone(),
                ..UserAccount::default()
            });
            continue;
        };
        let (changes, verdict) = user_changes(view, known, user, listing, &there);
        if let (true, Some(verdict)) = (changes.is_empty(), verdict) {
            let resource = user.metadata.name.clone().unwrap_or_default();
            declared.verdicts.insert(resource, verdict);
        }
        declared.changes.extend(changes);
    }
    let kept = |it: &UserAccount| it.name == ROOT || counting.contains_key(&it.name);
    memory
        .users
        .retain(|it| kept(it) || listing.users.contains_key(&it.name));
    let gone = memory.users.iter().filter(|it| !kept(it));
    declared
        .withdrawn
        .extend(gone.map(|it| AccountChange::DeleteUser {
            user: it.name.clone(),
        }));
    memory.users.sort_by(|a, b| a.name.cmp(&b.name));
    declared
}

/// What one user lacks, or has too much of, and how it stands when that is nothing.
fn user_changes(
    view: &View<'_>,
    known: &UserAccount,
    user: &RaftUser,
    listing: &Listing,
    there: &BTreeSet<&String>,
) -> (Vec<AccountChange>, Option<Verdict>) {
    let name = || known.name.clone();
    let password = match &user.spec.password_secret_ref {
        Some(at) => sound(view.observed, (&at.name, &at.key), "spec.passwordSecretRef").map(Some),
        None => Ok(None),
    };
    let (mut changes, made) = match (listing.users.get(&known.name), &password) {
        (None, Err(why)) => return (Vec::new(), Some(Verdict::no_password(why))),
        (found, Ok(password)) => identity(known, found.is_some(), password.as_ref()),
        (Some(_), Err(_)) => (Vec::new(), false),
    };
    let none = BTreeSet::new();
    let has = listing
        .users
        .get(&known.name)
        .filter(|_| !made)
        .unwrap_or(&none);
    let wanted: BTreeSet<&String> = user.spec.roles.iter().collect();
    let (can, missing): (Vec<&String>, Vec<&String>) =
        wanted.iter().copied().partition(|it| there.contains(it));
    let grant = |role: &&String| AccountChange::GrantRole {
        user: name(),
        role: (*role).clone(),
    };
    changes.extend(can.iter().filter(|it| !has.contains(**it)).map(grant));
    let revoked = has.iter().filter(|it| !wanted.contains(it));
    changes.extend(revoked.map(|role| AccountChange::RevokeRole {
        user: name(),
        role: role.clone(),
    }));
    let verdict = match (password, missing.first()) {
        (Err(why), _) => Verdict::no_password(&why),
        (Ok(_), Some(role)) => Verdict::no_role(role),
        (Ok(_), None) => Verdict::in_force(),
    };
    (changes, Some(verdict))
}

/// What makes a user who it is declared to be, and whether that is done anew.
fn identity(
    known: &UserAccount,
    found: bool,
    password: Option<&PasswordSource>,
) -> (Vec<AccountChange>, bool) {
    let user = || known.name.clone();
    let add = || AccountChange::AddUser {
        user: user(),
        password: password.cloned(),
    };
    match (found, password, &known.secret_version) {
        (false, ..) => (vec![add()], true),
        (true, None, _) if known.no_password => (Vec::new(), false),
        (true, Some(password), Some(version)) if *version == password.version => {
            (Vec::new(), false)
        }
        (true, Some(password), Some(_)) => {
            let password = password.clone();
            let change = AccountChange::ChangePassword {
                user: user(),
                password,
            };
            (vec![change], false)
        }
        (true, ..) => (
            vec![AccountChange::DeleteUser { user: user() }, add()],
            true,
        ),
    }
}
