//! `/openapi/v3`, as far as `kubectl apply` and `kubectl explain` need it.
//!
//! Each document has the operations of its kinds with the parameters they take, and the schemas of custom kinds. It
//! deliberately does not describe the fields of built-in kinds: `kubectl` has those compiled in.

use crate::kinds::Kind;
use crate::refusal::Refusal;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The list of documents.
pub(super) fn index(kinds: &[Arc<Kind>]) -> Value {
    let mut paths = Map::new();
    for kind in kinds {
        let place = place(&kind.group, &kind.version);
        paths.insert(
            place.clone(),
            json!({"serverRelativeURL": format!("/openapi/v3/{place}")}),
        );
    }
    json!({ "paths": paths })
}

/// The document of one group and version.
pub(super) fn document(kinds: &[Arc<Kind>], group: &str, version: &str) -> Result<Value, Refusal> {
    let served = kinds
        .iter()
        .filter(|k| k.group == group && k.version == version);
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for kind in served {
        let base = if kind.namespaced {
            format!(
                "/{}/namespaces/{{namespace}}/{}",
                place(group, version),
                kind.plural
            )
        } else {
            format!("/{}/{}", place(group, version), kind.plural)
        };
        let post = json!({"post": operation(kind, "post")});
        paths.insert(base.clone(), post);
        let one = json!({"patch": operation(kind, "patch"), "put": operation(kind, "put"), "get": operation(kind, "get")});
        paths.insert(format!("{base}/{{name}}"), one);
        schemas.insert(schema_name(kind), schema(kind));
    }
    if paths.is_empty() {
        return Err(Refusal::no_such_path());
    }
    Ok(json!({
        "openapi": "3.0.0", "info": {"title": "smallkube", "version": "v1.34.0"},
        "paths": paths, "components": {"schemas": schemas},
    }))
}

fn place(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

fn identity(kind: &Kind) -> Value {
    json!({"group": kind.group, "kind": kind.kind, "version": kind.version})
}

fn operation(kind: &Kind, verb: &str) -> Value {
    let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation"]
        .map(parameter)
        .to_vec();
    let reference = json!({"$ref": format!("#/components/schemas/{}", schema_name(kind))});
    json!({
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}},
        "x-kubernetes-action": verb,
        "x-kubernetes-group-version-kind": identity(kind),
    })
}

fn schema_name(kind: &Kind) -> String {
    let group = if kind.group.is_empty() {
        "core"
    } else {
        &kind.group
    };
    let reversed: Vec<&str> = group.split('.').rev().collect();
    format!("{}.{}.{}", reversed.join("."), kind.version, kind.kind)
}

fn schema(kind: &Kind) -> Value {
    let mut schema = if kind.source.is_object() {
        kind.source.clone()
    } else {
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    };
    schema["x-kubernetes-group-version-kind"] = json!([identity(kind)]);
    schema
}
