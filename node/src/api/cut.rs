//! Ends streams that would otherwise run for ever: those whose clients want a leader (`hasleader: true`) once there has been
//! none for three election timeouts, and all when the port closes or the member's store turns out to differ from the others'.
//!
//! The first is etcd's: a client of a member that is cut off from the others would wait for news that never come, and goes to
//! another member instead. The second lets a member stop at once, however many watch.
//!
//! What this module deliberately does not do: touch calls with one answer. They end by themselves.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::{Frame, SizeHint};
use store::StoreError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use super::gate::wants_leader;
use crate::handle::Handle;
use crate::refusal::Refusal;

/// The calls whose answers are streams without an end of their own.
const STREAMS: [&str; 3] = [
    "/etcdserverpb.Watch/Watch",
    "/etcdserverpb.Lease/LeaseKeepAlive",
    "/v3electionpb.Election/Observe",
];

/// Election timeouts without a leader after which streams are cut; etcd's figure.
const PATIENCE: u32 = 3;

/// Says when to cut.
#[derive(Clone, Debug)]
pub(super) struct Scissors {
    leaderless: watch::Receiver<u64>,
    diverged: watch::Receiver<u64>,
    closing: CancellationToken,
}

impl Scissors {
    /// Looks for a leader once in an election timeout, until nobody holds these any more.
    pub(super) fn new(
        handle: Handle,
        election_timeout: Duration,
        closing: CancellationToken,
    ) -> Self {
        let (cut, leaderless) = watch::channel(0);
        let (cut_all, diverged) = watch::channel(0);
        tokio::spawn(look_around(handle, election_timeout, cut, cut_all));
        Self {
            leaderless,
            diverged,
            closing,
        }
    }

    async fn wait(mut self, wants_leader: bool) -> Refusal {
        let leaderless = async {
            if !wants_leader || self.leaderless.changed().await.is_err() {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = leaderless => Refusal::NoLeader,
            Ok(()) = self.diverged.changed() => Refusal::Store(StoreError::Corrupt),
            () = self.closing.cancelled() => Refusal::Stopped,
        }
    }
}

async fn look_around(
    handle: Handle,
    election_timeout: Duration,
    cut: watch::Sender<u64>,
    cut_all: watch::Sender<u64>,
) {
    let mut without = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(election_timeout) => {}
            () = cut.closed() => return,
        }
        let (has_leader, has_diverged) =
            handle.with_status(|status| (status.leader.is_some(), status.has_diverged));
        if has_diverged {
            cut_all.send_modify(|cuts| *cuts += 1);
        }
        without = if has_leader { 0 } else { without + 1 };
        if without >= PATIENCE {
            cut.send_modify(|cuts| *cuts += 1);
        }
    }
}

/// A service whose streams are cut.
#[derive(Clone, Debug)]
pub(super) struct Cut<S> {
    scissors: Scissors,
    inner: S,
}

impl<S> Cut<S> {
    pub(super) const fn new(scissors: Scissors, inner: S) -> Self {
        Self { scissors, inner }
    }
}

impl<S: NamedService> NamedService for Cut<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<Request<B>> for Cut<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_stream = STREAMS.contains(&request.uri().path());
        let wants_leader = wants_leader(request.headers());
        // From now on, not from when the answer begins.
        let mut scissors = self.scissors.clone();
        scissors.leaderless.mark_unchanged();
        scissors.diverged.mark_unchanged();
        let answer = self.inner.call(request);
        Box::pin(async move {
            if !is_stream {
                return answer.await;
            }
            let mut cut: BoxFuture<'static, Refusal> = Box::pin(scissors.wait(wants_leader));
            // `Observe` waits for somebody to tell of before its answer begins.
            let answer = tokio::select! {
                answer = answer => answer?,
                refusal = &mut cut => return Ok(Status::from(refusal).into_http()),
            };
            Ok(answer.map(|body| {
                Body::new(Stream {
                    body,
                    cut: Some(cut),
                })
            }))
        })
    }
}

