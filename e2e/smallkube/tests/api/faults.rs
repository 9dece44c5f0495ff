//! What no real cluster can be asked for: faults at chosen calls, and the log of calls.

use crate::setting::{config_map, refusal};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use smallkube::{Effect, Options, Rule, Smallkube};
use std::time::Duration;

fn maps(cluster: &Smallkube) -> Api<ConfigMap> {
    Api::namespaced(cluster.client("test"), "default")
}

#[tokio::test]
async fn the_second_write_is_refused_and_nothing_else() {
    let cluster = Smallkube::start(&Options::default());
    let maps = maps(&cluster);
    let failure = Effect::refuse(500, "InternalError", "etcdserver: request timed out");
    let fault = cluster.faults().add(Rule::on_write(failure).nth(2));
    maps.create(&PostParams::default(), &config_map("a", json!({})))
        .await
        .unwrap();
    let second = maps
        .create(&PostParams::default(), &config_map("b", json!({})))
        .await;
    assert_eq!(refusal(second).0, 500);
    assert!(maps.get_opt("b").await.unwrap().is_none());
    maps.create(&PostParams::default(), &config_map("b", json!({})))
        .await
        .unwrap();
    assert_eq!(fault.struck(), 1);
}

#[tokio::test]
async fn a_lost_answer_took_effect_and_a_lost_request_did_not() {
    let cluster = Smallkube::start(&Options::default());
    let maps = maps(&cluster);
    cluster
        .faults()
        .add(Rule::on_write(Effect::LoseAnswer).nth(1));
    let lost = maps
        .create(&PostParams::default(), &config_map("a", json!({})))
        .await;
    assert!(!matches!(lost, Ok(_) | Err(kube::Error::Api(_))));
    assert!(maps.get_opt("a").await.unwrap().is_some());
    cluster.faults().clear();
    cluster
        .faults()
        .add(Rule::on_write(Effect::LoseRequest).nth(1));
    assert!(
        maps.create(&PostParams::default(), &config_map("b", json!({})))
            .await
            .is_err()
    );
    assert!(maps.get_opt("b").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_can_be_given_up_and_may_have_happened() {
    let cluster = Smallkube::start(&Options::default());
    let maps = maps(&cluster);
    cluster
        .faults()
        .add(Rule::on_write(Effect::HangAfter).nth(1));
    let map = config_map("a", json!({}));
    let params = PostParams::default();
    let hung = tokio::time::timeout(Duration::from_secs(5), maps.create(&params, &map)).await;
    assert!(hung.is_err());
    assert!(maps.get_opt("a").await.unwrap().is_some());
}

#[tokio::test]
async fn a_watch_can_miss_an_event() {
    let cluster = Smallkube::start(&Options::default());
    let maps = maps(&cluster);
    cluster.faults().add(Rule::drop_event(|_, object| {
        object["metadata"]["name"] == "b"
    }));
    for name in ["a", "b", "c"] {
        maps.create(&PostParams::default(), &config_map(name, json!({})))
            .await
            .unwrap();
    }
    let events = maps.watch(&WatchParams::default(), "0").await.unwrap();
    let seen: Vec<String> = events
        .take(2)
        .filter_map(async |e| match e.unwrap() {
            WatchEvent::Added(o) => Some(o.name_any()),
            _ => None,
        })
        .collect()
        .await;
    assert_eq!(seen, ["a", "c"]);
}

#[tokio::test]
async fn what_is_forgotten_is_gone() {
    let cluster = Smallkube::start(&Options::default());
    let maps = maps(&cluster);
    maps.create(&PostParams::default(), &config_map("a", json!({})))
        .await
        .unwrap();
    cluster.forget_changes();
    let events = maps.watch(&WatchParams::default(), "1").await.unwrap();
    let seen: Vec<_> = events.collect().await;
    assert!(
        matches!(&seen[..], [Ok(WatchEvent::Error(e))] if e.code == 410),
        "{seen:?}"
    );
}

#[tokio::test]
async fn the_log_tells_writes_apart() {
    let cluster = Smallkube::start(&Options::default());
    let maps = maps(&cluster);
    maps.create(&PostParams::default(), &config_map("a", json!({})))
        .await
        .unwrap();
    maps.get("a").await.unwrap();
    let writes = cluster.faults().writes();
    assert_eq!(writes.len(), 1);
    let call = &writes[0].call;
    assert_eq!(
        (
            call.verb.as_str(),
            call.resource.as_str(),
            call.client.as_str()
        ),
        ("create", "configmaps", "test")
    );
    assert_eq!((writes[0].code, writes[0].changed), (201, true));
    let revision = cluster.revision();
    maps.get("a").await.unwrap();
    assert_eq!(cluster.revision(), revision);
}

#[tokio::test]
async fn over_http_a_lost_answer_is_a_broken_connection() {
    let cluster = Smallkube::start(&Options::default());
    let address = cluster.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let config = kube::config::Kubeconfig::from_yaml(&smallkube::kubeconfig(address)).unwrap();
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default())
        .await
        .unwrap();
    let client = kube::Client::try_from(config).unwrap();
    let outside: Api<ConfigMap> = Api::namespaced(client, "default");
    let fault = cluster
        .faults()
        .add(Rule::on_write(Effect::LoseAnswer).nth(1));
    let lost = outside
        .create(&PostParams::default(), &config_map("a", json!({})))
        .await;
    assert!(
        !matches!(lost, Ok(_) | Err(kube::Error::Api(_))),
        "{lost:?}"
    );
    assert_eq!(fault.struck(), 1);
    let events = outside.watch(&WatchParams::default(), "0").await.unwrap();
    let first = std::pin::pin!(events).next().await.unwrap().unwrap();
    assert!(matches!(first, WatchEvent::Added(o) if o.name_any() == "a"));
    cluster.stop().await;
}

#[tokio::test]
async fn watches_can_be_cut() {
    let cluster = Smallkube::start(&Options::default());
    let maps = maps(&cluster);
    let events = maps
        .watch(&WatchParams::default(), &cluster.revision().to_string())
        .await
        .unwrap();
    cluster.faults().cut_watches();
    let seen: Vec<_> = events.collect().await;
    assert!(seen.is_empty(), "{seen:?}");
}
