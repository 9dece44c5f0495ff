//! Authentication, and the accounts that go with it: what the members are told so that they ask who somebody is, and let him do what
//! `RaftUser`s and `RaftRole`s say.
//!
//! - The operator is let in by its certificate, which names `root`: also at learners, without a majority, and whatever the password of
//!   `root` is. So nothing here can lock it out, and a member that asks is repaired as one that does not.
//! - Authentication begins when that certificate would be taken by every member: when all of them serve TLS. Declared users and roles are
//!   there by then, so that who has an account is served all the time.
//! - A password is set when its Secret has another version than the one it was last set from. No value in this crate holds one.
//! - What is done is added to the end of a plan: it keeps nothing else from being done, and waits for all of it.
//!
//! This file deliberately changes nothing of what people have made by hand, but the user `root` and what a resource declares.

mod change;
mod declared;
mod root;
mod tell;

use std::collections::BTreeSet;

use crds::{Auth, AuthStatus, RaftCluster, RaftRole, RaftUser, UserAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use crate::{
    action::Action,
    draft::Draft,
    names::ROOT,
    observed::{Accounts, Listing, Observed, Password},
    report::Outcome,
    spec::hash,
    view::View,
};

pub use change::{AccountChange, Grant, Keys, PasswordSource};
pub(crate) use root::{notices, wait};
pub use tell::Verdict;

/// The longest password that members take, in bytes: bcrypt looks at no more.
const PASSWORD_MAX: usize = 72;
/// Entry of a Secret of type `kubernetes.io/basic-auth`: whose password it has.
pub const USERNAME: &str = "username";
/// Entry of a Secret of type `kubernetes.io/basic-auth`: the password.
pub const PASSWORD: &str = "password";

/// What declares the accounts of a cluster, as it was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declarations {
    /// The users that name the cluster.
    pub users: Vec<RaftUser>,
    /// The roles that name the cluster.
    pub roles: Vec<RaftRole>,
    /// What is known of the Secrets with passwords.
    pub passwords: Vec<Password>,
}

/// What a member is to be asked about accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Nothing more is asked if authentication is on and the accounts are still of this revision.
    pub settled_at: Option<u64>,
    /// Users of whom it is asked which roles they have.
    pub users: BTreeSet<String>,
    /// Roles of which it is asked what they permit.
    pub roles: BTreeSet<String>,
}

/// Whether it matters at once that a user or a role of the cluster is gone: where authentication is asked for, or may be on.
#[must_use]
pub fn are_in_question(cluster: &RaftCluster) -> bool {
    let known = cluster.status.as_ref().and_then(|it| it.auth.as_ref());
    cluster.spec.auth.is_some() || known.is_some()
}

/// What a member is to be asked about accounts in this round; nothing where authentication was never asked for.
#[must_use]
pub fn asked(cluster: &RaftCluster, declared: &Declarations) -> Option<Asked> {
    let known = cluster.status.as_ref()?.auth.as_ref()?;
    let wanted = cluster.spec.auth.as_ref();
    let settled = known.settled.as_deref().and_then(|it| it.split_once('/'));
    let same = settled.filter(|(_, it)| wanted.is_some_and(|auth| *it == inputs(auth, declared)));
    let users = declared.users.iter().map(declared::user_name);
    let roles = declared.roles.iter().map(declared::role_name);
    let known_users = known.users.iter().map(|it| it.name.as_str());
    let known_roles = known.roles.iter().map(String::as_str);
    Some(Asked {
        settled_at: same.and_then(|(revision, _)| revision.parse().ok()),
        users: known_users.chain(users).map(ToOwned::to_owned).collect(),
        roles: known_roles.chain(roles).map(ToOwned::to_owned).collect(),
    })
}

/// The Secrets with passwords, and the entries that they are in, each once.
#[must_use]
pub fn passwords(cluster: &RaftCluster, users: &[RaftUser]) -> BTreeSet<(String, String)> {
    let Some(auth) = &cluster.spec.auth else {
        return BTreeSet::new();
    };
    let of_users = users
        .iter()
        .filter_map(|it| it.spec.password_secret_ref.as_ref());
    let of_users = of_users.map(|it| (it.name.clone(), it.key.clone()));
    let of_root = (auth.root_secret_name.clone(), PASSWORD.to_owned());
    of_users.chain([of_root]).collect()
}

/// A word for all that accounts are declared by.
fn inputs(auth: &Auth, declared: &Declarations) -> String {
    let spec = |it: &ObjectMeta| json!([it.uid, it.generation, it.deletion_timestamp]);
    let users = declared.users.iter().map(|it| spec(&it.metadata));
    let roles = declared.roles.iter().map(|it| spec(&it.metadata));
    let versions = declared.passwords.iter();
    let versions = versions.map(|it| json!([it.secret.name, it.key, it.version]));
    let all: [Vec<Value>; 3] = [users.collect(), roles.collect(), versions.collect()];
    hash(&json!([auth.root_secret_name, all]))
}

/// A password that stands in an entry of a Secret, or what is wrong with it and the way out; `field` names it.
fn sound(
    observed: &Observed,
    (secret, key): (&str, &str),
    field: &str,
) -> Result<PasswordSource, String> {
    let mut found = observed.declarations.passwords.iter();
    let found = found.find(|it| it.secret.name == secret && it.key == key);
    let named = format!("the Secret {secret}, which {field} names,");
    match found.map(|it| (it, it.length)) {
        None => Err(format!(
            "there is no Secret {secret}, which {field} names; create it with the entry {key}"
        )),
        Some((_, 0)) => Err(format!("{named} has no entry {key}; add it")),
        Some((_, length)) if length > PASSWORD_MAX => Err(format!(
            "{named} has a password of {length} bytes, and members take {PASSWORD_MAX} at most; choose a shorter one"
        )),
        Some((found, _)) => Ok(PasswordSource {
            secret: found.secret.clone(),
            key: found.key.clone(),
            version: found.version.clone(),
        }),
    }
}

