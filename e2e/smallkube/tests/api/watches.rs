//! Watches: from a version on, initial events, selectors, bookmarks, and 410 for what is too old.

use crate::setting::{Setting, config_map};
use futures::{StreamExt, TryStreamExt};
use kube::ResourceExt;
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use std::pin::pin;

fn told(event: &WatchEvent<k8s_openapi::api::core::v1::ConfigMap>) -> String {
    match event {
        WatchEvent::Added(o) => format!("added {}", o.name_any()),
        WatchEvent::Modified(o) => format!("modified {}", o.name_any()),
        WatchEvent::Deleted(o) => format!("deleted {}", o.name_any()),
        WatchEvent::Bookmark(_) => "bookmark".into(),
        WatchEvent::Error(e) => format!("error {}", e.code),
    }
}

pub(crate) async fn changes_come_in_order_from_a_version_on(at: Setting) {
    let maps = at.config_maps();
    let from = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    maps.create(&PostParams::default(), &config_map("a", json!({})))
        .await
        .unwrap();
    let change = Patch::Merge(json!({"data": {"k": "1"}}));
    maps.patch("a", &PatchParams::default(), &change)
        .await
        .unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let params = WatchParams::default().fields("metadata.name=a").timeout(10);
    let events = maps.watch(&params, &from).await.unwrap();
    let seen: Vec<String> = events
        .take(3)
        .map_ok(|e| told(&e))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(seen, ["added a", "modified a", "deleted a"]);
}

pub(crate) async fn what_stops_matching_is_deleted_for_the_watcher(at: Setting) {
    let maps = at.config_maps();
    let from = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let mut map = config_map("a", json!({}));
    map.labels_mut().insert("on".into(), "yes".into());
    maps.create(&PostParams::default(), &map).await.unwrap();
    for value in [json!(null), json!("yes")] {
        let change = Patch::Merge(json!({"metadata": {"labels": {"on": value}}}));
        maps.patch("a", &PatchParams::default(), &change)
            .await
            .unwrap();
    }
    let params = WatchParams::default().labels("on=yes").timeout(10);
    let events = maps.watch(&params, &from).await.unwrap();
    let seen: Vec<String> = events
        .take(3)
        .map_ok(|e| told(&e))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(seen, ["added a", "deleted a", "added a"]);
}

pub(crate) async fn initial_events_end_with_their_bookmark(at: Setting) {
    let maps = at.config_maps();
    for name in ["a", "b"] {
        maps.create(&PostParams::default(), &config_map(name, json!({})))
            .await
            .unwrap();
    }
    let config = watcher::Config::default()
        .streaming_lists()
        .fields("metadata.name!=kube-root-ca.crt");
    let objects = watcher(maps.clone(), config).applied_objects();
    let names: Vec<String> = pin!(objects)
        .take(2)
        .map_ok(|o| o.name_any())
        .try_collect()
        .await
        .unwrap();
    assert_eq!(names, ["a", "b"]);
}

pub(crate) async fn a_watch_ends_when_its_time_is_over(at: Setting) {
    let params = WatchParams::default()
        .timeout(1)
        .fields("metadata.name=nothing");
    let events = at.config_maps().watch(&params, "0").await.unwrap();
    let seen: Vec<_> = events.try_collect().await.unwrap();
    assert!(
        seen.iter().all(|e| matches!(e, WatchEvent::Bookmark(_))),
        "{seen:?}"
    );
}

pub(crate) async fn the_last_finalizer_goes_with_one_event(at: Setting) {
    let maps = at.config_maps();
    let mut map = config_map("a", json!({}));
    map.finalizers_mut().push("example.com/hold".into());
    maps.create(&PostParams::default(), &map).await.unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let from = maps.get("a").await.unwrap().resource_version().unwrap();
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("a", &PatchParams::default(), &free)
        .await
        .unwrap();
    let params = WatchParams::default().fields("metadata.name=a").timeout(2);
    let events = maps.watch(&params, &from).await.unwrap();
    let seen: Vec<String> = events.map_ok(|e| told(&e)).try_collect().await.unwrap();
    let seen: Vec<&str> = seen
        .iter()
        .map(String::as_str)
        .filter(|e| *e != "bookmark")
        .collect();
    assert_eq!(seen, ["deleted a"]);
}

texts![
    changes_come_in_order_from_a_version_on,
    what_stops_matching_is_deleted_for_the_watcher,
    initial_events_end_with_their_bookmark,
    a_watch_ends_when_its_time_is_over,
    the_last_finalizer_goes_with_one_event,
];
