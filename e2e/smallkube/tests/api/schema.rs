//! Custom resources and their schemas: defaults, pruning, validation, CEL with transition rules.

use crate::setting::{Setting, refusal, replicas};
use kube::api::{Patch, PatchParams, PostParams, ValidationDirective};
use serde_json::json;

#[tokio::test]
async fn defaults_are_filled_and_unknown_fields_pruned() {
    let at = Setting::new().await;
    let things = at.define(replicas()).await;
    let made = things
        .create(
            &PostParams::default(),
            &at.thing("t", json!({"replicsa": 3})),
        )
        .await
        .unwrap();
    assert_eq!(made.data["spec"], json!({"replicas": 1}));
    let strict = PatchParams {
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("me")
    };
    let misspelled = Patch::Apply(at.thing("t", json!({"replicsa": 3})));
    let (code, _, message) = refusal(things.patch("t", &strict, &misspelled).await);
    assert_eq!(code, 400);
    assert!(
        message.contains("unknown field \"spec.replicsa\""),
        "{message}"
    );
}

#[tokio::test]
async fn what_breaks_the_schema_is_invalid_with_its_field() {
    let at = Setting::new().await;
    let things = at.define(replicas()).await;
    let answer = things
        .create(
            &PostParams::default(),
            &at.thing("t", json!({"replicas": 10})),
        )
        .await;
    let kube::Error::Api(status) = answer.unwrap_err() else {
        panic!("refused by the API")
    };
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    let causes = status.details.unwrap().causes;
    assert_eq!(causes[0].field, "spec.replicas");
    assert_eq!(
        causes[0].message,
        "Invalid value: 10: spec.replicas in body should be less than or equal to 9"
    );
    let answer = things
        .create(
            &PostParams::default(),
            &at.thing("t", json!({"replicas": "three"})),
        )
        .await;
    let (code, _, message) = refusal(answer);
    assert_eq!(code, 422);
    assert!(
        message.contains("must be of type integer: \"string\""),
        "{message}"
    );
}

#[tokio::test]
async fn rules_judge_objects_and_their_changes() {
    let at = Setting::new().await;
    let things = at
        .define(json!({"type": "object", "properties": {"spec": {"type": "object",
            "properties": {
                "min": {"type": "integer"}, "max": {"type": "integer"},
                "class": {"type": "string", "x-kubernetes-validations": [
                    {"rule": "self == oldSelf", "message": "class cannot change: make a new Thing"}]}},
            "x-kubernetes-validations": [
                {"rule": "!has(self.min) || !has(self.max) || self.min <= self.max",
                 "message": "min must not be above max"}]}}}))
        .await;
    let bad = things
        .create(
            &PostParams::default(),
            &at.thing("t", json!({"min": 3, "max": 2})),
        )
        .await;
    let (code, reason, message) = refusal(bad);
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
    assert!(
        message.ends_with("is invalid: spec: Invalid value: \"object\": min must not be above max")
            || message.contains("spec: Invalid value:"),
        "{message}"
    );
    things
        .create(
            &PostParams::default(),
            &at.thing("t", json!({"class": "a"})),
        )
        .await
        .unwrap();
    let change = Patch::Merge(json!({"spec": {"class": "b"}}));
    let (code, _, message) = refusal(things.patch("t", &PatchParams::default(), &change).await);
    assert_eq!(code, 422);
    assert!(
        message.contains("class cannot change: make a new Thing"),
        "{message}"
    );
}

#[tokio::test]
async fn conditions_are_a_list_by_type() {
    let at = Setting::new().await;
    let things = at
        .define(json!({"type": "object", "properties": {
            "spec": {"type": "object"},
            "status": {"type": "object", "properties": {"conditions": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                "items": {"type": "object", "required": ["type"], "properties": {
                    "type": {"type": "string"}, "status": {"type": "string"}}}}}}}}))
        .await;
    things
        .create(&PostParams::default(), &at.thing("t", json!({})))
        .await
        .unwrap();
    let apply = async |manager: &str, form: &str| {
        let mut thing = at.thing("t", json!({}));
        thing.data = json!({"status": {"conditions": [{"type": form, "status": "True"}]}});
        things
            .patch_status("t", &PatchParams::apply(manager), &Patch::Apply(&thing))
            .await
            .unwrap()
    };
    apply("one", "Ready").await;
    let both = apply("two", "Available").await;
    assert_eq!(
        both.data["status"]["conditions"].as_array().map(Vec::len),
        Some(2)
    );
}
