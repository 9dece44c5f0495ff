//! Drops fields that the schema does not know, and names them for strict clients.
//!
//! It deliberately leaves open places alone (`x-kubernetes-preserve-unknown-fields`, maps with free keys).

use super::{Form, Schema};
use serde_json::Value;

/// The identity of an object, which every root and embedded object may carry.
const IDENTITY: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Removes unknown fields and answers their paths, e.g. `spec.replicsa`.
pub(crate) fn prune(schema: &Schema, value: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    walk(schema, value, "", &mut unknown);
    unknown
}

fn walk(schema: &Schema, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let free = schema.open || schema.values.is_some() || schema.form == Form::Any;
            map.retain(|name, _| {
                let known = free
                    || schema.properties.contains_key(name)
                    || (schema.embedded && IDENTITY.contains(&name.as_str()));
                if !known {
                    unknown.push(join(path, name));
                }
                known
            });
            for (name, field) in map.iter_mut() {
                if let Some(child) = schema.child(name) {
                    walk(child, field, &join(path, name), unknown);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for (at, item) in items.iter_mut().enumerate() {
                    walk(schema, item, &format!("{path}[{at}]"), unknown);
                }
            }
        }
        _ => {}
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_fields_go_and_are_named() {
        let schema = Schema::compile(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
                "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "map": {"type": "object", "additionalProperties": {"type": "string"}},
            }},
        }}))
        .unwrap();
        let mut value = json!({"spec": {
            "list": [{"a": "x", "b": 1}], "open": {"any": 1}, "map": {"k": "v"}, "replicsa": 3,
        }});
        let mut unknown = prune(&schema, &mut value);
        unknown.sort();
        assert_eq!(unknown, ["spec.list[0].b", "spec.replicsa"]);
        assert_eq!(
            value,
            json!({"spec": {"list": [{"a": "x"}], "open": {"any": 1}, "map": {"k": "v"}}})
        );
    }
}
