//! Authentication in a situation's first line, and what declares users and roles in lines of their own:
//!
//! ```text
//! auth=SECRET [auth-known=JSON] [password=VERSION/LENGTH/USER] [accounts=on/REVISION/JSON | accounts=off/REVISION/JSON |
//! accounts=on/REVISION/settled | accounts=refused] [named=somebody]
//! user NAME [age=SECONDS] SPEC
//! role NAME [age=SECONDS] SPEC
//! ```
//!
//! `auth-known` is what the status remembers; `accounts` what a member says, with users and their roles, and roles and their
//! permissions, as `{"a/-a0": "Read"}`; `named` whom the operator's certificate names.

use std::collections::{BTreeMap, BTreeSet};

use crds::{PermissionType, RaftRole, RaftUser};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use plan::accounts::Keys;
use plan::{Accounts, Listing, Password, Target};
use serde::Deserialize;
use serde_json::from_str;

use super::{Situation, Words};

/// Users and roles, as they are written.
#[derive(Deserialize)]
struct Written {
    users: BTreeMap<String, BTreeSet<String>>,
    roles: BTreeMap<String, BTreeMap<String, PermissionType>>,
}

/// Whether a line declares a user or a role.
pub(super) fn is_declaration(line: &str) -> bool {
    line.starts_with("user ") || line.starts_with("role ")
}

/// Reads what is declared.
pub(super) fn declare(situation: &mut Situation, lines: &[&str]) {
    for line in lines {
        let words = Words(line.split_whitespace().collect());
        let made = situation.now - SignedDuration::from_secs(words.number("age").unwrap_or(0));
        let metadata = ObjectMeta {
            name: Some(words.0[1].to_owned()),
            generation: Some(1),
            creation_timestamp: Some(Time(made)),
            ..ObjectMeta::default()
        };
        let spec = words.0.last().expect("a declaration ends with its spec");
        let declared = &mut situation.observed.declarations;
        if words.0[0] == "user" {
            let spec = from_str(spec).expect("a user's spec is JSON");
            declared.users.push(RaftUser {
                metadata,
                spec,
                status: None,
            });
        } else {
            let spec = from_str(spec).expect("a role's spec is JSON");
            declared.roles.push(RaftRole {
                metadata,
                spec,
                status: None,
            });
        }
    }
}

/// Reads the first line.
pub(super) fn read(situation: &mut Situation, head: &Words<'_>) {
    let spec = &mut situation.cluster.spec;
    spec.auth = head.value("auth").map(|it| crds::Auth {
        root_secret_name: it.to_owned(),
    });
    if let (Some(known), Some(status)) = (head.value("auth-known"), &mut situation.cluster.status) {
        status.auth = Some(from_str(known).expect("what is known is JSON"));
    }
    let passwords = head.value("password").map(password);
    situation.observed.declarations.passwords.extend(passwords);
    situation.observed.accounts = head.value("accounts").map(accounts);
    if let Some(name) = head.value("named") {
        for keyring in &mut situation.observed.keyrings {
            let subject = ("operator".to_owned(), name.to_owned());
            keyring.subjects.extend([subject]);
        }
    }
}

fn password(text: &str) -> Password {
    let parts: Vec<&str> = text.split('/').collect();
    Password {
        secret: Target {
            name: "kv-root".to_owned(),
            uid: "uid-kv-root".to_owned(),
        },
        key: "password".to_owned(),
        version: parts[0].to_owned(),
        length: parts[1].parse().expect("a length"),
        username: Some(parts[2].to_owned()),
    }
}

fn accounts(text: &str) -> Result<Accounts, String> {
    let mut parts = text.splitn(3, '/');
    let (state, revision, listing) = (parts.next(), parts.next(), parts.next());
    let (Some(revision), Some(listing)) = (revision, listing) else {
        return Err("m1 refused AuthStatus: etcdserver: permission denied".to_owned());
    };
    let granted = |it: BTreeMap<String, PermissionType>| {
        it.into_iter()
            .map(|(text, kind)| (keys(&text), kind))
            .collect()
    };
    Ok(Accounts {
        enabled: state == Some("on"),
        revision: revision.parse().expect("a revision"),
        listing: (listing != "settled").then(|| {
            let written: Written = from_str(listing).expect("users and roles are JSON");
            let roles = written.roles.into_iter();
            Listing {
                users: written.users,
                roles: roles.map(|(role, it)| (role, granted(it))).collect(),
            }
        }),
    })
}

fn keys(text: &str) -> Keys {
    let (key, range_end) = text.split_once('-').unwrap_or((text, ""));
    Keys {
        key: key.into(),
        range_end: range_end.into(),
    }
}
