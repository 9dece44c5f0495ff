//! The user `root`, when authentication may begin, and what it waits for.
//!
//! This file deliberately deletes nothing: who else is `root` in a cluster, nobody can tell.

use crds::{Auth, AuthStatus, BlockedBy, OperationType};
use k8s_openapi::api::core::v1::Pod;

use super::{AccountChange, PASSWORD, PasswordSource, USERNAME, sound};
use crate::{certificates, names::ROOT, observed::Listing, report::Work, view::View};

/// What `root` lacks.
pub(super) fn changes(
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
    if !listing.roles.contains_key(ROOT) {
        changes.push(AccountChange::AddRole { role: role.clone() });
    }
    match (roles, password(view, auth)) {
        (None, Ok(password)) => changes.push(AccountChange::AddUser {
            user: user.clone(),
            password: Some(password),
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
fn password(view: &View<'_>, auth: &Auth) -> Result<PasswordSource, String> {
    let name = &auth.root_secret_name;
    let field = "spec.auth.rootSecretName";
    let found = view.observed.declarations.passwords.iter();
    let mut found = found.filter(|it| it.secret.name == *name);
    let other = found.find_map(|it| it.username.as_ref().filter(|it| *it != ROOT));
    match other {
        Some(other) => Err(format!(
            "the Secret {name}, which {field} names, is of the user {other}; its {USERNAME} must be {ROOT}"
        )),
        None => sound(view.observed, (name, PASSWORD), field),
    }
}

/// Why authentication cannot begin now, if it cannot.
pub(super) fn gate(view: &View<'_>) -> Option<BlockedBy> {
    let gate = |gate: &str, message| {
        let gate = gate.to_owned();
        Some(BlockedBy { gate, message })
    };
    let auth = view.spec.auth.as_ref()?;
    if let Err(why) = password(view, auth) {
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
    let fault = password(view, auth).err();
    let fault = fault.map(|why| format!("{why}; the password in force stays"));
    let refused = match &view.observed.accounts {
        Some(Err(why)) => Some(format!("users and roles cannot be looked at: {why}")),
        _ => None,
    };
    [stranger(view), fault, refused]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
