//! Authentication in a situation's first line:
//!
//! ```text
//! auth=SECRET [auth-known=JSON] [password=VERSION/LENGTH/USER] [accounts=on/REVISION/JSON | accounts=off/REVISION/JSON |
//! accounts=on/REVISION/settled | accounts=refused] [named=somebody]
//! ```
//!
//! `auth-known` is what the status remembers; `accounts` what a member says, with users and their roles, and roles; `named` whom the
//! operator's certificate names.

use plan::{Accounts, Listing, Password, Target};
use serde::Deserialize;
use serde_json::from_str;

use super::{Situation, Words};

/// Users and roles, as they are written.
#[derive(Deserialize)]
struct Written {
    users: std::collections::BTreeMap<String, std::collections::BTreeSet<String>>,
    roles: std::collections::BTreeSet<String>,
}

/// Reads all of it.
pub(super) fn read(situation: &mut Situation, head: &Words<'_>) {
    let spec = &mut situation.cluster.spec;
    spec.auth = head.value("auth").map(|it| crds::Auth {
        root_secret_name: it.to_owned(),
    });
    if let (Some(known), Some(status)) = (head.value("auth-known"), &mut situation.cluster.status) {
        status.auth = Some(from_str(known).expect("what is known is JSON"));
    }
    let passwords = head.value("password").map(password);
    situation.observed.passwords.extend(passwords);
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
    Ok(Accounts {
        enabled: state == Some("on"),
        revision: revision.parse().expect("a revision"),
        listing: (listing != "settled").then(|| {
            let written: Written = from_str(listing).expect("users and roles are JSON");
            Listing {
                users: written.users,
                roles: written.roles,
            }
        }),
    })
}
