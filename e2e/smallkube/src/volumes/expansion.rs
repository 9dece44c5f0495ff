//! Growing a claim: who may ask for it, and what happens then.
//!
//! A bound claim of a class with `allowVolumeExpansion` may ask for more, and gets it in two steps, as from a real storage
//! system: the volume grows, and the claim says `FileSystemResizePending`; then the file system follows. A class with the
//! parameter `resize: offline` takes the second step only when a pod starts on the volume.
//!
//! It deliberately grows nothing but numbers: a folder has what the disk has.

use super::{CLAIMS, CLASSES, MANAGER, VOLUMES, claims_of};
use crate::object::Object;
use crate::refusal::{Cause, Refusal};
use crate::store::State;
use crate::verbs::{Objects, Part};
use serde_json::{Value, json};

/// Where a claim says how much it wants, and where it is told how much it has.
const REQUEST: &str = "/spec/resources/requests/storage";
const CAPACITY: &str = "/status/capacity/storage";
const PENDING: &str = "FileSystemResizePending";

/// Bytes of a quantity as manifests write it; nothing for what is none.
pub(crate) fn bytes(text: &str) -> Option<u128> {
    let split = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let power = |base: u128, units: [&str; 6]| {
        let at = units.iter().position(|it| *it == unit)?;
        base.checked_pow(u32::try_from(at).ok()? + 1)
    };
    let scale = match unit {
        "" => Some(1),
        _ => power(1024, ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"])
            .or_else(|| power(1000, ["k", "M", "G", "T", "P", "E"])),
    };
    number.parse::<u128>().ok()?.checked_mul(scale?)
}

/// What is wrong with a claim's new size, whatever its class.
pub(crate) fn size_causes(new: &Value, old: &Value) -> Option<Cause> {
    let (asked, before) = (bytes(new.text(REQUEST)), bytes(old.text(REQUEST)));
    let shrinks = asked < before && asked <= bytes(old.text(CAPACITY));
    shrinks.then(|| {
        let why = "field can not be less than status.capacity";
        Cause::forbidden("spec.resources.requests.storage", why)
    })
}

/// Whether a claim may ask for more, as the admission plugin `PersistentVolumeClaimResize` judges it.
pub(crate) fn admit(state: &State, new: &Value, old: &Value) -> Result<(), Refusal> {
    if bytes(new.text(REQUEST)) <= bytes(old.text(REQUEST)) {
        return Ok(());
    }
    let class = state.find(CLASSES, "", old.text("/spec/storageClassName"));
    if class.is_some_and(|it| it["allowVolumeExpansion"] == true) {
        return Ok(());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
               support resize";
    Err(Refusal::forbidden(CLAIMS, "", old.name(), why))
}

/// Takes the next step of a bound claim that asks for more than it has; answers whether there was one.
pub(super) fn step(objects: &Objects, claim: &Value) -> bool {
    let wanted = claim.text(REQUEST);
    if bytes(wanted) <= bytes(claim.text(CAPACITY)) {
        return false;
    }
    let Some(condition) = pending(claim) else {
        return grow_volume(objects, claim, wanted);
    };
    let since = condition.text("/lastTransitionTime");
    may_finish(objects, claim, since) && finish(objects, claim, wanted)
}

fn pending(claim: &Value) -> Option<&Value> {
    let conditions = claim.items("/status/conditions");
    conditions.iter().find(|it| it.text("/type") == PENDING)
}

fn grow_volume(objects: &Objects, claim: &Value, size: &str) -> bool {
    let volume = objects.target(VOLUMES, "", claim.text("/spec/volumeName"), Part::Main);
    let Some(volume) = volume else { return false };
    let grown = objects.edit(&volume, MANAGER, |live| {
        live.put(&["spec", "capacity", "storage"], json!(size));
    });
    let now = objects.now_text();
    let message =
        "Waiting for user to (re-)start a pod to finish file system resize of volume on node.";
    let condition = json!([{"type": PENDING, "status": "True", "lastProbeTime": null, "lastTransitionTime": now, "message": message}]);
    grown.is_some()
        && set(objects, claim, |live| {
            live.put(&["status", "conditions"], condition.clone())
        })
}

/// Online at once; offline once a pod that was made after the volume grew uses it.
fn may_finish(objects: &Objects, claim: &Value, since: &str) -> bool {
    let class = objects.find(CLASSES, "", claim.text("/spec/storageClassName"));
    if class.is_none_or(|it| it.text("/parameters/resize") != "offline") {
        return true;
    }
    let pods = objects.list("pods");
    let mut users = pods.iter().filter(|pod| {
        pod.namespace() == claim.namespace() && claims_of(pod).contains(&claim.name())
    });
    users.any(|pod| {
        pod.text("/metadata/creationTimestamp") > since && pod.text("/status/phase") == "Running"
    })
}

fn finish(objects: &Objects, claim: &Value, size: &str) -> bool {
    set(objects, claim, |live| {
        live.put(&["status", "capacity", "storage"], json!(size));
        live.take_away(&["status", "conditions"]);
    })
}

fn set(objects: &Objects, claim: &Value, edit: impl Fn(&mut Value)) -> bool {
    let target = objects.target(CLAIMS, claim.namespace(), claim.name(), Part::Status);
    target.is_some_and(|target| objects.edit(&target, MANAGER, |live| edit(live)).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_bytes() {
        for (text, wanted) in [
            ("1Gi", Some(1 << 30)),
            ("5", Some(5)),
            ("2M", Some(2_000_000)),
            ("x", None),
            ("1.5Gi", None),
        ] {
            assert_eq!(bytes(text), wanted, "{text}");
        }
    }
}
