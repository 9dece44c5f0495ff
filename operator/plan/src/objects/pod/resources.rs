//! What is set aside for a member.
//!
//! A pod that requests nothing gets processor time when nobody else wants any, and is the first to be killed for memory. A member that
//! answers late loses elections, so what the user neither requests nor limits is requested here, as kubeadm does for etcd. It is no
//! part of the template's hash: another amount here restarts nothing.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::spec::Spec;

/// By name of the resource.
const LEAST: [(&str, &str); 2] = [("cpu", "100m"), ("memory", "100Mi")];

/// What the member's container requests and may use.
pub(super) fn requirements(spec: &Spec) -> ResourceRequirements {
    let limits = spec.resources.limits.clone();
    let mut requests = spec.resources.requests.clone();
    for (name, least) in LEAST {
        // What is limited and not requested, the API server requests in full.
        if !limits.contains_key(name) {
            let least = || Quantity(least.to_owned());
            requests.entry(name.to_owned()).or_insert_with(least);
        }
    }
    ResourceRequirements {
        requests: Some(requests).filter(|it| !it.is_empty()),
        limits: Some(limits).filter(|it| !it.is_empty()),
        claims: None,
    }
}

#[cfg(test)]
mod tests {
    use crds::RaftCluster;
    use serde_json::{Value, json};

    use super::*;

    fn requested(resources: Value) -> Value {
        let cluster: RaftCluster = serde_json::from_value(json!({
            "apiVersion": "quorate.io/v1alpha1",
            "kind": "RaftCluster",
            "metadata": { "name": "kv", "namespace": "demo" },
            "spec": { "storage": { "size": "1Gi" }, "resources": resources },
        }))
        .expect("a cluster");
        json!(requirements(&Spec::parse(&cluster, None).0).requests)
    }

    #[test]
    fn what_is_neither_requested_nor_limited_is_requested() {
        let all = json!({ "cpu": "100m", "memory": "100Mi" });
        assert_eq!(requested(json!(null)), all);
        assert_eq!(requested(json!({})), all);
        let some = json!({ "requests": { "cpu": "2" }, "limits": { "memory": "1Gi" } });
        assert_eq!(requested(some), json!({ "cpu": "2" }));
        let limited = json!({ "limits": { "cpu": "2", "memory": "1Gi" } });
        assert_eq!(requested(limited), json!(null));
    }
}