struct Stream {
    body: Body,
    /// None once it has happened.
    cut: Option<BoxFuture<'static, Refusal>>,
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(cut) = &mut self.cut else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(refusal) = cut.as_mut().poll(context) {
            self.cut = None;
            self.body = Body::empty();
            return Poll::Ready(Some(trailers(refusal).map(Frame::trailers)));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn trailers(refusal: Refusal) -> Result<http::HeaderMap, Status> {
    let mut trailers = http::HeaderMap::new();
    Status::from(refusal).add_header(&mut trailers)?;
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::sync::mpsc;
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;
    use crate::status::Status as Published;
    use crate::storage::Identity;

    fn published(leader: Option<u64>) -> Published {
        let identity = Identity {
            cluster_id: 1,
            member_id: 2,
        };
        Published {
            leader,
            ..Published::new(identity)
        }
    }

    /// A service whose every answer is an empty stream that never ends.
    #[derive(Clone)]
    struct Endless;

    impl Service<Request<()>> for Endless {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            let never = futures::stream::pending::<Result<Frame<Bytes>, Status>>();
            let body = http_body_util::StreamBody::new(never);
            std::future::ready(Ok(Response::new(Body::new(body))))
        }
    }

    fn request(path: &str, has_leader: &str) -> Request<()> {
        let request = Request::builder().uri(path).header("hasleader", has_leader);
        request.body(()).unwrap()
    }

    /// A service whose every answer never begins.
    #[derive(Clone)]
    struct Silent;

    impl Service<Request<()>> for Silent {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = std::future::Pending<Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            std::future::pending()
        }
    }

    async fn end(answer: Response<Body>) -> (i32, String) {
        let whole = answer.into_body().collect().await.unwrap();
        let status = Status::from_header_map(whole.trailers().unwrap()).unwrap();
        (status.code() as i32, status.message().to_owned())
    }

    const TIMEOUT: Duration = Duration::from_millis(20);

    async fn runs_on(ending: &mut JoinHandle<(i32, String)>) -> bool {
        tokio::time::timeout(TIMEOUT * 6, ending).await.is_err()
    }

    #[tokio::test]
    async fn streams_that_want_a_leader_end_after_three_election_timeouts_without_one() {
        let (events, _loop) = mpsc::channel(1);
        let (status, seen) = watch::channel(published(Some(2)));
        let closing = CancellationToken::new();
        let scissors = Scissors::new(Handle::new(events, seen), TIMEOUT, closing.clone());
        let mut service = Cut::new(scissors, Endless);
        let watch = "/etcdserverpb.Watch/Watch";
        let wanting = service.call(request(watch, "true")).await.unwrap();
        let other = service.call(request(watch, "false")).await.unwrap();
        let mut wanting = tokio::spawn(end(wanting));
        assert!(runs_on(&mut wanting).await, "there is a leader");
        let lost = Instant::now();
        status.send_modify(|status| status.leader = None);
        let ended = wanting.await.unwrap();
        assert_eq!(ended, (14, "etcdserver: no leader".to_owned()));
        assert!(lost.elapsed() > TIMEOUT * 2, "{:?}", lost.elapsed());
        let mut other = tokio::spawn(end(other));
        assert!(runs_on(&mut other).await, "it does not mind");
        closing.cancel();
        let ended = other.await.unwrap();
        assert_eq!(ended, (14, "etcdserver: server stopped".to_owned()));
    }

    #[tokio::test]
    async fn a_stream_that_has_not_begun_ends_as_well() {
        let (events, _loop) = mpsc::channel(1);
        let (_status, seen) = watch::channel(published(None));
        let closing = CancellationToken::new();
        let scissors = Scissors::new(Handle::new(events, seen), TIMEOUT, closing.clone());
        let mut service = Cut::new(scissors, Silent);
        let mut call = |has_leader| {
            let observe = request("/v3electionpb.Election/Observe", has_leader);
            tokio::spawn(service.call(observe))
        };
        let (wanting, other) = (call("true"), call("false"));
        let said = async |call: JoinHandle<Result<Response<Body>, Infallible>>| {
            let Ok(answer) = call.await.unwrap();
            Status::from_header_map(answer.headers()).unwrap()
        };
        assert_eq!(said(wanting).await.message(), "etcdserver: no leader");
        assert!(!other.is_finished(), "it does not mind");
        closing.cancel();
        assert_eq!(said(other).await.message(), "etcdserver: server stopped");
    }

    #[tokio::test]
    async fn streams_end_when_the_store_has_diverged() {
        let (events, _loop) = mpsc::channel(1);
        let (status, seen) = watch::channel(published(Some(2)));
        let scissors = Scissors::new(Handle::new(events, seen), TIMEOUT, CancellationToken::new());
        let mut service = Cut::new(scissors, Endless);
        let watch = request("/etcdserverpb.Watch/Watch", "false");
        let ending = service.call(watch).await.unwrap();
        status.send_modify(|status| status.has_diverged = true);
        let ended = end(ending).await;
        assert_eq!(ended, (15, "etcdserver: corrupt cluster".to_owned()));
    }
}
