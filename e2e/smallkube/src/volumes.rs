//! Claims bound to folders, and folders removed when their claim is gone and its policy says so.
//!
//! The class `standard` binds when the first pod that uses a claim is scheduled. A claim in use is never removed under a pod.
//! It deliberately limits no size: a folder has what the disk has; how a claim's size changes stands in `volumes/expansion.rs`.

pub(crate) mod expansion;

use crate::events;
use crate::object::Object;
use crate::schedule::selects_node;
use crate::verbs::delete::Deleting;
use crate::verbs::{Objects, Part, Writing};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// Name of the class that every cluster has.
pub(crate) const CLASS: &str = "standard";
const PROVISIONER: &str = "smallkube.quorate.io/folder";
const MANAGER: &str = "kube-controller-manager";
pub(crate) const CLAIMS: &str = "persistentvolumeclaims";
const VOLUMES: &str = "persistentvolumes";
const CLASSES: &str = "storageclasses.storage.k8s.io";
/// Where volumes say which folder is theirs to remove.
const FOLDER: &str = "smallkube.quorate.io/folder";

/// The default storage class.
pub(crate) fn default_class() -> Value {
    json!({
        "metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": PROVISIONER, "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": false,
    })
}

/// Where folders are made, and whether they are tied to the node of their first pod.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ground {
    pub(crate) folder: Option<PathBuf>,
    pub(crate) local: bool,
}

/// Names of the claims that a pod uses.
fn claims_of(pod: &Value) -> Vec<&str> {
    let volumes = pod.items("/spec/volumes").iter();
    volumes
        .map(|v| v.text("/persistentVolumeClaim/claimName"))
        .filter(|name| !name.is_empty())
        .collect()
}

/// True when every bound volume of a pod can be used on a node.
pub(crate) fn reachable(objects: &Objects, pod: &Value, node: &Value) -> bool {
    claims_of(pod).iter().all(|name| {
        let claim = objects.find(CLAIMS, pod.namespace(), name);
        let volume = claim.and_then(|c| objects.find(VOLUMES, "", c.text("/spec/volumeName")));
        volume.is_none_or(|volume| {
            let terms = volume.items("/spec/nodeAffinity/required/nodeSelectorTerms");
            terms.is_empty() || terms.iter().any(|term| selects_node(term, node))
        })
    })
}

/// Binds every claim of a pod that goes to a node, or says which cannot be.
pub(crate) fn bind_for(objects: &Objects, pod: &Value, node: &str) -> Result<(), String> {
    for name in claims_of(pod) {
        let claim = objects
            .find(CLAIMS, pod.namespace(), name)
            .ok_or_else(|| format!("persistentvolumeclaim {name:?} not found"))?;
        if claim.ends() {
            return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
        }
        match claim.text("/status/phase") {
            "Bound" => {}
            "Lost" => {
                return Err(format!(
                    "persistentvolumeclaim {name:?} bound to non-existent persistentvolume"
                ));
            }
            _ => bind(objects, &claim, node)?,
        }
    }
    Ok(())
}

/// Binds one claim: to the volume it names, or to a new folder.
fn bind(objects: &Objects, claim: &Arc<Value>, node: &str) -> Result<(), String> {
    let named = claim.text("/spec/volumeName");
    let volume = if named.is_empty() {
        provision(objects, claim, node)?
    } else {
        objects
            .find(VOLUMES, "", named)
            .ok_or_else(|| format!("persistentvolume {named:?} not found"))?
    };
    let (namespace, name) = (claim.namespace(), claim.name());
    if let Some(target) = objects.target(VOLUMES, "", volume.name(), Part::Main) {
        objects.edit(&target, MANAGER, |live| {
            live.put(
                &["spec", "claimRef"],
                json!({
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": name,
                    "namespace": namespace, "uid": claim.uid(),
                }),
            );
        });
    }
    set_phase(objects, VOLUMES, "", volume.name(), "Bound");
    if let Some(target) = objects.target(CLAIMS, namespace, name, Part::Main) {
        objects.edit(&target, MANAGER, |live| {
            live.put(&["spec", "volumeName"], json!(volume.name()));
        });
    }
    if let Some(target) = objects.target(CLAIMS, namespace, name, Part::Status) {
        objects.edit(&target, MANAGER, |live| {
            live["status"] = json!({
                "phase": "Bound", "accessModes": volume["spec"]["accessModes"],
                "capacity": volume["spec"]["capacity"],
            });
        });
    }
    Ok(())
}

