//! Objects one by one: versions, conflicts, preconditions, names, pages, selectors, patches, subresources.

use crate::setting::{Setting, config_map, refusal, replicas};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;

pub(crate) async fn a_stale_update_conflicts_and_a_fresh_one_does_not(at: Setting) {
    let maps = at.config_maps();
    let first = maps
        .create(&PostParams::default(), &config_map("a", json!({"k": "1"})))
        .await
        .unwrap();
    let mut second = first.clone();
    second
        .data
        .get_or_insert_default()
        .insert("k".into(), "2".into());
    let second = maps
        .replace("a", &PostParams::default(), &second)
        .await
        .unwrap();
    assert_ne!(first.resource_version(), second.resource_version());
    let mut stale = first.clone();
    stale
        .data
        .get_or_insert_default()
        .insert("k".into(), "3".into());
    let (code, reason, message) = refusal(maps.replace("a", &PostParams::default(), &stale).await);
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert_eq!(
        message,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; \
         please apply your changes to the latest version and try again"
    );
}

pub(crate) async fn an_update_that_changes_nothing_keeps_the_version(at: Setting) {
    let maps = at.config_maps();
    let made = maps
        .create(&PostParams::default(), &config_map("a", json!({"k": "1"})))
        .await
        .unwrap();
    let same = maps
        .replace("a", &PostParams::default(), &made)
        .await
        .unwrap();
    assert_eq!(made.resource_version(), same.resource_version());
    let patch = json!({"data": {"k": "1"}});
    let same = maps
        .patch("a", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    assert_eq!(made.resource_version(), same.resource_version());
}

pub(crate) async fn names_are_made_and_doubles_refused(at: Setting) {
    let maps = at.config_maps();
    let mut nameless = config_map("", json!({}));
    nameless.metadata.name = None;
    nameless.metadata.generate_name = Some("x-".into());
    let made = maps
        .create(&PostParams::default(), &nameless)
        .await
        .unwrap();
    assert!(made.name_any().starts_with("x-") && made.name_any().len() == 7);
    let twice = maps
        .create(
            &PostParams::default(),
            &config_map(&made.name_any(), json!({})),
        )
        .await;
    let (code, reason, _) = refusal(twice);
    assert_eq!((code, reason.as_str()), (409, "AlreadyExists"));
    let bad = maps
        .create(&PostParams::default(), &config_map("Upper", json!({})))
        .await;
    assert_eq!(refusal(bad).0, 422);
}

pub(crate) async fn deletes_hold_their_preconditions(at: Setting) {
    let maps = at.config_maps();
    let made = maps
        .create(&PostParams::default(), &config_map("a", json!({})))
        .await
        .unwrap();
    let with = |uid: Option<&str>, version: Option<&str>| DeleteParams {
        preconditions: Some(Preconditions {
            uid: uid.map(str::to_owned),
            resource_version: version.map(str::to_owned),
        }),
        ..DeleteParams::default()
    };
    assert_eq!(
        refusal(maps.delete("a", &with(Some("other"), None)).await).0,
        409
    );
    assert_eq!(
        refusal(maps.delete("a", &with(None, Some("1"))).await).0,
        409
    );
    let right = with(made.uid().as_deref(), made.resource_version().as_deref());
    assert!(maps.delete("a", &right).await.unwrap().is_right());
    assert_eq!(refusal(maps.get("a").await).0, 404);
    assert_eq!(
        refusal(maps.delete("a", &DeleteParams::default()).await).0,
        404
    );
}

pub(crate) async fn pages_show_one_moment(at: Setting) {
    let maps = at.config_maps();
    for name in ["m1", "m2", "m3", "m4", "m5"] {
        let mut map = config_map(name, json!({}));
        map.labels_mut().insert("page".into(), "yes".into());
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
    let first = ListParams::default().labels("page=yes").limit(2);
    let page = maps.list(&first).await.unwrap();
    assert_eq!(page.items.len(), 2);
    maps.delete("m4", &DeleteParams::default()).await.unwrap();
    let token = page.metadata.continue_.clone().unwrap();
    let rest = maps
        .list(
            &ListParams::default()
                .labels("page=yes")
                .continue_token(&token),
        )
        .await
        .unwrap();
    let names: Vec<String> = rest.items.iter().map(|m| m.name_any()).collect();
    assert_eq!(names, ["m3", "m4", "m5"], "m4 stood when the list began");
    assert_eq!(
        rest.metadata.resource_version,
        page.metadata.resource_version
    );
}

pub(crate) async fn selectors_select(at: Setting) {
    let maps = at.config_maps();
    for (name, tier) in [("a", "x"), ("b", "y")] {
        let mut map = config_map(name, json!({}));
        map.labels_mut().insert("tier".into(), tier.into());
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
    let count = async |params: ListParams| maps.list(&params).await.unwrap().items.len();
    assert_eq!(
        count(ListParams::default().labels("tier in (x, z)")).await,
        1
    );
    assert_eq!(count(ListParams::default().labels("tier,tier!=x")).await, 1);
    assert_eq!(
        count(ListParams::default().fields("metadata.name=b")).await,
        1
    );
    let unknown = maps.list(&ListParams::default().fields("data.k=1")).await;
    assert_eq!(refusal(unknown).0, 400);
}

pub(crate) async fn json_patches_test_and_merge_patches_remove(at: Setting) {
    let maps = at.config_maps();
    maps.create(
        &PostParams::default(),
        &config_map("a", json!({"k": "1", "l": "1"})),
    )
    .await
    .unwrap();
    let operations = |expected: &str| -> json_patch::Patch {
        serde_json::from_value(json!([
            {"op": "test", "path": "/data/k", "value": expected},
            {"op": "replace", "path": "/data/k", "value": "2"}]))
        .unwrap()
    };
    let wrong = Patch::<()>::Json(operations("9"));
    assert_eq!(
        refusal(maps.patch("a", &PatchParams::default(), &wrong).await).0,
        422
    );
    let right = Patch::<()>::Json(operations("1"));
    maps.patch("a", &PatchParams::default(), &right)
        .await
        .unwrap();
    let merge = Patch::Merge(json!({"data": {"l": null}}));
    let after = maps
        .patch("a", &PatchParams::default(), &merge)
        .await
        .unwrap();
    assert_eq!(json!(after.data), json!({"k": "2"}));
    let strategic =
        Patch::Strategic(json!({"metadata": {"resourceVersion": "1"}, "data": {"k": "3"}}));
    assert_eq!(
        refusal(maps.patch("a", &PatchParams::default(), &strategic).await).0,
        409
    );
}

pub(crate) async fn status_has_a_door_of_its_own(at: Setting) {
    let things = at.define(replicas()).await;
    let mut thing = at.thing("t", json!({"replicas": 3}));
    thing.data["status"] = json!({"replicas": 9});
    let made = things.create(&PostParams::default(), &thing).await.unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    assert!(
        made.data.get("status").is_none(),
        "created without its status"
    );
    let status = json!({"status": {"replicas": 2}, "spec": {"replicas": 7}});
    let after = things
        .patch_status("t", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    assert_eq!(
        (
            &after.data["status"]["replicas"],
            &after.data["spec"]["replicas"]
        ),
        (&json!(2), &json!(3))
    );
    assert_eq!(
        after.metadata.generation,
        Some(1),
        "a status is nothing desired"
    );
    let both = json!({"status": {"replicas": 5}, "spec": {"replicas": 4}});
    let after = things
        .patch("t", &PatchParams::default(), &Patch::Merge(both))
        .await
        .unwrap();
    assert_eq!(
        (
            &after.data["status"]["replicas"],
            &after.data["spec"]["replicas"]
        ),
        (&json!(2), &json!(4))
    );
    assert_eq!(after.metadata.generation, Some(2));
}

pub(crate) async fn scale_reads_and_sets_replicas(at: Setting) {
    let things = at.define(replicas()).await;
    things
        .create(
            &PostParams::default(),
            &at.thing("t", json!({"replicas": 3})),
        )
        .await
        .unwrap();
    assert_eq!(
        things.get_scale("t").await.unwrap().spec.unwrap().replicas,
        Some(3)
    );
    let scale = Patch::Merge(json!({"spec": {"replicas": 5}}));
    let scaled = things
        .patch_scale("t", &PatchParams::default(), &scale)
        .await
        .unwrap();
    assert_eq!(scaled.spec.unwrap().replicas, Some(5));
    let thing = things.get("t").await.unwrap();
    assert_eq!(thing.data["spec"]["replicas"], 5);
    assert_eq!(thing.metadata.generation, Some(2));
    let too_many = Patch::Merge(json!({"spec": {"replicas": 50}}));
    assert_eq!(
        refusal(
            things
                .patch_scale("t", &PatchParams::default(), &too_many)
                .await
        )
        .0,
        422
    );
}

pub(crate) async fn a_try_changes_nothing(at: Setting) {
    let maps = at.config_maps();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    maps.create(&dry, &config_map("a", json!({})))
        .await
        .unwrap();
    assert_eq!(refusal(maps.get("a").await).0, 404);
}

pub(crate) async fn finalizers_hold_what_is_deleted(at: Setting) {
    let maps = at.config_maps();
    let mut map = config_map("a", json!({}));
    map.finalizers_mut().push("example.com/hold".into());
    maps.create(&PostParams::default(), &map).await.unwrap();
    let marked = maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(marked.is_left(), "the object comes back, marked");
    assert!(
        maps.get("a")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    );
    let more =
        Patch::Merge(json!({"metadata": {"finalizers": ["example.com/hold", "example.com/late"]}}));
    assert_eq!(
        refusal(maps.patch("a", &PatchParams::default(), &more).await).0,
        422
    );
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("a", &PatchParams::default(), &free)
        .await
        .unwrap();
    assert_eq!(refusal(maps.get("a").await).0, 404);
}

pub(crate) async fn bad_requests_are_refused_as_kubernetes_refuses_them(at: Setting) {
    let send = async |method: &str, path: &str, body: &str| {
        let path = path.replace("NS", &at.namespace);
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(body.as_bytes().to_vec())
            .unwrap();
        let (code, reason, _) = refusal(at.client.request::<serde_json::Value>(request).await);
        (code, reason)
    };
    let maps = "/api/v1/namespaces/NS/configmaps";
    assert_eq!(send("POST", maps, "{no json").await.0, 400);
    assert_eq!(
        send(
            "POST",
            maps,
            "{\"kind\": \"Pod\", \"apiVersion\": \"v1\", \"metadata\": {\"name\": \"x\"}}"
        )
        .await
        .0,
        400
    );
    assert_eq!(send("GET", "/apis/nothing.io/v1/things", "").await.0, 404);
    assert_eq!(
        send("GET", "/api/v1/namespaces/NS/configmaps/x/nothing", "")
            .await
            .0,
        404
    );
    let elsewhere = "{\"metadata\": {\"name\": \"x\", \"namespace\": \"other\"}}";
    assert_eq!(send("POST", maps, elsewhere).await.0, 400);
    let nowhere = send(
        "POST",
        "/api/v1/namespaces/nowhere-at-all/configmaps",
        "{\"metadata\": {\"name\": \"x\"}}",
    )
    .await;
    assert_eq!(nowhere, (404, "NotFound".to_owned()));
}

pub(crate) async fn a_custom_object_is_only_replaced_under_its_version(at: Setting) {
    let things = at.define(replicas()).await;
    things
        .create(
            &PostParams::default(),
            &at.thing("t", json!({"replicas": 3})),
        )
        .await
        .unwrap();
    let blind = things
        .replace(
            "t",
            &PostParams::default(),
            &at.thing("t", json!({"replicas": 4})),
        )
        .await;
    let (code, _, message) = refusal(blind);
    assert_eq!(code, 422);
    assert!(
        message.contains("metadata.resourceVersion: Invalid value")
            && message.contains("must be specified for an update"),
        "{message}"
    );
}

pub(crate) async fn an_old_moment_can_be_listed_and_a_future_one_not(at: Setting) {
    let maps = at.config_maps();
    let made = maps
        .create(&PostParams::default(), &config_map("a", json!({})))
        .await
        .unwrap();
    let then = made.resource_version().unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let exact = ListParams::default()
        .fields("metadata.name=a")
        .at(&then)
        .matching(kube::api::VersionMatch::Exact);
    assert_eq!(maps.list(&exact).await.unwrap().items.len(), 1);
    assert!(
        maps.list(&ListParams::default().fields("metadata.name=a"))
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

pub(crate) async fn many_are_deleted_at_once_by_selector(at: Setting) {
    let maps = at.config_maps();
    for (name, on) in [("a", "yes"), ("b", "no"), ("c", "yes")] {
        let mut map = config_map(name, json!({}));
        map.labels_mut().insert("on".into(), on.into());
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
    let chosen = ListParams::default().labels("on=yes");
    maps.delete_collection(&DeleteParams::default(), &chosen)
        .await
        .unwrap();
    let left = maps
        .list(&ListParams::default().labels("on"))
        .await
        .unwrap();
    let names: Vec<String> = left.items.iter().map(|m| m.name_any()).collect();
    assert_eq!(names, ["b"]);
}

pub(crate) async fn one_of_many_creators_wins(at: Setting) {
    let maps = at.config_maps();
    let tries = (0..8).map(|_| {
        let maps = maps.clone();
        async move {
            maps.create(&PostParams::default(), &config_map("a", json!({})))
                .await
                .is_ok()
        }
    });
    let won = futures::future::join_all(tries)
        .await
        .into_iter()
        .filter(|w| *w)
        .count();
    assert_eq!(won, 1);
}

pub(crate) async fn a_label_is_no_new_generation_and_a_deletion_is(at: Setting) {
    let things = at.define(replicas()).await;
    let mut thing = at.thing("t", json!({"replicas": 3}));
    thing.finalizers_mut().push("example.com/hold".into());
    things.create(&PostParams::default(), &thing).await.unwrap();
    let label = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    let labelled = things
        .patch("t", &PatchParams::default(), &label)
        .await
        .unwrap();
    assert_eq!(labelled.metadata.generation, Some(1));
    things.delete("t", &DeleteParams::default()).await.unwrap();
    let marked = things.get("t").await.unwrap();
    assert_eq!(marked.metadata.generation, Some(2));
    assert_eq!(marked.metadata.deletion_grace_period_seconds, Some(0));
    let free = Patch::Merge(json!({"metadata": {"finalizers": []}}));
    let last = things
        .patch("t", &PatchParams::default(), &free)
        .await
        .unwrap();
    assert!(last.metadata.deletion_timestamp.is_some());
    assert_eq!(refusal(things.get("t").await).0, 404);
}

pub(crate) async fn pods_and_claims_hold_what_cannot_change(at: Setting) {
    let send = async |path: &str, body: serde_json::Value| {
        let request = http::Request::patch(format!("/api/v1/namespaces/{}/{path}", at.namespace))
            .header("content-type", "application/merge-patch+json")
            .body(body.to_string().into_bytes())
            .unwrap();
        at.client.request::<serde_json::Value>(request).await
    };
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> =
        kube::Api::namespaced(at.client.clone(), &at.namespace);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"nodeSelector": {"never": "here"}, "automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i:1"}]}});
    pods.create(
        &PostParams::default(),
        &serde_json::from_value(pod).unwrap(),
    )
    .await
    .unwrap();
    let image = json!({"spec": {"containers": [{"name": "c", "image": "i:2"}]}});
    assert_eq!(
        send("pods/p", image).await.unwrap()["spec"]["containers"][0]["image"],
        "i:2"
    );
    let (code, _, message) = refusal(send("pods/p", json!({"spec": {"hostname": "other"}})).await);
    assert_eq!(code, 422);
    assert!(
        message.contains("spec: Forbidden: pod updates may not change fields other than"),
        "{message}"
    );
    let nameless = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q"}, "spec": {"containers": []}});
    let (code, _, message) = refusal(
        pods.create(
            &PostParams::default(),
            &serde_json::from_value(nameless).unwrap(),
        )
        .await,
    );
    assert_eq!(code, 422);
    assert!(
        message.contains("spec.containers: Required value"),
        "{message}"
    );
    let claims: kube::Api<k8s_openapi::api::core::v1::PersistentVolumeClaim> =
        kube::Api::namespaced(at.client.clone(), &at.namespace);
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "d"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    claims
        .create(
            &PostParams::default(),
            &serde_json::from_value(claim).unwrap(),
        )
        .await
        .unwrap();
    let (code, _, message) = refusal(
        send(
            "persistentvolumeclaims/d",
            json!({"spec": {"accessModes": ["ReadOnlyMany"]}}),
        )
        .await,
    );
    assert!(
        code == 422 && message.contains("spec is immutable after creation"),
        "{message}"
    );
}

pub(crate) async fn claims_grow_where_their_class_can_and_never_shrink(at: Setting) {
    let classes: kube::Api<StorageClass> = kube::Api::all(at.client.clone());
    let claims: kube::Api<PersistentVolumeClaim> =
        kube::Api::namespaced(at.client.clone(), &at.namespace);
    let volumes: kube::Api<PersistentVolume> = kube::Api::all(at.client.clone());
    let grow = async |claim: &str, size: &str| {
        let size = json!({"spec": {"resources": {"requests": {"storage": size}}}});
        let patch = Patch::Merge(size);
        claims.patch(claim, &PatchParams::default(), &patch).await
    };
    for (kind, can) in [("grows", true), ("stays", false)] {
        let class = format!("{kind}-{}", at.namespace);
        let of_class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": class},
            "provisioner": "example.com/none", "allowVolumeExpansion": can});
        let of_class = serde_json::from_value(of_class).unwrap();
        classes
            .create(&PostParams::default(), &of_class)
            .await
            .unwrap();
        let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": class},
            "spec": {"capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
                "hostPath": {"path": "/nowhere"}}});
        let volume = serde_json::from_value(volume).unwrap();
        volumes
            .create(&PostParams::default(), &volume)
            .await
            .unwrap();
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": kind},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "volumeName": class,
                "resources": {"requests": {"storage": "2Gi"}}}});
        let claim = serde_json::from_value(claim).unwrap();
        claims.create(&PostParams::default(), &claim).await.unwrap();
        let bound = json!({"status": {"phase": "Bound", "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"]}});
        let bound = Patch::Merge(bound);
        let status = PatchParams::default();
        claims.patch_status(kind, &status, &bound).await.unwrap();
    }
    let grown = grow("grows", "3Gi").await.unwrap().spec.unwrap();
    let requests = grown.resources.unwrap().requests.unwrap();
    assert_eq!(requests["storage"].0, "3Gi");
    let (code, _, message) = refusal(grow("grows", "1Gi").await);
    assert!(
        code == 422 && message.contains("field can not be less than status.capacity"),
        "{message}"
    );
    let (code, _, message) = refusal(grow("stays", "3Gi").await);
    assert_eq!(code, 403);
    assert!(message.contains("must support resize"), "{message}");
    let unbound = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "unbound"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "2Gi"}}}});
    let unbound = serde_json::from_value(unbound).unwrap();
    claims
        .create(&PostParams::default(), &unbound)
        .await
        .unwrap();
    let (code, _, message) = refusal(grow("unbound", "3Gi").await);
    assert!(
        code == 422 && message.contains("spec is immutable after creation"),
        "{message}"
    );
}

texts![
    a_stale_update_conflicts_and_a_fresh_one_does_not,
    an_update_that_changes_nothing_keeps_the_version,
    names_are_made_and_doubles_refused,
    deletes_hold_their_preconditions,
    pages_show_one_moment,
    selectors_select,
    json_patches_test_and_merge_patches_remove,
    status_has_a_door_of_its_own,
    scale_reads_and_sets_replicas,
    a_try_changes_nothing,
    finalizers_hold_what_is_deleted,
    bad_requests_are_refused_as_kubernetes_refuses_them,
    a_custom_object_is_only_replaced_under_its_version,
    an_old_moment_can_be_listed_and_a_future_one_not,
    many_are_deleted_at_once_by_selector,
    one_of_many_creators_wins,
    a_label_is_no_new_generation_and_a_deletion_is,
    pods_and_claims_hold_what_cannot_change,
    claims_grow_where_their_class_can_and_never_shrink,
];
