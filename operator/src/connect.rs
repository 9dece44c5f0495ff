//! The client to the API server, as this operator wants it: every request counted, none repeated behind our back.
//!
//! It deliberately sets no read timeout on the client, which would cut watches: every call has its own.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use http::{Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::metrics::Metrics;

/// Builds the client for `config`, counting into `metrics`. Repeats of its own are off: see [`crate::kubernetes`].
///
/// # Errors
/// What the client says, if its configuration holds no usable certificates or addresses.
pub fn connect(mut config: Config, metrics: Arc<Metrics>) -> Result<Client, kube::Error> {
    config.default_retry = false;
    let host = config
        .cluster_url
        .authority()
        .map(ToString::to_string)
        .unwrap_or_default();
    let counted = CountLayer {
        host: host.into(),
        metrics,
    };
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&counted)
        .build())
}

#[derive(Clone)]
struct CountLayer {
    host: Arc<str>,
    metrics: Arc<Metrics>,
}

impl<S> Layer<S> for CountLayer {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            counts: self.clone(),
        }
    }
}

#[derive(Clone)]
struct Counted<S> {
    inner: S,
    counts: CountLayer,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (method, begun) = (request.method().clone(), Instant::now());
        let (counts, failed) = (self.counts.clone(), self.counts.clone());
        let verb = method.clone();
        self.inner
            .call(request)
            .inspect_ok(move |answer| {
                let code = answer.status();
                counts.metrics.requested(
                    code.as_str(),
                    method.as_str(),
                    &counts.host,
                    begun.elapsed(),
                );
            })
            .inspect_err(move |_| {
                failed
                    .metrics
                    .requested("<error>", verb.as_str(), &failed.host, begun.elapsed());
            })
            .boxed()
    }
}
