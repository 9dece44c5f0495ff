//! The Kubernetes API in HTTP requests and answers, with faults on the way.
//!
//! [`Server::answer`] is the whole of it; the in-process client and the HTTP listener both end here. It deliberately has no
//! authentication: it listens on loopback only and belongs to whoever started it.

mod call;
mod columns;
mod discovery;
mod evict;
mod list;
mod openapi;
mod protobuf;
mod resources;
mod scale;
mod serve;
mod watch;

pub(crate) use serve::{InProcess, listen};

use crate::faults::{Call, Effect, Faults, Record};
use crate::refusal::Refusal;
use crate::verbs::Objects;
use axum::body::Body;
use bytes::Bytes;
use call::Request;
use http::{Response, StatusCode, header};
use serde_json::Value;
use std::sync::Arc;

/// The connection broke, as a fault asked for.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("connection reset by smallkube: {0}")]
pub struct Lost(&'static str);

/// What answers `pods/log`.
pub(crate) trait Logs: Send + Sync {
    /// The text so far of a container, the only one when none is named; or the reason why there is none.
    fn read(&self, pod: &Value, container: &str, previous: bool) -> Result<Vec<u8>, String>;
}

/// The API server.
pub(crate) struct Server {
    pub(crate) objects: Arc<Objects>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) logs: Arc<dyn Logs>,
}

impl Server {
    /// Answers one request, unless a fault loses it.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        request: http::Request<Bytes>,
        client: &str,
    ) -> Result<Response<Body>, Lost> {
        let request = match Request::parse(request, client) {
            Ok(request) => request,
            Err(refusal) => return Ok(refused(&refusal)),
        };
        let (mut lose, mut hang) = (false, false);
        for effect in self.faults.effects(&request.call) {
            match effect {
                Effect::Refuse(refusal) => {
                    self.note(&request.call, refusal.code, false);
                    return Ok(refused(&refusal));
                }
                Effect::Delay(time) => tokio::time::sleep(time).await,
                Effect::LoseRequest => {
                    self.note(&request.call, 0, false);
                    return Err(Lost("the request never arrived"));
                }
                Effect::HangBefore => {
                    self.note(&request.call, 0, false);
                    return std::future::pending().await;
                }
                Effect::LoseAnswer => lose = true,
                Effect::HangAfter => hang = true,
                Effect::DropEvent | Effect::RepeatEvent => {}
            }
        }
        let response = self.carry_out(&request).await;
        if hang {
            return std::future::pending().await;
        }
        if lose {
            return Err(Lost("the answer never arrived"));
        }
        Ok(response)
    }

    async fn carry_out(self: &Arc<Self>, request: &Request) -> Response<Body> {
        let before = self.objects.store.with(|s| s.revision());
        let response = match resources::carry_out(self, request).await {
            Ok(response) => response,
            Err(refusal) => refused(&refusal),
        };
        let changed = request.call.is_write() && self.objects.store.with(|s| s.revision()) > before;
        self.note(&request.call, response.status().as_u16(), changed);
        response
    }

    fn note(&self, call: &Call, code: u16, changed: bool) {
        if !call.verb.is_empty() {
            self.faults.record(Record {
                call: call.clone(),
                code,
                changed,
            });
        }
    }
}

/// An answer with a JSON body.
fn json(code: u16, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let form = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, form);
    response
}

fn text(value: &str) -> Response<Body> {
    Response::new(Body::from(value.to_owned()))
}

fn refused(refusal: &Refusal) -> Response<Body> {
    if *refusal == Refusal::no_such_page() {
        let mut page = text(&refusal.message);
        *page.status_mut() = StatusCode::NOT_FOUND;
        return page;
    }
    json(refusal.code, &refusal.to_status())
}
