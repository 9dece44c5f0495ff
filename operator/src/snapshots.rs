//! Whether volumes can be snapshotted before a lost cluster is rebuilt, by which class, and how far that is.
//!
//! Asked only while a recovery from quorum loss is asked for or under way. Where the kinds are not installed, or the operator may not
//! look, nothing is snapshotted, and the plan that a person reads says so.

use std::collections::BTreeMap;

use crds::{RaftCluster, RaftOperation};
use futures::future::join_all;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use plan::{Seen, Sought, VolumeSnapshot, VolumeSnapshotClass};

use crate::context::Context;
use crate::kubernetes::CallError;
use crate::sought::seek;

/// By which class the volumes of each storage class in question are snapshotted; only those that can be.
///
/// # Errors
/// [`CallError`], if the API server could not be read: a plan that does not know might promise less than there is.
pub(crate) async fn classes(
    ctx: &Context,
    cluster: &RaftCluster,
    claims: &[PersistentVolumeClaim],
    operations: &[RaftOperation],
) -> Result<BTreeMap<String, String>, CallError> {
    let mut found = BTreeMap::new();
    let storage_classes = plan::classes_to_snapshot(cluster, claims, operations);
    if storage_classes.is_empty() {
        return Ok(found);
    }
    let served = match ctx.kubernetes.see_all::<VolumeSnapshotClass>("").await {
        Ok(served) => served.unwrap_or_default(),
        Err(error) if error.is_absent() => Vec::new(),
        Err(error) => return Err(error),
    };
    if served.is_empty() {
        return Ok(found);
    }
    for name in storage_classes {
        if let Seen::There(class) = ctx.kubernetes.see::<StorageClass>(&name).await? {
            let by = plan::snapshot_class(&class.provisioner, &served);
            found.extend(by.map(|it| (name, it)));
        }
    }
    Ok(found)
}

/// What came of looking for the snapshots that a recovery waits for.
pub(crate) async fn seen(
    ctx: &Context,
    cluster: &RaftCluster,
) -> BTreeMap<String, Sought<VolumeSnapshot>> {
    let namespace = cluster.namespace().unwrap_or_default();
    let looked = plan::snapshots_in_question(cluster)
        .into_iter()
        .map(|name| {
            let namespace = &namespace;
            async move {
                let seen = seek::<VolumeSnapshot>(&ctx.kubernetes, namespace, &name).await?;
                Some((name, seen))
            }
        });
    join_all(looked).await.into_iter().flatten().collect()
}
