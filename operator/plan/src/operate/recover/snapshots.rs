//! Snapshots of the survivors' volumes, taken before anything is restored: where their storage class has a `VolumeSnapshotClass`, and
//! unless the person who asks wants none.
//!
//! By which class each is taken is part of the plan that is acknowledged, and latched with it. They are taken when every pod has
//! stopped, so that each holds what its member has written, and stay until somebody deletes them.
//!
//! It deliberately does not wait for copies: what was taken is kept, whatever is written to the volume from then on.

use std::collections::{BTreeMap, BTreeSet};

use crds::{RaftCluster, RaftOperation, RecoverQuorum, Recovering, RecoveryPlan, VolumeSnapshots};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::super::phase;
use crate::{
    names,
    objects::snapshot::VolumeSnapshotClass,
    view::{ClaimState, Member, View},
};

/// By which annotation a class says that it is the one to take where none is named.
const DEFAULT: &str = "snapshot.storage.kubernetes.io/is-default-class";

/// The storage classes of which has to be known by which `VolumeSnapshotClass` their volumes are snapshotted: all that the claims
/// name, while a recovery is asked for and not begun.
#[must_use]
pub fn classes_to_snapshot(
    cluster: &RaftCluster,
    claims: &[PersistentVolumeClaim],
    operations: &[RaftOperation],
) -> BTreeSet<String> {
    let begun = cluster
        .status
        .as_ref()
        .is_some_and(|it| it.recovering.is_some());
    let asks = |it: &RaftOperation| {
        let wanted = it.spec.recover_quorum.as_ref().is_some_and(wanted);
        wanted && !phase(it).is_final()
    };
    if begun || !operations.iter().any(asks) {
        return BTreeSet::new();
    }
    claims
        .iter()
        .filter_map(class)
        .map(ToOwned::to_owned)
        .collect()
}

/// Names of the `VolumeSnapshot`s that a recovery which is under way waits for.
#[must_use]
pub fn snapshots_in_question(cluster: &RaftCluster) -> BTreeSet<String> {
    let latch = cluster
        .status
        .as_ref()
        .and_then(|it| it.recovering.as_ref());
    latch.into_iter().flat_map(names_of).collect()
}

/// Names of the `VolumeSnapshot`s that are latched.
pub(super) fn names_of(latch: &Recovering) -> impl Iterator<Item = String> {
    let members = latch.snapshots.keys();
    members.map(|it| names::snapshot(&names::claim(it), &latch.plan))
}

/// The class of this driver by which volumes are snapshotted: the one that says so, or else the first by name.
#[must_use]
pub fn snapshot_class(driver: &str, classes: &[VolumeSnapshotClass]) -> Option<String> {
    let of_driver = classes.iter().filter(|it| it.driver == driver);
    let is_default = |it: &VolumeSnapshotClass| {
        let marks = it.metadata.annotations.as_ref();
        marks
            .and_then(|it| it.get(DEFAULT))
            .is_some_and(|it| it == "true")
    };
    let first = of_driver.min_by_key(|it| (!is_default(it), it.metadata.name.clone()))?;
    first.metadata.name.clone()
}

/// The storage class of a claim.
fn class(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.storage_class_name.as_deref()
}

pub(super) fn wanted(asked: &RecoverQuorum) -> bool {
    asked.volume_snapshots == VolumeSnapshots::WhereSupported
}

/// By which class the volume of a member is snapshotted, if it can be.
pub(super) fn of(view: &View<'_>, member: &Member<'_>) -> Option<String> {
    let ClaimState::Present(claim) = member.claim else {
        return None;
    };
    view.observed.snapshot_classes.get(class(claim)?).cloned()
}

/// What is latched of a plan: of which members, by which classes.
pub(super) fn of_plan(plan: &RecoveryPlan) -> BTreeMap<String, String> {
    let survivors = plan.survivors.iter();
    let taken =
        survivors.filter_map(|it| Some((it.member.clone(), it.volume_snapshot_class.clone()?)));
    taken.collect()
}
