//! Server-side apply through the client: owners, conflicts, force, removal, and no write where nothing changes.

use crate::setting::{Setting, refusal, replicas};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

pub(crate) async fn an_apply_owns_what_it_sets_and_takes_it_along(at: Setting) {
    let maps = at.config_maps();
    let apply = async |manager: &str, data: Value| {
        maps.patch("a", &PatchParams::apply(manager), &Patch::Apply(map(data)))
            .await
    };
    let made = apply("one", json!({"k": "1", "l": "1"})).await.unwrap();
    let entry = &made.managed_fields()[0];
    assert_eq!(
        (entry.manager.as_deref(), entry.operation.as_deref()),
        (Some("one"), Some("Apply"))
    );
    assert_eq!(
        json!(entry.fields_v1),
        json!({"f:data": {"f:k": {}, "f:l": {}}})
    );
    let again = apply("one", json!({"k": "1", "l": "1"})).await.unwrap();
    assert_eq!(
        made.resource_version(),
        again.resource_version(),
        "the same again is no write"
    );
    apply("two", json!({"l": "1"})).await.unwrap();
    let left = apply("one", json!({"k": "1"})).await.unwrap();
    assert_eq!(
        json!(left.data),
        json!({"k": "1", "l": "1"}),
        "two owns l as well"
    );
    let left = apply("two", json!({})).await.unwrap();
    assert_eq!(json!(left.data), json!({"k": "1"}));
}

pub(crate) async fn a_conflict_names_who_and_what_and_yields_to_force(at: Setting) {
    let maps = at.config_maps();
    maps.patch(
        "a",
        &PatchParams::apply("one"),
        &Patch::Apply(map(json!({"k": "1"}))),
    )
    .await
    .unwrap();
    let other = Patch::Apply(map(json!({"k": "2"})));
    let (code, reason, message) =
        refusal(maps.patch("a", &PatchParams::apply("two"), &other).await);
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert_eq!(
        message,
        "Apply failed with 1 conflict: conflict with \"one\": .data.k"
    );
    let forced = maps
        .patch("a", &PatchParams::apply("two").force(), &other)
        .await
        .unwrap();
    let owners: Vec<_> = forced
        .managed_fields()
        .iter()
        .filter_map(|m| m.manager.clone())
        .collect();
    assert_eq!(owners, ["two"]);
}

pub(crate) async fn updates_own_what_they_change(at: Setting) {
    let maps = at.config_maps();
    maps.patch(
        "a",
        &PatchParams::apply("one"),
        &Patch::Apply(map(json!({"k": "1", "l": "1"}))),
    )
    .await
    .unwrap();
    let edit = PatchParams {
        field_manager: Some("edit".into()),
        ..PatchParams::default()
    };
    let edited = maps
        .patch("a", &edit, &Patch::Merge(json!({"data": {"k": "2"}})))
        .await
        .unwrap();
    assert_eq!(edited.managed_fields().len(), 2);
    let same = Patch::Apply(map(json!({"k": "1", "l": "1"})));
    let (code, _, message) = refusal(maps.patch("a", &PatchParams::apply("one"), &same).await);
    assert_eq!(code, 409);
    assert!(
        message.starts_with("Apply failed with 1 conflict: conflict with \"edit\" using v1"),
        "{message}"
    );
}

pub(crate) async fn lists_of_built_in_kinds_merge_by_their_keys(at: Setting) {
    let services: Api<Service> = Api::namespaced(at.client.clone(), &at.namespace);
    let service = |ports: Value| {
        Patch::Apply(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": ports}}),
        )
    };
    let two = json!([{"name": "a", "port": 1, "protocol": "TCP"}, {"name": "b", "port": 2, "protocol": "TCP"}]);
    let made = services
        .patch("s", &PatchParams::apply("one"), &service(two.clone()))
        .await
        .unwrap();
    let again = services
        .patch("s", &PatchParams::apply("one"), &service(two))
        .await
        .unwrap();
    assert_eq!(
        made.resource_version(),
        again.resource_version(),
        "defaults do not make it a write"
    );
    let one = json!([{"name": "b", "port": 2, "protocol": "TCP"}]);
    let left = services
        .patch("s", &PatchParams::apply("one"), &service(one))
        .await
        .unwrap();
    let ports = left.spec.unwrap().ports.unwrap();
    assert_eq!(ports.iter().map(|p| p.port).collect::<Vec<_>>(), [2]);
}