/// Adds what is to be changed of the accounts to the plan, and remembers what is known of them.
pub(crate) fn keep(view: &View<'_>, draft: &mut Draft) {
    let wanted = view.spec.auth.as_ref();
    let Some(memory) = &mut draft.memory.auth else {
        draft.memory.auth = wanted.map(|_| begun());
        if wanted.is_none() {
            draft.actions.extend(tell_anonymous(view));
        }
        return;
    };
    let (Some(Ok(found)), Some(ground)) = (&view.observed.accounts, view.ground("")) else {
        return;
    };
    memory.enabled = found.enabled;
    let (changes, told) = match (wanted, &found.listing) {
        (Some(_), None) => return,
        (Some(auth), Some(listing)) => declare(view, auth, (found, listing), memory),
        (None, listing) => {
            let changes = withdraw(found.enabled, listing.as_ref(), memory);
            if changes.is_empty() && listing.is_some() {
                draft.memory.auth = None;
            }
            (changes, tell_anonymous(view))
        }
    };
    let act = |change| Action::ChangeAccount {
        change,
        ground: ground.clone(),
    };
    draft.actions.extend(changes.into_iter().map(act));
    draft.actions.extend(told);
}

fn begun() -> AuthStatus {
    let root = UserAccount {
        name: ROOT.to_owned(),
        ..UserAccount::default()
    };
    AuthStatus {
        users: vec![root],
        ..AuthStatus::default()
    }
}

/// What is to be changed where authentication is wanted, and what to tell of it.
fn declare(
    view: &View<'_>,
    auth: &Auth,
    (found, listing): (&Accounts, &Listing),
    memory: &mut AuthStatus,
) -> (Vec<AccountChange>, Vec<Action>) {
    let before = memory.clone();
    let roles = declared::roles(view, listing, memory);
    let users = declared::users(view, (listing, &roles), memory);
    if remembers_more(&before, memory) {
        memory.settled = None;
        return (Vec::new(), Vec::new());
    }
    let mut changes = roles.changes;
    changes.extend(root::changes(view, auth, listing, memory));
    changes.extend(users.changes);
    changes.extend(users.withdrawn.into_iter().chain(roles.withdrawn));
    if !found.enabled && root::gate(view).is_none() {
        changes.push(AccountChange::Enable);
    }
    let told = if found.enabled {
        let told = tell::users(view, |it| users.verdicts.get(it).cloned());
        let roles = tell::roles(view, |it| roles.verdicts.get(it).cloned());
        told.into_iter().chain(roles).collect()
    } else {
        tell_anonymous(view)
    };
    let settled = changes.is_empty() && told.is_empty() && found.enabled;
    memory.settled = settled.then(|| {
        let inputs = inputs(auth, &view.observed.declarations);
        format!("{}/{inputs}", found.revision)
    });
    (changes, told)
}

/// Whether there are names that must stand in the status before anything of theirs is made.
fn remembers_more(before: &AuthStatus, now: &AuthStatus) -> bool {
    let known = |name: &String| before.users.iter().any(|it| it.name == *name);
    let users = now.users.iter().any(|it| !known(&it.name));
    users || now.roles.iter().any(|it| !before.roles.contains(it))
}

/// What is to be changed where authentication is wanted no more: it ends, and then what was declared is taken away.
fn withdraw(enabled: bool, listing: Option<&Listing>, memory: &AuthStatus) -> Vec<AccountChange> {
    if enabled {
        return vec![AccountChange::Disable];
    }
    let Some(listing) = listing else {
        return Vec::new();
    };
    let users = memory.users.iter().map(|it| &it.name);
    let users = users.filter(|it| *it != ROOT && listing.users.contains_key(*it));
    let users = users.map(|it| AccountChange::DeleteUser { user: it.clone() });
    let roles = memory.roles.iter();
    let roles = roles.filter(|it| listing.roles.contains_key(*it));
    let roles = roles.map(|it| AccountChange::DeleteRole { role: it.clone() });
    users.chain(roles).collect()
}

/// Tells all users and roles that the cluster asks nobody who he is.
fn tell_anonymous(view: &View<'_>) -> Vec<Action> {
    let verdict = Verdict::no_authentication(&view.spec.name);
    let told = tell::users(view, |_| Some(verdict.clone()));
    let roles = tell::roles(view, |_| Some(verdict.clone()));
    told.into_iter().chain(roles).collect()
}

/// What is remembered after the round: a user counts as made, and a password as set, once the call is known to have taken effect.
pub(crate) fn remember(memory: Option<&AuthStatus>, outcome: &Outcome) -> Option<AuthStatus> {
    let mut memory = memory?.clone();
    for done in &outcome.done {
        let Action::ChangeAccount { change, .. } = done else {
            continue;
        };
        let (user, password) = match change {
            AccountChange::AddUser { user, password } => (user, password.as_ref()),
            AccountChange::ChangePassword { user, password } => (user, Some(password)),
            _ => continue,
        };
        if let Some(account) = memory.users.iter_mut().find(|it| it.name == *user) {
            account.secret_version = password.map(|it| it.version.clone());
            account.no_password = password.is_none();
        }
    }
    Some(memory)
}
