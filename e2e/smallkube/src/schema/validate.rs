//! Checks a value against its schema and answers every cause, worded as the API server words it.
//!
//! It deliberately does not run CEL rules; [`super::cel`] does, and only on objects that passed here.

use super::{Form, Limits, Schema};
use crate::refusal::Cause;
use serde_json::{Map, Value};

/// Every way in which the value breaks the schema.
pub(crate) fn check(schema: &Schema, value: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    walk(schema, value, "", &mut causes);
    causes
}

fn walk(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if value.is_null() && (schema.nullable || path.is_empty()) {
        return;
    }
    if !has_form(schema.form, value) {
        causes.push(wrong_type(schema.form, value, path));
        return;
    }
    limits(&schema.limits, value, path, causes);
    junctors(&schema.limits, value, path, causes);
    match value {
        Value::Object(map) => object(schema, map, path, causes),
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for (at, item) in items.iter().enumerate() {
                    walk(schema, item, &format!("{path}[{at}]"), causes);
                }
            }
            list(schema, items, path, causes);
        }
        _ => {}
    }
}

fn has_form(form: Form, value: &Value) -> bool {
    match form {
        Form::Any => true,
        Form::Object => value.is_object(),
        Form::Array => value.is_array(),
        Form::Text => value.is_string(),
        Form::Boolean => value.is_boolean(),
        Form::Number => value.is_number(),
        Form::Integer => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        Form::IntOrText => value.is_string() || value.is_i64() || value.is_u64() || value.is_f64(),
    }
}

fn wrong_type(form: Form, value: &Value, path: &str) -> Cause {
    let wanted = match form {
        Form::Object => "object",
        Form::Array => "array",
        Form::Text => "string",
        Form::Integer => "integer",
        Form::Number => "number",
        Form::Boolean => "boolean",
        Form::IntOrText => "integer,string",
        Form::Any => "any",
    };
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let place = if path.is_empty() { "<nil>" } else { path };
    Cause::new(
        "FieldValueTypeInvalid",
        place,
        format!(
            "Invalid value: \"{found}\": {place} in body must be of type {wanted}: \"{found}\""
        ),
    )
}

fn object(schema: &Schema, map: &Map<String, Value>, path: &str, causes: &mut Vec<Cause>) {
    for (name, value) in map {
        if let Some(child) = schema.child(name) {
            walk(child, value, &join(path, name), causes);
        }
    }
    for name in &schema.limits.required {
        if !map.contains_key(name) {
            causes.push(Cause::required(&join(path, name), ""));
        }
    }
}

/// Items of sets and keyed lists must differ, or nobody could own one of them.
fn list(schema: &Schema, items: &[Value], path: &str, causes: &mut Vec<Cause>) {
    let mut seen: Vec<Value> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let identity = match &schema.list {
            super::ListKind::Atomic => return,
            super::ListKind::Set => item.clone(),
            super::ListKind::Map(keys) => {
                Value::Array(keys.iter().map(|k| item[k.as_str()].clone()).collect())
            }
        };
        if seen.contains(&identity) {
            let place = format!("{path}[{at}]");
            causes.push(Cause::new(
                "FieldValueDuplicate",
                &place,
                format!("Duplicate value: {}", identity_text(schema, item)),
            ));
        }
        seen.push(identity);
    }
}

fn identity_text(schema: &Schema, item: &Value) -> String {
    match &schema.list {
        super::ListKind::Map(keys) => {
            let named: Map<String, Value> = keys
                .iter()
                .map(|k| (k.clone(), item[k.as_str()].clone()))
                .collect();
            Value::Object(named).to_string()
        }
        _ => item.to_string(),
    }
}

fn limits(limits: &Limits, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if !limits.allowed.is_empty() && !limits.allowed.contains(value) {
        let allowed: Vec<String> = limits.allowed.iter().map(Value::to_string).collect();
        causes.push(Cause::new(
            "FieldValueNotSupported",
            path,
            format!(
                "Unsupported value: {value}: supported values: {}",
                allowed.join(", ")
            ),
        ));
    }
    let mut say = |why: String| causes.push(Cause::invalid(path, value, &why));
    match value {
        Value::Number(_) => number(limits, value.as_f64().unwrap_or_default(), path, &mut say),
        Value::String(text) => string(limits, text, path, &mut say),
        Value::Array(items) => {
            let unique = items
                .iter()
                .enumerate()
                .all(|(i, a)| !items[..i].contains(a));
            if limits.unique && !unique {
                say(format!("{path} in body shouldn't contain duplicates"));
            }
            sizes(limits.items, items.len(), path, "items", &mut say);
        }
        Value::Object(map) => sizes(limits.properties, map.len(), path, "properties", &mut say),
        _ => {}
    }
}

