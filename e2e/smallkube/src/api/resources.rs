//! From a request to the verb it asks for, and from what came of it to the answer.
//!
//! It deliberately carries no rule of its own beyond which method fits which path.

use super::call::Request;
use super::{Server, discovery, evict, json, list, scale, text, watch};
use crate::object::Object;
use crate::refusal::{self, Refusal};
use crate::verbs::delete::{Deleted, Deleting};
use crate::verbs::patch::Patch;
use crate::verbs::{Part, Target, Written};
use axum::body::Body;
use http::{Method, Response, header};
use serde_json::Value;
use std::sync::Arc;

/// Carries out one request.
pub(super) async fn carry_out(
    server: &Arc<Server>,
    request: &Request,
) -> Result<Response<Body>, Refusal> {
    if !request.is_resource() {
        return discovery::answer(server, request);
    }
    let target = target(server, request)?;
    match (
        request.call.verb.as_str(),
        request.call.subresource.as_str(),
    ) {
        ("watch", _) => watch::answer(server, request, &target),
        ("list", _) => list::answer(server, request, &target),
        ("deletecollection", _) => delete_all(server, request, &target),
        ("get", "log") => log(server, request, &target).await,
        ("create", "eviction") => evict::answer(server, request, &target),
        (_, "scale") => scale::answer(server, request, &target),
        (_, "" | "status" | "finalize") => one(server, request, target),
        _ => Err(Refusal::no_such_path()),
    }
}

fn target(server: &Server, request: &Request) -> Result<Target, Refusal> {
    let call = &request.call;
    let kinds = server.objects.store.with(|s| s.kinds.clone());
    let kind = kinds.by_path(&call.group, &request.version, &call.resource);
    let kind = kind.cloned().ok_or_else(|| {
        let served = kinds.all().iter().any(|kind| kind.group == call.group);
        match served {
            true => Refusal::no_such_path(),
            false => Refusal::no_such_page(),
        }
    })?;
    let has_namespace = !call.namespace.is_empty();
    let whole_cluster = matches!(call.verb.as_str(), "list" | "watch");
    let across = whole_cluster && !has_namespace;
    if has_namespace != kind.namespaced && !across {
        return Err(Refusal::no_such_path());
    }
    let part = match call.subresource.as_str() {
        "status" if kind.status => Part::Status,
        "scale" if kind.scale.is_some() => Part::Scale,
        "status" | "scale" => return Err(Refusal::no_such_path()),
        _ => Part::Main,
    };
    Ok(Target {
        kind,
        namespace: call.namespace.clone(),
        name: call.name.clone(),
        part,
    })
}

/// The verbs on one object.
fn one(server: &Arc<Server>, request: &Request, target: Target) -> Result<Response<Body>, Refusal> {
    let (objects, writing) = (&server.objects, request.writing());
    match request.method {
        Method::GET | Method::HEAD => {
            let object = objects.read(&target)?;
            Ok(json(200, &list::shown(request, &target.kind, &object)))
        }
        Method::POST => {
            let written = objects.create(&target, request.json()?, &writing)?;
            Ok(answer(request, &target, &written))
        }
        Method::PUT => {
            let body = request.json()?;
            let absent = objects.read(&target).is_err();
            // A put to a name that is not there creates only where Kubernetes allows it: nowhere that we serve.
            if absent {
                return Err(target.not_found());
            }
            let written = objects.update(&target, body, &writing)?;
            Ok(answer(request, &target, &written))
        }
        Method::PATCH => {
            let written = objects.patch(&target, &patch(request)?, &writing)?;
            Ok(answer(request, &target, &written))
        }
        Method::DELETE => delete(server, request, &target),
        _ => Err(Refusal::method_not_allowed()),
    }
}

/// The patch of a request, by its content type.
pub(super) fn patch(request: &Request) -> Result<Patch, Refusal> {
    let body = request.json()?;
    let content = request.content.split(';').next().unwrap_or_default();
    match content {
        "application/json-patch+json" => Ok(Patch::Json(body)),
        "application/merge-patch+json" => Ok(Patch::Merge(body)),
        "application/strategic-merge-patch+json" => Ok(Patch::Strategic(body)),
        "application/apply-patch+yaml" => Ok(Patch::Apply(body)),
        other => Err(Refusal::new(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format ({other}) - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, \
                 application/strategic-merge-patch+json, application/apply-patch+yaml"
            ),
        )),
    }
}

