//! Whether there is a NetworkPolicy over the members, and that it says what the spec does.
//!
//! Few clusters have one, and looking for it in every round of every cluster would cost each a call. So nobody looks where the spec
//! asks for none and the status remembers none. A status remembers one from the first that speaks of a spec which asks for it, until it
//! is deleted or not found; and where it speaks of an older spec than that of now, it is looked for anyway: an operator may have made one for
//! a spec between them, and ended before it said so.
//!
//! This file deliberately does not know who is let in: see `objects/network_policy.rs`.

use crds::{AdmittedPods, NetworkPolicyMode, NetworkPolicyOptions, RaftCluster};
use k8s_openapi::api::networking::v1::NetworkPolicy;

use crate::{
    action::{Action, Target},
    draft::Draft,
    names, objects,
    report::{Invalid, Outcome},
    syntax,
    view::View,
};

/// Whether the cluster's NetworkPolicies have to be observed at all: one is wanted, or may be there.
#[must_use]
pub fn is_in_question(cluster: &RaftCluster) -> bool {
    let status = cluster.status.as_ref();
    let remembered = status.is_some_and(|it| it.network_policy.is_some());
    let spoken_of = status.and_then(|it| it.observed_generation);
    is_wanted(cluster.spec.network_policy.as_ref())
        || remembered
        || spoken_of != cluster.metadata.generation
}

fn is_wanted(options: Option<&NetworkPolicyOptions>) -> bool {
    options.is_some_and(|it| it.mode == NetworkPolicyMode::Managed)
}

/// Applies the policy if it is not as it should be, or deletes the one that is not wanted any more.
pub(crate) fn keep(view: &View<'_>, draft: &mut Draft) {
    let found = found(view);
    if is_wanted(view.spec.network_policy.as_ref()) {
        let operator = view.observed.operator.as_ref();
        let policy = objects::network_policy::network_policy(&view.spec, operator);
        if !found.is_some_and(|it| objects::network_policy::is(it, &policy)) {
            let apply = Action::ApplyNetworkPolicy(Box::new(policy));
            draft.actions.push(apply);
        }
    } else if let Some(policy) = found.and_then(target) {
        draft.actions.push(Action::DeleteNetworkPolicy { policy });
    }
}

/// What the status remembers of it, whatever this round does.
pub(crate) fn remembered(view: &View<'_>) -> Option<NetworkPolicyMode> {
    let there = is_wanted(view.spec.network_policy.as_ref()) || found(view).is_some();
    there.then_some(NetworkPolicyMode::Managed)
}

/// The same after the round's calls: what was deleted needs nobody who looks for it.
pub(crate) fn remember(
    known: Option<NetworkPolicyMode>,
    outcome: &Outcome,
) -> Option<NetworkPolicyMode> {
    let deletes = |it: &Action| matches!(it, Action::DeleteNetworkPolicy { .. });
    known.filter(|_| !outcome.done.iter().any(deletes))
}

/// The policy of the cluster's own, which it is made the owner of.
fn found<'a>(view: &View<'a>) -> Option<&'a NetworkPolicy> {
    let name = names::network_policy(&view.spec.name);
    let mut all = view.observed.network_policies.iter();
    all.find(|it| {
        let mut owners = it.metadata.owner_references.iter().flatten();
        it.metadata.name.as_ref() == Some(&name) && owners.any(|it| it.uid == view.spec.uid)
    })
}

fn target(policy: &NetworkPolicy) -> Option<Target> {
    Some(Target {
        name: policy.metadata.name.clone()?,
        uid: policy.metadata.uid.clone()?,
    })
}

/// What a person should know who wants a policy of an operator that cannot let itself in.
pub(crate) fn notice(view: &View<'_>) -> Option<String> {
    let blind = is_wanted(view.spec.network_policy.as_ref()) && view.observed.operator.is_none();
    blind.then(|| {
        format!(
            "the NetworkPolicy {} does not let the operator in, for it was not told which pods are its own; start it with --own-namespace and --own-labels, as the chart does, or let it in by a NetworkPolicy of yours",
            names::network_policy(&view.spec.name)
        )
    })
}

