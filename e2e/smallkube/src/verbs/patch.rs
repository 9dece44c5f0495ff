//! Patches: merge, JSON, strategic merge, and server-side apply.
//!
//! A strategic merge patch merges lists by the keys of the schema and knows `$patch: delete|replace` and `$retainKeys`-less
//! directives as `kubectl` sends them. It deliberately refuses a strategic patch of a custom resource, as the real server does.

use super::{Objects, Target, Unknown, Writing, Written, write::Edit};
use crate::apply::{Apply, managers::Who};
use crate::object::Object;
use crate::refusal::{Cause, Refusal};
use crate::schema::{ListKind, Schema, prune};
use serde_json::{Map, Value, json};

/// A patch by its content type.
#[derive(Debug, Clone)]
pub(crate) enum Patch {
    Json(Value),
    Merge(Value),
    Strategic(Value),
    Apply(Value),
}

impl Objects {
    /// Patches an object; an apply creates it when it is not there.
    pub(crate) fn patch(
        &self,
        target: &Target,
        patch: &Patch,
        writing: &Writing,
    ) -> Result<Written, Refusal> {
        let now = self.now_text();
        self.store.with(|state| {
            let live = state.one(&target.key());
            let edit = Edit {
                state,
                target,
                writing,
                now,
            };
            match (patch, live) {
                (Patch::Apply(applied), live) => edit.apply(live.as_ref(), applied),
                (_, None) => Err(target.not_found()),
                (patch, Some(live)) => {
                    let new = patched(target, &live, patch)?;
                    edit.refuse_unknown(&new)?;
                    edit.update(&live, new)
                }
            }
        })
    }
}

impl Edit<'_> {
    fn apply(
        self,
        live: Option<&std::sync::Arc<Value>>,
        applied: &Value,
    ) -> Result<Written, Refusal> {
        let target = self.target;
        if self.writing.manager.is_empty() {
            let cause = Cause::required("fieldManager", "is required for apply patch");
            return Err(Refusal::invalid(
                "PatchOptions",
                "meta.k8s.io",
                "",
                &[cause],
            ));
        }
        if !applied.items("/metadata/managedFields").is_empty() {
            return Err(Refusal::bad_request("metadata.managedFields must be nil"));
        }
        let kind = &target.kind;
        if applied.text("/apiVersion").is_empty() || applied.text("/kind").is_empty() {
            return Err(Refusal::bad_request(
                "apply: the body must have apiVersion and kind",
            ));
        }
        self.refuse_foreign(live.map(AsRef::as_ref), applied)?;
        self.refuse_undeclared(applied)?;
        let mut applied = applied.clone();
        self.keep_own_part(&mut applied);
        let apply = Apply {
            schema: kind.schema.as_ref(),
            who: Who {
                applies: true,
                ..self.who()
            },
            force: self.writing.force,
            now: self.now.clone(),
        };
        match live {
            Some(live) => {
                let new = apply.to(live, &applied)?;
                self.update_applied(live, new)
            }
            None if target.part != super::Part::Main => Err(target.not_found()),
            None => {
                let empty =
                    json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {}});
                let mut new = apply.to(&empty, &applied)?;
                for field in ["name", "namespace"] {
                    if let Some(value) = applied["metadata"].get(field) {
                        new.put(&["metadata", field], value.clone());
                    }
                }
                self.create(new)
            }
        }
    }

    /// A strict patch that brings fields nobody knows is refused as a patch, before the object that it would make.
    fn refuse_unknown(&self, new: &Value) -> Result<(), Refusal> {
        let (Unknown::Refuse, Some(schema)) = (self.writing.unknown, &self.target.kind.schema)
        else {
            return Ok(());
        };
        let unknown = prune::prune(schema, &mut new.clone());
        let unknown: Vec<String> = unknown
            .iter()
            .map(|field| format!("unknown field \"{field}\""))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let why = format!("strict decoding error: {}", unknown.join(", "));
        let cause = Cause::invalid("patch", &json!(new.to_string()), &why);
        Err(Refusal::invalid("", "", "", &[cause]))
    }

    /// What is applied must be declared, however lenient the client asks the server to be: owners are owners of fields.
    fn refuse_undeclared(&self, applied: &Value) -> Result<(), Refusal> {
        let kind = &self.target.kind;
        let Some(schema) = &kind.schema else {
            return Ok(());
        };
        let Some(first) = prune::prune(schema, &mut applied.clone())
            .into_iter()
            .next()
        else {
            return Ok(());
        };
        Err(Refusal::internal(format!(
            "failed to create typed patch object ({}/{}; {}, Kind={}): .{first}: field not declared in schema",
            applied.namespace(),
            applied.name(),
            kind.api_version(),
            kind.kind
        )))
    }

    /// An apply that names a uid or version means that object and no other.
    fn refuse_foreign(&self, live: Option<&Value>, applied: &Value) -> Result<(), Refusal> {
        for field in ["uid", "resourceVersion"] {
            let wanted = applied["metadata"].text(&format!("/{field}"));
            let found = live.map_or("", |live| live["metadata"].text(&format!("/{field}")));
            if !wanted.is_empty() && wanted != found {
                let why = match (field, live) {
                    ("uid", None) => format!(
                        "uid mismatch: the provided object specified uid {wanted}, and no existing object was found"
                    ),
                    ("uid", Some(_)) => format!(
                        "Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
                    ),
                    _ => "the object has been modified; please apply your changes to the latest version and try again".to_owned(),
                };
                return Err(self.target.conflict(&why));
            }
        }
        Ok(())
    }

    /// Fields that this door does not write are not owned by who comes through it.
    fn keep_own_part(&self, applied: &mut Value) {
        match self.target.part {
            super::Part::Main if self.target.kind.status => {
                applied.take_away(&["status"]);
            }
            super::Part::Status => {
                let roots: Vec<String> = applied
                    .as_object()
                    .map(|map| map.keys().cloned().collect())
                    .unwrap_or_default();
                for root in roots {
                    if !["apiVersion", "kind", "metadata", "status"].contains(&root.as_str()) {
                        applied.take_away(&[&root]);
                    }
                }
                let name = applied.name().to_owned();
                applied.put(&["metadata"], json!({"name": name}));
            }
            _ => {}
        }
    }
}

