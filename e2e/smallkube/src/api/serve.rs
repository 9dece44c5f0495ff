//! The two doors: a tower service for clients in this process, and HTTP on loopback for everyone else.
//!
//! It deliberately binds loopback addresses only and speaks no TLS.

use super::{Lost, Server};
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The server as a tower service, for `kube::Client`.
#[derive(Clone)]
pub(crate) struct InProcess {
    pub(crate) server: Arc<Server>,
    pub(crate) client: Arc<str>,
}

impl tower::Service<Request<kube::client::Body>> for InProcess {
    type Response = Response<Body>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let (server, client) = (self.server.clone(), self.client.clone());
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let request = Request::from_parts(parts, body);
            Ok(server.answer(request, &client).await?)
        })
    }
}

/// Serves the API, and the routes given beside it, until the token is cancelled.
pub(crate) async fn listen(
    server: Arc<Server>,
    beside: axum::Router,
    listener: TcpListener,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let handle = move |request: Request<Body>| {
        let server = server.clone();
        async move { over_http(&server, request).await }
    };
    let router = beside.fallback(handle);
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
}

async fn over_http(server: &Arc<Server>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 16 << 20).await else {
        let mut response = Response::new(Body::from("the body did not arrive whole"));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    match server.answer(Request::from_parts(parts, body), "").await {
        Ok(response) => response,
        Err(lost) => broken(lost),
    }
}

/// An answer whose body breaks off at once, which a client sees as a broken connection.
fn broken(lost: Lost) -> Response<Body> {
    let error = std::io::Error::new(std::io::ErrorKind::ConnectionReset, lost);
    Response::new(Body::from_stream(futures::stream::once(async move {
        Err::<Bytes, _>(error)
    })))
}
