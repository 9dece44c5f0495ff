//! What goes because something else went: dependents of owners, the content of namespaces, the objects of definitions.
//!
//! Looks at everything after each change; at this size that is cheaper than a graph. It deliberately acts through the same
//! verbs as clients, so finalizers and grace hold here too.

use crate::built_in::DEFINITIONS;
use crate::object::Object;
use crate::store::{Key, State};
use crate::verbs::delete::{Deleting, FOREGROUND, ORPHAN};
use crate::verbs::{Objects, Part, Target};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

const MANAGER: &str = "kube-controller-manager";
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// One look over everything; answers whether anything was done.
pub(crate) fn collect(objects: &Objects) -> bool {
    let all = snapshot(objects);
    let by_uid: HashMap<&str, &Entry> = all.iter().map(|e| (e.object.uid(), e)).collect();
    let mut acted = false;
    for entry in &all {
        acted |= follow_owners(objects, entry, &by_uid);
    }
    for entry in &all {
        acted |= release_owner(objects, entry, &all);
    }
    let gone = namespaces(objects, &all);
    acted | gone | definitions(objects, &all)
}

struct Entry {
    key: Key,
    object: Arc<Value>,
}

fn snapshot(objects: &Objects) -> Vec<Entry> {
    objects.store.with(|state: &mut State| {
        let everything = state.everything();
        everything
            .map(|(key, object)| Entry {
                key: key.clone(),
                object: object.clone(),
            })
            .collect()
    })
}

fn target(objects: &Objects, key: &Key) -> Option<Target> {
    objects.target(&key.resource, &key.namespace, &key.name, Part::Main)
}

/// Deletes a dependent whose owners are all gone, or whose owner waits for it; forgets single owners that are gone.
fn follow_owners(objects: &Objects, entry: &Entry, by_uid: &HashMap<&str, &Entry>) -> bool {
    let owners = entry.object.items("/metadata/ownerReferences");
    if owners.is_empty() {
        return false;
    }
    // An owner in another namespace is no owner: references do not cross.
    let found = |owner: &&Value| {
        by_uid.get(owner.text("/uid")).is_some_and(|o| {
            (o.key.namespace.is_empty() || o.key.namespace == entry.key.namespace)
                && o.object.text("/kind") == owner.text("/kind")
                && o.object.name() == owner.text("/name")
        })
    };
    let waiting = |owner: &&Value| {
        by_uid.get(owner.text("/uid")).is_some_and(|o| {
            o.object.ends() && o.object.finalizers().iter().any(|f| f == FOREGROUND)
        })
    };
    let alive: Vec<&Value> = owners.iter().filter(found).collect();
    let standing = alive.iter().filter(|o| !waiting(o)).count();
    if standing > 0 {
        let dangling = alive.len() < owners.len() || standing < alive.len();
        return dangling && keep_owners(objects, entry, &alive, &waiting);
    }
    if entry.object.ends() {
        return false;
    }
    let propagation = if alive.is_empty() {
        "Background"
    } else {
        "Foreground"
    };
    delete(objects, entry, Some(propagation))
}

/// Drops references to owners that are gone or about to go while another stands.
fn keep_owners(
    objects: &Objects,
    entry: &Entry,
    alive: &[&Value],
    waiting: &impl Fn(&&Value) -> bool,
) -> bool {
    let kept: Vec<Value> = alive
        .iter()
        .filter(|o| !waiting(o))
        .map(|o| (*o).clone())
        .collect();
    edit(objects, &entry.key, |object| {
        object.put(&["metadata", "ownerReferences"], json!(kept));
    })
}