/// The live object with a patch on it.
pub(crate) fn patched(target: &Target, live: &Value, patch: &Patch) -> Result<Value, Refusal> {
    let mut new = live.clone();
    match patch {
        Patch::Json(operations) => {
            let operations: json_patch::Patch = serde_json::from_value(operations.clone())
                .map_err(|e| Refusal::bad_request(format!("the JSON patch cannot be read: {e}")))?;
            json_patch::patch(&mut new, &operations).map_err(|_| {
                // The real one keeps to itself which operation it was, too.
                let why = "the server rejected our request due to an error in our request";
                let mut refusal = Refusal::new(422, "Invalid", why);
                refusal.details = json!({});
                refusal
            })?;
        }
        Patch::Merge(merge) => json_patch::merge(&mut new, merge),
        Patch::Strategic(_) if target.kind.custom => {
            return Err(Refusal::new(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            ));
        }
        Patch::Strategic(merge) => {
            new = strategic(target.kind.schema.as_ref(), &new, merge).unwrap_or(Value::Null);
        }
        Patch::Apply(_) => {}
    }
    // Versions in a patch are preconditions; without one the patch stands on what it found.
    Ok(new)
}

/// Merges a strategic patch; `None` when the patch deletes the value.
fn strategic(schema: Option<&Schema>, live: &Value, patch: &Value) -> Option<Value> {
    match (live, patch) {
        (_, Value::Null) => None,
        (_, Value::Object(new)) if new.get("$patch") == Some(&json!("delete")) => None,
        (Value::Object(old), Value::Object(new))
            if new.get("$patch") != Some(&json!("replace")) =>
        {
            Some(Value::Object(merge_maps(schema, old, new)))
        }
        (_, Value::Object(new)) => Some(Value::Object(merge_maps(schema, &Map::new(), new))),
        (Value::Array(old), Value::Array(new)) => Some(merge_lists(schema, old, new)),
        _ => Some(patch.clone()),
    }
}

fn merge_maps(
    schema: Option<&Schema>,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
) -> Map<String, Value> {
    let mut merged = old.clone();
    let plain = new.iter().filter(|(name, _)| !name.starts_with('$'));
    for (name, value) in plain {
        let schema = schema.and_then(|s| s.child(name)).map(AsRef::as_ref);
        let before = merged.get(name).cloned().unwrap_or(Value::Null);
        match strategic(schema, &before, value) {
            Some(value) => merged.insert(name.clone(), value),
            None => merged.remove(name),
        };
    }
    for (name, value) in new {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/")
            && let Some(Value::Array(items)) = merged.get_mut(list)
        {
            let gone = value.as_array().cloned().unwrap_or_default();
            items.retain(|item| !gone.contains(item));
        }
        if name == "$retainKeys" {
            let kept = value.as_array().cloned().unwrap_or_default();
            merged.retain(|key, _| kept.contains(&json!(key)));
        }
    }
    merged
}

fn merge_lists(schema: Option<&Schema>, old: &[Value], new: &[Value]) -> Value {
    let keys = match schema.map(|s| &s.list) {
        Some(ListKind::Map(keys)) => keys,
        Some(ListKind::Set) => {
            let mut all = old.to_vec();
            all.extend(new.iter().filter(|item| !old.contains(item)).cloned());
            return Value::Array(all);
        }
        _ => return Value::Array(new.to_vec()),
    };
    let element = schema.and_then(|s| s.items.as_deref());
    if new.iter().any(|item| item == &json!({"$patch": "replace"})) {
        let kept = new.iter().filter(|item| item.get("$patch").is_none());
        return Value::Array(kept.cloned().collect());
    }
    // The first key alone tells items apart in strategic merge patches, older than the keys of apply.
    let key = keys[0].as_str();
    let mut merged = old.to_vec();
    for item in new {
        let at = merged.iter().position(|m| m[key] == item[key]);
        let before = at.map_or(Value::Null, |at| merged[at].clone());
        match (at, strategic(element, &before, item)) {
            (Some(at), Some(value)) => merged[at] = value,
            (Some(at), None) => {
                merged.remove(at);
            }
            (None, Some(value)) => merged.push(value),
            (None, None) => {}
        }
    }
    Value::Array(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Registry;

    #[test]
    fn strategic_patches_merge_containers_by_name() {
        let registry = Registry::built_in();
        let schema = registry.by_path("", "v1", "pods").unwrap().schema.as_ref();
        let live = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}});
        let patch = json!({"spec": {"containers": [
            {"name": "a", "image": "2"}, {"name": "b", "$patch": "delete"}, {"name": "c"}]}});
        assert_eq!(
            strategic(schema, &live, &patch).unwrap(),
            json!({"spec": {"containers": [{"name": "a", "image": "2"}, {"name": "c"}]}})
        );
    }
}
