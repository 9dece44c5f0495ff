//! Authentication, and the accounts that go with it: what the members are told so that they ask who somebody is.
//!
//! - The operator is let in by its certificate, which names `root`: also at learners, without a majority, and whatever the password of
//!   `root` is. So nothing here can lock it out, and a member that asks is repaired as one that does not.
//! - Authentication begins when that certificate would be taken by every member: when all of them serve TLS.
//! - A password is set when its Secret has another version than the one it was last set from. No value in this crate holds one.
//! - What is done is added to the end of a plan: it keeps nothing else from being done, and waits for all of it.
//!
//! This file deliberately changes nothing of what people have made by hand, but the user `root`.

use crds::{Auth, AuthStatus, BlockedBy, OperationType, RaftCluster, UserAccount};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::{
    action::{Action, Target},
    certificates,
    draft::Draft,
    names::ROOT,
    observed::{Accounts, Listing, Password},
    report::{Outcome, Work},
    spec::hash,
    view::View,
};

/// The longest password that members take, in bytes: bcrypt looks at no more.
const PASSWORD_MAX: usize = 72;
/// The entries of a Secret of type `kubernetes.io/basic-auth`.
pub const USERNAME: &str = "username";
/// See [`USERNAME`].
pub const PASSWORD: &str = "password";

/// One change of authentication, users and roles, as one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountChange {
    /// `AuthEnable`.
    Enable,
    /// `AuthDisable`.
    Disable,
    /// `RoleAdd`.
    AddRole {
        /// The role.
        role: String,
    },
    /// `UserAdd`.
    AddUser {
        /// The user.
        user: String,
        /// Where its password stands.
        password: PasswordSource,
    },
    /// `UserChangePassword`.
    ChangePassword {
        /// The user.
        user: String,
        /// Where its password stands.
        password: PasswordSource,
    },
    /// `UserGrantRole`.
    GrantRole {
        /// The user.
        user: String,
        /// The role.
        role: String,
    },
}

impl AccountChange {
    /// Where the password stands that it sets, if it sets one, and whose it is.
    #[must_use]
    pub const fn password(&self) -> Option<(&String, &PasswordSource)> {
        match self {
            Self::AddUser { user, password } | Self::ChangePassword { user, password } => {
                Some((user, password))
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for AccountChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Enable => f.write_str("enable authentication"),
            Self::Disable => f.write_str("disable authentication"),
            Self::AddRole { role } => write!(f, "add role {role}"),
            Self::AddUser { user, .. } => write!(f, "add user {user}"),
            Self::ChangePassword { user, .. } => write!(f, "change the password of user {user}"),
            Self::GrantRole { user, role } => write!(f, "grant role {role} to user {user}"),
        }
    }
}

/// Where a password stands. It is read again when it is set, and must still be of this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordSource {
    /// The Secret.
    pub secret: Target,
    /// The entry.
    pub key: String,
    /// The Secret's resource version.
    pub version: String,
}

/// What a member is to be asked about accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Nothing more is asked if authentication is on and the accounts are still of this revision.
    pub settled_at: Option<u64>,
    /// Users of whom it is asked which roles they have.
    pub users: Vec<String>,
}

/// What a member is to be asked about accounts in this round; nothing where authentication was never asked for.
#[must_use]
pub fn asked(cluster: &RaftCluster, passwords: &[Password]) -> Option<Asked> {
    let known = cluster.status.as_ref()?.auth.as_ref()?;
    let wanted = cluster.spec.auth.as_ref();
    let settled = known.settled.as_deref().and_then(|it| it.split_once('/'));
    let same = settled.filter(|(_, it)| wanted.is_some_and(|auth| *it == inputs(auth, passwords)));
    Some(Asked {
        settled_at: same.and_then(|(revision, _)| revision.parse().ok()),
        users: vec![ROOT.to_owned()],
    })
}

/// The Secrets with passwords, and the entries that they are in.
#[must_use]
pub fn passwords(cluster: &RaftCluster) -> Vec<(String, String)> {
    let auth = cluster.spec.auth.iter();
    auth.map(|it| (it.root_secret_name.clone(), PASSWORD.to_owned()))
        .collect()
}