fn answer(request: &Request, target: &Target, written: &Written) -> Response<Body> {
    let code = if written.created { 201 } else { 200 };
    let mut response = json(code, &list::shown(request, &target.kind, &written.object));
    for warning in &written.warnings {
        let line = format!("299 - {:?}", warning);
        if let Ok(value) = header::HeaderValue::from_str(&line) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

fn deleting(request: &Request) -> Result<Deleting, Refusal> {
    let mut deleting = Deleting::from_body(&request.json()?);
    deleting.dry_run |= request.call.dry_run;
    if let Ok(seconds) = request.parameter("gracePeriodSeconds").parse() {
        deleting.grace_seconds = Some(seconds);
    }
    let policy = request.parameter("propagationPolicy");
    if !policy.is_empty() {
        deleting.propagation = Some(policy.to_owned());
    }
    Ok(deleting)
}

fn delete(server: &Server, request: &Request, target: &Target) -> Result<Response<Body>, Refusal> {
    let deleted = server.objects.delete(target, &deleting(request)?)?;
    let kind = &target.kind;
    // Some built-in kinds answer what they deleted, everything else a Status.
    let returns_object = matches!(
        kind.resource.as_str(),
        "pods" | "services" | "persistentvolumeclaims" | "persistentvolumes" | "serviceaccounts"
    );
    Ok(match deleted {
        Deleted::Marked(object) => json(200, &list::shown(request, kind, &object)),
        Deleted::Gone(object) if returns_object => json(200, &list::shown(request, kind, &object)),
        Deleted::Gone(object) => {
            let status = refusal::success(&kind.plural, &kind.group, &target.name, object.uid());
            json(200, &status)
        }
    })
}

fn delete_all(
    server: &Server,
    request: &Request,
    target: &Target,
) -> Result<Response<Body>, Refusal> {
    let deleting = deleting(request)?;
    let page = list::select(server, request, target)?;
    for object in &page.items {
        let one = Target {
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            ..target.clone()
        };
        match server.objects.delete(&one, &deleting) {
            Err(refusal) if refusal.code != 404 => return Err(refusal),
            _ => {}
        }
    }
    Ok(json(200, &list::whole(request, target, &page)))
}

async fn log(
    server: &Server,
    request: &Request,
    target: &Target,
) -> Result<Response<Body>, Refusal> {
    let pod = server.objects.read(target)?;
    let container = request.parameter("container");
    let read = || {
        server
            .logs
            .read(&pod, container, request.flag("previous"))
            .map_err(Refusal::bad_request)
    };
    let tail = request.parameter("tailLines").parse::<usize>().ok();
    let bytes = last_lines(read()?, tail);
    if !request.flag("follow") {
        return Ok(text(&String::from_utf8_lossy(&bytes)));
    }
    let logs = server.logs.clone();
    Ok(Response::new(follow(
        logs,
        pod,
        container.to_owned(),
        bytes,
    )))
}

/// What is there, then what comes, until the pod has no log any more.
fn follow(logs: Arc<dyn super::Logs>, pod: Arc<Value>, container: String, first: Vec<u8>) -> Body {
    let seen = logs
        .read(&pod, &container, false)
        .map_or(0, |all| all.len());
    let start = (Some(first), seen);
    let stream = futures::stream::unfold(start, move |(first, mut seen)| {
        let (logs, pod, container) = (logs.clone(), pod.clone(), container.clone());
        async move {
            if let Some(first) = first {
                return Some((Ok::<_, std::io::Error>(first), (None, seen)));
            }
            loop {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                let all = logs.read(&pod, &container, false).ok()?;
                if all.len() != seen {
                    let fresh = all.get(seen..).unwrap_or(&all).to_vec();
                    seen = all.len();
                    return Some((Ok(fresh), (None, seen)));
                }
            }
        }
    });
    Body::from_stream(stream)
}

fn last_lines(bytes: Vec<u8>, lines: Option<usize>) -> Vec<u8> {
    let Some(lines) = lines else {
        return bytes;
    };
    let mut pieces: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
    pieces.drain(..pieces.len().saturating_sub(lines));
    pieces.concat()
}
