//! The JSON gateway: every call as `POST /v3/...`, answered with etcd's bytes.
//!
//! A request becomes a gRPC call into the routes of the client port, in this process, so that whatever checks and counts calls
//! checks and counts these. What a call takes and gives stands in the descriptors; nothing here knows a service.
//!
//! - Who calls is who says so in the request: nothing of the connection, least of all its certificate, goes along.
//! - One message at a time: a client that does not read its answers is not read ahead for.
//! - No JSON value is kept that is larger than twice what the largest message may be; base64 makes bytes a third longer.
//!
//! What this module deliberately does not do: WebSockets, into which etcd's gateway also puts its streams; the headers
//! `grpcgateway-*`, which no service of ours reads.

mod bindings;
mod call;
mod metadata;
mod quote;
mod read;
mod scan;
mod write;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{Redirect, Response};
use axum::routing::any;
use http::Method as HttpMethod;
use tonic::Status;

pub(crate) use bindings::pool;

use bindings::Method;
use call::{Answer, Messages};

/// Paths become calls of these routes.
#[derive(Debug)]
struct Gateway {
    methods: HashMap<&'static str, Method>,
    grpc: Router,
    message_bytes_max: usize,
}

/// The gateway's routes, before these gRPC routes. `message_bytes_max` is what a message may have there.
pub fn routes(grpc: Router, message_bytes_max: usize) -> Router {
    let gateway = Gateway {
        methods: bindings::methods(),
        grpc,
        message_bytes_max,
    };
    Router::new()
        .route("/v3", any(async || Redirect::temporary("/v3/")))
        .route("/v3/", any(serve))
        .route("/v3/{*path}", any(serve))
        .with_state(Arc::new(gateway))
}

/// Every path that is served, with the gRPC call that it becomes: `/package.Service/Method`.
pub fn paths() -> impl Iterator<Item = (&'static str, String)> {
    let methods = bindings::methods().into_iter();
    methods.map(|(path, method)| (path, method.path))
}

async fn serve(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let answered = match gateway.methods.get(request.uri().path()) {
        None => Err(Status::not_found("Not Found")),
        Some(_) if request.method() != HttpMethod::POST => {
            Err(Status::unimplemented("Method Not Allowed"))
        }
        Some(method) => gateway.answer(method, request).await,
    };
    answered.unwrap_or_else(|error| write::refusal(&error))
}

impl Gateway {
    async fn answer(&self, method: &Method, request: Request) -> Result<Response, Status> {
        let (parts, body) = request.into_parts();
        let patience = metadata::timeout(&parts.headers)?;
        let mut messages = Messages::new(body, method.input.clone(), self.message_bytes_max);
        let messages = if method.client_streams {
            messages.stream()
        } else {
            messages.single().await?
        };
        let call = call::request(&method.path, metadata::of(&parts.headers), messages);
        let answer = async {
            let answer = Answer::to(self.grpc.clone(), call, method.output.clone()).await;
            if method.server_streams {
                Ok(answer.stream().await)
            } else {
                answer.single().await
            }
        };
        let late = || Err(Status::deadline_exceeded("context deadline exceeded"));
        match patience {
            None => answer.await,
            Some(patience) => tokio::time::timeout(patience, answer)
                .await
                .unwrap_or_else(|_| late()),
        }
    }
}

#[cfg(test)]
mod tests;
