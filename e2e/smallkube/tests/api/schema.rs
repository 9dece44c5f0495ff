//! Custom resources and their schemas: defaults, pruning, validation, CEL with transition rules.

use crate::setting::{Setting, refusal, replicas};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams, ValidationDirective};
use serde_json::{Value, json};

pub(crate) async fn defaults_are_filled_and_unknown_fields_pruned(at: Setting) {
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
        ..PatchParams::default()
    };
    let misspelled = Patch::Merge(json!({"spec": {"replicsa": 3}}));
    let (code, _, message) = refusal(things.patch("t", &strict, &misspelled).await);
    assert_eq!(code, 422, "{message}");
    assert!(
        message.contains("unknown field \"spec.replicsa\""),
        "{message}"
    );
    let misspelled = Patch::Apply(at.thing("t", json!({"replicsa": 3})));
    let lenient = PatchParams::apply("me");
    let (code, _, message) = refusal(things.patch("t", &lenient, &misspelled).await);
    assert_eq!(code, 500, "an apply knows no leniency: {message}");
    assert!(
        message.ends_with(".spec.replicsa: field not declared in schema"),
        "{message}"
    );
}

pub(crate) async fn what_breaks_the_schema_is_invalid_with_its_field(at: Setting) {
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

pub(crate) async fn rules_judge_objects_and_their_changes(at: Setting) {
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

pub(crate) async fn conditions_are_a_list_by_type(at: Setting) {
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

/// Tries to define a kind with a schema; the refusal.
async fn refused_definition(at: &Setting, name: &str, spec: Value) -> (u16, String) {
    let group = format!("{}.example.com", at.namespace);
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": name.replace("GROUP", &group)},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]},
    });
    let definition: CustomResourceDefinition = serde_json::from_value(definition).unwrap();
    let crds: Api<CustomResourceDefinition> = Api::all(at.client.clone());
    let (code, _, message) = refusal(crds.create(&PostParams::default(), &definition).await);
    (code, message)
}

pub(crate) async fn a_definition_that_cannot_work_is_refused(at: Setting) {
    let typeless = json!({"type": "object", "properties": {"a": {"description": "what?"}}});
    let (code, message) = refused_definition(&at, "things.GROUP", typeless).await;
    assert_eq!(code, 422);
    assert!(
        message.contains("must not be empty for specified object fields"),
        "{message}"
    );
    let broken = json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.a ==", "message": "x"}]});
    let (code, message) = refused_definition(&at, "things.GROUP", broken).await;
    assert_eq!(code, 422, "{message}");
    let (code, message) = refused_definition(&at, "other.GROUP", json!({"type": "object"})).await;
    assert_eq!(code, 422);
    assert!(message.contains("must be spec.names.plural+"), "{message}");
}

pub(crate) async fn a_changed_definition_holds_from_the_next_write_on(at: Setting) {
    let things = at.define(replicas()).await;
    things
        .create(
            &PostParams::default(),
            &at.thing("t", json!({"replicas": 5})),
        )
        .await
        .unwrap();
    let crds: Api<CustomResourceDefinition> = Api::all(at.client.clone());
    let lower = json!([{"op": "replace", "value": 4,
        "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/replicas/maximum"}]);
    let lower = Patch::<()>::Json(serde_json::from_value(lower).unwrap());
    let name = format!("things.{}.example.com", at.namespace);
    crds.patch(&name, &PatchParams::default(), &lower)
        .await
        .unwrap();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    crate::setting::until("five is too many", async || {
        things
            .create(&dry, &at.thing("u", json!({"replicas": 5})))
            .await
            .is_err()
    })
    .await;
    let label = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    let kept = things.patch("t", &PatchParams::default(), &label).await;
    assert!(
        kept.is_ok(),
        "what stood before and is not touched may stay: {kept:?}"
    );
}

texts![
    defaults_are_filled_and_unknown_fields_pruned,
    what_breaks_the_schema_is_invalid_with_its_field,
    rules_judge_objects_and_their_changes,
    conditions_are_a_list_by_type,
    a_definition_that_cannot_work_is_refused,
    a_changed_definition_holds_from_the_next_write_on,
];