fn number(limits: &Limits, n: f64, path: &str, say: &mut impl FnMut(String)) {
    if let Some((minimum, exclusive)) = limits.minimum
        && (n < minimum || (exclusive && n == minimum))
    {
        let or_equal = if exclusive { "" } else { " or equal to" };
        say(format!(
            "{path} in body should be greater than{or_equal} {minimum}"
        ));
    }
    if let Some((maximum, exclusive)) = limits.maximum
        && (n > maximum || (exclusive && n == maximum))
    {
        let or_equal = if exclusive { "" } else { " or equal to" };
        say(format!(
            "{path} in body should be less than{or_equal} {maximum}"
        ));
    }
    if let Some(step) = limits.multiple_of
        && step != 0.0
        && (n / step).fract() != 0.0
    {
        say(format!("{path} in body should be a multiple of {step}"));
    }
}

fn string(limits: &Limits, text: &str, path: &str, say: &mut impl FnMut(String)) {
    let length = text.chars().count() as u64;
    if limits.length.0.is_some_and(|least| length < least) {
        let least = limits.length.0.unwrap_or_default();
        say(format!(
            "{path} in body should be at least {least} chars long"
        ));
    }
    if limits.length.1.is_some_and(|most| length > most) {
        let most = limits.length.1.unwrap_or_default();
        say(format!(
            "{path} in body should be at most {most} chars long"
        ));
    }
    if let Some(pattern) = &limits.pattern
        && !pattern.is_match(text)
    {
        say(format!("{path} in body should match '{pattern}'"));
    }
    if limits.format == "date-time" && text.parse::<jiff::Timestamp>().is_err() {
        say(format!(
            "{path} in body must be of type date-time: {text:?}"
        ));
    }
}

fn sizes(
    (least, most): (Option<u64>, Option<u64>),
    found: usize,
    path: &str,
    what: &str,
    say: &mut impl FnMut(String),
) {
    if let Some(least) = least.filter(|n| (found as u64) < *n) {
        say(format!(
            "{path} in body should have at least {least} {what}"
        ));
    }
    if let Some(most) = most.filter(|n| (found as u64) > *n) {
        say(format!("{path} in body should have at most {most} {what}"));
    }
}

fn junctors(limits: &Limits, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    for branch in &limits.all_of {
        walk(branch, value, path, causes);
    }
    let fits = |branch: &Schema| check(branch, value).is_empty();
    let mut say = |why: &str| {
        causes.push(Cause::invalid(
            path,
            value,
            &format!("{path} in body {why}"),
        ));
    };
    if !limits.any_of.is_empty() && !limits.any_of.iter().any(|b| fits(b)) {
        say("must validate at least one schema (anyOf)");
    }
    if !limits.one_of.is_empty() && limits.one_of.iter().filter(|b| fits(b)).count() != 1 {
        say("must validate one and only one schema (oneOf)");
    }
    if limits.not.as_ref().is_some_and(|b| fits(b)) {
        say("must not validate the schema (not)");
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

    fn said(schema: Value, value: Value) -> Vec<String> {
        let schema = Schema::compile(&schema).unwrap();
        let causes = check(&schema, &value);
        causes
            .iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect()
    }

    #[test]
    fn sentences_are_the_api_servers() {
        let schema = json!({"type": "object", "required": ["name"], "properties": {
            "replicas": {"type": "integer", "minimum": 1, "maximum": 9},
            "engine": {"type": "string", "enum": ["Quorate", "Etcd"]},
            "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 3},
            "port": {"x-kubernetes-int-or-string": true},
        }});
        assert_eq!(
            said(
                schema,
                json!({"replicas": 0, "engine": "Zoo", "port": true})
            ),
            [
                "engine: Unsupported value: \"Zoo\": supported values: \"Quorate\", \"Etcd\"",
                "port: Invalid value: \"boolean\": port in body must be of type integer,string: \"boolean\"",
                "replicas: Invalid value: 0: replicas in body should be greater than or equal to 1",
                "name: Required value",
            ]
        );
    }

    #[test]
    fn keyed_lists_refuse_doubles() {
        let schema = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
            "items": {"type": "object", "properties": {"type": {"type": "string"}}}});
        assert_eq!(
            said(schema, json!([{"type": "Ready"}, {"type": "Ready"}])),
            ["[1]: Duplicate value: {\"type\":\"Ready\"}"]
        );
    }

    #[test]
    fn junctors_count_their_branches() {
        let schema = json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
            "x-kubernetes-preserve-unknown-fields": true});
        assert!(said(schema.clone(), json!({"a": 1})).is_empty());
        assert_eq!(said(schema, json!({"a": 1, "b": 1})).len(), 1);
    }
}