fn provision(objects: &Objects, claim: &Value, node: &str) -> Result<Arc<Value>, String> {
    let class_name = claim.text("/spec/storageClassName");
    let class = objects
        .find(CLASSES, "", class_name)
        .ok_or_else(|| format!("storageclass.storage.k8s.io {class_name:?} not found"))?;
    if class.text("/provisioner") != PROVISIONER {
        return Err(format!(
            "storage class {class_name:?} has a provisioner that smallkube does not run"
        ));
    }
    let name = format!("pvc-{}", claim.uid());
    let ground = objects.ground();
    let folder = match &ground.folder {
        Some(state) => {
            let folder = state.join("volumes").join(&name);
            std::fs::create_dir_all(&folder)
                .map_err(|e| format!("cannot make the folder {}: {e}", folder.display()))?;
            folder
        }
        None => PathBuf::from("/smallkube/volumes").join(&name),
    };
    let mut volume = json!({
        "metadata": {"annotations": {
            "pv.kubernetes.io/provisioned-by": PROVISIONER, FOLDER: folder.display().to_string()}},
        "spec": {
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "accessModes": claim["spec"]["accessModes"], "storageClassName": class_name,
            "persistentVolumeReclaimPolicy": class["reclaimPolicy"],
            "hostPath": {"path": folder.display().to_string()},
        },
    });
    if ground.local {
        volume["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}});
    }
    let target = objects
        .target(VOLUMES, "", &name, Part::Main)
        .ok_or("no such kind")?;
    let written = objects
        .create(&target, volume, &Writing::by(MANAGER))
        .map_err(|refusal| refusal.message)?;
    let message = format!("Successfully provisioned volume {name}");
    events::note(
        objects,
        claim,
        "Normal",
        "ProvisioningSucceeded",
        &message,
        PROVISIONER,
    );
    Ok(written.object)
}

fn set_phase(objects: &Objects, resource: &str, namespace: &str, name: &str, phase: &str) -> bool {
    let before = objects.find(resource, namespace, name);
    if before.is_none_or(|o| o.text("/status/phase") == phase) {
        return false;
    }
    let target = objects.target(resource, namespace, name, Part::Status);
    target.is_some_and(|target| {
        let edit = |o: &mut Value| o.put(&["status", "phase"], json!(phase));
        objects.edit(&target, MANAGER, edit).is_some()
    })
}

/// Looks after all claims and volumes; answers whether anything was done.
pub(crate) fn look_after(objects: &Objects) -> bool {
    let mut acted = false;
    for claim in objects.list(CLAIMS) {
        acted |= look_after_claim(objects, &claim);
    }
    for volume in objects.list(VOLUMES) {
        acted |= look_after_volume(objects, &volume);
    }
    acted
}

fn look_after_claim(objects: &Objects, claim: &Arc<Value>) -> bool {
    let (namespace, name) = (claim.namespace(), claim.name());
    let protected = claim
        .finalizers()
        .iter()
        .any(|f| f == "kubernetes.io/pvc-protection");
    if claim.ends() {
        return protected
            && !in_use(objects, namespace, name)
            && drop_finalizer(
                objects,
                CLAIMS,
                namespace,
                name,
                "kubernetes.io/pvc-protection",
            );
    }
    let volume = claim.text("/spec/volumeName");
    match claim.text("/status/phase") {
        "Bound" if objects.find(VOLUMES, "", volume).is_none() => {
            set_phase(objects, CLAIMS, namespace, name, "Lost")
        }
        "Bound" => expansion::step(objects, claim),
        "Lost" => false,
        _ => {
            let class = objects.find(CLASSES, "", claim.text("/spec/storageClassName"));
            let at_once = class.is_some_and(|c| c.text("/volumeBindingMode") == "Immediate");
            (at_once || !volume.is_empty()) && bind(objects, claim, "").is_ok()
        }
    }
}

/// A pod that is over holds no claim any more.
fn in_use(objects: &Objects, namespace: &str, claim: &str) -> bool {
    objects.list("pods").iter().any(|pod| {
        pod.namespace() == namespace
            && !matches!(pod.text("/status/phase"), "Succeeded" | "Failed")
            && claims_of(pod).contains(&claim)
    })
}

fn look_after_volume(objects: &Objects, volume: &Arc<Value>) -> bool {
    let name = volume.name();
    let wanted = volume.text("/spec/claimRef/uid");
    let claim = objects.find(
        CLAIMS,
        volume.text("/spec/claimRef/namespace"),
        volume.text("/spec/claimRef/name"),
    );
    let bound = !wanted.is_empty() && claim.is_some_and(|c| c.uid() == wanted);
    if volume.ends() && !bound {
        return drop_finalizer(objects, VOLUMES, "", name, "kubernetes.io/pv-protection");
    }
    if wanted.is_empty() {
        return set_phase(objects, VOLUMES, "", name, "Available");
    }
    if bound {
        return false;
    }
    if volume.text("/spec/persistentVolumeReclaimPolicy") == "Delete" {
        return reclaim(objects, volume);
    }
    set_phase(objects, VOLUMES, "", name, "Released")
}

/// Removes a released volume with its folder.
fn reclaim(objects: &Objects, volume: &Value) -> bool {
    let folder = volume.text("/metadata/annotations/smallkube.quorate.io~1folder");
    let own = objects.ground().folder.is_some_and(|state| {
        // Only folders of our own making: an annotation that a user wrote must not point anywhere else.
        state.join("volumes").join(volume.name()).as_os_str() == folder
    });
    if own && let Err(error) = std::fs::remove_dir_all(folder) {
        tracing::warn!(%error, folder, "cannot remove a released volume's folder");
    }
    let deleting = Deleting {
        uid: Some(volume.uid().to_owned()),
        ..Deleting::default()
    };
    let target = objects.target(VOLUMES, "", volume.name(), Part::Main);
    target.is_some_and(|t| objects.delete(&t, &deleting).is_ok())
}

fn drop_finalizer(
    objects: &Objects,
    resource: &str,
    namespace: &str,
    name: &str,
    gone: &str,
) -> bool {
    let target = objects.target(resource, namespace, name, Part::Main);
    target.is_some_and(|target| {
        let edit = |object: &mut Value| {
            let mut finalizers = object.finalizers();
            finalizers.retain(|f| f != gone);
            object.put_finalizers(&finalizers);
        };
        objects.edit(&target, MANAGER, edit).is_some()
    })
}
