//! Finds a node for every pod that has none.
//!
//! Heeds readiness, cordons, taints, node selectors, required affinities, required anti-affinities, and the node that a bound
//! volume is tied to; of the nodes that fit it takes the one with the fewest pods. It deliberately ignores requests.

use crate::events;
use crate::object::Object;
use crate::selectors::Selector;
use crate::verbs::{Objects, Part};
use crate::volumes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const MANAGER: &str = "kube-scheduler";

/// Schedules what can be scheduled; answers whether anything was.
pub(crate) fn schedule(objects: &Objects) -> bool {
    let pods = objects.list("pods");
    let mut nodes = objects.list("nodes");
    nodes.sort_by_key(|n| n.name().to_owned());
    let waiting = pods.iter().filter(|p| {
        p.text("/spec/nodeName").is_empty()
            && p.text("/spec/schedulerName") == "default-scheduler"
            && p.items("/spec/schedulingGates").is_empty()
            && !p.ends()
    });
    // One pod a look: where it went decides about the next.
    waiting
        .into_iter()
        .any(|pod| place(objects, pod, &nodes, &pods))
}

fn place(objects: &Objects, pod: &Arc<Value>, nodes: &[Arc<Value>], pods: &[Arc<Value>]) -> bool {
    let mut against: BTreeMap<String, usize> = BTreeMap::new();
    let mut fitting: Vec<&Arc<Value>> = Vec::new();
    for node in nodes {
        match obstacle(objects, pod, node, nodes, pods) {
            Some(why) => *against.entry(why).or_default() += 1,
            None => fitting.push(node),
        }
    }
    let count = |node: &Value| {
        pods.iter()
            .filter(|p| p.text("/spec/nodeName") == node.name())
            .count()
    };
    let Some(node) = fitting.iter().min_by_key(|n| (count(n), n.name())) else {
        let reasons: Vec<String> = against
            .iter()
            .map(|(why, n)| format!("{n} {why}"))
            .collect();
        let why = format!(
            "0/{} nodes are available: {}.",
            nodes.len(),
            reasons.join(", ")
        );
        return refuse(objects, pod, &why);
    };
    if let Err(why) = volumes::bind_for(objects, pod, node.name()) {
        return refuse(objects, pod, &why);
    }
    bind(objects, pod, node.name())
}

fn bind(objects: &Objects, pod: &Value, node: &str) -> bool {
    let (namespace, name) = (pod.namespace(), pod.name());
    let now = objects.now_text();
    let Some(main) = objects.target("pods", namespace, name, Part::Main) else {
        return false;
    };
    let bound = objects.edit(&main, MANAGER, |live| {
        if live.uid() == pod.uid() {
            live.put(&["spec", "nodeName"], json!(node));
        }
    });
    if let Some(status) = objects.target("pods", namespace, name, Part::Status) {
        objects.edit(&status, MANAGER, |live| {
            crate::agent::set_condition(&mut live["status"], "PodScheduled", true, "", &now);
        });
    }
    let message = format!("Successfully assigned {namespace}/{name} to {node}");
    events::note(objects, pod, "Normal", "Scheduled", &message, MANAGER);
    bound.is_some()
}

/// Says in the pod why it waits; answers false, since nothing more can be done now.
fn refuse(objects: &Objects, pod: &Value, why: &str) -> bool {
    let said = |pod: &Value| {
        pod.items("/status/conditions")
            .iter()
            .any(|c| c["type"] == "PodScheduled" && c["message"] == why)
    };
    if said(pod) {
        return false;
    }
    let now = objects.now_text();
    if let Some(target) = objects.target("pods", pod.namespace(), pod.name(), Part::Status) {
        objects.edit(&target, MANAGER, |live| {
            let status = &mut live["status"];
            crate::agent::set_condition(status, "PodScheduled", false, "Unschedulable", &now);
            let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
            for condition in conditions.into_iter().flatten() {
                if condition["type"] == "PodScheduled" {
                    condition["message"] = json!(why);
                }
            }
        });
    }
    events::note(objects, pod, "Warning", "FailedScheduling", why, MANAGER);
    false
}

