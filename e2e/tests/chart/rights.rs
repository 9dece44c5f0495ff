//! The operator's rights: those of its table in `permissions.rs`, no more and no less, where they belong. Followed from
//! the ServiceAccount through bindings to roles, as Kubernetes does.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use quorate_operator::permissions::{CERT_MANAGER, PERMISSIONS, Place, SIGHTS, SNAPSHOTS};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::objects::{flags, one};
use crate::rendering::plain;
use crate::setting::{Helm, NAMESPACE, documents, read};

/// Where, of which group, to which resource, which verb. No namespace means all.
type Right = (Option<String>, String, String, String);

fn part<T: DeserializeOwned>(document: &Value, field: &str) -> T {
    serde_json::from_value(document[field].clone()).expect("it has been found valid")
}

fn rules(documents: &[Value], role: &RoleRef, namespace: Option<&String>) -> Vec<PolicyRule> {
    let found = documents.iter().find(|document| {
        let metadata = &document["metadata"];
        let own = role.kind == "ClusterRole"
            || metadata["namespace"].as_str() == namespace.map(String::as_str);
        document["kind"] == role.kind.as_str() && metadata["name"] == role.name.as_str() && own
    });
    part(
        found.unwrap_or_else(|| panic!("{role:?} is bound and not there")),
        "rules",
    )
}

fn spread(namespace: Option<&String>, rule: &PolicyRule) -> Vec<Right> {
    let mut rights = Vec::new();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            let verbs = rule.verbs.iter();
            rights.extend(verbs.map(|verb| {
                (
                    namespace.cloned(),
                    group.clone(),
                    resource.clone(),
                    verb.clone(),
                )
            }));
        }
    }
    rights
}

/// All that is bound to the pod's ServiceAccount.
fn granted(documents: &[Value]) -> BTreeSet<Right> {
    let account = documents
        .iter()
        .find_map(|it| it.pointer("/spec/template/spec/serviceAccountName"))
        .expect("the pod has an account");
    let mut rights = BTreeSet::new();
    for binding in documents {
        if !["RoleBinding", "ClusterRoleBinding"].contains(&binding["kind"].as_str().unwrap_or(""))
        {
            continue;
        }
        for subject in part::<Vec<Subject>>(binding, "subjects") {
            assert_eq!(
                (&subject.kind[..], Value::from(subject.name)),
                ("ServiceAccount", account.clone())
            );
            assert_eq!(subject.namespace.as_deref(), Some(NAMESPACE));
        }
        let namespace: Option<String> = part(&binding["metadata"], "namespace");
        for rule in rules(documents, &part(binding, "roleRef"), namespace.as_ref()) {
            rights.extend(spread(namespace.as_ref(), &rule));
        }
    }
    rights
}

/// What the values of a chart grant beside what is always needed.
#[derive(Clone, Copy)]
struct Wishes {
    cert_manager: bool,
    snapshots: bool,
}

impl Wishes {
    /// Those of the chart itself.
    const DEFAULT: Self = Self {
        cert_manager: false,
        snapshots: true,
    };

    /// Those of a case.
    fn of(case: &str) -> Self {
        let values = read(&format!("charts/quorate/ci/{case}-values.yaml"));
        let values = documents(&values);
        let says = |key: &str, otherwise: bool| {
            let said = values.iter().find_map(|it| it[key]["enabled"].as_bool());
            said.unwrap_or(otherwise)
        };
        Self {
            cert_manager: says("certManager", Self::DEFAULT.cert_manager),
            snapshots: says("volumeSnapshots", Self::DEFAULT.snapshots),
        }
    }
}

/// All that the code needs, in these namespaces, by these wishes.
fn needed(namespaces: &[String], wishes: Wishes) -> BTreeSet<Right> {
    let everywhere = || {
        if namespaces.is_empty() {
            vec![None]
        } else {
            namespaces.iter().cloned().map(Some).collect()
        }
    };
    let of = |it: &quorate_operator::permissions::Permission| {
        let places = match it.place {
            Place::Clusters => everywhere(),
            Place::Own => vec![Some(NAMESPACE.to_owned())],
            Place::Whole if namespaces.is_empty() => vec![None],
            Place::Whole => Vec::new(),
        };
        let verbs = it.verbs.iter().map(|verb| (*verb).to_owned());
        let verbs: Vec<String> = verbs.collect();
        let right = |place: &Option<String>, verb: &String| {
            (
                place.clone(),
                it.group.to_owned(),
                it.resource.to_owned(),
                verb.clone(),
            )
        };
        places
            .iter()
            .flat_map(|place| verbs.iter().map(move |verb| right(place, verb)))
            .collect::<Vec<_>>()
    };
    let asked = CERT_MANAGER.iter().filter(|_| wishes.cert_manager);
    let snapshots = SNAPSHOTS.iter().filter(|_| wishes.snapshots);
    let all = PERMISSIONS.iter().chain(SIGHTS).chain(asked);
    let all = all.chain(snapshots);
    all.flat_map(of).collect()
}

