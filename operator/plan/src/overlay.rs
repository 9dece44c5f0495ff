//! Merging the user's partial pod over the rendered one.
//!
//! Maps merge by key, and the overlay wins. Lists of named things merge by name, environment and mounts included; other
//! lists are appended. Nothing can be removed, not by null either: what the
//! operator renders, it needs.
//!
//! This file deliberately does not know which keys are reserved: the schema refuses those, and `spec.rs` checks again.

use serde_json::{Map, Value};

/// Merges `over` into `under`.
pub(crate) fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (_, Value::Null) => {}
        (Value::Object(under), Value::Object(over)) => merge_maps(under, over),
        (Value::Array(under), Value::Array(over)) => {
            over.iter().for_each(|item| merge_item(under, item))
        }
        (under, over) => under.clone_from(over),
    }
}

fn merge_maps(under: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match under.get_mut(key) {
            Some(existing) => merge(existing, value),
            None => {
                under.insert(key.clone(), value.clone());
            }
        }
    }
}

fn merge_item(under: &mut Vec<Value>, item: &Value) {
    let same = identity(item).and_then(|key| under.iter_mut().find(|it| identity(it) == Some(key)));
    match same {
        Some(existing) => merge(existing, item),
        None => under.push(item.clone()),
    }
}

/// What tells an item of a list from the others: a mount by where it is mounted, anything else by its name.
fn identity(item: &Value) -> Option<&str> {
    item.get("mountPath")
        .or_else(|| item.get("name"))
        .and_then(Value::as_str)
}

/// Paths in `over` that are not in `typed`, which is `over` after a round trip through the typed object: fields that are
/// none.
pub(crate) fn unknown(over: &Value, typed: &Value, path: &str) -> Vec<String> {
    match (over, typed) {
        (Value::Object(over), Value::Object(typed)) => over
            .iter()
            .flat_map(|(key, value)| {
                let path = format!("{path}.{key}");
                match typed.get(key) {
                    Some(typed) => unknown(value, typed, &path),
                    None if empty(value) => Vec::new(),
                    None => vec![path],
                }
            })
            .collect(),
        (Value::Array(over), Value::Array(typed)) => over
            .iter()
            .zip(typed)
            .enumerate()
            .flat_map(|(index, (over, typed))| unknown(over, typed, &format!("{path}[{index}]")))
            .collect(),
        _ => Vec::new(),
    }
}

/// Values that a typed object leaves out when it is written.
fn empty(value: &Value) -> bool {
    value.is_null()
        || value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(Map::is_empty)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_merge_named_lists_merge_by_name_other_lists_are_appended() {
        let mut pod = json!({
            "containers": [{"name": "member", "env": [{"name": "POD_IP", "value": "1"}]}],
            "tolerations": [{"key": "a"}],
            "securityContext": {"fsGroup": 1},
        });
        merge(
            &mut pod,
            &json!({
                "containers": [
                    {"name": "member", "env": [{"name": "TZ", "value": "UTC"}]},
                    {"name": "sidecar", "image": "x:1"},
                ],
                "tolerations": [{"key": "b"}],
                "securityContext": {"fsGroup": 2},
            }),
        );
        assert_eq!(
            pod,
            json!({
                "containers": [
                    {"name": "member", "env": [{"name": "POD_IP", "value": "1"}, {"name": "TZ", "value": "UTC"}]},
                    {"name": "sidecar", "image": "x:1"},
                ],
                "tolerations": [{"key": "a"}, {"key": "b"}],
                "securityContext": {"fsGroup": 2},
            })
        );
    }

    #[test]
    fn mounts_are_told_by_their_path() {
        let mut container = json!({"volumeMounts": [{"name": "data", "mountPath": "/a"}]});
        merge(
            &mut container,
            &json!({"volumeMounts": [{"name": "data", "mountPath": "/b"}]}),
        );
        assert_eq!(container["volumeMounts"].as_array().unwrap().len(), 2);
    }
}
