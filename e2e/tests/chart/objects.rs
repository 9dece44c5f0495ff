//! What is rendered, read as Kubernetes' own types: a field that is misspelled or misplaced does not survive the way
//! there and back. And what must hold of the objects together.
//!
//! What the types cannot see (an unknown word in an enumeration, a name that is too long) is left to a real API server.

use clap::Parser;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PodSpec, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use plan::names;
use quorate_operator::config::Config;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::monitoring::{PodMonitor, PrometheusRule, ServiceMonitor};
use crate::rendering::plain;
use crate::setting::{Helm, REGENERATE};

/// Reads as `K`; what it says must survive the way back.
fn survives<K: DeserializeOwned + Serialize>(document: &Value) {
    let (kind, name) = (&document["kind"], &document["metadata"]["name"]);
    let read: K = serde_json::from_value(document.clone())
        .unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
    let back = serde_json::to_value(read).expect("an object is JSON");
    assert_eq!(
        lost(document, &back, ""),
        Vec::<String>::new(),
        "{kind} {name}: no such fields"
    );
    assert_eq!(
        &back, document,
        "{kind} {name}: the way there and back adds something"
    );
}

/// Paths of what is not, or not the same, after the way there and back.
fn lost(before: &Value, after: &Value, path: &str) -> Vec<String> {
    let of = |key: &str, before: &Value, after: Option<&Value>| match after {
        Some(after) => lost(before, after, &format!("{path}/{key}")),
        None => vec![format!("{path}/{key}")],
    };
    match before {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, it)| of(key, it, after.get(key)))
            .collect(),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items
                .flat_map(|(at, it)| of(&at.to_string(), it, after.get(at)))
                .collect()
        }
        _ if before == after => Vec::new(),
        _ => vec![path.to_owned()],
    }
}

/// A definition is one of ours, but for labels and annotations.
fn is_of_our_types(document: &Value) {
    let mut read: CustomResourceDefinition =
        serde_json::from_value(document.clone()).expect("a definition");
    (read.metadata.labels, read.metadata.annotations) = (None, None);
    let known = crds::definitions();
    let name = read.metadata.name.clone().unwrap_or_default();
    let ours = known
        .iter()
        .find(|it| it.metadata.name == read.metadata.name);
    let ours = ours.unwrap_or_else(|| panic!("no type of ours is called {name}"));
    if &read != ours {
        let value = |it| serde_json::to_value(it).expect("a definition is JSON");
        let (read, ours) = (value(&read), value(ours));
        let differences = [lost(&ours, &read, ""), lost(&read, &ours, "")].concat();
        panic!(
            "{name} is not what crds/src says now: run {REGENERATE}; it differs at {differences:#?}"
        );
    }
}

fn is_valid(document: &Value) {
    match document["kind"].as_str().unwrap_or_default() {
        "ClusterRole" => survives::<ClusterRole>(document),
        "ClusterRoleBinding" => survives::<ClusterRoleBinding>(document),
        "ConfigMap" => survives::<ConfigMap>(document),
        "CustomResourceDefinition" => is_of_our_types(document),
        "Deployment" => survives::<Deployment>(document),
        "Namespace" => survives::<Namespace>(document),
        "NetworkPolicy" => survives::<NetworkPolicy>(document),
        "PodDisruptionBudget" => survives::<PodDisruptionBudget>(document),
        "PodMonitor" => survives::<PodMonitor>(document),
        "PrometheusRule" => survives::<PrometheusRule>(document),
        "Role" => survives::<Role>(document),
        "RoleBinding" => survives::<RoleBinding>(document),
        "Service" => survives::<Service>(document),
        "ServiceAccount" => survives::<ServiceAccount>(document),
        "ServiceMonitor" => survives::<ServiceMonitor>(document),
        "ValidatingAdmissionPolicy" => survives::<ValidatingAdmissionPolicy>(document),
        "ValidatingAdmissionPolicyBinding" => {
            survives::<ValidatingAdmissionPolicyBinding>(document)
        }
        kind => panic!("nobody has said how to check a {kind:?}"),
    }
}

/// The first object of a kind.
pub(crate) fn one<K: DeserializeOwned>(documents: &[Value], kind: &str) -> Option<K> {
    let found = documents.iter().find(|document| document["kind"] == kind)?;
    Some(serde_json::from_value(found.clone()).expect("it has been found valid"))
}

/// The flags that the operator is started with, as it reads them.
pub(crate) fn flags(documents: &[Value]) -> Config {
    let pod = pod(documents);
    let args = pod.containers[0].args.clone().unwrap_or_default();
    let config = Config::try_parse_from(["quorate-operator".to_owned()].into_iter().chain(args));
    let config = config.expect("flags that the operator knows");
    config.check().expect("flags that agree with each other");
    config
}