/// A word for all that accounts are declared by.
fn inputs(auth: &Auth, passwords: &[Password]) -> String {
    let versions: Vec<_> = passwords
        .iter()
        .map(|it| json!([it.secret.name, it.key, it.version]))
        .collect();
    hash(&json!([auth.root_secret_name, versions]))
}

/// Adds what is to be changed of the accounts to the plan, and remembers what is known of them.
pub(crate) fn keep(view: &View<'_>, draft: &mut Draft) {
    let wanted = view.spec.auth.as_ref();
    let Some(memory) = &mut draft.memory.auth else {
        draft.memory.auth = wanted.map(|_| begun());
        return;
    };
    let (Some(Ok(found)), Some(ground)) = (&view.observed.accounts, view.ground("")) else {
        return;
    };
    memory.enabled = found.enabled;
    let changes = match (wanted, &found.listing) {
        (Some(auth), Some(listing)) => declare(view, auth, (found, listing), memory),
        (Some(_), None) => return,
        (None, _) if found.enabled => vec![AccountChange::Disable],
        (None, _) => {
            draft.memory.auth = None;
            return;
        }
    };
    let act = |change| Action::ChangeAccount {
        change,
        ground: ground.clone(),
    };
    draft.actions.extend(changes.into_iter().map(act));
}

fn begun() -> AuthStatus {
    let root = UserAccount {
        name: ROOT.to_owned(),
        secret_version: None,
    };
    AuthStatus {
        users: vec![root],
        ..AuthStatus::default()
    }
}

/// What is to be changed where authentication is wanted.
fn declare(
    view: &View<'_>,
    auth: &Auth,
    (found, listing): (&Accounts, &Listing),
    memory: &mut AuthStatus,
) -> Vec<AccountChange> {
    let mut changes = root(view, auth, listing, memory);
    if !found.enabled && gate(view).is_none() {
        changes.push(AccountChange::Enable);
    }
    let settled = changes.is_empty() && found.enabled;
    memory.settled = settled.then(|| {
        let inputs = inputs(auth, &view.observed.passwords);
        format!("{}/{inputs}", found.revision)
    });
    changes
}

/// What `root` lacks.
fn root(
    view: &View<'_>,
    auth: &Auth,
    listing: &Listing,
    memory: &AuthStatus,
) -> Vec<AccountChange> {
    let (user, role) = (ROOT.to_owned(), ROOT.to_owned());
    let known = memory.users.iter().find(|it| it.name == ROOT);
    let known = known.and_then(|it| it.secret_version.as_ref());
    let roles = listing.users.get(ROOT);
    let mut changes = Vec::new();
    if !listing.roles.contains(ROOT) {
        changes.push(AccountChange::AddRole { role: role.clone() });
    }
    match (roles, sound(view, auth)) {
        (None, Ok(password)) => changes.push(AccountChange::AddUser {
            user: user.clone(),
            password,
        }),
        (Some(_), Ok(password)) if known != Some(&password.version) => {
            changes.push(AccountChange::ChangePassword {
                user: user.clone(),
                password,
            });
        }
        (None, Err(_)) => return Vec::new(),
        (Some(_), _) => {}
    }
    if !roles.is_some_and(|it| it.contains(ROOT)) {
        changes.push(AccountChange::GrantRole { user, role });
    }
    changes
}

/// The password of `root`, or what is wrong with it and the way out.
fn sound(view: &View<'_>, auth: &Auth) -> Result<PasswordSource, String> {
    let name = &auth.root_secret_name;
    let found = view.observed.passwords.iter();
    let found = found.clone().find(|it| it.secret.name == *name);
    let Some(found) = found else {
        return Err(format!(
            "there is no Secret {name}, which spec.auth.rootSecretName names; create it with type kubernetes.io/basic-auth, \
             {USERNAME} {ROOT} and {PASSWORD}"
        ));
    };
    let fault = match (&found.username, found.length) {
        (Some(other), _) if other != ROOT => {
            format!("names the user {other}; its {USERNAME} must be {ROOT}")
        }
        (_, 0) => format!("has no {PASSWORD}; add one"),
        (_, PASSWORD_MAX..) if found.length > PASSWORD_MAX => format!(
            "has a {PASSWORD} of {} bytes, and members take {PASSWORD_MAX} at most; choose a shorter one",
            found.length
        ),
        _ => {
            return Ok(PasswordSource {
                secret: found.secret.clone(),
                key: found.key.clone(),
                version: found.version.clone(),
            });
        }
    };
    Err(format!(
        "the Secret {name}, which spec.auth.rootSecretName names, {fault}"
    ))
}

