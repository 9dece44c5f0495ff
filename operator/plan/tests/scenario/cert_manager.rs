//! cert-manager in a situation's first line:
//!
//! ```text
//! cert-manager=unserved|forbidden|absent|silent|failing|ready|signed [unrequested] [drifted=NAME] [stolen-request=NAME]
//!         [signed-by=NAME/ISSUER] [unmade=NAME] [caless=NAME] [overdue] [left=NAME,NAME]
//! ```
//!
//! Every `Certificate` that is wanted is as the word says: not served, forbidden, absent, or there and nothing said of it, failing to be
//! issued, ready with an empty Secret, or ready with what the issuer has signed. Their names are remembered unless they are
//! `unrequested`. One may be `drifted` from what is wanted, somebody else's (`stolen-request`), or lack the CA; its Secret may be signed by
//! another issuer, or `unmade`: not cert-manager's. `left` are remembered, there, and not wanted.

use std::collections::BTreeMap;

use crds::RaftCluster;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use plan::{Action, Certificate, Keyring, Observed, Sought};
use serde_json::json;

use super::{Situation, UID, Words};

/// How long what cert-manager has an issuer sign is valid, where nobody says it.
const LASTS: SignedDuration = SignedDuration::from_hours(24 * 90);

pub(super) fn read(situation: &mut Situation, head: &Words<'_>) {
    let Some(state) = head.value("cert-manager") else {
        return;
    };
    let names = plan::cert_manager::in_question(&situation.cluster);
    let left = head.value("left").unwrap_or_default().split(',');
    let left: Vec<&str> = left.filter(|it| !it.is_empty()).collect();
    let mut remembered = names.clone();
    remembered.extend(left.iter().map(|it| (*it).to_owned()));
    if let (Some(status), false) = (&mut situation.cluster.status, head.has("unrequested")) {
        let certificates = status.certificates.get_or_insert_default();
        certificates.requested = remembered.into_iter().collect();
    }
    for name in &names {
        let seen = match state {
            "unserved" => Sought::Unserved,
            "forbidden" => Sought::Forbidden,
            "absent" => Sought::Absent,
            state => there(situation, head, name, state),
        };
        let certificates = &mut situation.observed.certificates;
        certificates.insert(name.clone(), seen);
    }
    for name in left {
        let owner = [
            json!({"apiVersion": "quorate.io/v1alpha1", "kind": "RaftCluster", "name": "kv", "uid": UID}),
        ];
        let metadata =
            json!({"name": name, "uid": format!("uid-{name}"), "ownerReferences": owner});
        let seen = match state {
            "unserved" => Sought::Unserved,
            "forbidden" => Sought::Forbidden,
            "absent" => Sought::Absent,
            _ => Sought::There(Box::new(
                serde_json::from_value(json!({"metadata": metadata})).expect("a certificate"),
            )),
        };
        let certificates = &mut situation.observed.certificates;
        certificates.insert(name.to_owned(), seen);
    }
}

/// One that is there, and what is in its Secret.
fn there(
    situation: &mut Situation,
    head: &Words<'_>,
    name: &str,
    state: &str,
) -> Sought<Certificate> {
    let is = |word: &str| head.value(word) == Some(name);
    let mut found = wanted(&situation.cluster, situation.now)
        .remove(name)
        .unwrap_or_else(|| panic!("{name} is not wanted"));
    found.metadata.uid = Some(format!("uid-{name}"));
    if is("drifted") {
        found.spec.usages = vec!["any".to_owned()];
    }
    if is("stolen-request") {
        found.metadata.owner_references = None;
    }
    let conditions = match state {
        "silent" => json!([]),
        "failing" => json!([
            {"type": "Ready", "status": "False", "reason": "DoesNotExist", "message": "there is no such secret"},
            {"type": "Issuing", "status": "False", "reason": "Failed", "message": "the request was denied"},
        ]),
        _ => {
            json!([{"type": "Ready", "status": "True", "reason": "Ready", "message": "it is up to date"}])
        }
    };
    let status = json!({"conditions": conditions});
    found.status = serde_json::from_value(status).expect("a status");
    if let (true, Some(status)) = (head.has("overdue"), &mut found.status) {
        status.renewal_time = Some(Time(situation.now - SignedDuration::from_hours(2)));
    }
    if state == "signed" {
        let keyring = keyring(&found, head, situation.now);
        situation.observed.keyrings.push(keyring);
    }
    Sought::There(Box::new(found))
}

/// As the planner itself would have them made.
fn wanted(cluster: &RaftCluster, now: Timestamp) -> BTreeMap<String, Certificate> {
    let mut bare = cluster.clone();
    let status = bare.status.get_or_insert_default();
    let names = plan::cert_manager::in_question(cluster);
    status.certificates.get_or_insert_default().requested = names.iter().cloned().collect();
    let mut observed = Observed::empty(now);
    let absent = names.into_iter().map(|it| (it, Sought::Absent));
    observed.certificates = absent.collect();
    let actions = plan::plan(&bare, &observed, now).actions;
    let applied = actions.into_iter().filter_map(|it| match it {
        Action::ApplyCertificate(it) => Some((it.metadata.name.clone()?, *it)),
        _ => None,
    });
    applied.collect()
}

/// What their Secrets hold when all is well.
pub(super) fn keyrings(cluster: &RaftCluster, now: Timestamp) -> Vec<Keyring> {
    let wanted = wanted(cluster, now).into_values();
    wanted
        .map(|it| keyring(&it, &Words(Vec::new()), now))
        .collect()
}

fn keyring(certificate: &Certificate, head: &Words<'_>, now: Timestamp) -> Keyring {
    let name = certificate.spec.secret_name.clone();
    let mut issuer = certificate.spec.issuer_ref.clone();
    let is = |word: &str| head.value(word) == Some(&name);
    let other = head.value("signed-by").and_then(|it| it.split_once('/'));
    if let (Some((_, other)), Some(issuer)) = (other.filter(|it| it.0 == name), &mut issuer) {
        issuer.name = other.to_owned();
    }
    let mut entries = vec!["tls.crt", "tls.key"];
    entries.extend((!is("caless")).then_some("ca.crt"));
    Keyring {
        uid: format!("uid-{name}"),
        version: Some("1".to_owned()),
        certificate: Some(name.clone()).filter(|_| !is("unmade")),
        issuer: issuer.filter(|_| !is("unmade")),
        entries: entries.into_iter().map(ToOwned::to_owned).collect(),
        ends: [("tls".to_owned(), now + LASTS)].into(),
        subjects: [("tls".to_owned(), certificate.spec.common_name.clone())]
            .into_iter()
            .filter_map(|(stem, it)| Some((stem, it?)))
            .collect(),
        secret: name,
        ..Keyring::default()
    }
}
