//! From a node that is cordoned to the clusters that should be looked at: those with a member on it.
//!
//! A leader there hands over before its pod is evicted, if it can be in time: a drain cordons first, and evicts at once. Nodes
//! that are marked by a taint alone, which no selector tells, are found when their clusters are looked at anyway.
//!
//! It deliberately keeps no node: what decides is read in the round.

use plan::names;
use tokio::sync::mpsc;

use crate::kubernetes::{Kubernetes, Name, chain};
use crate::queue::Key;
use crate::watch::Wake;

/// Selects the nodes that take no new pods.
pub(crate) const CORDONED: &str = "spec.unschedulable=true";

/// Wakes the clusters on the nodes that `changed` tells of, for as long as both ends are there.
pub(crate) async fn wake_clusters(
    kubernetes: Kubernetes,
    mut changed: mpsc::UnboundedReceiver<Wake>,
    wake: mpsc::UnboundedSender<Wake>,
) {
    while let Some(change) = changed.recv().await {
        // What was missed of nodes is found by the resync.
        let Wake::One(node) = change else { continue };
        for key in clusters_on(&kubernetes, &node.name).await {
            if wake.send(Wake::One(key)).is_err() {
                return;
            }
        }
    }
}

async fn clusters_on(kubernetes: &Kubernetes, node: &str) -> Vec<Key> {
    let pods = kubernetes.pods_on(node, names::CLUSTER_LABEL).await;
    let pods = pods.unwrap_or_else(|error| {
        let error = chain(&error);
        tracing::warn!(
            error,
            "the pods on a cordoned node could not be read; the resync will find it"
        );
        Vec::new()
    });
    let key = |meta: Name| {
        Some(Key {
            namespace: meta.namespace?,
            name: meta.labels?.remove(names::CLUSTER_LABEL)?,
        })
    };
    pods.into_iter().filter_map(key).collect()
}