/// What the API server would refuse the whole policy for.
pub(crate) fn faults(options: Option<&NetworkPolicyOptions>) -> Vec<Invalid> {
    let Some(options) = options else {
        return Vec::new();
    };
    let lists = [
        ("clientSelectors", &options.client_selectors),
        ("metricsSelectors", &options.metrics_selectors),
    ];
    let all = lists.into_iter().flat_map(|(list, selectors)| {
        let numbered = selectors.iter().enumerate();
        numbered.map(move |(at, it)| (format!("spec.networkPolicy.{list}[{at}]"), it))
    });
    all.flat_map(|(field, it)| selector_faults(&field, it))
        .collect()
}

fn selector_faults(field: &str, pods: &AdmittedPods) -> Vec<Invalid> {
    let selectors = [
        ("namespaceSelector", &pods.namespace_selector),
        ("podSelector", &pods.pod_selector),
    ];
    let mut faults = Vec::new();
    // CEL takes a null for something that is there.
    if *pods == AdmittedPods::default() {
        faults.push(Invalid {
            field: field.to_owned(),
            message: "names nobody; give it a namespaceSelector, a podSelector or both".to_owned(),
        });
    }
    for (name, selector) in selectors {
        let Some(selector) = selector else { continue };
        let field = format!("{field}.{name}");
        for (key, value) in &selector.match_labels {
            faults.extend(syntax::label_fault(
                &format!("{field}.matchLabels"),
                key,
                value,
            ));
        }
        for it in &selector.match_expressions {
            let list = format!("{field}.matchExpressions");
            let values = it.values.iter();
            faults.extend(syntax::label_fault(&list, &it.key, ""));
            faults.extend(values.filter_map(|value| syntax::value_fault(&list, &it.key, value)));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn it_is_looked_for_wherever_one_may_be() {
        let looks = |generation: i64, network: Value, status: Value| {
            let cluster = serde_json::from_value(json!({
                "apiVersion": "quorate.io/v1alpha1",
                "kind": "RaftCluster",
                "metadata": {"name": "kv", "generation": generation},
                "spec": {"storage": {"size": "4Gi"}, "networkPolicy": network},
                "status": status,
            }));
            is_in_question(&cluster.expect("a cluster"))
        };
        let (managed, disabled) = (json!({"mode": "Managed"}), json!({"mode": "Disabled"}));
        let said = |generation: i64| json!({"observedGeneration": generation});
        assert!(looks(2, managed, said(2)), "it is wanted");
        assert!(!looks(2, json!(null), said(2)) && !looks(2, disabled.clone(), said(2)));
        let remembered = json!({"observedGeneration": 2, "networkPolicy": "Managed"});
        assert!(
            looks(2, disabled.clone(), remembered),
            "it may not be gone yet"
        );
        assert!(
            looks(3, disabled.clone(), said(1)),
            "the second spec may have asked for it"
        );
        assert!(looks(1, disabled, json!(null)), "nothing was said yet");
    }

    #[test]
    fn each_fault_names_its_selector() {
        let options = serde_json::from_value(json!({
            "clientSelectors": [
                {"podSelector": {"matchLabels": {"app": "shop", "no key!": "a"}}},
                {"namespaceSelector": {"matchLabels": {"team": "a b"}}},
                {"podSelector": null},
            ],
            "metricsSelectors": [{"podSelector": {"matchExpressions": [
                {"key": "team", "operator": "In", "values": ["a", "-"]},
                {"key": "", "operator": "Exists"},
            ]}}],
        }));
        let options: NetworkPolicyOptions = options.expect("options");
        let fields: Vec<String> = faults(Some(&options))
            .into_iter()
            .map(|it| it.field)
            .collect();
        assert_eq!(
            fields,
            [
                "spec.networkPolicy.clientSelectors[0].podSelector.matchLabels.no key!",
                "spec.networkPolicy.clientSelectors[1].namespaceSelector.matchLabels.team",
                "spec.networkPolicy.clientSelectors[2]",
                "spec.networkPolicy.metricsSelectors[0].podSelector.matchExpressions.team",
                "spec.networkPolicy.metricsSelectors[0].podSelector.matchExpressions.",
            ]
        );
        assert_eq!(faults(None), []);
    }
}
