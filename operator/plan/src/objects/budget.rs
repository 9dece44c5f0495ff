//! The disruption budget over voters.
//!
//! It asks for a quorum of the larger of the voters there are and the voters wanted, so that it is tight before a change of
//! the membership and not only after it. A cluster of one has no quorum to protect: an eviction costs it a restart and no
//! data, while a budget would block every drain of its node for ever; its budget therefore allows the eviction, unless
//! the user wants it blocked.

use crds::SingleMemberEviction;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::{
    names::{self, Role},
    spec::Spec,
};

/// The budget while there are `live` voters: a quorum stays.
pub(crate) fn budget(spec: &Spec, live: usize) -> PodDisruptionBudget {
    let voters = live.max(spec.replicas);
    with(spec, min_available(spec, voters, voters / 2 + 1))
}

/// The budget while one of `live` voters is taken away by the operator: all stay.
pub(crate) fn tight(spec: &Spec, live: usize) -> PodDisruptionBudget {
    let voters = live.max(spec.replicas);
    with(spec, min_available(spec, voters, voters))
}

fn with(spec: &Spec, min_available: i32) -> PodDisruptionBudget {
    let mut selector = names::labels(&spec.name);
    selector.retain(|key, _| key == names::CLUSTER_LABEL);
    selector.insert(
        names::ROLE_LABEL.to_owned(),
        Role::Voter.as_str().to_owned(),
    );
    PodDisruptionBudget {
        metadata: metadata(spec, names::budget(&spec.name)),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(min_available)),
            selector: Some(LabelSelector {
                match_labels: Some(selector),
                match_expressions: None,
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

fn min_available(spec: &Spec, voters: usize, wanted: usize) -> i32 {
    if voters <= 1 {
        i32::from(spec.eviction == SingleMemberEviction::Block)
    } else {
        i32::try_from(wanted).unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use crds::RaftCluster;
    use serde_json::json;

    use super::*;

    fn least(replicas: i32, single: &str, live: usize) -> Option<IntOrString> {
        let cluster: RaftCluster = serde_json::from_value(json!({
            "apiVersion": "quorate.io/v1alpha1",
            "kind": "RaftCluster",
            "metadata": {"name": "kv"},
            "spec": {
                "replicas": replicas, "image": "quorate-node:1.0.0", "storage": {"size": "4Gi"},
                "disruption": {"singleMemberEviction": single},
            },
        }))
        .expect("a cluster");
        let spec = Spec::parse(&cluster, None).0;
        budget(&spec, live).spec?.min_available
    }

    #[test]
    fn it_keeps_a_majority_of_the_larger_of_what_is_and_what_is_wanted() {
        for (replicas, live, expected) in [(3, 3, 2), (3, 4, 3), (5, 3, 3), (1, 3, 2), (3, 1, 2)] {
            let found = least(replicas, "Allow", live);
            assert_eq!(
                found,
                Some(IntOrString::Int(expected)),
                "{replicas}, {live}"
            );
        }
    }

    #[test]
    fn the_only_member_is_evicted_as_the_user_chose() {
        assert_eq!(least(1, "Allow", 1), Some(IntOrString::Int(0)));
        assert_eq!(least(1, "Block", 1), Some(IntOrString::Int(1)));
        assert_eq!(least(3, "Block", 3), Some(IntOrString::Int(2)));
    }
}