/// Why authentication cannot begin now, if it cannot.
fn gate(view: &View<'_>) -> Option<BlockedBy> {
    let gate = |gate: &str, message| {
        let gate = gate.to_owned();
        Some(BlockedBy { gate, message })
    };
    let auth = view.spec.auth.as_ref()?;
    if let Err(why) = sound(view, auth) {
        return gate("Password", why);
    }
    if let Some(why) = stranger(view) {
        return gate("Certificates", why);
    }
    let mut pods = view.members.values().filter_map(|it| Some((it, it.pod?)));
    let (plain, _) = pods.find(|(_, pod)| !serves_tls(pod))?;
    gate(
        "MemberTls",
        format!("member {} does not serve TLS yet", plain.name),
    )
}

/// Why members would not let the operator in as `root`, if that is known.
fn stranger(view: &View<'_>) -> Option<String> {
    let (secret, stem) = certificates::shown(&view.spec.tls, &view.spec.name)?;
    let named = certificates::keyring(view, &secret)?.subjects.get(stem)?;
    (named != ROOT).then(|| {
        format!(
            "the certificate in the Secret {secret} names {named}, and members let the operator in as {ROOT} only; put one there \
             whose common name is {ROOT}"
        )
    })
}

fn serves_tls(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|it| &it.containers);
    let mut args = containers.flat_map(|it| it.args.iter().flatten());
    args.any(|it| it.starts_with("--listen-client-urls=") && it.contains("https:"))
}

/// Authentication that is to begin or to end, and what it waits for; no work when it is as it should be.
pub(crate) fn wait(view: &View<'_>) -> Option<Work> {
    let known = view.memory.auth.as_ref();
    let enabled = match &view.observed.accounts {
        Some(Ok(found)) => found.enabled,
        _ => known.is_some_and(|it| it.enabled),
    };
    let (step, blocked_by) = match (&view.spec.auth, known) {
        (Some(_), _) if !enabled => ("EnableAuthentication", gate(view)),
        (None, Some(_)) => ("DisableAuthentication", None),
        _ => return None,
    };
    let refused = match &view.observed.accounts {
        Some(Err(message)) => Some(BlockedBy {
            gate: "Accounts".to_owned(),
            message: message.clone(),
        }),
        _ => None,
    };
    Some(Work {
        kind: OperationType::Authentication,
        step,
        member: None,
        blocked_by: blocked_by.into_iter().chain(refused).collect(),
    })
}

/// What a person should know while authentication is on.
pub(crate) fn notices(view: &View<'_>) -> Vec<String> {
    let on = view.memory.auth.as_ref().is_some_and(|it| it.enabled);
    let Some(auth) = view.spec.auth.as_ref().filter(|_| on) else {
        return Vec::new();
    };
    let password = sound(view, auth)
        .err()
        .map(|why| format!("{why}; the password in force stays"));
    let refused = match &view.observed.accounts {
        Some(Err(why)) => Some(format!("users and roles cannot be looked at: {why}")),
        _ => None,
    };
    let all = [stranger(view), password, refused];
    all.into_iter().flatten().collect()
}

/// What is remembered after the round: a password counts as set once the call that set it is known to have taken effect.
pub(crate) fn remember(memory: &Option<AuthStatus>, outcome: &Outcome) -> Option<AuthStatus> {
    let mut memory = memory.clone()?;
    for done in &outcome.done {
        let Action::ChangeAccount { change, .. } = done else {
            continue;
        };
        let Some((user, password)) = change.password() else {
            continue;
        };
        let account = memory.users.iter_mut().find(|it| it.name == *user);
        if let Some(account) = account {
            account.secret_version = Some(password.version.clone());
        }
    }
    Some(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_serves_tls_if_it_was_started_so() {
        let serves = |urls: &str| {
            let spec = json!({ "containers": [{ "name": "member", "args": [format!("--listen-client-urls={urls}")] }] });
            serves_tls(&Pod {
                spec: Some(serde_json::from_value(spec).expect("a pod's spec")),
                ..Pod::default()
            })
        };
        assert!(serves("https://a:2379"));
        assert!(serves("http://a:2379,https://a:2379"));
        assert!(!serves("http://a:2379"));
    }
}