/// An operator that compares what it reads with what it has applied must find the same.
pub(crate) async fn network_policies_read_back_as_they_were_applied(at: Setting) {
    let policies: Api<NetworkPolicy> = Api::namespaced(at.client.clone(), &at.namespace);
    let port = |number: i32| json!({"port": number, "protocol": "TCP"});
    let spec = |from: Value| {
        json!({
            "podSelector": {
                "matchLabels": {"a": "b"},
                "matchExpressions": [{"key": "c", "operator": "Exists"}]},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": {"matchLabels": {"a": "b"}}}], "ports": [port(1), port(2)]},
                {"from": from, "ports": [port(3)]}]})
    };
    let apply = async |from: &Value| {
        let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "p"}, "spec": spec(from.clone())});
        let parameters = PatchParams::apply("one").force();
        policies
            .patch("p", &parameters, &Patch::Apply(policy))
            .await
            .unwrap()
    };
    let narrow = json!([{"podSelector": {}}, {
        "namespaceSelector": {"matchExpressions": [{"key": "d", "operator": "In", "values": ["y", "x"]}]},
        "podSelector": {"matchLabels": {"e": "f"}}}]);
    let made = apply(&narrow).await;
    assert_eq!(json!(made.spec), spec(narrow.clone()));
    let again = apply(&narrow).await;
    assert_eq!(made.resource_version(), again.resource_version());
    let wide = json!([{"namespaceSelector": {}}]);
    let changed = apply(&wide).await;
    assert_eq!(
        json!(changed.spec),
        spec(wide),
        "nothing is merged into rules"
    );
    assert_eq!(changed.metadata.generation, Some(2));
}

pub(crate) async fn pods_applied_twice_are_written_once(at: Setting) {
    let pods: Api<Pod> = Api::namespaced(at.client.clone(), &at.namespace);
    let pod = Patch::Apply(
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {"nodeSelector": {"never": "here"}, "containers": [{"name": "c", "image": "i:1", "args": ["x"],
            "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "ports": [{"containerPort": 2379, "name": "client"}],
            "readinessProbe": {"httpGet": {"port": 2381, "path": "/readyz"}}}]}}),
    );
    let params = PatchParams::apply("operator").force();
    let made = pods.patch("p", &params, &pod).await.unwrap();
    let generation = made.metadata.generation;
    let again = pods.patch("p", &params, &pod).await.unwrap();
    assert_eq!(again.metadata.generation, generation);
    let owned = |pod: &Pod| {
        let entries = pod.managed_fields();
        let own = entries
            .iter()
            .find(|m| m.manager.as_deref() == Some("operator"));
        json!(own.map(|m| (&m.fields_v1, &m.time)))
    };
    assert_eq!(owned(&again), owned(&made));
}

