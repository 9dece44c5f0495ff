//! What `kubectl` asks for: tables, discovery, metadata alone.

use crate::setting::{Setting, replicas};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, PostParams};
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
    let path = format!(
        "/apis/{0}.example.com/v1/namespaces/{0}/things",
        at.namespace
    );
    let table = table(&at, &path).await;
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

pub(crate) async fn a_network_policy_shows_whom_it_selects(at: Setting) {
    let policies: Api<NetworkPolicy> = Api::namespaced(at.client.clone(), &at.namespace);
    let selectors = [
        ("all", json!({}), "<none>"),
        (
            "members",
            json!({"matchLabels": {"b": "c", "e": ""}, "matchExpressions": [
            {"key": "d", "operator": "Exists"}, {"key": "a", "operator": "DoesNotExist"},
            {"key": "f", "operator": "NotIn", "values": ["z", "y"]}]}),
            "!a,b=c,d,e=,f notin (y,z)",
        ),
    ];
    for (name, selector, _) in &selectors {
        let policy = json!({"metadata": {"name": name}, "spec": {"podSelector": selector}});
        let policy = serde_json::from_value(policy).unwrap();
        policies
            .create(&PostParams::default(), &policy)
            .await
            .unwrap();
    }
    let path = format!(
        "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
        at.namespace
    );
    let table = table(&at, &path).await;
    let columns = table["columnDefinitions"].as_array().unwrap();
    let columns: Vec<&Value> = columns.iter().map(|it| &it["name"]).collect();
    assert_eq!(columns, ["Name", "Pod-Selector", "Age"]);
    let rows = table["rows"].as_array().unwrap();
    let shown: Vec<[&Value; 2]> = rows
        .iter()
        .map(|it| [&it["cells"][0], &it["cells"][1]])
        .collect();
    let expected = selectors.map(|(name, _, text)| [json!(name), json!(text)]);
    assert_eq!(json!(shown), json!(expected));
}

pub(crate) async fn network_policies_are_discovered(at: Setting) {
    let request = http::Request::get("/apis/networking.k8s.io/v1")
        .body(Vec::new())
        .unwrap();
    let found: Value = at.client.request(request).await.unwrap();
    let mut resources = found["resources"].as_array().unwrap().iter();
    let policies = resources
        .find(|it| it["name"] == "networkpolicies")
        .unwrap();
    for (field, value) in [
        ("singularName", json!("networkpolicy")),
        ("namespaced", json!(true)),
        ("kind", json!("NetworkPolicy")),
        ("shortNames", json!(["netpol"])),
        (
            "verbs",
            json!([
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch"
            ]),
        ),
    ] {
        assert_eq!(policies[field], value, "{field}");
    }
}

texts![
    a_table_has_the_columns_of_the_definition,
    discovery_finds_what_is_defined,
    a_network_policy_shows_whom_it_selects,
    network_policies_are_discovered,
];

/// A list as a table, as `kubectl get` asks for it.
async fn table(at: &Setting, path: &str) -> Value {
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let request = http::Request::get(path).header("accept", accept);
    let request = request.body(Vec::new()).unwrap();
    at.client.request(request).await.unwrap()
}
