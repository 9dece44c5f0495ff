//! Lists: selected, in pages, as of one revision; and how one object or many are shown.
//!
//! A page's token names the revision of its first page, so that all pages show one moment. It deliberately keeps no cache:
//! every list is of the store itself.

use super::call::Request;
use super::{Server, columns};
use crate::kinds::Kind;
use crate::object::{Object, default_at};
use crate::refusal::Refusal;
use crate::selectors::Selector;
use crate::store::{Compacted, Key, State};
use crate::verbs::Target;
use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use serde_json::{Value, json};
use std::sync::Arc;

/// One page of a list.
pub(super) struct Page {
    pub(super) items: Vec<Arc<Value>>,
    pub(super) revision: u64,
    token: String,
    /// How many come after this page; unknown where the real server would have to read them all to say.
    remaining: Option<usize>,
}

/// Answers a list.
pub(super) fn answer(
    server: &Server,
    request: &Request,
    target: &Target,
) -> Result<Response<Body>, Refusal> {
    let page = select(server, request, target)?;
    Ok(super::json(200, &whole(request, target, &page)))
}

/// The selector of a list or watch; a name in the path selects that one.
pub(super) fn selector(request: &Request) -> Result<Selector, Refusal> {
    let mut fields = request.parameter("fieldSelector").to_owned();
    if !request.call.name.is_empty() {
        fields = format!("metadata.name={}", request.call.name);
    }
    Selector::parse(request.parameter("labelSelector"), &fields)
}

/// Selects the objects of one page.
pub(super) fn select(server: &Server, request: &Request, target: &Target) -> Result<Page, Refusal> {
    let selector = selector(request)?;
    let limit = request.parameter("limit").parse::<usize>().unwrap_or(0);
    server.objects.store.with(|state| {
        let (revision, after) = moment(state, request)?;
        let namespace = Some(target.namespace.as_str()).filter(|n| !n.is_empty());
        let all = state
            .all_at(&target.kind.resource, namespace, revision)
            .map_err(|Compacted| gone())?;
        let mut matching = all
            .into_iter()
            .filter(|(key, object)| {
                let place = (key.namespace.as_str(), key.name.as_str());
                after
                    .as_ref()
                    .is_none_or(|(n, k)| place > (n.as_str(), k.as_str()))
                    && selector.matches(object)
            })
            .collect::<Vec<_>>();
        let total = matching.len();
        if limit > 0 {
            matching.truncate(limit);
        }
        let remaining = total - matching.len();
        let last = matching.last().map(|(key, _)| key);
        Ok(Page {
            token: last
                .filter(|_| remaining > 0)
                .map_or(String::new(), |k| token(revision, k)),
            items: matching.iter().map(|(_, object)| object.clone()).collect(),
            revision,
            remaining: (!is_selective(request)).then_some(remaining),
        })
    })
}

fn is_selective(request: &Request) -> bool {
    ["labelSelector", "fieldSelector"]
        .iter()
        .any(|it| !request.parameter(it).is_empty())
}

fn gone() -> Refusal {
    Refusal::expired(
        "The provided continue parameter is too old to display a consistent list result. \
         You must start a new list without the continue parameter.",
    )
}

/// The revision a list shows, and after which place it goes on.
fn moment(state: &State, request: &Request) -> Result<(u64, Option<(String, String)>), Refusal> {
    let token = request.parameter("continue");
    if !token.is_empty() {
        let bad = || Refusal::bad_request("continue key is not valid");
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
        let (revision, namespace, name): (u64, String, String) =
            serde_json::from_slice(&bytes).map_err(|_| bad())?;
        return Ok((revision, Some((namespace, name))));
    }
    let asked = request.parameter("resourceVersion");
    let asked: u64 = match asked {
        "" => 0,
        text => text.parse().map_err(|_| {
            Refusal::bad_request(format!(
                "Invalid value: {text:?}: resourceVersion is no number"
            ))
        })?,
    };
    if asked > state.revision() {
        let mut refusal = Refusal::new(
            504,
            "Timeout",
            format!(
                "Too large resource version: {asked}, current: {}",
                state.revision()
            ),
        );
        refusal.details = json!({
            "retryAfterSeconds": 1,
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        });
        return Err(refusal);
    }
    if request.call.at_hand {
        return Ok((state.at_hand(), None));
    }
    if request.parameter("resourceVersionMatch") == "Exact" && asked > 0 {
        return Ok((asked, None));
    }
    Ok((state.revision(), None))
}

fn token(revision: u64, last: &Key) -> String {
    let place = json!([revision, last.namespace, last.name]);
    URL_SAFE_NO_PAD.encode(place.to_string())
}

/// A page as the client wants to see it.
pub(super) fn whole(request: &Request, target: &Target, page: &Page) -> Value {
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if !page.token.is_empty() {
        metadata["continue"] = json!(page.token);
        if let Some(remaining) = page.remaining {
            metadata["remainingItemCount"] = json!(remaining);
        }
    }
    let kind = &target.kind;
    if request.wants("Table") {
        let include = request.parameter("includeObject");
        let mut table = columns::table(kind, &page.items, include, true);
        table["metadata"] = metadata;
        return table;
    }
    if request.wants("PartialObjectMetadataList") || request.wants("PartialObjectMetadata") {
        let items: Vec<Value> = page.items.iter().map(|o| partial(o)).collect();
        return json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata, "items": items,
        });
    }
    if kind.custom {
        default_at(&mut metadata, &["continue"], json!(""));
    }
    let items: Vec<Value> = page.items.iter().map(|o| listed(kind, o)).collect();
    json!({
        "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(),
        "metadata": metadata, "items": items,
    })
}

/// One object as the client wants to see it.
pub(super) fn shown(request: &Request, kind: &Kind, object: &Arc<Value>) -> Value {
    if request.wants("Table") {
        let include = request.parameter("includeObject");
        let mut table = columns::table(kind, std::slice::from_ref(object), include, true);
        table["metadata"] = json!({"resourceVersion": object.text("/metadata/resourceVersion")});
        return table;
    }
    if request.wants("PartialObjectMetadata") {
        return partial(object);
    }
    versioned(kind, object)
}

/// The stored fields under the version that was asked for.
pub(super) fn versioned(kind: &Kind, object: &Value) -> Value {
    let mut object = object.clone();
    object.put(&["apiVersion"], json!(kind.api_version()));
    object
}

/// An object among others of its kind: the list of a built-in kind says the kind once.
fn listed(kind: &Kind, object: &Value) -> Value {
    let mut object = versioned(kind, object);
    if !kind.custom {
        object.take_away(&["apiVersion"]);
        object.take_away(&["kind"]);
    }
    object
}

/// An object's metadata alone.
pub(super) fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}
