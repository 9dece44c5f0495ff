//! What an operator with a bug sends.
//!
//! It deliberately changes deletions only.

use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use tower::Service;

/// A client that names what it deletes by the name alone.
pub(super) fn by_name(client: Client) -> Client {
    Client::new(ByName(client), "default")
}

#[derive(Clone)]
struct ByName(Client);

impl Service<Request<Body>> for ByName {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // The client waits for its own service when it sends.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if request.method() == Method::DELETE {
            *request.body_mut() = Body::from(br#"{"propagationPolicy":"Background"}"#.to_vec());
        }
        let client = self.0.clone();
        async move { client.send(request).await }.boxed()
    }
}
