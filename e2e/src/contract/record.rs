//! Keeps what was asked and what was answered, on the way through.
//!
//! It deliberately changes nothing: a watch goes on streaming, and its answer is what has come so far.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::TryStreamExt;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube::Client;
use kube::client::Body;
use serde_json::Value;
use tower::BoxError;

use super::plain::Plain;

/// Every call of one client. Clones share it.
#[derive(Clone, Default)]
pub struct Recording(Arc<Mutex<Tape>>);

#[derive(Default)]
struct Tape {
    calls: Vec<Call>,
    moments: usize,
}

#[derive(Default)]
struct Call {
    method: String,
    target: String,
    sent: Bytes,
    code: u16,
    answer: Vec<u8>,
    begun: usize,
    ended: usize,
}

/// One call and its answer, without what differs from run to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// Method, path and query.
    pub call: String,
    /// The status code.
    pub code: u16,
    /// The answer: JSON, or text where it is none. Of a watch, all its events but bookmarks.
    pub answer: Value,
}

impl Exchange {
    /// Whether the answer is a stream of events.
    pub(super) fn is_watch(&self) -> bool {
        self.call.contains("watch=true")
    }
}

impl Recording {
    /// A client that does what `inner` does, and is recorded.
    #[must_use]
    pub fn around(&self, inner: Client) -> Client {
        let recording = self.clone();
        let service =
            tower::service_fn(move |request| recording.clone().pass(inner.clone(), request));
        Client::new(service, "default")
    }

    /// What was said so far. Of reads and tries that were repeated until they brought what was waited for, only the last;
    /// calls that were under way at the same time stand in an order of their own.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        let tape = self.tape();
        let plain = Plain::learned_from(tape.calls.iter().map(|call| call.answer.as_slice()));
        let mut all: Vec<Exchange> = Vec::new();
        let (mut group, mut open_until) = (0, 0);
        for (at, call) in tape.calls.iter().enumerate() {
            if call.begun > open_until {
                group = all.len();
            }
            open_until = open_until.max(call.ended);
            if at > 0 && call.repeats(&tape.calls[at - 1]) {
                all.pop();
            }
            all.push(call.exchange(&plain));
            let beside = group.min(all.len() - 1);
            all[beside..].sort_by_key(|it| (it.call.clone(), it.code, it.answer.to_string()));
        }
        all
    }

    async fn pass(
        self,
        inner: Client,
        request: Request<Body>,
    ) -> Result<Response<impl http_body::Body<Data = Bytes, Error = kube::Error>>, BoxError> {
        let (head, body) = request.into_parts();
        let sent = body.collect_bytes().await?;
        let place = self.begin(&head, &sent);
        let answer = inner
            .send(Request::from_parts(head, Body::from(sent)))
            .await?;
        let (head, body) = answer.into_parts();
        self.end(place, head.status.as_u16());
        // Told on as it comes, for a watch never ends by itself.
        let told = body.into_data_stream().map_ok(move |piece| {
            self.tape().calls[place].answer.extend_from_slice(&piece);
            Frame::data(piece)
        });
        Ok(Response::from_parts(head, StreamBody::new(told)))
    }

    fn begin(&self, head: &http::request::Parts, sent: &Bytes) -> usize {
        let mut tape = self.tape();
        tape.moments += 1;
        let call = Call {
            method: head.method.to_string(),
            target: head
                .uri
                .path_and_query()
                .map(ToString::to_string)
                .unwrap_or_default(),
            sent: sent.clone(),
            begun: tape.moments,
            ended: usize::MAX,
            ..Call::default()
        };
        tape.calls.push(call);
        tape.calls.len() - 1
    }

    fn end(&self, place: usize, code: u16) {
        let mut tape = self.tape();
        tape.moments += 1;
        let now = tape.moments;
        let call = &mut tape.calls[place];
        (call.code, call.ended) = (code, now);
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    /// The same question once more, which changes nothing: somebody waits for another answer.
    fn repeats(&self, before: &Self) -> bool {
        let harmless = self.method == "GET" || self.target.contains("dryRun=All");
        let same = (&self.method, &self.target, &self.sent)
            == (&before.method, &before.target, &before.sent);
        harmless && same && before.ended < self.begun
    }

    fn exchange(&self, plain: &Plain) -> Exchange {
        let text = String::from_utf8_lossy(&self.answer);
        let answer = if self.target.contains("watch=true") {
            let events = text.lines().map(|line| plain.json(line));
            events.filter(|event| event["type"] != "BOOKMARK").collect()
        } else {
            plain.json(&text)
        };
        Exchange {
            call: format!("{} {}", self.method, plain.target(&self.target)),
            code: self.code,
            answer,
        }
    }
}
