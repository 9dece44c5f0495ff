//! The `/scale` subresource of custom resources: reading and setting `replicas` without knowing the kind.
//!
//! It deliberately serves only kinds whose definition declares it.

use super::Server;
use super::call::Request;
use super::columns::count;
use super::resources;
use crate::kinds::Scale;
use crate::object::Object;
use crate::refusal::{Cause, Refusal};
use crate::verbs::patch::{Patch, patched};
use crate::verbs::{Part, Target};
use axum::body::Body;
use http::{Method, Response};
use serde_json::{Value, json};

/// Answers a request on `/scale`.
pub(super) fn answer(
    server: &Server,
    request: &Request,
    target: &Target,
) -> Result<Response<Body>, Refusal> {
    let paths = target
        .kind
        .scale
        .clone()
        .ok_or_else(Refusal::no_such_path)?;
    let live = server.objects.read(target)?;
    let before = shown(&live, &paths);
    let wanted = match request.method {
        Method::GET | Method::HEAD => return Ok(super::json(200, &before)),
        Method::PUT => request.json()?,
        Method::PATCH => match resources::patch(request)? {
            Patch::Apply(applied) | Patch::Strategic(applied) => {
                patched(target, &before, &Patch::Merge(applied))?
            }
            patch => patched(target, &before, &patch)?,
        },
        _ => return Err(Refusal::method_not_allowed()),
    };
    let replicas = wanted.number("/spec/replicas").unwrap_or_default();
    if replicas < 0 {
        let cause = Cause::invalid(
            "spec.replicas",
            &json!(replicas),
            "should be a non-negative integer",
        );
        return Err(Refusal::invalid(
            "Scale",
            "autoscaling",
            &target.name,
            &[cause],
        ));
    }
    let mut new = (*live).clone();
    let path: Vec<&str> = paths
        .spec_replicas
        .split('/')
        .filter(|s| !s.is_empty())
        .collect();
    new.put(&path, json!(replicas));
    let version = wanted.text("/metadata/resourceVersion").to_owned();
    let kept = if version.is_empty() {
        live.text("/metadata/resourceVersion")
    } else {
        &version
    };
    new.put(&["metadata", "resourceVersion"], json!(kept));
    let target = Target {
        part: Part::Scale,
        ..target.clone()
    };
    let written = server.objects.update(&target, new, &request.writing())?;
    Ok(super::json(200, &shown(&written.object, &paths)))
}

fn shown(object: &Value, paths: &Scale) -> Value {
    let mut metadata = json!({});
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(value) = object["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    let selector = paths
        .selector
        .as_deref()
        .map_or("", |pointer| object.text(pointer));
    let mut status = json!({"replicas": count(object, &paths.status_replicas)});
    if !selector.is_empty() {
        status["selector"] = json!(selector);
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": count(object, &paths.spec_replicas)}, "status": status,
    })
}
