//! Eviction: a pod's deletion that asks its disruption budget first.
//!
//! The budget's status, kept by [`crate::budgets`], says how many may go; an eviction takes one of them in the same step. It
//! deliberately counts afresh, so that two evictions in a row cannot both take the last one.

use super::Server;
use super::call::Request;
use crate::budgets;
use crate::refusal::Refusal;
use crate::verbs::Target;
use crate::verbs::delete::Deleting;
use axum::body::Body;
use http::Response;
use serde_json::json;

/// Answers `POST pods/<name>/eviction`.
pub(super) fn answer(
    server: &Server,
    request: &Request,
    target: &Target,
) -> Result<Response<Body>, Refusal> {
    let body = request.json()?;
    let pod = server.objects.read(target)?;
    let mut deleting = Deleting::from_body(&body["deleteOptions"]);
    deleting.dry_run |= request.call.dry_run;
    budgets::take_one(&server.objects, &pod)?;
    server.objects.delete(target, &deleting)?;
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(super::json(201, &status))
}
