//! The checker's part about rebuilding a lost cluster: the one thing that makes a second cluster of a volume.
//!
//! It believes the resource about which recovery is under way, and the operation itself about whether a person has agreed to it;
//! it deliberately does not judge whether the survivor was well chosen, which the person could see.

use crds::{OperationPhase, RaftOperation, Recovering, VolumeSnapshots};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::volume::{annotation, args, label, mounts, volumes};
use super::{Facts, Violation, is_dead, refuse};
use crate::action::Target;
use crate::observed::Sought;

const RESTORED: &str = "quorate.io/restored";

/// What a pod may run on where clusters are or were rebuilt.
pub(super) fn start(facts: &Facts<'_>, pod: &Pod) -> Result<(), Violation> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let claim = volumes(pod).first().and_then(|it| facts.claim(it));
    let mark = claim.and_then(|it| annotation(&it.metadata, RESTORED));
    let restores = args(pod).any(|it| it == "restore");
    let mut folders = args(pod).filter_map(|it| it.strip_prefix("--data-dir="));
    let folder = folders.next().unwrap_or_default();
    let latch = facts.observed.recovering.as_ref();
    if restores {
        return restore(facts, pod, mark);
    }
    let right = mark.map_or_else(
        || !folder.contains("/restored-"),
        |it| folder.ends_with(&format!("/restored-{it}")),
    );
    if !right {
        return refuse(
            2,
            format!("pod {name} is to start on data that its volume's claim does not name"),
        );
    }
    let allowed = |it: &Recovering| {
        it.survivor == name && mark.is_some() && mark != it.restored_before.as_deref()
    };
    if latch.is_some_and(|it| !allowed(it)) {
        return refuse(
            1,
            format!("pod {name} is to start while the cluster is rebuilt"),
        );
    }
    Ok(())
}

/// Only by a plan that a person has read and agreed to, only of its survivor, once nobody else runs and nobody can agree.
fn restore(facts: &Facts<'_>, pod: &Pod, mark: Option<&str>) -> Result<(), Violation> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let no = |why: &str| refuse(2, format!("pod {name} is to make a new cluster, and {why}"));
    let Some(latch) = &facts.observed.recovering else {
        return no("no recovery is under way");
    };
    if label(&pod.metadata, "quorate.io/member") != Some(latch.survivor.as_str()) {
        return no("its member is not the survivor");
    }
    let mut operations = facts.observed.operations.iter();
    if !operations.any(|it| agrees(it, latch)) {
        return no("nobody has acknowledged it");
    }
    if mark != latch.restored_before.as_deref() {
        return no("its volume was rebuilt already");
    }
    if let Some(missing) = facts.without_snapshot(latch) {
        return no(&format!(
            "the volume of member {missing} is not snapshotted"
        ));
    }
    if facts.list.is_some() || facts.answers.values().any(|it| it.leader_id != 0) {
        return no("a majority may work");
    }
    let runs = |it: &&Pod| !is_dead(it) && it.metadata.deletion_timestamp.is_none();
    match facts.observed.pods.iter().find(runs) {
        Some(other) => no(&format!(
            "pod {} runs",
            other.metadata.name.as_deref().unwrap_or_default()
        )),
        None => Ok(()),
    }
}

/// Whether an operation asks for this very recovery, and shows what was agreed to.
fn agrees(operation: &RaftOperation, latch: &Recovering) -> bool {
    let asked = operation.spec.recover_quorum.as_ref();
    let said = asked.and_then(|it| it.acknowledge.as_ref()) == Some(&latch.plan);
    let status = operation.status.as_ref();
    let shown = status.and_then(|it| it.plan.as_ref()?.recovery.as_ref());
    let same = shown.is_some_and(|it| it.name == latch.plan && it.survivor == latch.survivor);
    let open = status
        .is_some_and(|it| matches!(it.phase, OperationPhase::Pending | OperationPhase::Running));
    let named = operation.metadata.uid.as_deref() == Some(latch.operation_uid.as_str());
    named && said && same && open && !operation.spec.dry_run
}

/// A volume is said to have been rebuilt only by the pod that has done it, and only the survivor's.
pub(super) fn mark(
    facts: &Facts<'_>,
    claim: &Target,
    key: &str,
    value: &str,
) -> Result<(), Violation> {
    if key != RESTORED {
        return Ok(());
    }
    let asked = facts.observed.recovering.as_ref();
    let its = asked.is_some_and(|it| it.claim_uid == claim.uid);
    let done = facts.observed.pods.iter().any(|pod| {
        let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
        let uses = volumes(pod).contains(&claim.name.as_str());
        let restores = args(pod).any(|it| it == "restore");
        pod.metadata.uid.as_deref() == Some(value) && phase == Some("Succeeded") && uses && restores
    });
    if its && done && !facts.observed.pods.iter().any(|it| mounts(it, &claim.name)) {
        return Ok(());
    }
    refuse(
        2,
        format!(
            "claim {} is to be called rebuilt by a pod that has not done it",
            claim.name
        ),
    )
}

impl Facts<'_> {
    /// The first member whose volume is there and was to be snapshotted, and is not.
    fn without_snapshot(&self, latch: &Recovering) -> Option<String> {
        let named = |it: &&RaftOperation| it.metadata.uid.as_ref() == Some(&latch.operation_uid);
        let operation = self.observed.operations.iter().find(named)?;
        let asked = operation.spec.recover_quorum.as_ref()?;
        let taken = |member: &str| {
            let name = format!("data-{member}-{}", latch.plan);
            let found = self.observed.snapshots.get(&name);
            matches!(found, Some(Sought::There(it)) if it.is_taken())
        };
        let there = |member: &str| self.claim(&format!("data-{member}")).is_some();
        let mut members = latch.snapshots.keys();
        let missing = members.find(|it| there(it) && !taken(it));
        missing
            .filter(|_| asked.volume_snapshots != VolumeSnapshots::Never)
            .cloned()
    }

    fn claim(&self, name: &str) -> Option<&PersistentVolumeClaim> {
        let mut claims = self.observed.claims.iter();
        claims.find(|it| it.metadata.name.as_deref() == Some(name))
    }
}