/// Why a pod cannot go to a node, worded as the real scheduler counts it.
fn obstacle(
    objects: &Objects,
    pod: &Value,
    node: &Value,
    nodes: &[Arc<Value>],
    pods: &[Arc<Value>],
) -> Option<String> {
    if node["spec"]["unschedulable"] == true {
        return Some("node(s) were unschedulable".to_owned());
    }
    if let Some(taint) = untolerated(pod, node) {
        let (key, value) = (taint.text("/key"), taint.text("/value"));
        return Some(format!("node(s) had untolerated taint {{{key}: {value}}}"));
    }
    let selector = Selector::from_map(pod.pointer("/spec/nodeSelector")).unwrap_or_default();
    if !selector.matches(node) || !affine(pod, node) {
        return Some("node(s) didn't match Pod's node affinity/selector".to_owned());
    }
    if !volumes::reachable(objects, pod, node) {
        return Some("node(s) had volume node affinity conflict".to_owned());
    }
    if repelled(pod, node, nodes, pods) {
        return Some("node(s) didn't match pod anti-affinity rules".to_owned());
    }
    None
}

fn untolerated<'a>(pod: &Value, node: &'a Value) -> Option<&'a Value> {
    node.items("/spec/taints").iter().find(|taint| {
        let hard = taint.text("/effect") != "PreferNoSchedule";
        let tolerations = pod.items("/spec/tolerations");
        hard && !tolerations.iter().any(|t| tolerates(t, taint))
    })
}

fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let effect = toleration.text("/effect");
    let key = toleration.text("/key");
    let any = toleration.text("/operator") == "Exists";
    (effect.is_empty() || effect == taint.text("/effect"))
        && (key == taint.text("/key") || key.is_empty() && any)
        && (any || toleration.text("/value") == taint.text("/value"))
}

/// Required node affinity: one of the terms must hold.
fn affine(pod: &Value, node: &Value) -> bool {
    let terms = pod.items(
        "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms",
    );
    terms.is_empty() || terms.iter().any(|term| selects_node(term, node))
}

/// True when a node selector term holds for a node.
pub(crate) fn selects_node(term: &Value, node: &Value) -> bool {
    let labels = json!({"matchExpressions": term.get("matchExpressions").cloned().unwrap_or_else(|| json!([]))});
    Selector::from_object(Some(&labels)).is_some_and(|s| s.matches(node))
}

/// Required anti-affinity, in both directions: no pod that either repels stands in the same place.
fn repelled(pod: &Value, node: &Value, nodes: &[Arc<Value>], pods: &[Arc<Value>]) -> bool {
    let others = pods
        .iter()
        .filter(|p| p.uid() != pod.uid() && !p.text("/spec/nodeName").is_empty() && !over(p));
    others.into_iter().any(|other| {
        let its = nodes
            .iter()
            .find(|n| n.name() == other.text("/spec/nodeName"));
        its.is_some_and(|its| repels(pod, other, node, its) || repels(other, pod, node, its))
    })
}

fn over(pod: &Value) -> bool {
    matches!(pod.text("/status/phase"), "Succeeded" | "Failed")
}

fn repels(one: &Value, other: &Value, here: &Value, there: &Value) -> bool {
    let terms =
        one.items("/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution");
    terms.iter().any(|term| {
        let named = term.items("/namespaces");
        let same_space = if named.is_empty() {
            one.namespace() == other.namespace()
        } else {
            named.iter().any(|n| n == other.namespace())
        };
        let key = term.text("/topologyKey");
        let same_place = here.label(key).is_some() && here.label(key) == there.label(key);
        let selector = Selector::from_object(term.get("labelSelector"));
        same_space && same_place && selector.is_some_and(|s| s.matches(other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Arc<Value> {
        Arc::new(
            json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}, "spec": {}}),
        )
    }

    #[test]
    fn anti_affinity_keeps_members_apart() {
        let nodes = [node("a"), node("b")];
        let member = |name: &str, on: &str| {
            Arc::new(
                json!({"metadata": {"name": name, "uid": name, "namespace": "n", "labels": {"app": "kv"}},
                "spec": {"nodeName": on, "affinity": {"podAntiAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "kv"}}}]}}}}),
            )
        };
        let pods = [member("x", "a")];
        let new = member("y", "");
        assert!(repelled(&new, &nodes[0], &nodes, &pods));
        assert!(!repelled(&new, &nodes[1], &nodes, &pods));
    }

    #[test]
    fn taints_need_their_toleration() {
        let tainted =
            json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
        let pod = |tolerations: Value| json!({"spec": {"tolerations": tolerations}});
        assert!(untolerated(&pod(json!([])), &tainted).is_some());
        let exact = json!([{"key": "k", "value": "v", "effect": "NoSchedule"}]);
        assert!(untolerated(&pod(exact), &tainted).is_none());
        assert!(untolerated(&pod(json!([{"operator": "Exists"}])), &tainted).is_none());
    }
}
