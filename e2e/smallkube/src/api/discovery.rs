//! What the server says about itself: groups, resources, version, health.
//!
//! Answers the plain forms; clients that ask for the aggregated form fall back to them. It deliberately lists only what it
//! serves, so a client that looks for more finds out here.

use super::call::Request;
use super::{Server, json, openapi, text};
use crate::kinds::Kind;
use crate::refusal::Refusal;
use axum::body::Body;
use http::Response;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Answers a path that is no resource.
pub(super) fn answer(server: &Server, request: &Request) -> Result<Response<Body>, Refusal> {
    let kinds = server.objects.store.with(|s| s.kinds.clone());
    let kinds = kinds.all();
    let steps: Vec<&str> = request.path.split('/').filter(|s| !s.is_empty()).collect();
    let found = match steps.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => return Ok(text("ok")),
        ["version"] => version(),
        ["api"] => {
            json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
        }
        ["api", "v1"] => resources(kinds, "", "v1")?,
        ["apis"] => {
            let groups: Vec<Value> = groups(kinds).iter().map(|(g, v)| group(g, v)).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["apis", name] => {
            let groups = groups(kinds);
            let versions = groups.get(*name).ok_or_else(Refusal::no_such_path)?;
            let mut found = group(name, versions);
            found["kind"] = json!("APIGroup");
            found["apiVersion"] = json!("v1");
            found
        }
        ["apis", group, version] => resources(kinds, group, version)?,
        ["openapi", "v3"] => openapi::index(kinds),
        ["openapi", "v3", "api", version] => openapi::document(kinds, "", version)?,
        ["openapi", "v3", "apis", group, version] => openapi::document(kinds, group, version)?,
        _ => return Err(Refusal::no_such_path()),
    };
    Ok(json(200, &found))
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "34", "gitVersion": "v1.34.0+smallkube", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc", "platform": "linux/amd64",
    })
}

fn groups(kinds: &[Arc<Kind>]) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in kinds.iter().filter(|k| !k.group.is_empty()) {
        let versions = groups.entry(kind.group.clone()).or_default();
        if !versions.contains(&kind.version) {
            versions.push(kind.version.clone());
        }
    }
    groups
}

fn group(name: &str, versions: &[String]) -> Value {
    let named =
        |version: &String| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let listed: Vec<Value> = versions.iter().map(named).collect();
    json!({"name": name, "versions": listed, "preferredVersion": listed[0]})
}

fn resources(kinds: &[Arc<Kind>], group: &str, version: &str) -> Result<Value, Refusal> {
    let served: Vec<&Arc<Kind>> = kinds
        .iter()
        .filter(|k| k.group == group && k.version == version)
        .collect();
    let Some(first) = served.first() else {
        return Err(Refusal::no_such_path());
    };
    let listed: Vec<Value> = served.iter().flat_map(|k| entries(k)).collect();
    Ok(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": first.api_version(), "resources": listed,
    }))
}

fn entries(kind: &Kind) -> Vec<Value> {
    let verbs = match kind.custom {
        true => [
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "create",
            "update",
            "watch",
        ],
        false => [
            "create",
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "update",
            "watch",
        ],
    };
    let mut main = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
        "verbs": verbs,
    });
    for (field, names) in [
        ("shortNames", &kind.short_names),
        ("categories", &kind.categories),
    ] {
        if !names.is_empty() {
            main[field] = json!(names);
        }
    }
    let mut entries = vec![main];
    let sub = |name: &str, shown: &str, verbs: &[&str]| {
        json!({
            "name": format!("{}/{name}", kind.plural), "singularName": "", "namespaced": kind.namespaced,
            "kind": shown, "verbs": verbs,
        })
    };
    if kind.status {
        entries.push(sub("status", &kind.kind, &["get", "patch", "update"]));
    }
    if kind.scale.is_some() {
        let mut scale = sub("scale", "Scale", &["get", "patch", "update"]);
        scale["group"] = json!("autoscaling");
        scale["version"] = json!("v1");
        entries.push(scale);
    }
    if kind.resource == "pods" {
        entries.push(sub("log", "Pod", &["get"]));
        let mut eviction = sub("eviction", "Eviction", &["create"]);
        eviction["group"] = json!("policy");
        eviction["version"] = json!("v1");
        entries.push(eviction);
    }
    entries
}
