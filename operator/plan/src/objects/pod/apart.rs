//! Members on different nodes and over all zones.
//!
//! Nodes are told apart by anti-affinity: two members on one node are never better than on two. Zones are told apart by
//! spreading: five members in three zones are as they should be, and anti-affinity could not say so.
//!
//! It deliberately leaves zones to the overlay if that spreads over them itself: the API server refuses two constraints of
//! one key, and whoever wrote the overlay has said what he wants.

use std::collections::BTreeMap;

use crds::Apart;
use k8s_openapi::api::core::v1::{
    Affinity, PodAffinityTerm, PodAntiAffinity, TopologySpreadConstraint, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::{names, spec::Spec};

/// Label of a node's name.
const HOSTNAME: &str = "kubernetes.io/hostname";
/// Label of a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// Members on different nodes, as far as it was asked for.
pub(super) fn affinity(spec: &Spec) -> Option<Affinity> {
    let term = PodAffinityTerm {
        topology_key: HOSTNAME.to_owned(),
        label_selector: Some(members(spec)),
        ..PodAffinityTerm::default()
    };
    let apart = match spec.apart.hostname {
        Apart::None => return None,
        Apart::Required => PodAntiAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..PodAntiAffinity::default()
        },
        Apart::Preferred => PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![
                WeightedPodAffinityTerm {
                    weight: 100,
                    pod_affinity_term: term,
                },
            ]),
            ..PodAntiAffinity::default()
        },
    };
    Some(Affinity {
        pod_anti_affinity: Some(apart),
        ..Affinity::default()
    })
}

/// Members over all zones, as far as it was asked for.
pub(super) fn spread(spec: &Spec) -> Option<Vec<TopologySpreadConstraint>> {
    let otherwise = match spec.apart.zone {
        Apart::None => return None,
        Apart::Required => "DoNotSchedule",
        Apart::Preferred => "ScheduleAnyway",
    };
    (!overlay_spreads(spec)).then(|| {
        vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: ZONE.to_owned(),
            when_unsatisfiable: otherwise.to_owned(),
            label_selector: Some(members(spec)),
            ..TopologySpreadConstraint::default()
        }]
    })
}

fn overlay_spreads(spec: &Spec) -> bool {
    let constraints = spec.overlay["spec"]["topologySpreadConstraints"].as_array();
    constraints.is_some_and(|all| all.iter().any(|it| it["topologyKey"] == ZONE))
}

fn members(spec: &Spec) -> LabelSelector {
    LabelSelector {
        match_labels: Some(BTreeMap::from([(
            names::CLUSTER_LABEL.to_owned(),
            spec.name.clone(),
        )])),
        match_expressions: None,
    }
}

#[cfg(test)]
mod tests {
    use crds::RaftCluster;
    use serde_json::{Value, json};

    use super::*;

    fn spec(changes: Value) -> Spec {
        let mut whole = json!({"image": "quorate-node:1.0.0", "storage": {"size": "4Gi"}});
        crate::overlay::merge(&mut whole, &changes);
        let cluster: RaftCluster = serde_json::from_value(json!({
            "apiVersion": "quorate.io/v1alpha1",
            "kind": "RaftCluster",
            "metadata": {"name": "kv", "namespace": "demo"},
            "spec": whole,
            // From before TLS was the default.
            "status": {},
        }))
        .expect("a cluster");
        Spec::parse(&cluster, None).0
    }

    fn wish(hostname: &str, zone: &str) -> Spec {
        spec(json!({"scheduling": {"antiAffinity": {"hostname": hostname, "zone": zone}}}))
    }

    fn rendered(spec: &Spec) -> Value {
        json!({"affinity": affinity(spec), "spread": spread(spec)})
    }

    #[test]
    fn by_default_both_are_wishes_that_keep_no_pod_from_starting() {
        let of_none = rendered(&spec(json!({})));
        assert_eq!(of_none, rendered(&wish("Preferred", "Preferred")));
        let apart = &of_none["affinity"]["podAntiAffinity"];
        let preferred = &apart["preferredDuringSchedulingIgnoredDuringExecution"][0];
        assert_eq!(preferred["podAffinityTerm"]["topologyKey"], HOSTNAME);
        assert_eq!(
            apart["requiredDuringSchedulingIgnoredDuringExecution"],
            Value::Null
        );
        let zone = &of_none["spread"][0];
        assert_eq!(zone["topologyKey"], ZONE);
        assert_eq!(zone["whenUnsatisfiable"], "ScheduleAnyway");
        assert_eq!(
            zone["labelSelector"]["matchLabels"]["quorate.io/cluster"],
            "kv"
        );
    }

    #[test]
    fn what_is_required_is_and_none_is_nothing() {
        let required = rendered(&wish("Required", "Required"));
        let term = &required["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            [0];
        assert_eq!(term["topologyKey"], HOSTNAME);
        assert_eq!(required["spread"][0]["whenUnsatisfiable"], "DoNotSchedule");
        assert_eq!(
            rendered(&wish("None", "None")),
            json!({"affinity": null, "spread": null})
        );
    }

    #[test]
    fn an_overlay_that_spreads_over_zones_has_the_say() {
        let constraint = |key: &str| {
            spec(
                json!({"podTemplate": {"spec": {"topologySpreadConstraints": [
                    {"topologyKey": key, "maxSkew": 2, "whenUnsatisfiable": "ScheduleAnyway"},
                ]}}}),
            )
        };
        assert_eq!(spread(&constraint(ZONE)), None);
        assert!(spread(&constraint("rack")).is_some());
    }

    #[test]
    fn naming_a_default_restarts_nothing_and_leaving_it_does() {
        let hash = spec(json!({})).template_hash;
        assert_eq!(hash, wish("Preferred", "Preferred").template_hash);
        assert_ne!(hash, wish("Required", "Preferred").template_hash);
        assert_ne!(hash, wish("Preferred", "None").template_hash);
    }

    #[test]
    fn the_hash_of_a_cluster_from_before_the_field_stays() {
        // As the version before this field made it.
        assert_eq!(spec(json!({})).template_hash, "5fc1e4d11f");
    }
}
