//! The NetworkPolicy over the members: who reaches which of their ports.
//!
//! It says nothing of what members reach, and nothing of the probes of their kubelets, which Kubernetes lets through whatever a
//! policy says. Both ports of peers are open from the beginning: members must meet on the one to which they move before anybody
//! knows that they do. Whoever meets a member as its peer can have all its data, so that the port of clients is open to other
//! members too, for a tool that is run inside of one.

use std::collections::BTreeMap;

use crds::AdmittedPods;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{covers, metadata};
use crate::{
    names::{self, CLIENT_PORT, METRICS_PORT, PEER_PORT, SECOND_PEER_PORT},
    observed::OperatorPods,
    spec::Spec,
};

/// The label by which Kubernetes itself says how a namespace is called.
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";

/// The policy that lets in whom the spec names, and the operator where it is known which pods it is.
pub(crate) fn network_policy(spec: &Spec, operator: Option<&OperatorPods>) -> NetworkPolicy {
    let peers = [CLIENT_PORT, PEER_PORT, SECOND_PEER_PORT];
    let mut ingress = vec![rule(vec![members(spec)], &peers)];
    // It asks members as a client does, and shakes hands with them as with peers.
    ingress.extend(operator.map(|it| rule(vec![pods_of(it)], &peers)));
    let wanted = spec.network_policy.clone().unwrap_or_default();
    ingress.push(rule(admitted(&wanted.client_selectors), &[CLIENT_PORT]));
    ingress.push(rule(admitted(&wanted.metrics_selectors), &[METRICS_PORT]));
    NetworkPolicy {
        metadata: metadata(spec, names::network_policy(&spec.name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(spec)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(ingress),
            egress: None,
        }),
    }
}

/// Whether the policy that was found says what is wanted: neither more nor less, for what it says beside that would let in
/// others or keep out some. What somebody else has written of egress is not in force.
pub(crate) fn is(found: &NetworkPolicy, wanted: &NetworkPolicy) -> bool {
    let said = |it: &NetworkPolicy| {
        let spec = it.spec.clone().unwrap_or_default();
        NetworkPolicySpec {
            egress: None,
            ..spec
        }
    };
    covers(&found.metadata, &wanted.metadata) && said(found) == said(wanted)
}

/// The cluster's members.
fn selector(spec: &Spec) -> LabelSelector {
    let is_member = LabelSelectorRequirement {
        key: names::MEMBER_LABEL.to_owned(),
        operator: "Exists".to_owned(),
        values: None,
    };
    LabelSelector {
        match_labels: Some([(names::CLUSTER_LABEL.to_owned(), spec.name.clone())].into()),
        match_expressions: Some(vec![is_member]),
    }
}

fn members(spec: &Spec) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(selector(spec)),
        ..NetworkPolicyPeer::default()
    }
}

fn pods_of(operator: &OperatorPods) -> NetworkPolicyPeer {
    let labelled = |labels: BTreeMap<String, String>| LabelSelector {
        match_labels: Some(labels),
        match_expressions: None,
    };
    let namespace = [(NAMESPACE_LABEL.to_owned(), operator.namespace.clone())];
    NetworkPolicyPeer {
        namespace_selector: Some(labelled(namespace.into())),
        pod_selector: Some(labelled(operator.labels.clone())),
        ip_block: None,
    }
}

/// Whom a list of selectors lets in; without any, all pods of the cluster's own namespace. An empty list in a NetworkPolicy would
/// let in the whole world.
fn admitted(selectors: &[AdmittedPods]) -> Vec<NetworkPolicyPeer> {
    if selectors.is_empty() {
        return vec![NetworkPolicyPeer {
            pod_selector: Some(LabelSelector::default()),
            ..NetworkPolicyPeer::default()
        }];
    }
    let peer = |it: &AdmittedPods| NetworkPolicyPeer {
        namespace_selector: it.namespace_selector.as_ref().map(typed),
        pod_selector: it.pod_selector.as_ref().map(typed),
        ip_block: None,
    };
    selectors.iter().map(peer).collect()
}

/// The same selector as Kubernetes' own type; what is empty is left out, as the API server gives it back.
fn typed(selector: &crds::LabelSelector) -> LabelSelector {
    let requirement = |it: &crds::LabelRequirement| LabelSelectorRequirement {
        key: it.key.clone(),
        operator: it.operator.as_str().to_owned(),
        values: Some(it.values.clone()).filter(|it| !it.is_empty()),
    };
    let all = selector.match_expressions.iter().map(requirement);
    LabelSelector {
        match_labels: Some(selector.match_labels.clone()).filter(|it| !it.is_empty()),
        match_expressions: Some(all.collect()).filter(|it: &Vec<_>| !it.is_empty()),
    }
}

fn rule(from: Vec<NetworkPolicyPeer>, ports: &[i32]) -> NetworkPolicyIngressRule {
    let port = |number: &i32| NetworkPolicyPort {
        port: Some(IntOrString::Int(*number)),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    };
    NetworkPolicyIngressRule {
        from: Some(from),
        ports: Some(ports.iter().map(port).collect()),
    }
}

