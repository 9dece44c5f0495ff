//! Server-side apply through the client: owners, conflicts, force, removal, and no write where nothing changes.

use crate::setting::{Setting, refusal, replicas};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

#[tokio::test]
async fn an_apply_owns_what_it_sets_and_takes_it_along() {
    let at = Setting::new().await;
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

#[tokio::test]
async fn a_conflict_names_who_and_what_and_yields_to_force() {
    let at = Setting::new().await;
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

#[tokio::test]
async fn updates_own_what_they_change() {
    let at = Setting::new().await;
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

#[tokio::test]
async fn lists_of_built_in_kinds_merge_by_their_keys() {
    let at = Setting::new().await;
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

#[tokio::test]
async fn pods_applied_twice_are_written_once() {
    let at = Setting::new().await;
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

#[tokio::test]
async fn a_status_is_applied_through_its_own_door() {
    let at = Setting::new().await;
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

#[tokio::test]
async fn an_apply_with_a_foreign_uid_creates_nothing() {
    let at = Setting::new().await;
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
