//! The disruption budget over voters.
//!
//! It asks for a quorum of the larger of the voters there are and the voters wanted, so that it is tight before a change of
//! the membership and not only after it. A cluster of one has no quorum to protect: an eviction costs it a restart and no
//! data, while a budget would block every drain of its node for ever; its budget therefore allows the eviction.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::{
    names::{self, Role},
    spec::Spec,
};

/// The budget while there are `live` voters.
pub(crate) fn budget(spec: &Spec, live: usize) -> PodDisruptionBudget {
    let mut selector = names::labels(&spec.name);
    selector.retain(|key, _| key == names::CLUSTER_LABEL);
    selector.insert(
        names::ROLE_LABEL.to_owned(),
        Role::Voter.as_str().to_owned(),
    );
    PodDisruptionBudget {
        metadata: metadata(spec, names::budget(&spec.name)),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(min_available(live.max(spec.replicas)))),
            selector: Some(LabelSelector {
                match_labels: Some(selector),
                match_expressions: None,
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

fn min_available(voters: usize) -> i32 {
    if voters <= 1 {
        0
    } else {
        i32::try_from(voters / 2 + 1).unwrap_or(i32::MAX)
    }
}
