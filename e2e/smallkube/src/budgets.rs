//! Disruption budgets: how many of the pods they select may go, kept in their status and asked by evictions.
//!
//! It deliberately knows pods only, no workload: `maxUnavailable` counts from the pods that are there.

use crate::object::Object;
use crate::refusal::Refusal;
use crate::selectors::Selector;
use crate::store::State;
use crate::verbs::{Objects, Part};
use serde_json::{Value, json};
use std::sync::Arc;

const BUDGETS: &str = "poddisruptionbudgets.policy";

/// How a budget stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    expected: i64,
    healthy: i64,
    desired: i64,
}

impl Standing {
    fn allowed(self) -> i64 {
        (self.healthy - self.desired).max(0)
    }
}

/// Brings the status of every budget up to date.
pub(crate) fn refresh(objects: &Objects) {
    let standings: Vec<(Arc<Value>, Standing)> = objects.store.with(|state| {
        let budgets: Vec<Arc<Value>> = state.all(BUDGETS, None).map(|(_, b)| b.clone()).collect();
        let stand = |b: Arc<Value>| {
            let standing = standing(state, &b);
            (b, standing)
        };
        budgets.into_iter().map(stand).collect()
    });
    for (budget, standing) in standings {
        let status = status(&budget, standing);
        if budget["status"] == status {
            continue;
        }
        let target = objects.target(BUDGETS, budget.namespace(), budget.name(), Part::Status);
        if let Some(target) = target {
            objects.edit(&target, "kube-controller-manager", |b| b["status"] = status);
        }
    }
}

fn status(budget: &Value, standing: Standing) -> Value {
    let allowed = standing.allowed();
    let since = budget.text("/metadata/creationTimestamp");
    let (yes, reason) = if allowed > 0 {
        ("True", "SufficientPods")
    } else {
        ("False", "InsufficientPods")
    };
    let generation = budget.number("/metadata/generation").unwrap_or(1);
    json!({
        "expectedPods": standing.expected, "currentHealthy": standing.healthy,
        "desiredHealthy": standing.desired, "disruptionsAllowed": allowed,
        "observedGeneration": generation,
        "conditions": [{
            "type": "DisruptionAllowed", "status": yes, "reason": reason, "message": "",
            "observedGeneration": generation, "lastTransitionTime": since,
        }],
    })
}

fn selects(budget: &Value, pod: &Value) -> bool {
    budget.namespace() == pod.namespace()
        && Selector::from_object(budget.pointer("/spec/selector")).is_some_and(|s| s.matches(pod))
}

fn standing(state: &State, budget: &Value) -> Standing {
    let pods: Vec<&Arc<Value>> = state
        .all("pods", Some(budget.namespace()))
        .map(|(_, pod)| pod)
        .filter(|pod| selects(budget, pod) && !over(pod))
        .collect();
    let expected = pods.len() as i64;
    let healthy = pods
        .iter()
        .filter(|pod| is_ready(pod) && !pod.ends())
        .count() as i64;
    let desired = match (
        budget.pointer("/spec/minAvailable"),
        budget.pointer("/spec/maxUnavailable"),
    ) {
        (Some(least), _) => portion(least, expected),
        (None, Some(most)) => expected - portion(most, expected),
        (None, None) => expected,
    };
    Standing {
        expected,
        healthy,
        desired,
    }
}

/// A count, or a percentage of all, rounded up.
fn portion(value: &Value, of: i64) -> i64 {
    let percent = value
        .as_str()
        .and_then(|t| t.strip_suffix('%')?.parse::<i64>().ok());
    match percent {
        Some(percent) => (of * percent + 99) / 100,
        None => value.as_i64().unwrap_or_default(),
    }
}

fn over(pod: &Value) -> bool {
    matches!(pod.text("/status/phase"), "Succeeded" | "Failed")
}

/// True when the pod's Ready condition holds.
pub(crate) fn is_ready(pod: &Value) -> bool {
    pod.items("/status/conditions")
        .iter()
        .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Asks the budgets of a pod whether it may go now; a pod that is not healthy anyway may.
pub(crate) fn take_one(objects: &Objects, pod: &Value) -> Result<(), Refusal> {
    if over(pod) || pod.ends() || pod.text("/status/phase") == "Pending" {
        return Ok(());
    }
    objects.store.with(|state| {
        let budgets = state.all(BUDGETS, Some(pod.namespace()));
        let budgets: Vec<&Arc<Value>> = budgets.map(|(_, b)| b).filter(|b| selects(b, pod)).collect();
        if budgets.len() > 1 {
            return Err(Refusal::new(
                500,
                "InternalError",
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
        let Some(budget) = budgets.first() else {
            return Ok(());
        };
        let standing = standing(state, budget);
        let broken_already = !is_ready(pod) && standing.healthy >= standing.desired;
        if standing.allowed() > 0 || broken_already {
            return Ok(());
        }
        let why = format!(
            "needs {} healthy pods and has {} currently",
            standing.desired, standing.healthy
        );
        Err(Refusal::disruption_budget(budget.name(), &why))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_round_up() {
        assert_eq!(portion(&json!(2), 5), 2);
        assert_eq!(portion(&json!("50%"), 5), 3);
    }
}
