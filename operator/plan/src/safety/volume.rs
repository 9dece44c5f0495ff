//! The checker's part about volumes and identities: what may be deleted for good, and what a member may start on.
//!
//! Like the rest of the checker it shares no code with the policies; it deliberately knows nothing of calls to members.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Facts, Violation, is_dead, is_majority, refuse};
use crate::action::Target;
use crate::quantity;

pub(super) fn delete_volume(facts: &Facts<'_>, target: &Target) -> Result<(), Violation> {
    let name = &target.name;
    let seen = facts
        .observed
        .claims
        .iter()
        .find(|it| it.metadata.name.as_deref() == Some(name));
    let Some(claim) = seen.filter(|it| it.metadata.uid.as_deref() == Some(&target.uid)) else {
        return refuse(
            2,
            format!("claim {name} is to be deleted under a uid that was not seen"),
        );
    };
    let used = facts.observed.pods.iter().any(|it| mounts(it, name));
    if used {
        return refuse(
            2,
            format!("claim {name} is to be deleted while a pod uses it"),
        );
    }
    let member = label(&claim.metadata, "quorate.io/member").unwrap_or_default();
    if facts.list.is_none() || facts.listed_at(member) {
        return refuse(
            2,
            format!("claim {name} is to be deleted and its member may still need it"),
        );
    }
    if !is_majority(facts.sound().len(), facts.voters().len()) {
        return refuse(
            2,
            format!(
                "claim {name} is to be deleted without a sound majority; it may hold the last copy"
            ),
        );
    }
    Ok(())
}

/// No storage system can shrink a volume that has data on it, and none should be asked to.
pub(super) fn grow_volume(facts: &Facts<'_>, target: &Target, size: &str) -> Result<(), Violation> {
    let name = &target.name;
    let mut claims = facts.observed.claims.iter();
    let seen = claims.find(|it| it.metadata.uid.as_deref() == Some(&target.uid));
    let Some(claim) = seen.filter(|it| it.metadata.name.as_deref() == Some(name)) else {
        let why = format!("claim {name} is to grow under a uid that was not seen");
        return refuse(2, why);
    };
    let held = claim.status.as_ref().and_then(|it| it.capacity.as_ref());
    let held = held.and_then(|it| quantity::bytes(&it.get("storage")?.0));
    if held >= quantity::bytes(size) {
        return refuse(
            2,
            format!("claim {name} is to become {size}, and is not smaller"),
        );
    }
    Ok(())
}

impl Facts<'_> {
    /// Whether the membership has a member of this name or at its address.
    fn listed_at(&self, member: &str) -> bool {
        let host = format!("//{member}.");
        let list = self.list.unwrap_or_default();
        list.iter()
            .any(|it| it.name == member || it.peer_urls.iter().any(|url| url.contains(&host)))
    }
}

/// An identity goes only when its member is out: its deletion takes the pod with it.
pub(super) fn delete_identity(facts: &Facts<'_>, target: &Target) -> Result<(), Violation> {
    if facts.list.is_some() && !facts.listed_at(&target.name) {
        return Ok(());
    }
    refuse(
        1,
        format!(
            "identity {} is to be deleted and may still be in the membership",
            target.name
        ),
    )
}

pub(super) fn start(facts: &Facts<'_>, pod: &Pod) -> Result<(), Violation> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let Some(member) = label(&pod.metadata, "quorate.io/member") else {
        return refuse(2, format!("pod {name} belongs to no member"));
    };
    let uid = annotation(&pod.metadata, "quorate.io/cluster-uid");
    for volume in volumes(pod) {
        let claim = facts
            .observed
            .claims
            .iter()
            .find(|it| it.metadata.name.as_deref() == Some(volume));
        let own = claim.is_some_and(|it| {
            label(&it.metadata, "quorate.io/member") == Some(member)
                && annotation(&it.metadata, "quorate.io/cluster-uid") == uid
                && it.metadata.deletion_timestamp.is_none()
        });
        if !own && Some(volume) == volumes(pod).first().copied() {
            return refuse(
                2,
                format!("pod {name} is to start on claim {volume}, which is not its own"),
            );
        }
    }
    let founds = args(pod).any(|it| it == "--initial-cluster-state=new");
    let others = facts.observed.members.iter().any(|it| {
        it.metadata.name.as_deref() != Some(member) && Some(it.spec.cluster_uid.as_str()) == uid
    });
    let of_another = |meta: &ObjectMeta| {
        uid.is_some()
            && annotation(meta, "quorate.io/cluster-uid") == uid
            && label(meta, "quorate.io/member") != Some(member)
    };
    let (claims, pods) = (&facts.observed.claims, &facts.observed.pods);
    let mut left = claims
        .iter()
        .map(|it| &it.metadata)
        .chain(pods.iter().map(|it| &it.metadata));
    if founds && (others || left.any(of_another) || facts.list.is_some()) {
        return refuse(2, format!("pod {name} is to found a second cluster"));
    }
    Ok(())
}

pub(super) fn create_volume(facts: &Facts<'_>, claim: Option<&str>) -> Result<(), Violation> {
    let member = claim
        .and_then(|it| it.strip_prefix("data-"))
        .unwrap_or_default();
    if facts.listed_at(member) {
        return refuse(
            2,
            format!("{member} is in the membership and is to get an empty volume"),
        );
    }
    Ok(())
}

pub(super) fn args(pod: &Pod) -> impl Iterator<Item = &String> {
    let containers = pod.spec.iter().flat_map(|it| &it.containers);
    containers.flat_map(|it| it.args.iter().flatten())
}

pub(super) fn volumes(pod: &Pod) -> Vec<&str> {
    let volumes = pod.spec.iter().flat_map(|it| it.volumes.iter().flatten());
    volumes
        .filter_map(|it| Some(it.persistent_volume_claim.as_ref()?.claim_name.as_str()))
        .collect()
}

pub(super) fn mounts(pod: &Pod, claim: &str) -> bool {
    !is_dead(pod) && volumes(pod).contains(&claim)
}

pub(super) fn label<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}

pub(super) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}
