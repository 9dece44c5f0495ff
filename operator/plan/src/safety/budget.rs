//! A ready voter is stopped, or counts as one no more, only when the budget lets nobody else go beside it.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Facts, Violation, is_ready, refuse};
use crate::{action::Action, names::Role};

/// Walks through the actions in their order: a budget counts from where it is applied.
pub(super) fn closed(facts: &Facts<'_>, actions: &[Action]) -> Result<(), Violation> {
    let voters = facts.voters().len();
    if voters <= 1 {
        return Ok(());
    }
    let mut keeps = facts.observed.budgets.iter().map(least).max().unwrap_or(0);
    for action in actions {
        match action {
            Action::ApplyBudget(budget) => keeps = least(budget),
            Action::DeletePod { pod, .. }
            | Action::LabelPod {
                pod,
                role: Role::Learner,
            } if keeps < voters && facts.pod(&pod.name).is_some_and(counts) => {
                return refuse(
                    1,
                    format!(
                        "pod {} is to go while the budget keeps {keeps} of {voters} voters",
                        pod.name
                    ),
                );
            }
            _ => {}
        }
    }
    Ok(())
}

/// How many the budget keeps.
fn least(budget: &PodDisruptionBudget) -> usize {
    let least = budget.spec.as_ref().and_then(|it| it.min_available.clone());
    match least {
        Some(IntOrString::Int(least)) => usize::try_from(least).unwrap_or(0),
        _ => 0,
    }
}

/// Whether Kubernetes counts this pod among those behind the budget.
fn counts(pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let role = labels.and_then(|it| it.get("quorate.io/role"));
    role.is_some_and(|it| it == "voter")
        && is_ready(pod)
        && pod.metadata.deletion_timestamp.is_none()
}
