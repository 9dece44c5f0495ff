//! Fills in a schema's defaults, as the API server does on every write and read.
//!
//! A default of an object that is itself absent applies only when that object has a default of its own. A null where none
//! is allowed counts as absent. It deliberately never overwrites a value that is there.

use super::Schema;
use serde_json::Value;

/// Puts every default of the schema where its field is missing.
pub(crate) fn fill(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|name, field| {
                let known = schema.properties.get(name);
                !field.is_null() || known.is_none_or(|child| child.nullable)
            });
            for (name, child) in &schema.properties {
                if let (false, Some(default)) = (map.contains_key(name), &child.default) {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, field) in map.iter_mut() {
                if let Some(child) = schema.child(name) {
                    fill(child, field);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                items.iter_mut().for_each(|item| fill(schema, item));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_reach_into_what_is_there_and_only_that() {
        let schema = Schema::compile(&json!({"type": "object", "properties": {
            "a": {"type": "integer", "default": 1},
            "b": {"type": "object", "properties": {"c": {"type": "string", "default": "x"}}},
            "d": {"type": "object", "default": {}, "properties": {"e": {"type": "boolean", "default": true}}},
            "f": {"type": "array", "items": {"type": "object", "properties": {"g": {"type": "integer", "default": 7}}}},
        }}))
        .unwrap();
        let mut value = json!({"a": null, "b": null, "f": [{}]});
        fill(&schema, &mut value);
        assert_eq!(value, json!({"a": 1, "d": {"e": true}, "f": [{"g": 7}]}));
    }
}
