//! What goes with its owner, its namespace or its definition. Needs the controllers, which a bare API server lacks.

use crate::setting::{Setting, config_map, refusal, replicas, until};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

async fn family(at: &Setting) -> (Api<ConfigMap>, ConfigMap) {
    let maps = at.config_maps();
    let owner = maps
        .create(&PostParams::default(), &config_map("owner", json!({})))
        .await
        .unwrap();
    let mut child = config_map("child", json!({}));
    child.owner_references_mut().push(OwnerReference {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        name: "owner".into(),
        uid: owner.uid().unwrap(),
        block_owner_deletion: Some(true),
        controller: Some(true),
    });
    let child = maps.create(&PostParams::default(), &child).await.unwrap();
    (maps, child)
}

async fn gone(maps: &Api<ConfigMap>, name: &str) -> bool {
    maps.get_opt(name).await.unwrap().is_none()
}

pub(crate) async fn in_the_background_the_dependent_follows(at: Setting) {
    let (maps, _) = family(&at).await;
    maps.delete("owner", &DeleteParams::background())
        .await
        .unwrap();
    assert!(gone(&maps, "owner").await);
    until("the child is gone", async || gone(&maps, "child").await).await;
}

pub(crate) async fn in_the_foreground_the_owner_waits(at: Setting) {
    let (maps, mut child) = family(&at).await;
    child.finalizers_mut().push("example.com/hold".into());
    maps.replace("child", &PostParams::default(), &child)
        .await
        .unwrap();
    maps.delete("owner", &DeleteParams::foreground())
        .await
        .unwrap();
    until("the child is marked", async || {
        maps.get("child")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    })
    .await;
    assert!(!gone(&maps, "owner").await, "it waits for its child");
    let free = json!({"metadata": {"finalizers": null}});
    maps.patch("child", &Default::default(), &kube::api::Patch::Merge(free))
        .await
        .unwrap();
    until("the owner is gone", async || gone(&maps, "owner").await).await;
    assert!(gone(&maps, "child").await);
}

pub(crate) async fn an_orphan_stays_and_forgets_its_owner(at: Setting) {
    let (maps, _) = family(&at).await;
    maps.delete("owner", &DeleteParams::orphan()).await.unwrap();
    until("the owner is gone", async || gone(&maps, "owner").await).await;
    assert!(
        maps.get("child")
            .await
            .unwrap()
            .owner_references()
            .is_empty()
    );
}

pub(crate) async fn an_owner_of_the_same_name_is_another(at: Setting) {
    let (maps, _) = family(&at).await;
    maps.delete("owner", &DeleteParams::background())
        .await
        .unwrap();
    maps.create(&PostParams::default(), &config_map("owner", json!({})))
        .await
        .unwrap();
    until("the child is gone", async || gone(&maps, "child").await).await;
}

pub(crate) async fn a_namespace_ends_when_it_is_empty(at: Setting) {
    let maps = at.config_maps();
    let mut map = config_map("held", json!({}));
    map.finalizers_mut().push("example.com/hold".into());
    maps.create(&PostParams::default(), &map).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(at.client.clone());
    namespaces
        .delete(&at.namespace, &DeleteParams::default())
        .await
        .unwrap();
    let (code, _, message) = refusal(
        maps.create(&PostParams::default(), &config_map("late", json!({})))
            .await,
    );
    assert_eq!(code, 403);
    assert!(
        message.contains("because it is being terminated"),
        "{message}"
    );
    until("the content is marked", async || {
        maps.get("held")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    })
    .await;
    assert!(namespaces.get_opt(&at.namespace).await.unwrap().is_some());
    let free = json!({"metadata": {"finalizers": null}});
    maps.patch("held", &Default::default(), &kube::api::Patch::Merge(free))
        .await
        .unwrap();
    until("the namespace is gone", async || {
        namespaces.get_opt(&at.namespace).await.unwrap().is_none()
    })
    .await;
}

pub(crate) async fn a_definition_takes_its_objects_along(at: Setting) {
    let things = at.define(replicas()).await;
    things
        .create(&PostParams::default(), &at.thing("t", json!({})))
        .await
        .unwrap();
    let crds: Api<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition> =
        Api::all(at.client.clone());
    let name = format!("things.{}.example.com", at.namespace);
    crds.delete(&name, &DeleteParams::default()).await.unwrap();
    until("the definition is gone", async || {
        crds.get_opt(&name).await.unwrap().is_none()
    })
    .await;
    assert_eq!(refusal(things.get("t").await).0, 404);
}

texts![
    in_the_background_the_dependent_follows,
    in_the_foreground_the_owner_waits,
    an_orphan_stays_and_forgets_its_owner,
    an_owner_of_the_same_name_is_another,
    a_namespace_ends_when_it_is_empty,
    a_definition_takes_its_objects_along,
];
