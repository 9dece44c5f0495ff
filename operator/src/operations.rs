//! From a change of a `RaftOperation`, a `RaftUser` or a `RaftRole` to the cluster that should be looked at.
//!
//! They name their cluster in their spec, where people write it, and not in a label; a watch sees only metadata. So the
//! few that change are read, each once per change.
//!
//! Of one that was deleted nobody can say which cluster it named. After a user or a role, those clusters of the namespace are looked at that
//! have any: who may no more do something should not be able to for long. After an operation, those with a member that one keeps stopped;
//! any other operation's cluster is looked at while anything is in hand, and by the resync.

use crds::{MemberPhase, RaftCluster, RaftClusterStatus, RaftOperation, RaftRole, RaftUser};
use kube::ResourceExt;
use tokio::sync::mpsc;

use crate::context::Context;
use crate::kubernetes::{CallError, Kind, Kubernetes, chain};
use crate::queue::Key;
use crate::watch::Wake;

/// A kind that names its cluster in its spec.
pub(crate) trait Naming: Kind + Send + Sync + 'static {
    /// Whether a cluster must be told soon of one that was deleted.
    fn is_missed(cluster: &RaftClusterStatus) -> bool;

    /// The cluster's name.
    fn cluster(self) -> String;
}

impl Naming for RaftOperation {
    fn is_missed(cluster: &RaftClusterStatus) -> bool {
        let mut members = cluster.members.iter();
        members.any(|it| it.phase == MemberPhase::Fenced)
    }

    fn cluster(self) -> String {
        self.spec.cluster_name
    }
}

impl Naming for RaftUser {
    fn is_missed(cluster: &RaftClusterStatus) -> bool {
        cluster.auth.is_some()
    }

    fn cluster(self) -> String {
        self.spec.cluster_name
    }
}

impl Naming for RaftRole {
    fn is_missed(cluster: &RaftClusterStatus) -> bool {
        cluster.auth.is_some()
    }

    fn cluster(self) -> String {
        self.spec.cluster_name
    }
}

/// Wakes the clusters of the objects that `changed` tells of, for as long as both ends are there.
pub(crate) async fn wake_clusters<K: Naming>(
    ctx: Context,
    mut changed: mpsc::UnboundedReceiver<Wake>,
    wake: mpsc::UnboundedSender<Wake>,
) {
    while let Some(change) = changed.recv().await {
        let told = match change {
            Wake::All => {
                ctx.absences.told_all(ctx.clock.instant());
                vec![Wake::All]
            }
            Wake::One(object) => {
                ctx.absences
                    .told::<K>(&object.namespace, ctx.clock.instant());
                told_of::<K>(&ctx.kubernetes, object).await
            }
        };
        for told in told {
            if wake.send(told).is_err() {
                return;
            }
        }
    }
}

async fn told_of<K: Naming>(kubernetes: &Kubernetes, object: Key) -> Vec<Wake> {
    match clusters_of::<K>(kubernetes, object).await {
        Ok(clusters) => clusters.into_iter().map(Wake::One).collect(),
        Err(error) => {
            let (kind, error) = (K::kind(&()), chain(&error));
            tracing::warn!(%kind, error, "an object could not be read; the resync will find it");
            Vec::new()
        }
    }
}

async fn clusters_of<K: Naming>(
    kubernetes: &Kubernetes,
    object: Key,
) -> Result<Vec<Key>, CallError> {
    let Key { namespace, name } = object;
    let key = |name| Key {
        namespace: namespace.clone(),
        name,
    };
    if let Some(found) = kubernetes.find::<K>(&namespace, &name).await? {
        return Ok(vec![key(found.cluster())]);
    }
    let mut clusters = kubernetes.list::<RaftCluster>(&namespace, "").await?;
    clusters.retain(|it| it.status.as_ref().is_some_and(K::is_missed));
    Ok(clusters.iter().map(|it| key(it.name_any())).collect())
}