fn are_those_needed(of: &str, documents: &[Value], wishes: Wishes) {
    let config = flags(documents);
    let needed = needed(&config.namespaces, wishes);
    let granted = granted(documents);
    let missing: Vec<_> = needed.difference(&granted).collect();
    let excess: Vec<_> = granted.difference(&needed).collect();
    assert!(
        missing.is_empty() && excess.is_empty(),
        "{of}: missing: {missing:?}, in excess: {excess:?}"
    );
    let role = documents.iter().find(|it| {
        it["metadata"]["name"]
            .as_str()
            .is_some_and(|name| name.ends_with("-lease"))
    });
    let lease = &role.expect("there is a Role for the Lease")["rules"][1]["resourceNames"];
    assert_eq!(lease, &serde_json::json!([config.lease_name]), "{of}");
    assert_eq!(config.lease_namespace, NAMESPACE, "{of}");
}

#[test]
fn the_plain_manifest_grants_what_the_code_needs_and_nothing_else() {
    are_those_needed("deploy/quorate.yaml", &plain(), Wishes::DEFAULT);
}

#[test]
fn the_chart_grants_what_the_code_needs_where_it_watches_and_nothing_else() {
    let Some(helm) = Helm::or_left_out("comparing the chart's roles with the operator's table")
    else {
        return;
    };
    let of_rights = |case: &&crate::setting::Rendered| case.case != "single";
    let matrix = helm.matrix();
    for rendered in matrix.iter().filter(of_rights) {
        let documents = rendered.documents();
        are_those_needed(&rendered.case, &documents, Wishes::of(&rendered.case));
        let scoped = !flags(&documents).namespaces.is_empty();
        let wide = one::<Value>(&documents, "ClusterRole").is_some()
            || one::<Value>(&documents, "ClusterRoleBinding").is_some();
        assert_ne!(
            scoped, wide,
            "{}: cluster-wide rights exactly where all namespaces are watched",
            rendered.case
        );
    }
    let wishes = |it: fn(&Wishes) -> bool| {
        let cases = matrix.iter().filter(|case| it(&Wishes::of(&case.case)));
        cases.count()
    };
    assert!(
        wishes(|it| it.cert_manager) >= 2,
        "cases with a ClusterRole and with Roles"
    );
    assert!(wishes(|it| !it.snapshots) >= 1, "a case without snapshots");
    let single = matrix
        .iter()
        .find(|it| it.case == "single")
        .expect("a case without rights");
    assert_eq!(granted(&single.documents()), BTreeSet::new());
}

#[test]
fn people_may_change_clusters_and_never_what_the_operator_says_of_them() {
    let documents = plain();
    let roles = ["quorate-view", "quorate-edit"].map(|name| {
        let role = documents
            .iter()
            .find(|it| it["kind"] == "ClusterRole" && it["metadata"]["name"] == name);
        let role = role.unwrap_or_else(|| panic!("{name} is missing"));
        part::<Vec<PolicyRule>>(role, "rules")
            .iter()
            .flat_map(|rule| spread(None, rule))
            .collect::<Vec<_>>()
    });
    let writes = |right: &&Right| !["get", "list", "watch"].contains(&&right.3[..]);
    let (view, edit) = (&roles[0], &roles[1]);
    assert_eq!(
        view.iter().filter(writes).count(),
        0,
        "viewers write nothing"
    );
    let writable: BTreeSet<&str> = edit
        .iter()
        .filter(writes)
        .map(|right| &right.2[..])
        .collect();
    assert_eq!(
        writable,
        [
            "raftclusters",
            "raftclusters/scale",
            "raftmembers",
            "raftoperations",
            "raftroles",
            "raftusers"
        ]
        .into()
    );
    let of_members = edit.iter().filter(|right| right.2 == "raftmembers");
    assert!(
        of_members.clone().all(|right| right.3 == "delete"),
        "{of_members:?}"
    );
}
