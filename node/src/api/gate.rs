//! What is asked of every call before its service sees it.
//!
//! - A client that says `hasleader: true` wants no answer from a member that knows no leader.
//! - A learner serves its status, snapshots and serializable ranges alone, as in etcd; the last is known only by the service, so
//!   that the gate lets `Range` through and the service decides.
//! - A message that is too large is refused in the words and with the code of Go's gRPC, by which clients know it.
//! - A member whose store differs from the others' answers for nothing in it: only its status, alarms and hashes, the
//!   membership, and its health are served.
//!
//! What this module deliberately does not do: cut streams when the leader is lost; [`super::cut`] does.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures::TryFutureExt;
use futures::future::{Either, MapOk};
use http::{HeaderMap, Request, Response};
use store::StoreError;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status};
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
const OF_DIVERGED: [&str; 4] = [
    "/grpc.health.v1.Health/",
    "/etcdserverpb.Maintenance/",
    "/etcdserverpb.Cluster/",
    "/quorate.v1.Membership/",
];

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

type Reword = fn(Response<Body>) -> Response<Body>;
type Answer = Result<Response<Body>, Infallible>;

impl<S, B> Service<Request<B>> for Gate<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Answer>, MapOk<S::Future, Reword>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.check(request.uri().path(), request.headers()) {
            Ok(()) => Either::Right(self.inner.call(request).map_ok(in_grpcs_words)),
            Err(refusal) => Either::Left(ready(Ok(Status::from(refusal).into_http()))),
        }
    }
}

/// Our gRPC library refuses a message over the limit as `OutOfRange`, which etcd's clients take for a revision.
fn in_grpcs_words(response: Response<Body>) -> Response<Body> {
    let status = Status::from_header_map(response.headers());
    let reworded = status.filter(|status| status.code() == Code::OutOfRange);
    match reworded.and_then(|status| too_large(status.message())) {
        Some(text) => Status::resource_exhausted(text).into_http(),
        None => response,
    }
}

/// What Go's gRPC says where ours says this, if it is about the size of a message.
fn too_large(said: &str) -> Option<String> {
    let rest = said.strip_prefix("Error, decoded message length too large: found ")?;
    let (found, rest) = rest.split_once(" bytes, the limit is: ")?;
    let limit = rest.strip_suffix(" bytes")?;
    Some(format!(
        "grpc: received message larger than max ({found} vs. {limit})"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reworded(status: &Status) -> Status {
        let response = in_grpcs_words(status.clone().into_http());
        Status::from_header_map(response.headers()).unwrap()
    }

    #[test]
    fn a_message_over_the_limit_is_refused_as_go_refuses_it() {
        let ours = "Error, decoded message length too large: found 2100008 bytes, the limit is: 2097152 bytes";
        let status = reworded(&Status::out_of_range(ours));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(
            status.message(),
            "grpc: received message larger than max (2100008 vs. 2097152)"
        );
    }

    #[test]
    fn other_refusals_keep_their_words() {
        let compacted = Status::from(Refusal::Store(StoreError::Compacted));
        let status = reworded(&compacted);
        assert_eq!(
            (status.code(), status.message()),
            (compacted.code(), compacted.message())
        );
    }
}