#[cfg(test)]
mod tests {
    use crds::RaftCluster;
    use serde_json::{Value, json};

    use super::*;

    fn policy(options: &Value, operator: Option<&OperatorPods>) -> NetworkPolicy {
        let cluster: RaftCluster = serde_json::from_value(json!({
            "apiVersion": "quorate.io/v1alpha1",
            "kind": "RaftCluster",
            "metadata": {"name": "kv", "namespace": "demo", "uid": "u"},
            "spec": {"storage": {"size": "4Gi"}, "networkPolicy": options},
        }))
        .expect("a cluster");
        network_policy(&Spec::parse(&cluster, None).0, operator)
    }

    /// Who is let in to these ports, as the API server would be sent it.
    fn admitted_to(policy: &NetworkPolicy, port: i32) -> Vec<Value> {
        let rules = policy
            .spec
            .iter()
            .flat_map(|it| it.ingress.iter().flatten());
        let opens = |it: &&NetworkPolicyIngressRule| {
            let mut ports = it.ports.iter().flatten();
            ports.any(|it| it.port == Some(IntOrString::Int(port)))
        };
        let peers = rules.filter(opens).flat_map(|it| it.from.iter().flatten());
        peers
            .map(|it| serde_json::to_value(it).expect("a peer is JSON"))
            .collect()
    }

    fn members() -> Value {
        json!({"podSelector": {
            "matchLabels": {"quorate.io/cluster": "kv"},
            "matchExpressions": [{"key": "quorate.io/member", "operator": "Exists"}],
        }})
    }

    #[test]
    fn each_port_is_open_to_whom_it_is_for() {
        let operator = OperatorPods {
            namespace: "quorate-system".to_owned(),
            labels: [(
                "app.kubernetes.io/component".to_owned(),
                "operator".to_owned(),
            )]
            .into(),
        };
        let apps =
            json!({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "shop"}}});
        let scraper = json!({"namespaceSelector": {"matchExpressions": [
            {"key": "team", "operator": "In", "values": ["sre"]},
        ]}});
        let managed =
            json!({"mode": "Managed", "clientSelectors": [apps], "metricsSelectors": [scraper]});
        let policy = policy(&managed, Some(&operator));
        let operator = json!({
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "quorate-system"}},
            "podSelector": {"matchLabels": {"app.kubernetes.io/component": "operator"}},
        });
        for port in [PEER_PORT, SECOND_PEER_PORT] {
            assert_eq!(admitted_to(&policy, port), [members(), operator.clone()]);
        }
        assert_eq!(
            admitted_to(&policy, CLIENT_PORT),
            [members(), operator, apps]
        );
        assert_eq!(admitted_to(&policy, METRICS_PORT), [scraper]);
    }

    #[test]
    fn without_selectors_the_own_namespace_is_let_in_and_never_the_world() {
        let policy = policy(&json!({"mode": "Managed"}), None);
        let namespace = json!({"podSelector": {}});
        assert_eq!(
            admitted_to(&policy, CLIENT_PORT),
            [members(), namespace.clone()]
        );
        assert_eq!(admitted_to(&policy, METRICS_PORT), [namespace]);
        let rules = policy.spec.expect("a spec").ingress.expect("rules");
        for rule in rules {
            assert!(rule.from.is_some_and(|it| !it.is_empty()));
            assert!(rule.ports.is_some_and(|it| !it.is_empty()));
        }
    }

    #[test]
    fn a_policy_that_keeps_out_more_is_not_the_one_that_is_wanted() {
        let of = |selector: Value| {
            policy(
                &json!({"mode": "Managed", "clientSelectors": [selector]}),
                None,
            )
        };
        let all = of(json!({"namespaceSelector": {}}));
        for narrower in [
            json!({"namespaceSelector": {"matchLabels": {"a": "b"}}}),
            json!({"namespaceSelector": {}, "podSelector": {}}),
        ] {
            let found = of(narrower);
            assert!(covers(&found, &all), "the case this is about");
            assert!(!is(&found, &all) && !is(&all, &found));
        }
    }

    #[test]
    fn what_others_add_and_what_is_not_in_force_does_not_count() {
        let wanted = policy(&json!({"mode": "Managed"}), None);
        let mut found = wanted.clone();
        found.metadata.uid = Some("1".to_owned());
        let labels = found.metadata.labels.get_or_insert_default();
        labels.insert("example.com/note".to_owned(), "a".to_owned());
        found.spec.get_or_insert_default().egress = Some(Vec::new());
        assert!(is(&found, &wanted));
        let types = vec!["Ingress".to_owned(), "Egress".to_owned()];
        found.spec.get_or_insert_default().policy_types = Some(types);
        assert!(!is(&found, &wanted), "then egress would be in force");
    }
}
