//! From a change of a `RaftOperation` to the cluster that should be looked at.
//!
//! An operation names its cluster in its spec, where people write it, and not in a label; a watch sees only metadata. So the
//! few operations that change are read, each once per change.
//!
//! It deliberately says nothing of one that was deleted: its cluster is looked at while anything is in hand, and by the resync.

use crds::RaftOperation;
use tokio::sync::mpsc;

use crate::kubernetes::{Kubernetes, chain};
use crate::queue::Key;
use crate::watch::Wake;

/// Wakes the clusters of the operations that `changed` tells of, for as long as both ends are there.
pub(crate) async fn wake_clusters(
    kubernetes: Kubernetes,
    mut changed: mpsc::UnboundedReceiver<Wake>,
    wake: mpsc::UnboundedSender<Wake>,
) {
    while let Some(change) = changed.recv().await {
        let told = match change {
            Wake::All => Some(Wake::All),
            Wake::One(operation) => cluster_of(&kubernetes, operation).await.map(Wake::One),
        };
        if told.is_some_and(|it| wake.send(it).is_err()) {
            return;
        }
    }
}

async fn cluster_of(kubernetes: &Kubernetes, operation: Key) -> Option<Key> {
    let Key { namespace, name } = operation;
    match kubernetes.find::<RaftOperation>(&namespace, &name).await {
        Ok(found) => found.map(|it| Key {
            namespace,
            name: it.spec.cluster_name,
        }),
        Err(error) => {
            let error = chain(&error);
            tracing::warn!(
                error,
                "an operation could not be read; the resync will find it"
            );
            None
        }
    }
}
