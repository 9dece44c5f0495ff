//! Who reaches the members over the network: one NetworkPolicy per cluster, if the user wants it.
//!
//! Its selectors are those of Kubernetes' NetworkPolicies in all they say and leave unsaid. Whoever cannot be told by labels, such as
//! clients outside of the pod network, is let in by a NetworkPolicy of the user's own: policies add up.
//!
//! This file deliberately names no ports and not the operator's own pods: the planner knows them.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who reaches the members over the network. Kubernetes' network has to enforce NetworkPolicies; not every one does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicyOptions {
    /// Managed: the operator keeps a NetworkPolicy `NAME-members`, so that members are reached by each other, by the operator, and on
    /// ports 2379 and 2381 by those below; the probes of the kubelet always pass, and what members reach is not restricted.
    /// Disabled: there is none.
    #[serde(default)]
    pub mode: NetworkPolicyMode,
    /// With mode Managed: which pods reach the clients' port, 2379. Empty: all pods of the cluster's own namespace, and nobody else.
    /// `[{namespaceSelector: {}}]`: all pods of all namespaces. Whoever comes from outside of the pod network, such as through a load
    /// balancer or from a node, needs a NetworkPolicy of yours beside this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub client_selectors: Vec<AdmittedPods>,
    /// With mode Managed: which pods reach the port of health and metrics, 2381, such as Prometheus in a namespace of its own:
    /// `[{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]`. Empty: all pods of the cluster's own
    /// namespace, and nobody else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub metrics_selectors: Vec<AdmittedPods>,
}

/// Whether the operator keeps a NetworkPolicy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NetworkPolicyMode {
    /// There is none of its own; others are left alone.
    #[default]
    Disabled,
    /// It keeps one.
    Managed,
}

/// Pods that are let in, as a peer of a NetworkPolicy names them.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.namespaceSelector) || has(self.podSelector)")
        .message("spec.networkPolicy: each of clientSelectors and metricsSelectors has a namespaceSelector, a podSelector or both; write {podSelector: {}} for all pods of the cluster's own namespace and {namespaceSelector: {}} for those of all namespaces")
)]
pub struct AdmittedPods {
    /// The namespaces they are in; `{}` is all of them. Absent: the cluster's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Which pods in those namespaces. Absent, or `{}`: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
}

/// What labels must be like; all of it must hold, and nothing said is all there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels and their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// What one label must be like.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)")
        .message("spec.networkPolicy: operators In and NotIn of matchExpressions need values; name some, or use Exists or DoesNotExist"),
    validation = Rule::new("self.operator in ['In', 'NotIn'] || !has(self.values) || size(self.values) == 0")
        .message("spec.networkPolicy: operators Exists and DoesNotExist of matchExpressions take no values; drop them, or use In or NotIn")
)]
pub struct LabelRequirement {
    /// The label.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How it stands to the values.
    pub operator: LabelOperator,
    /// With In and NotIn: the values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// How a label stands to values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    /// It is there with one of the values.
    In,
    /// It is not there, or with another value.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

impl LabelOperator {
    /// As Kubernetes writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "In",
            Self::NotIn => "NotIn",
            Self::Exists => "Exists",
            Self::DoesNotExist => "DoesNotExist",
        }
    }
}
