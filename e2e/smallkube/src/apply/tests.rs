//! What an apply keeps, takes and refuses, told by small objects.

use super::*;
use serde_json::json;

fn schema() -> Schema {
    Schema::compile(&json!({"type": "object", "properties": {
        "apiVersion": {"type": "string"}, "kind": {"type": "string"},
        "metadata": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "spec": {"type": "object", "properties": {
            "a": {"type": "integer"}, "b": {"type": "integer"},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"],
                "items": {"type": "object", "properties": {"port": {"type": "integer"}, "name": {"type": "string"}}}},
        }},
    }}))
    .unwrap()
}

fn apply(live: &Value, manager: &str, force: bool, applied: Value) -> Result<Value, Refusal> {
    let schema = schema();
    Apply {
        schema: Some(&schema),
        who: who(manager, true),
        force,
        now: "2026-01-01T00:00:00Z".to_owned(),
    }
    .to(live, &applied)
}

fn who(manager: &str, applies: bool) -> Who {
    Who {
        manager: manager.to_owned(),
        applies,
        api_version: "x/v1".to_owned(),
        subresource: String::new(),
    }
}

fn thing(spec: Value) -> Value {
    json!({"apiVersion": "x/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": spec})
}

#[test]
fn what_is_applied_no_more_goes() {
    let live = apply(
        &thing(json!({})),
        "one",
        false,
        thing(json!({"a": 1, "b": 2})),
    )
    .unwrap();
    let live = apply(&live, "one", false, thing(json!({"a": 1}))).unwrap();
    assert_eq!(live["spec"], json!({"a": 1}));
}

#[test]
fn what_another_owns_too_stays() {
    let live = apply(
        &thing(json!({})),
        "one",
        false,
        thing(json!({"a": 1, "b": 2})),
    )
    .unwrap();
    let live = apply(&live, "two", false, thing(json!({"b": 2}))).unwrap();
    let live = apply(&live, "one", false, thing(json!({"a": 1}))).unwrap();
    assert_eq!(live["spec"], json!({"a": 1, "b": 2}));
    let live = apply(&live, "two", false, thing(json!({}))).unwrap();
    assert_eq!(live["spec"], json!({"a": 1}));
}

#[test]
fn a_different_value_conflicts_until_forced() {
    let live = apply(&thing(json!({})), "one", false, thing(json!({"a": 1}))).unwrap();
    let refusal = apply(&live, "two", false, thing(json!({"a": 2}))).unwrap_err();
    assert_eq!(refusal.code, 409);
    assert_eq!(
        refusal.message,
        "Apply failed with 1 conflict: conflict with \"one\": .spec.a"
    );
    let live = apply(&live, "two", true, thing(json!({"a": 2}))).unwrap();
    assert_eq!(live["spec"]["a"], 2);
    let owners = managers::read(&live);
    assert_eq!(owners.len(), 1);
    assert_eq!(owners[0].who.manager, "two");
}

#[test]
fn keyed_items_go_as_a_whole_and_alone() {
    let ports = json!({"ports": [{"port": 1, "name": "x"}, {"port": 2, "name": "y"}]});
    let live = apply(&thing(json!({})), "one", false, thing(ports)).unwrap();
    let live = apply(
        &live,
        "one",
        false,
        thing(json!({"ports": [{"port": 2, "name": "y"}]})),
    )
    .unwrap();
    assert_eq!(live["spec"]["ports"], json!([{"port": 2, "name": "y"}]));
}

#[test]
fn the_same_again_changes_nothing() {
    let live = apply(&thing(json!({})), "one", false, thing(json!({"a": 1}))).unwrap();
    assert_eq!(
        apply(&live, "one", false, thing(json!({"a": 1}))).unwrap(),
        live
    );
}

#[test]
fn an_update_takes_over_what_it_changes() {
    let live = apply(
        &thing(json!({})),
        "one",
        false,
        thing(json!({"a": 1, "b": 1})),
    )
    .unwrap();
    let mut new = live.clone();
    new["spec"]["a"] = json!(5);
    let schema = schema();
    record_update(Some(&schema), &live, &mut new, &who("edit", false), "now");
    let refusal = apply(&new, "one", false, thing(json!({"a": 1, "b": 1}))).unwrap_err();
    assert_eq!(
        refusal.message,
        "Apply failed with 1 conflict: conflict with \"edit\" using x/v1: .spec.a"
    );
    assert!(apply(&new, "one", false, thing(json!({"b": 1}))).is_ok());
}
