use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use serde_json::Value;

use super::*;

const RBAC: &str = include_str!("../../deploy/rbac.yaml");
const DEPLOYMENT: &str = include_str!("../../deploy/deployment.yaml");

type Right = (Place, String, String, String);

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).expect("the manifest is YAML")
}

fn granted(place: Place, rules: Option<Vec<PolicyRule>>) -> Vec<Right> {
    let mut rights = Vec::new();
    for rule in rules.unwrap_or_default() {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let verbs = rule.verbs.iter();
                rights.extend(
                    verbs.map(|verb| (place, group.clone(), resource.clone(), verb.clone())),
                );
            }
        }
    }
    rights
}

fn in_manifest() -> BTreeSet<Right> {
    let documents = documents(RBAC);
    let rights = documents
        .into_iter()
        .flat_map(|document| match document["kind"].as_str() {
            Some("ClusterRole") => {
                let role: ClusterRole = serde_json::from_value(document).expect("a ClusterRole");
                granted(Place::Clusters, role.rules)
            }
            Some("Role") => {
                let role: Role = serde_json::from_value(document).expect("a Role");
                granted(Place::Own, role.rules)
            }
            _ => Vec::new(),
        });
    rights.collect()
}

fn in_table() -> BTreeSet<Right> {
    let right = |p: &'static Permission, verb: &&str| {
        (
            p.place,
            p.group.to_owned(),
            p.resource.to_owned(),
            (*verb).to_owned(),
        )
    };
    PERMISSIONS
        .iter()
        .flat_map(|p| p.verbs.iter().map(move |verb| right(p, verb)))
        .collect()
}

#[test]
fn the_manifest_grants_what_the_code_needs_and_nothing_else() {
    let (manifest, table) = (in_manifest(), in_table());
    let missing: Vec<_> = table.difference(&manifest).collect();
    let excess: Vec<_> = manifest.difference(&table).collect();
    assert!(
        missing.is_empty() && excess.is_empty(),
        "missing: {missing:?}, in excess: {excess:?}"
    );
}

#[test]
fn no_right_reaches_further_than_its_purpose() {
    for (_, group, resource, verb) in in_manifest() {
        assert!(
            ![&group, &resource, &verb].contains(&&"*".to_owned()),
            "{group}/{resource} {verb}"
        );
        assert!(
            !resource.starts_with("secrets") && !resource.contains("exec"),
            "{resource}"
        );
        assert_ne!(group, "rbac.authorization.k8s.io");
    }
}

#[test]
fn two_replicas_run_restricted_and_elect_a_leader() {
    let mut documents = documents(DEPLOYMENT);
    let deployment: Deployment = serde_json::from_value(documents.remove(0)).expect("a Deployment");
    let spec = deployment.spec.expect("a spec");
    assert_eq!(spec.replicas, Some(2));
    let pod = spec.template.spec.expect("a pod");
    let security = pod.security_context.expect("a security context");
    assert_eq!(security.run_as_non_root, Some(true));
    assert_eq!(
        security.seccomp_profile.expect("a profile").type_,
        "RuntimeDefault"
    );
    let container = &pod.containers[0];
    let security = container
        .security_context
        .as_ref()
        .expect("a security context");
    assert_eq!(security.allow_privilege_escalation, Some(false));
    assert_eq!(security.read_only_root_filesystem, Some(true));
    let dropped = security
        .capabilities
        .as_ref()
        .and_then(|capabilities| capabilities.drop.clone());
    assert_eq!(dropped, Some(vec!["ALL".to_owned()]));
    let flags = container.args.clone().unwrap_or_default();
    let flags = ["quorate-operator".to_owned()].into_iter().chain(flags);
    let config =
        <crate::config::Config as clap::Parser>::try_parse_from(flags).expect("flags that we know");
    assert!(config.leader_elect);
}