fn pod(documents: &[Value]) -> PodSpec {
    let deployment: Deployment = one(documents, "Deployment").expect("there is a Deployment");
    let spec = deployment.spec.expect("a spec");
    spec.template.spec.expect("a pod")
}

fn is_restricted(pod: &PodSpec) {
    let whole = pod.security_context.as_ref().expect("a security context");
    assert_eq!(whole.run_as_non_root, Some(true));
    let profile = whole.seccomp_profile.as_ref().expect("a profile");
    assert_eq!(profile.type_, "RuntimeDefault");
    for container in &pod.containers {
        let own = container
            .security_context
            .as_ref()
            .expect("a security context");
        assert_eq!(own.allow_privilege_escalation, Some(false));
        assert_eq!(own.read_only_root_filesystem, Some(true));
        let dropped = own.capabilities.as_ref().and_then(|it| it.drop.clone());
        assert_eq!(dropped, Some(vec!["ALL".to_owned()]));
    }
}

/// Everything that selects the operator's pods selects them, and never a cluster's members.
fn selectors_agree(documents: &[Value]) {
    let labels = &one::<Value>(documents, "Deployment").expect("one")["spec"]["template"]["metadata"]
        ["labels"];
    let places = [
        "/spec/selector/matchLabels",
        "/spec/podSelector/matchLabels",
        "/spec/selector",
    ];
    for document in documents {
        let kind = document["kind"].as_str().unwrap_or_default();
        if ![
            "Deployment",
            "Service",
            "NetworkPolicy",
            "PodDisruptionBudget",
        ]
        .contains(&kind)
        {
            continue;
        }
        let selector = places
            .iter()
            .find_map(|place| document.pointer(place)?.as_object());
        let selector = selector.unwrap_or_else(|| panic!("{kind} selects nothing"));
        assert_eq!(
            selector["app.kubernetes.io/component"], "operator",
            "{kind}"
        );
        for (key, value) in selector {
            assert_eq!(&labels[key], value, "{kind} selects by {key}");
        }
    }
}

#[test]
fn what_every_values_file_renders_is_what_kubernetes_knows() {
    let Some(helm) = Helm::or_left_out("checking rendered objects against Kubernetes' types")
    else {
        return;
    };
    for rendered in helm.matrix() {
        let documents = rendered.documents();
        documents.iter().for_each(is_valid);
        selectors_agree(&documents);
        tells_its_own_pods(&documents);
        reaches_the_members(&documents);
        is_restricted(&pod(&documents));
        let (config, replicas) = (
            flags(&documents),
            one::<Deployment>(&documents, "Deployment"),
        );
        let replicas = replicas.and_then(|it| it.spec?.replicas);
        assert!(
            config.leader_elect || replicas == Some(1),
            "{}",
            rendered.case
        );
    }
}

/// What the operator is told of its own pods is what their Deployment says, and enough to tell them by.
fn tells_its_own_pods(documents: &[Value]) {
    let own = flags(documents).own_pods().expect("the flags say it");
    let deployment: Deployment = one(documents, "Deployment").expect("there is one");
    assert_eq!(deployment.metadata.namespace, Some(own.namespace));
    let selector = deployment.spec.expect("a spec").selector;
    assert_eq!(selector.match_labels, Some(own.labels));
}

/// Where a policy says whom the operator may reach, each port on which it speaks to members is among them.
fn reaches_the_members(documents: &[Value]) {
    let Some(policy) = one::<NetworkPolicy>(documents, "NetworkPolicy") else {
        return;
    };
    let egress = policy
        .spec
        .and_then(|it| it.egress)
        .expect("it is about egress");
    let ports: Vec<IntOrString> = egress
        .into_iter()
        .flat_map(|it| it.ports.unwrap_or_default())
        .filter_map(|it| it.port)
        .collect();
    for port in [
        names::CLIENT_PORT,
        names::PEER_PORT,
        names::SECOND_PEER_PORT,
    ] {
        assert!(ports.contains(&IntOrString::Int(port)), "{port}: {ports:?}");
    }
}

#[test]
fn the_plain_manifest_is_what_kubernetes_knows() {
    let documents = plain();
    documents.iter().for_each(is_valid);
    selectors_agree(&documents);
    tells_its_own_pods(&documents);
    is_restricted(&pod(&documents));
    assert!(flags(&documents).leader_elect);
    let deployment: Deployment = one(&documents, "Deployment").expect("there is one");
    assert_eq!(deployment.spec.expect("a spec").replicas, Some(2));
    let of_kind = |kind: &str| documents.iter().filter(|it| it["kind"] == kind).count();
    assert_eq!(
        of_kind("CustomResourceDefinition"),
        crds::definitions().len()
    );
}
