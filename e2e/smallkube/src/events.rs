//! Events about objects, as `kubectl describe` shows them.
//!
//! The same thing again is counted, not repeated. It deliberately forgets none: a cluster here does not live for an hour.

use crate::object::Object;
use crate::verbs::{Objects, Part, Writing};
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Notes that something happened to an object. `form` is `Normal` or `Warning`.
pub(crate) fn note(
    objects: &Objects,
    about: &Value,
    form: &str,
    reason: &str,
    message: &str,
    by: &str,
) {
    let mut hasher = DefaultHasher::new();
    (about.uid(), reason, message).hash(&mut hasher);
    let name = format!("{}.{:016x}", about.name(), hasher.finish());
    let namespace = match about.namespace() {
        "" => "default",
        namespace => namespace,
    };
    let Some(target) = objects.target("events", namespace, &name, Part::Main) else {
        return;
    };
    let now = objects.now_text();
    if objects.find("events", namespace, &name).is_some() {
        objects.edit(&target, by, |event| {
            let count = event.number("/count").unwrap_or(1);
            event["count"] = json!(count + 1);
            event["lastTimestamp"] = json!(now);
        });
        return;
    }
    let event = json!({
        "metadata": {}, "type": form, "reason": reason, "message": message, "count": 1,
        "firstTimestamp": now, "lastTimestamp": now, "source": {"component": by},
        "reportingComponent": by, "reportingInstance": "",
        "involvedObject": {
            "apiVersion": about.text("/apiVersion"), "kind": about.text("/kind"), "name": about.name(),
            "namespace": about.namespace(), "uid": about.uid(),
        },
    });
    if let Err(refusal) = objects.create(&target, event, &Writing::by(by)) {
        // A namespace that ends takes no events; nothing is lost that anybody could look for.
        tracing::debug!(why = refusal.message, "an event was not noted");
    }
}
