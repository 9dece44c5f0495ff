//! Deletion: preconditions, finalizers, propagation, and the time a pod gets to end.
//!
//! What can go at once goes at once; everything else is marked and waits for its finalizers, its dependents or its agent.
//! It deliberately follows no owner: [`crate::garbage`] does.

use super::{Objects, Target};
use crate::built_in;
use crate::object::Object;
use crate::refusal::Refusal;
use crate::store::State;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use std::sync::Arc;

/// The finalizer of an owner that waits for its dependents to go first.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an owner whose dependents are set free first.
pub(crate) const ORPHAN: &str = "orphan";

/// What a deletion asks for, as `DeleteOptions` carries it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deleting {
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) propagation: Option<String>,
    pub(crate) dry_run: bool,
}

impl Deleting {
    /// From a `DeleteOptions` body; a missing one asks for nothing.
    pub(crate) fn from_body(body: &Value) -> Self {
        let text = |pointer: &str| Some(body.text(pointer).to_owned()).filter(|t| !t.is_empty());
        let orphan = body.get("orphanDependents").and_then(Value::as_bool);
        Self {
            grace_seconds: body.number("/gracePeriodSeconds"),
            uid: text("/preconditions/uid"),
            version: text("/preconditions/resourceVersion"),
            propagation: text("/propagationPolicy")
                .or_else(|| orphan.map(|yes| if yes { "Orphan" } else { "Background" }.to_owned())),
            dry_run: !body.items("/dryRun").is_empty(),
        }
    }
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// It is gone; its last state.
    Gone(Arc<Value>),
    /// It is marked and waits for something.
    Marked(Arc<Value>),
}

impl Objects {
    /// Deletes an object or marks it for deletion.
    pub(crate) fn delete(&self, target: &Target, deleting: &Deleting) -> Result<Deleted, Refusal> {
        let now = self.now();
        self.store.with(|state| {
            let live = state.one(&target.key()).ok_or_else(|| target.not_found())?;
            check(target, &live, deleting)?;
            let marked = mark(target, &live, deleting, now);
            let gone = marked.finalizers().is_empty()
                && !super::write::waits_for_agent(&marked)
                && target.kind.resource != "namespaces";
            if deleting.dry_run {
                return Ok(Deleted::Marked(Arc::new(marked)));
            }
            if gone {
                let last = remove(state, target).ok_or_else(|| target.not_found())?;
                return Ok(Deleted::Gone(last));
            }
            if marked == *live {
                return Ok(Deleted::Marked(live));
            }
            Ok(Deleted::Marked(state.commit(&target.key(), marked)))
        })
    }
}

fn check(target: &Target, live: &Value, deleting: &Deleting) -> Result<(), Refusal> {
    let unlike = |what: &str, wanted: &str, found: &str, then: &str| {
        let why = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). \
             The object might have been {then}"
        );
        Refusal::conflict(&target.kind.kind, &target.kind.group, &target.name, &why)
    };
    if let Some(uid) = deleting.uid.as_deref().filter(|uid| *uid != live.uid()) {
        return Err(unlike("UID", uid, live.uid(), "deleted and then recreated"));
    }
    let found = live.text("/metadata/resourceVersion");
    if let Some(version) = deleting.version.as_deref().filter(|v| *v != found) {
        return Err(unlike("ResourceVersion", version, found, "modified"));
    }
    Ok(())
}

/// The live object as it looks once somebody asked for its deletion.
fn mark(target: &Target, live: &Value, deleting: &Deleting, now: Timestamp) -> Value {
    let mut marked = live.clone();
    let grace = grace(target, live, deleting);
    let shorter = live
        .number("/metadata/deletionGracePeriodSeconds")
        .is_none_or(|before| grace < before);
    if !live.ends() || shorter {
        let until = now.checked_add(grace.seconds()).unwrap_or(now);
        marked.put(
            &["metadata", "deletionTimestamp"],
            json!(super::seconds(until)),
        );
        if !is_emptied_first(target) {
            marked.put(&["metadata", "deletionGracePeriodSeconds"], json!(grace));
        }
    }
    let counts = !live.ends() && !is_emptied_first(target);
    if let (true, Some(generation)) = (counts, live.number("/metadata/generation")) {
        marked.put(&["metadata", "generation"], json!(generation + 1));
    }
    if target.kind.resource == "namespaces" {
        marked.put(&["status", "phase"], json!("Terminating"));
    }
    if let Some(policy) = &deleting.propagation {
        let mut finalizers = marked.finalizers();
        finalizers.retain(|f| f != FOREGROUND && f != ORPHAN);
        match policy.as_str() {
            "Foreground" => finalizers.push(FOREGROUND.to_owned()),
            "Orphan" => finalizers.push(ORPHAN.to_owned()),
            _ => {}
        }
        marked.put_finalizers(&finalizers);
    }
    marked
}

/// Namespaces and definitions have doors of their own to deletion: they are marked first, then emptied.
fn is_emptied_first(target: &Target) -> bool {
    matches!(
        target.kind.resource.as_str(),
        "namespaces" | built_in::DEFINITIONS
    )
}

/// Seconds that the object gets: pods that run get theirs, everything else none.
fn grace(target: &Target, live: &Value, deleting: &Deleting) -> i64 {
    let ended = matches!(live.text("/status/phase"), "Succeeded" | "Failed");
    if target.kind.resource != "pods" || live.text("/spec/nodeName").is_empty() || ended {
        return 0;
    }
    let own = live.number("/spec/terminationGracePeriodSeconds");
    deleting.grace_seconds.or(own).unwrap_or(30).max(0)
}

/// Takes an object out of the store, with what hangs on it.
pub(super) fn remove(state: &mut State, target: &Target) -> Option<Arc<Value>> {
    if target.kind.resource == built_in::DEFINITIONS {
        state.kinds = Arc::new(state.kinds.without_definition(&target.name));
    }
    state.remove(&target.key())
}