pub(crate) async fn a_status_is_applied_through_its_own_door(at: Setting) {
    let things = at.define(replicas()).await;
    things
        .create(
            &PostParams::default(),
            &at.thing("t", json!({"replicas": 3})),
        )
        .await
        .unwrap();
    let mut status = at.thing("t", json!({"replicas": 8}));
    status.data["status"] = json!({"phase": "Good"});
    let params = PatchParams::apply("operator").force();
    let after = things
        .patch_status("t", &params, &Patch::Apply(&status))
        .await
        .unwrap();
    assert_eq!(after.data["spec"]["replicas"], 3);
    assert_eq!(after.data["status"], json!({"phase": "Good"}));
    let entries = after.managed_fields();
    let own = entries
        .iter()
        .find(|m| m.manager.as_deref() == Some("operator"))
        .unwrap();
    assert_eq!(own.subresource.as_deref(), Some("status"));
    assert_eq!(json!(own.fields_v1), json!({"f:status": {"f:phase": {}}}));
    let again = things
        .patch_status("t", &params, &Patch::Apply(&status))
        .await
        .unwrap();
    assert_eq!(after.resource_version(), again.resource_version());
    status.data["status"] = json!({"other": 1});
    let changed = things
        .patch_status("t", &params, &Patch::Apply(&status))
        .await
        .unwrap();
    assert_eq!(
        changed.data["status"],
        json!({"other": 1}),
        "what it applies no more goes"
    );
}

pub(crate) async fn an_apply_with_a_foreign_uid_creates_nothing(at: Setting) {
    let maps = at.config_maps();
    let mut body = map(json!({"k": "1"}));
    body["metadata"]["uid"] = json!("11111111-1111-4111-8111-111111111111");
    let (code, _, _) = refusal(
        maps.patch("a", &PatchParams::apply("one"), &Patch::Apply(body))
            .await,
    );
    assert_eq!(code, 409);
    assert_eq!(refusal(maps.get("a").await).0, 404);
}

pub(crate) async fn owners_and_finalizers_are_applied_one_by_one(at: Setting) {
    let maps = at.config_maps();
    let owner = maps
        .create(
            &PostParams::default(),
            &crate::setting::config_map("owner", json!({})),
        )
        .await
        .unwrap();
    let owned = |manager: &'static str, finalizers: Value, owners: Value| {
        let mut body = map(json!({}));
        body.as_object_mut().unwrap().remove("data");
        body["metadata"]["finalizers"] = finalizers;
        body["metadata"]["ownerReferences"] = owners;
        let maps = maps.clone();
        async move {
            maps.patch("a", &PatchParams::apply(manager), &Patch::Apply(body))
                .await
                .unwrap()
        }
    };
    let reference = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid(), "controller": true}]);
    let one = owned("one", json!(["example.com/one"]), reference.clone()).await;
    let entry = one
        .managed_fields()
        .iter()
        .find(|m| m.manager.as_deref() == Some("one"))
        .cloned()
        .unwrap();
    let uid = owner.uid().unwrap();
    let expected = json!({"f:metadata": {
        "f:finalizers": {"v:\"example.com/one\"": {}},
        "f:ownerReferences": {format!("k:{{\"uid\":\"{uid}\"}}"): {}}}});
    assert_eq!(json!(entry.fields_v1), expected);
    let both = owned("two", json!(["example.com/two"]), json!([])).await;
    assert_eq!(both.finalizers(), ["example.com/one", "example.com/two"]);
    let left = owned("one", json!([]), reference).await;
    assert_eq!(left.finalizers(), ["example.com/two"]);
    assert_eq!(left.owner_references().len(), 1);
    owned("two", json!([]), json!([])).await;
}

pub(crate) async fn an_apply_with_a_version_stands_on_it(at: Setting) {
    let maps = at.config_maps();
    let made = maps
        .patch(
            "a",
            &PatchParams::apply("one"),
            &Patch::Apply(map(json!({"k": "1"}))),
        )
        .await
        .unwrap();
    let with = |version: Option<String>, value: &str| {
        let mut body = map(json!({"k": value}));
        body["metadata"]["resourceVersion"] = json!(version);
        Patch::Apply(body)
    };
    let next = maps
        .patch(
            "a",
            &PatchParams::apply("one"),
            &with(made.resource_version(), "2"),
        )
        .await
        .unwrap();
    assert_eq!(json!(next.data), json!({"k": "2"}));
    let stale = maps
        .patch(
            "a",
            &PatchParams::apply("one"),
            &with(made.resource_version(), "3"),
        )
        .await;
    assert_eq!(refusal(stale).0, 409);
}

