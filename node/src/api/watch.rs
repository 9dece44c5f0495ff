//! The Watch service: many watchers on one stream.
//!
//! A stream's future does one thing at a time: what a client does not read keeps its requests from being heard, so that
//! neither answers nor requests pile up.
//!
//! What this module deliberately does not do: watch; [`crate::watch`] does. `cancel_reason` of a compacted watcher is empty, as
//! etcd has it: `compact_revision` says everything.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use prost::Message;
use prost::encoding::{encoded_len_varint, key_len};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_create_request::FilterType;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::watch_server;
use proto::mvccpb;
use proto::mvccpb::event::EventType;
use store::{AuthError, StoreError};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tonic::{Request, Response, Status, Streaming};

use super::{OVERHEAD_BYTES, Shared, convert};
use crate::auth::Credentials;
use crate::refusal::Refusal;
use crate::watch::{self, Body, Create, Event, Filter, KeyRange, Reason, WatchId};

/// See the module.
#[derive(Debug)]
pub(super) struct Watch(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl watch_server::Watch for Watch {
    type WatchStream = BoxStream<'static, Result<pb::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let credentials = Credentials::of(&request);
        let session = Session {
            credentials,
            stream: self.0.handle.watches().open().await?,
            requests: Some(request.into_inner()),
            outgoing: VecDeque::new(),
            clock: clock(self.0.limits.progress_interval),
            shared: Arc::clone(&self.0),
        };
        let responses = futures::stream::unfold(Some(session), async |session| {
            let mut session = session?;
            match session.next().await {
                Ok(response) => Some((Ok(response), Some(session))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(responses.boxed()))
    }
}

/// Up to a tenth longer than asked for, so that clients that came together are not told together for ever.
fn clock(interval: Duration) -> Interval {
    let interval = interval.mul_f64(rand::random_range(1.0..1.1));
    let mut clock = interval_at(Instant::now() + interval, interval);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock
}

/// One client's stream.
struct Session {
    shared: Arc<Shared>,
    credentials: Credentials,
    stream: watch::Stream,
    /// None once the client has said that it asks for nothing more; it is served all the same.
    requests: Option<Streaming<pb::WatchRequest>>,
    /// The pieces of a response.
    outgoing: VecDeque<pb::WatchResponse>,
    clock: Interval,
}

impl Session {
    async fn next(&mut self) -> Result<pb::WatchResponse, Status> {
        loop {
            if let Some(response) = self.outgoing.pop_front() {
                return Ok(response);
            }
            tokio::select! {
                response = self.stream.next() => self.answer(response.ok_or(Refusal::Stopped)?),
                request = next_request(&mut self.requests) => match request? {
                    Some(request) => self.hear(request).await?,
                    None => self.requests = None,
                },
                _ = self.clock.tick() => self.stream.tick().await?,
            }
        }
    }

    async fn hear(&self, request: pb::WatchRequest) -> Result<(), Refusal> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => match self.check(&request).await {
                Ok(()) => match create(request) {
                    Ok(create) => self.stream.create(create).await,
                    Err(reason) => self.stream.refuse(reason).await,
                },
                Err(reason) => self.stream.refuse(reason).await,
            },
            Some(RequestUnion::CancelRequest(request)) => {
                self.stream.cancel(WatchId(request.watch_id)).await
            }
            Some(RequestUnion::ProgressRequest(_)) => self.stream.request_progress().await,
            // Of a newer client; etcd ignores it as well.
            None => Ok(()),
        }
    }

    /// What is checked before the range is looked at, in etcd's order. Whether the caller may read it is asked with the range
    /// as it was written: etcd once asked after it had made of `"\0"` what its own code takes for no end at all
    /// (GHSA-xg4h-6gfc-h4m8).
    async fn check(&self, request: &pb::WatchCreateRequest) -> Result<(), Reason> {
        if request.start_revision < 0 {
            return Err(Reason::NegativeStart);
        }
        let key = if request.key.is_empty() {
            &[0]
        } else {
            &*request.key
        };
        let guard = &self.shared.guard;
        let may = guard.require_read(&self.credentials, key, &request.range_end);
        may.await.map_err(not_permitted)
    }

    fn answer(&mut self, response: watch::Response) {
        let watch::Response { id, revision, body } = response;
        let mut answer = pb::WatchResponse {
            header: self.shared.header(revision),
            watch_id: id.0,
            ..pb::WatchResponse::default()
        };
        let mut may_be_split = false;
        match body {
            Body::Created => answer.created = true,
            Body::Refused(reason) => {
                (answer.created, answer.canceled) = (true, true);
                answer.cancel_reason = reason.to_string();
            }
            Body::Canceled => answer.canceled = true,
            Body::Compacted(revision) => {
                (answer.canceled, answer.compact_revision) = (true, revision);
            }
            Body::Events(events, fragment) => {
                answer.events = events.into_iter().map(event).collect();
                may_be_split = fragment;
            }
            Body::Progress => {}
        }
        if may_be_split {
            let limit = self.shared.limits.max_request_bytes + OVERHEAD_BYTES;
            self.outgoing.extend(split(answer, limit));
        } else {
            self.outgoing.push_back(answer);
        }
    }
}

async fn next_request(
    requests: &mut Option<Streaming<pb::WatchRequest>>,
) -> Result<Option<pb::WatchRequest>, Status> {
    match requests {
        Some(requests) => requests.message().await,
        None => std::future::pending().await,
    }
}

fn create(request: pb::WatchCreateRequest) -> Result<Create, Reason> {
    // Filters of a newer client are ignored, as in etcd.
    let filters = request.filters().map(|filter| match filter {
        FilterType::Noput => Filter::NoPut,
        FilterType::Nodelete => Filter::NoDelete,
    });
    Ok(Create {
        filters: filters.collect(),
        id: WatchId(request.watch_id),
        start: request.start_revision,
        prev_kv: request.prev_kv,
        progress_notify: request.progress_notify,
        fragment: request.fragment,
        range: KeyRange::new(request.key, request.range_end)?,
    })
}

/// As Go shows an error of gRPC's; whatever else went wrong is a permission that is not there, as in etcd.
pub(super) fn not_permitted(refusal: Refusal) -> Reason {
    let told = match refusal {
        Refusal::InvalidAuthToken
        | Refusal::Store(StoreError::Auth(AuthError::OldRevision | AuthError::UserEmpty)) => {
            refusal
        }
        _ => AuthError::PermissionDenied.into(),
    };
    Reason::NotPermitted(format!("rpc error: code = {:?} desc = {told}", told.code()))
}

fn event(event: Event) -> mvccpb::Event {
    let kind = if event.change.is_delete() {
        EventType::Delete
    } else {
        EventType::Put
    };
    mvccpb::Event {
        r#type: kind.into(),
        kv: Some(convert::key_value(event.change.kv().clone())),
        prev_kv: event.previous.map(convert::key_value),
    }
}

/// The tag of `WatchResponse.events`.
const EVENTS_TAG: u32 = 11;

/// The response in pieces that stay below the limit, as long as a single event does: etcd's rule.
fn split(response: pb::WatchResponse, limit: usize) -> Vec<pb::WatchResponse> {
    if response.encoded_len() < limit || response.events.len() < 2 {
        return vec![response];
    }
    let events = response.events;
    let frame = pb::WatchResponse {
        fragment: true,
        events: Vec::new(),
        ..response
    };
    let mut pieces = vec![frame.clone()];
    let mut bytes = frame.encoded_len();
    for event in events {
        let length = event.encoded_len();
        let size = key_len(EVENTS_TAG) + encoded_len_varint(length as u64) + length;
        let is_empty = pieces.last().is_none_or(|piece| piece.events.is_empty());
        if !is_empty && bytes + size >= limit {
            pieces.push(frame.clone());
            bytes = frame.encoded_len();
        }
        bytes += size;
        if let Some(piece) = pieces.last_mut() {
            piece.events.push(event);
        }
    }
    if let Some(last) = pieces.last_mut() {
        last.fragment = false;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(sizes: &[usize]) -> Vec<mvccpb::Event> {
        let event = |size: &usize| mvccpb::Event {
            kv: Some(mvccpb::KeyValue {
                value: vec![b'v'; *size].into(),
                ..mvccpb::KeyValue::default()
            }),
            ..mvccpb::Event::default()
        };
        sizes.iter().map(event).collect()
    }

    fn response(sizes: &[usize]) -> pb::WatchResponse {
        pb::WatchResponse {
            header: Some(pb::ResponseHeader {
                cluster_id: 1 << 60,
                revision: 300,
                ..pb::ResponseHeader::default()
            }),
            watch_id: 7,
            events: events(sizes),
            ..pb::WatchResponse::default()
        }
    }

    #[test]
    fn a_response_below_the_limit_or_of_one_event_stays_whole() {
        let small = response(&[10, 10]);
        let size = small.encoded_len();
        assert_eq!(split(small.clone(), size + 1), vec![small.clone()]);
        assert_eq!(split(small, size).len(), 2, "the limit itself is too much");
        let one = response(&[1_000]);
        assert_eq!(split(one.clone(), 100), [one]);
    }

    #[test]
    fn pieces_stay_below_the_limit_and_all_but_the_last_say_that_more_comes() {
        let whole = response(&[30, 30, 30, 300, 30, 30]);
        let limit = 120;
        let pieces = split(whole.clone(), limit);
        let lengths: Vec<usize> = pieces.iter().map(|piece| piece.events.len()).collect();
        assert_eq!(lengths, [2, 1, 1, 2]);
        for piece in &pieces {
            assert_eq!((piece.watch_id, &piece.header), (7, &whole.header));
            assert!(piece.events.len() == 1 || piece.encoded_len() < limit);
        }
        let more: Vec<bool> = pieces.iter().map(|piece| piece.fragment).collect();
        assert_eq!(more, [true, true, true, false]);
        let together: Vec<_> = pieces.into_iter().flat_map(|piece| piece.events).collect();
        assert_eq!(together, whole.events);
    }
}
