//! An API server that answers any call with an error, or does what it was asked and is not heard.
//!
//! The operator tries a read again at once if it failed for a passing reason: such a one fails as often as it is tried, or the
//! round would never hear of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tower::Service;

use super::Schedule;

/// How often the operator tries a read.
const READ_TRIES: u32 = 3;
/// What a server that has too much to do asks for, in seconds.
const RETRY_AFTER_SECONDS: u32 = 1;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 409: a creation hears that the name is taken, another write that the object is a newer one.
    Conflict,
    /// 422.
    Invalid,
    /// 429, with `Retry-After`.
    TooManyRequests,
    /// 500.
    InternalError,
    /// 503.
    Unavailable,
    /// 504.
    GatewayTimeout,
    /// It takes effect, and the connection breaks.
    CutOff,
    /// It takes effect, and is never answered.
    NoAnswer,
}

impl Answer {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Conflict,
        Self::Invalid,
        Self::TooManyRequests,
        Self::InternalError,
        Self::Unavailable,
        Self::GatewayTimeout,
        Self::CutOff,
        Self::NoAnswer,
    ];

    /// Whether a read that got it is tried again at once.
    fn is_passing(self) -> bool {
        !matches!(self, Self::Conflict | Self::Invalid)
    }

    fn status(self, method: &Method) -> Option<(StatusCode, &'static str)> {
        Some(match self {
            Self::Conflict if *method == Method::POST => (StatusCode::CONFLICT, "AlreadyExists"),
            Self::Conflict => (StatusCode::CONFLICT, "Conflict"),
            Self::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
            Self::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            Self::InternalError => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Self::GatewayTimeout => (StatusCode::GATEWAY_TIMEOUT, "Timeout"),
            Self::CutOff | Self::NoAnswer => return None,
        })
    }
}

/// A refusal as the API server words it.
fn refusal((code, reason): (StatusCode, &str)) -> Response<Body> {
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code.as_u16(), "reason": reason, "message": format!("{reason}, says the test"),
    });
    let busy = code == StatusCode::TOO_MANY_REQUESTS;
    if busy {
        status["details"] = json!({ "retryAfterSeconds": RETRY_AFTER_SECONDS });
    }
    let mut response = Response::new(Body::from(status.to_string().into_bytes()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    let form = HeaderValue::from_static("application/json");
    headers.insert(http::header::CONTENT_TYPE, form);
    if busy {
        headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    }
    response
}

/// A read that will fail again when it is tried again: what it asks for, how it fails, and how often.
type Repeat = (String, Answer, u32);

/// A client whose calls are answered so.
pub(super) fn client(inner: Client, schedule: Schedule<Answer>) -> Client {
    let repeat = Arc::default();
    let answering = Answering {
        inner,
        schedule,
        repeat,
    };
    Client::new(answering, "default")
}

#[derive(Clone)]
struct Answering {
    inner: Client,
    schedule: Schedule<Answer>,
    repeat: Arc<Mutex<Option<Repeat>>>,
}

impl Answering {
    fn strikes(&self, request: &Request<Body>) -> Option<Answer> {
        let what = format!("{} {}", request.method(), request.uri());
        let mut repeat = self.repeat.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, answer, left)) = repeat.as_mut()
            && *known == what
            && *left > 0
        {
            *left -= 1;
            return Some(*answer);
        }
        let struck = self.schedule.next(what.clone(), |_| true);
        if let Some(answer) = struck.filter(|it| it.is_passing())
            && request.method() == Method::GET
        {
            *repeat = Some((what, answer, READ_TRIES - 1));
        }
        struck
    }
}

impl Service<Request<Body>> for Answering {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // The client waits for its own service when it sends.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        async move {
            let Some(answer) = this.strikes(&request) else {
                return this.inner.send(request).await;
            };
            if let Some(status) = answer.status(request.method()) {
                return Ok(refusal(status));
            }
            // Whatever its answer is, nobody hears it.
            drop(this.inner.send(request).await);
            match answer {
                Answer::NoAnswer => std::future::pending().await,
                _ => Err(kube::Error::Service("connection reset by the test".into())),
            }
        }
        .boxed()
    }
}