pub(crate) async fn a_try_to_apply_answers_what_would_be(at: Setting) {
    let maps = at.config_maps();
    let dry = PatchParams {
        dry_run: true,
        ..PatchParams::apply("one")
    };
    let would = maps
        .patch("a", &dry, &Patch::Apply(map(json!({"k": "1"}))))
        .await
        .unwrap();
    assert_eq!(json!(would.data), json!({"k": "1"}));
    assert_eq!(refusal(maps.get("a").await).0, 404);
    let nobody = PatchParams::default();
    let refused = maps
        .patch("a", &nobody, &Patch::Apply(map(json!({}))))
        .await;
    let (code, _, message) = refusal(refused);
    assert!(
        code == 422 && message.contains("fieldManager: Required value"),
        "{code} {message}"
    );
}

pub(crate) async fn several_conflicts_are_all_named(at: Setting) {
    let maps = at.config_maps();
    maps.patch(
        "a",
        &PatchParams::apply("one"),
        &Patch::Apply(map(json!({"k": "1", "l": "1"}))),
    )
    .await
    .unwrap();
    let other = Patch::Apply(map(json!({"k": "2", "l": "2"})));
    let answer = maps.patch("a", &PatchParams::apply("two"), &other).await;
    let kube::Error::Api(status) = answer.unwrap_err() else {
        panic!("refused by the API")
    };
    assert_eq!(
        status.message,
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .data.k\n- .data.l"
    );
    let causes = status.details.unwrap().causes;
    let fields: Vec<&str> = causes.iter().map(|c| c.field.as_str()).collect();
    assert_eq!(fields, [".data.k", ".data.l"]);
    assert!(
        causes
            .iter()
            .all(|c| c.reason == "FieldManagerConflict" && c.message == "conflict with \"one\"")
    );
}

pub(crate) async fn an_edited_spec_is_taken_back_by_force_and_atomic_lists_have_one_owner(
    at: Setting,
) {
    let things = at
        .define(
            json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "plain": {"type": "array", "items": {"type": "string"}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}),
        )
        .await;
    let apply = async |manager: &str, spec: Value| {
        let params = PatchParams::apply(manager);
        things
            .patch("t", &params, &Patch::Apply(at.thing("t", spec)))
            .await
    };
    let one = apply(
        "one",
        json!({"plain": ["a"], "set": ["a"], "free": {"x": {"y": 1}}}),
    )
    .await
    .unwrap();
    let fields = json!(one.managed_fields()[0].fields_v1);
    let expected = json!({"f:spec": {"f:plain": {}, "f:set": {"v:\"a\"": {}}, "f:free": {"f:x": {".": {}, "f:y": {}}}}});
    assert_eq!(fields, expected);
    let two = apply("two", json!({"set": ["b"]})).await.unwrap();
    assert_eq!(two.data["spec"]["set"], json!(["a", "b"]));
    assert_eq!(
        refusal(apply("two", json!({"plain": ["a", "b"]})).await).0,
        409
    );
    let less = apply("one", json!({"plain": ["a"]})).await.unwrap();
    assert_eq!(less.data["spec"], json!({"plain": ["a"], "set": ["b"]}));
}

texts![
    an_apply_owns_what_it_sets_and_takes_it_along,
    a_conflict_names_who_and_what_and_yields_to_force,
    updates_own_what_they_change,
    lists_of_built_in_kinds_merge_by_their_keys,
    network_policies_read_back_as_they_were_applied,
    pods_applied_twice_are_written_once,
    a_status_is_applied_through_its_own_door,
    an_apply_with_a_foreign_uid_creates_nothing,
    owners_and_finalizers_are_applied_one_by_one,
    an_apply_with_a_version_stands_on_it,
    a_try_to_apply_answers_what_would_be,
    several_conflicts_are_all_named,
    an_edited_spec_is_taken_back_by_force_and_atomic_lists_have_one_owner,
];
