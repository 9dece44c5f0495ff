//! What the Prometheus operator is given: only fields that it has, metrics that exist, and jobs that etcd's own alerts
//! can tell apart.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use quorate_operator::metrics::{ClusterFigures, Metrics};
use serde::{Deserialize, Serialize};

use crate::objects::one;
use crate::setting::{Helm, read};

/// The fields of the Prometheus operator's v1 API that the chart uses; whatever else is rendered is refused.
macro_rules! object {
    ($name:ident, $spec:ident { $($field:ident: $kind:ty),* $(,)? }) => {
        #[derive(Deserialize, Serialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        pub(crate) struct $name {
            api_version: String,
            kind: String,
            metadata: ObjectMeta,
            pub(crate) spec: $spec,
        }

        #[derive(Deserialize, Serialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        pub(crate) struct $spec {
            $(#[serde(skip_serializing_if = "is_nothing")] $field: $kind,)*
        }
    };
}

/// Absent fields stay absent on the way back.
fn is_nothing<T: Serialize>(value: &T) -> bool {
    serde_json::to_value(value).is_ok_and(|value| value.is_null())
}

object!(ServiceMonitor, ServiceMonitorSpec {
    selector: LabelSelector,
    endpoints: Vec<Endpoint>,
});
object!(PodMonitor, PodMonitorSpec {
    selector: LabelSelector,
    namespace_selector: Option<NamespaceSelector>,
    pod_metrics_endpoints: Vec<Endpoint>,
});
object!(PrometheusRule, PrometheusRuleSpec {
    groups: Vec<Group>,
});

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NamespaceSelector {
    #[serde(skip_serializing_if = "Option::is_none")]
    any: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    match_names: Option<Vec<String>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Endpoint {
    port: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scrape_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    honor_labels: Option<bool>,
    relabelings: Vec<Relabeling>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric_relabelings: Option<Vec<Relabeling>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Relabeling {
    #[serde(skip_serializing_if = "Option::is_none")]
    source_labels: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    separator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    regex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replacement: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Alert>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Alert {
    alert: String,
    expr: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#for: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

/// The words of an expression that name metrics of ours.
fn metrics_in(expression: &str) -> impl Iterator<Item = &str> {
    let prefixes = [
        "quorate_",
        "controller_runtime_",
        "workqueue_",
        "leader_election_",
    ];
    expression
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(move |word| prefixes.iter().any(|prefix| word.starts_with(prefix)))
}

/// Everything that an operator that leads and knows a cluster shows.
fn shown() -> String {
    let metrics = Metrics::new();
    metrics.leads("quorate-operator", true);
    let figures = ClusterFigures {
        ready: true,
        members: 3,
        tolerance: Some(1),
        paused: false,
        first_expiry: Some(1_830_000_000),
        recovery: None,
    };
    metrics.cluster_stands("default", "kv", figures);
    metrics.text()
}

#[test]
fn every_alert_stands_on_metrics_that_the_operator_has() {
    let rules: PrometheusRuleSpec =
        serde_saphyr::from_str(&read("charts/quorate/files/alerts.yaml")).expect("a rule file");
    let (shown, mut names) = (shown(), BTreeSet::new());
    for alert in rules.groups.iter().flat_map(|group| &group.rules) {
        let used: Vec<&str> = metrics_in(&alert.expr).collect();
        assert!(
            !used.is_empty() || alert.expr.contains("up{"),
            "{}",
            alert.alert
        );
        for metric in used {
            assert!(
                shown.contains(&format!("# TYPE {metric} ")),
                "{}: no {metric}",
                alert.alert
            );
        }
        let (all, ours) = (
            alert.expr.matches('{').count(),
            alert.expr.matches(r#"{job="quorate-operator"}"#).count(),
        );
        assert_eq!(
            all, ours,
            "{} must select the job that the monitors set",
            alert.alert
        );
        for text in ["summary", "description"] {
            assert!(
                alert.annotations.contains_key(text),
                "{} has no {text}",
                alert.alert
            );
        }
        assert!(alert.labels.contains_key("severity"), "{}", alert.alert);
        assert!(names.insert(&alert.alert), "{} is there twice", alert.alert);
    }
}

/// That they fire when they should is for `promtool` to say, in `differential_alerts`.
#[test]
fn every_alert_for_members_selects_their_jobs_and_says_what_to_do() {
    let rules: PrometheusRuleSpec =
        serde_saphyr::from_str(&read("charts/quorate/files/member-alerts.yaml"))
            .expect("a rule file");
    let mut known = BTreeSet::new();
    for alert in rules.groups.iter().flat_map(|group| &group.rules) {
        let (all, ours) = (
            alert.expr.matches('{').count(),
            alert.expr.matches(r#"{job=~".*etcd.*""#).count(),
        );
        assert_eq!(all, ours, "{} looks at other jobs", alert.alert);
        for text in ["summary", "description"] {
            let text = alert.annotations.get(text);
            assert!(text.is_some_and(|it| it.len() > 20), "{}", alert.alert);
        }
        let severity = &alert.labels["severity"];
        assert!(
            known.insert((&alert.alert, severity)),
            "{} is there twice",
            alert.alert
        );
    }
    let names: BTreeSet<&String> = known.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 13, "etcd's rules have so many: {names:?}");
}

fn jobs(endpoints: &[Endpoint]) -> Vec<&str> {
    let relabelings = endpoints.iter().flat_map(|endpoint| &endpoint.relabelings);
    let jobs = relabelings.filter(|it| it.target_label.as_deref() == Some("job"));
    jobs.filter_map(|it| it.replacement.as_deref()).collect()
}

#[test]
fn jobs_tell_clusters_apart_and_the_operator_is_none() {
    let Some(helm) = Helm::or_left_out("the jobs of rendered monitors") else {
        return;
    };
    let matrix = helm.matrix();
    let monitored = matrix
        .iter()
        .find(|it| it.case == "monitored")
        .expect("a case with monitors");
    let mut documents = monitored.documents();
    let service: ServiceMonitor = one(&documents, "ServiceMonitor").expect("one");
    assert_eq!(jobs(&service.spec.endpoints), ["quorate-operator"]);
    assert_eq!(
        service.spec.endpoints[0].honor_labels,
        Some(true),
        "namespace is a cluster's"
    );
    documents.retain(|it| it["kind"] == "PodMonitor");
    let names: Vec<&str> = documents
        .iter()
        .filter_map(|it| it["metadata"]["name"].as_str())
        .collect();
    assert_eq!(names, ["quorate-operator", "quorate-members"]);
    let [operator, members] =
        [0, 1].map(|at| one::<PodMonitor>(&documents[at..], "PodMonitor").expect("one"));
    assert_eq!(
        jobs(&operator.spec.pod_metrics_endpoints),
        ["quorate-operator"]
    );
    assert_eq!(jobs(&members.spec.pod_metrics_endpoints), ["etcd/$1"]);
    let job = &members.spec.pod_metrics_endpoints[0].relabelings[0];
    let cluster = plan::names::CLUSTER_LABEL.replace(['.', '/'], "_");
    let of = [
        "__meta_kubernetes_namespace".to_owned(),
        format!("__meta_kubernetes_pod_label_{cluster}"),
    ];
    assert_eq!(job.source_labels.as_deref(), Some(&of[..]));
    let selector = members
        .spec
        .selector
        .match_expressions
        .as_ref()
        .expect("by label");
    assert_eq!(selector[0].key, plan::names::MEMBER_LABEL);
}