/// Lets an owner go that waited for its dependents to go (foreground) or to be set free (orphan).
fn release_owner(objects: &Objects, entry: &Entry, all: &[Entry]) -> bool {
    let finalizers = entry.object.finalizers();
    if !entry.object.ends() {
        return false;
    }
    let uid = entry.object.uid();
    let reference = |e: &&Entry| {
        let owners = e.object.items("/metadata/ownerReferences");
        owners.iter().find(|o| o.text("/uid") == uid).cloned()
    };
    if finalizers.iter().any(|f| f == ORPHAN) {
        for dependent in all.iter().filter(|e| reference(e).is_some()) {
            edit(objects, &dependent.key, |object| forget_owner(object, uid));
        }
        return drop_finalizer(objects, &entry.key, ORPHAN);
    }
    if finalizers.iter().any(|f| f == FOREGROUND) {
        let blocking = |e: &&Entry| reference(e).is_some_and(|o| o["blockOwnerDeletion"] == true);
        if !all.iter().any(|e| blocking(&e)) {
            return drop_finalizer(objects, &entry.key, FOREGROUND);
        }
    }
    false
}

fn forget_owner(object: &mut Value, uid: &str) {
    let mut owners = object.items("/metadata/ownerReferences").to_vec();
    owners.retain(|o| o.text("/uid") != uid);
    if owners.is_empty() {
        object.take_away(&["metadata", "ownerReferences"]);
    } else {
        object.put(&["metadata", "ownerReferences"], Value::Array(owners));
    }
}

/// Empties namespaces that end, and removes the empty ones.
fn namespaces(objects: &Objects, all: &[Entry]) -> bool {
    let ending: HashSet<&str> = all
        .iter()
        .filter(|e| &*e.key.resource == "namespaces" && e.object.ends())
        .map(|e| e.object.name())
        .collect();
    let mut acted = false;
    for name in ending {
        let content: Vec<&Entry> = all.iter().filter(|e| e.key.namespace == name).collect();
        if content.is_empty() {
            acted |= objects.store.with(|state| {
                let empty = !state.everything().any(|(key, _)| key.namespace == name);
                empty && state.remove(&Key::new("namespaces", "", name)).is_some()
            });
        }
        for entry in content.iter().filter(|e| !e.object.ends()) {
            acted |= delete(objects, entry, Some("Background"));
        }
    }
    acted
}

/// Deletes the objects of definitions that end, and lets empty ones go.
fn definitions(objects: &Objects, all: &[Entry]) -> bool {
    let ending = all
        .iter()
        .filter(|e| &*e.key.resource == DEFINITIONS && e.object.ends());
    let mut acted = false;
    for definition in ending {
        let is_instance = |e: &&Entry| *e.key.resource == definition.key.name;
        let instances: Vec<&Entry> = all.iter().filter(is_instance).collect();
        if instances.is_empty() {
            acted |= drop_finalizer(objects, &definition.key, CLEANUP);
        }
        for instance in instances.iter().filter(|e| !e.object.ends()) {
            acted |= delete(objects, instance, None);
        }
    }
    acted
}

fn delete(objects: &Objects, entry: &Entry, propagation: Option<&str>) -> bool {
    let deleting = Deleting {
        uid: Some(entry.object.uid().to_owned()),
        propagation: propagation.map(str::to_owned),
        ..Deleting::default()
    };
    target(objects, &entry.key).is_some_and(|t| objects.delete(&t, &deleting).is_ok())
}

fn drop_finalizer(objects: &Objects, key: &Key, finalizer: &str) -> bool {
    edit(objects, key, |object| {
        let mut finalizers = object.finalizers();
        finalizers.retain(|f| f != finalizer);
        object.put_finalizers(&finalizers);
    })
}

/// Changes an object in place, whatever its schema says today: nothing here may be stopped by a stricter definition.
fn edit(objects: &Objects, key: &Key, change: impl FnOnce(&mut Value)) -> bool {
    let Some(target) = target(objects, key) else {
        return false;
    };
    let before = objects.find(&key.resource, &key.namespace, &key.name);
    let after = objects.edit(&target, MANAGER, change);
    before.is_some() && after != before
}
