//! Pods for tests, and waiting for what becomes of them.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) fn pods(client: &Client) -> Api<Pod> {
    Api::namespaced(client.clone(), "default")
}

/// A pod with one container; `spec` is merged over the plain one.
pub(crate) fn pod(name: &str, container: Value, spec: Value) -> Pod {
    let mut whole = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "test"}},
        "spec": {"containers": [{"name": "main", "image": "shell:1"}]},
    });
    json_patch::merge(&mut whole["spec"]["containers"][0], &container);
    json_patch::merge(&mut whole["spec"], &spec);
    serde_json::from_value(whole).unwrap()
}

pub(crate) async fn create(client: &Client, pod: &Pod) -> Pod {
    pods(client)
        .create(&PostParams::default(), pod)
        .await
        .unwrap()
}

pub(crate) async fn claim(client: &Client, name: &str) {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), "default");
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    claims
        .create(
            &PostParams::default(),
            &serde_json::from_value(claim).unwrap(),
        )
        .await
        .unwrap();
}

/// The pod as JSON once it satisfies a condition; fails with what it looked like.
///
/// The deadline is real time, since pretended time passes in no time.
pub(crate) async fn pod_that(
    client: &Client,
    name: &str,
    what: &str,
    holds: impl Fn(&Value) -> bool,
) -> Value {
    let begun = std::time::Instant::now();
    loop {
        let pod = pods(client).get_opt(name).await.unwrap();
        let pod = pod.map_or(Value::Null, |p| serde_json::to_value(p).unwrap());
        if holds(&pod) {
            return pod;
        }
        let late = begun.elapsed() > Duration::from_secs(30);
        assert!(!late, "pod {name} never {what}: {pod}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn condition(pod: &Value, form: &str) -> String {
    let conditions = pod["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let found = conditions.iter().find(|c| c["type"] == form);
    found.map_or(String::new(), |c| {
        c["status"].as_str().unwrap_or_default().to_owned()
    })
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready") == "True"
}

pub(crate) fn restarts(pod: &Value) -> i64 {
    pod["status"]["containerStatuses"][0]["restartCount"]
        .as_i64()
        .unwrap_or(0)
}

pub(crate) fn waiting_reason(pod: &Value) -> String {
    let reason = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
    reason.as_str().unwrap_or_default().to_owned()
}
