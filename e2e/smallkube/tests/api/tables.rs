//! What `kubectl` asks for: tables, discovery, metadata alone.

use crate::setting::{Setting, replicas};
use kube::api::PostParams;
use serde_json::{Value, json};

pub(crate) async fn a_table_has_the_columns_of_the_definition(at: Setting) {
    let things = at.define(replicas()).await;
    things
        .create(
            &PostParams::default(),
            &at.thing("t", json!({"replicas": 3})),
        )
        .await
        .unwrap();
    let request = http::Request::get(format!(
        "/apis/{0}.example.com/v1/namespaces/{0}/things",
        at.namespace
    ))
    .header(
        "accept",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    )
    .body(Vec::new())
    .unwrap();
    let table: Value = at.client.request(request).await.unwrap();
    assert_eq!(table["kind"], "Table");
    let names: Vec<&Value> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(names, ["Name", "Replicas"]);
    assert_eq!(table["rows"][0]["cells"], json!(["t", 3]));
    assert_eq!(table["rows"][0]["object"]["metadata"]["name"], "t");
}

pub(crate) async fn discovery_finds_what_is_defined(at: Setting) {
    at.define(replicas()).await;
    let group = format!("{}.example.com", at.namespace);
    let found = kube::discovery::group(&at.client, &group).await.unwrap();
    let (resource, capabilities) = found.recommended_kind("Thing").unwrap();
    assert_eq!(resource.plural, "things");
    assert!(
        capabilities
            .subresources
            .iter()
            .any(|(r, _)| r.plural == "status")
    );
}

texts![
    a_table_has_the_columns_of_the_definition,
    discovery_finds_what_is_defined,
];
