//! What the API server says of the requests it has answered: by verb and resource, of everybody.
//!
//! The operator's own count, which knows only HTTP methods, says how much; this one says of what. It deliberately leaves out watches, which
//! live long, and leases and the like, which are nobody's work on a cluster.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use kube::Client;

use crate::operator::samples;

/// By verb and resource, as `LIST pods`.
pub(crate) type Requests = BTreeMap<String, u64>;

/// Kinds that no cluster consists of.
const BESIDE: [&str; 3] = ["leases", "namespaces", "customresourcedefinitions"];

/// All requests so far that were about resources.
pub(crate) async fn answered(client: &Client) -> Result<Requests> {
    let metrics = http::Request::get("/metrics").body(Vec::new())?;
    let text = client.request_text(metrics).await;
    let text = text.context("read the API server's metrics")?;
    let mut requests = Requests::new();
    for (labels, count) in samples(&text, "apiserver_request_total") {
        let [verb, resource, part] =
            ["verb", "resource", "subresource"].map(|name| label(labels, name));
        if verb == "WATCH" || resource.is_empty() || BESIDE.contains(&resource) {
            continue;
        }
        let slash = if part.is_empty() { "" } else { "/" };
        let name = format!("{verb} {resource}{slash}{part}");
        *requests.entry(name).or_default() += count as u64;
    }
    Ok(requests)
}

/// What came to `before`.
pub(crate) fn since(now: Requests, before: &Requests) -> Requests {
    let more = now.into_iter().map(|(name, count)| {
        let count = count - before.get(&name).copied().unwrap_or_default();
        (name, count)
    });
    more.filter(|(_, count)| *count > 0).collect()
}

/// A label's value; nothing if there is no such label.
pub(crate) fn label<'a>(labels: &'a str, name: &str) -> &'a str {
    let found = labels.split(',').find_map(|it| {
        let (key, value) = it.split_once('=')?;
        (key == name).then(|| value.trim_matches('"'))
    });
    found.unwrap_or_default()
}
