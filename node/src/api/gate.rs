//! What is asked of every call before its service sees it.
//!
//! - A client that says `hasleader: true` wants no answer from a member that knows no leader.
//! - A learner serves its status, snapshots and serializable ranges alone, as in etcd; the last is known only by the service, so
//!   that the gate lets `Range` through and the service decides.
//! - A member whose store differs from the others' answers for nothing in it: only its status, alarms and hashes, and the
//!   membership, are served.
//!
//! What this module deliberately does not do: cut streams when the leader is lost; [`super::cut`] does.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures::future::Either;
use http::{HeaderMap, Request, Response};
use store::StoreError;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use crate::handle::Handle;
use crate::refusal::Refusal;

/// Metadata by which clients ask for a member that knows a leader.
const HAS_LEADER: &str = "hasleader";

/// What a learner serves, or may serve.
const OF_LEARNERS: [&str; 3] = [
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Maintenance/Snapshot",
    "/etcdserverpb.KV/Range",
];

/// The services of which a member that has diverged goes on serving.
const OF_DIVERGED: [&str; 2] = ["/etcdserverpb.Maintenance/", "/etcdserverpb.Cluster/"];

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Gate<S> {
    handle: Handle,
    inner: S,
}

impl<S> Gate<S> {
    pub(super) const fn new(handle: Handle, inner: S) -> Self {
        Self { handle, inner }
    }

    fn check(&self, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        let (leader, is_learner, has_diverged) = self
            .handle
            .with_status(|status| (status.leader, status.is_learner, status.has_diverged));
        if has_diverged && !OF_DIVERGED.iter().any(|service| path.starts_with(service)) {
            return Err(Refusal::Store(StoreError::Corrupt));
        }
        if is_learner && !OF_LEARNERS.contains(&path) {
            return Err(Refusal::NotForLearner);
        }
        if wants_leader(headers) && leader.is_none() {
            return Err(Refusal::NoLeader);
        }
        Ok(())
    }
}

/// Whether the client wants no answer without a leader.
pub(super) fn wants_leader(headers: &HeaderMap) -> bool {
    headers.get(HAS_LEADER).is_some_and(|value| value == "true")
}

impl<S: NamedService> NamedService for Gate<S> {
    const NAME: &'static str = S::NAME;
}

type Answer = Result<Response<Body>, Infallible>;

impl<S, B> Service<Request<B>> for Gate<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Answer>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.check(request.uri().path(), request.headers()) {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(refusal) => Either::Left(ready(Ok(tonic::Status::from(refusal).into_http()))),
        }
    }
}
