//! Where a text runs: a client, a namespace of its own, and a kind of its own.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a condition is waited for: a real namespace takes many seconds to end on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A place for one text.
pub(crate) struct Setting {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Setting {
    /// A namespace of its own on the server that this client talks to.
    pub(crate) async fn at(client: Client) -> Self {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "test-"}});
        let namespace: Namespace = serde_json::from_value(namespace).unwrap();
        let made = namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        Self {
            client,
            namespace: made.name_any(),
        }
    }

    pub(crate) fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Defines a kind in a group of this test's own and answers its API.
    pub(crate) async fn define(&self, schema: Value) -> Api<DynamicObject> {
        let group = format!("{}.example.com", self.namespace);
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("things.{group}")},
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}, "scale": {
                        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                        "labelSelectorPath": ".status.selector"}},
                    "additionalPrinterColumns": [
                        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"}],
                }],
            },
        });
        let crds = ApiResource::erase::<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>(&());
        let crds: Api<DynamicObject> = Api::all_with(self.client.clone(), &crds);
        crds.create(
            &PostParams::default(),
            &serde_json::from_value(definition).unwrap(),
        )
        .await
        .unwrap();
        let name = format!("things.{group}");
        until("the definition is established", async || {
            let crd = crds.get(&name).await.unwrap();
            let conditions = crd.data["status"]["conditions"].as_array().cloned();
            conditions
                .unwrap_or_default()
                .iter()
                .any(|c| c["type"] == "Established" && c["status"] == "True")
        })
        .await;
        let resource = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk(&group, "v1", "Thing"),
            "things",
        );
        let things: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        until("the kind is served", async || {
            things.list(&Default::default()).await.is_ok()
        })
        .await;
        things
    }

    /// An object of the kind that [`Setting::define`] makes.
    pub(crate) fn thing(&self, name: &str, spec: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": format!("{}.example.com/v1", self.namespace), "kind": "Thing",
            "metadata": {"name": name}, "spec": spec,
        }))
        .unwrap()
    }
}

/// A plain schema for [`Setting::define`].
pub(crate) fn replicas() -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "replicas": {"type": "integer", "default": 1, "minimum": 0, "maximum": 9},
            "note": {"type": "string"}}},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
}

/// Waits until a condition holds; fails with what it waited for.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(in_time.is_ok(), "waited {PATIENCE:?} until {what}");
}

pub(crate) fn config_map(name: &str, data: Value) -> ConfigMap {
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data,
    }))
    .unwrap()
}

/// The code and reason of a refusal.
pub(crate) fn refusal<T: std::fmt::Debug>(answer: Result<T, kube::Error>) -> (u16, String, String) {
    match answer.unwrap_err() {
        kube::Error::Api(status) => (status.code, status.reason.clone(), status.message.clone()),
        other => panic!("no refusal by the API: {other:?}"),
    }
}
