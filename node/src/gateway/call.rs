//! One call into the gRPC routes of this process: JSON values in, messages out.
//!
//! What this module deliberately does not do: compress. Nothing leaves the process here.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyStream;
use hyper::body::Frame;
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tonic::{Code, Status};
use tower::ServiceExt;

use super::scan::{Unread, Values};
use super::{metadata, read, write};

/// A flag, and four bytes for the length.
const HEAD_BYTES: usize = 5;

/// The messages of a request's body.
pub(super) struct Messages {
    body: BoxStream<'static, Result<Bytes, axum::Error>>,
    values: Values,
    of: MessageDescriptor,
    bytes_max: usize,
}

impl Messages {
    pub(super) fn new(body: Body, of: MessageDescriptor, bytes_max: usize) -> Self {
        Self {
            body: body.into_data_stream().boxed(),
            values: Values::new(2 * bytes_max),
            of,
            bytes_max,
        }
    }

    /// The first message alone; nothing at all is the message in which nothing is set. Whatever follows is not looked at.
    pub(super) async fn single(&mut self) -> Result<Body, Status> {
        let first = self.next().await?;
        let message = first.unwrap_or_else(|| DynamicMessage::new(self.of.clone()));
        Ok(Body::from(frame(&message)))
    }

    /// All messages, as they come. What is no message ends them, as in etcd's gateway: a stream has no way to say more.
    pub(super) fn stream(self) -> Body {
        let frames = stream::unfold(self, |mut messages| async move {
            match messages.next().await {
                Ok(message) => Some((Ok::<_, Infallible>(frame(&message?)), messages)),
                Err(error) => {
                    tracing::debug!(%error, "cannot read a message of a client's stream");
                    None
                }
            }
        });
        Body::from_stream(frames)
    }

    async fn next(&mut self) -> Result<Option<DynamicMessage>, Status> {
        let value = loop {
            match self.values.next() {
                Ok(value) => break Some(value),
                Err(Unread::More) => match self.body.next().await {
                    Some(Ok(piece)) => self.values.push(&piece),
                    Some(Err(error)) => return Err(Status::cancelled(error.to_string())),
                    None => break self.values.last().map_err(|why| self.refused(why))?,
                },
                Err(why) => return Err(self.refused(why)),
            }
        };
        let Some(json) = value else {
            return Ok(None);
        };
        let message = read::message(&self.of, &json).map_err(Status::invalid_argument)?;
        match message.encoded_len() {
            length if length > self.bytes_max => Err(too_large(length, self.bytes_max)),
            _ => Ok(Some(message)),
        }
    }

    fn refused(&self, why: Unread) -> Status {
        match why {
            Unread::Wrong(why) => Status::invalid_argument(why),
            Unread::TooLarge(bytes) => too_large(bytes, self.bytes_max),
            Unread::More => Status::invalid_argument("unexpected EOF"),
        }
    }
}

/// In the words of Go's gRPC.
fn too_large(bytes: usize, bytes_max: usize) -> Status {
    Status::resource_exhausted(format!(
        "grpc: received message larger than max ({bytes} vs. {bytes_max})"
    ))
}

fn frame(message: &DynamicMessage) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + length);
    frame.put_u8(0);
    // Nothing longer than what a message may have comes this far, and that fits into a few megabytes.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message
        .encode(&mut frame)
        .expect("a buffer that grows takes everything");
    frame.freeze()
}

/// A gRPC request with this metadata and these messages.
pub(super) fn request(path: &str, metadata: HeaderMap, messages: Body) -> Request {
    let mut request = Request::new(messages);
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = path
        .parse()
        .expect("names of services and methods fit into paths");
    *request.headers_mut() = metadata;
    let grpc = HeaderValue::from_static("application/grpc");
    request.headers_mut().insert(CONTENT_TYPE, grpc);
    request
}

/// The answer to a call, message by message.
pub(super) struct Answer {
    headers: HeaderMap,
    body: BoxStream<'static, Result<Frame<Bytes>, axum::Error>>,
    bytes: BytesMut,
    of: MessageDescriptor,
}

impl Answer {
    /// Makes a call of these routes.
    pub(super) async fn to(routes: Router, call: Request, of: MessageDescriptor) -> Self {
        let Ok(response) = routes.oneshot(call).await;
        let (parts, body) = response.into_parts();
        Self {
            headers: parts.headers,
            body: BodyStream::new(body).boxed(),
            bytes: BytesMut::new(),
            of,
        }
    }

    /// The one message of an answer.
    pub(super) async fn single(mut self) -> Result<Response, Status> {
        let message = self.next().await?;
        // What comes after the message says whether the call went well.
        while self.next().await?.is_some() {}
        let message = message.ok_or_else(|| Status::internal("an answer without a message"))?;
        Ok(self.response(Body::from(write::message(&message))))
    }

    /// All messages as lines, as they come. The first is waited for, because it decides what the status is; without any there is
    /// nothing to tell the kind of.
    pub(super) async fn stream(mut self) -> Response {
        let first = self.next().await;
        let status = match &first {
            Ok(None) => return Response::new(Body::empty()),
            Ok(Some(_)) => StatusCode::OK,
            Err(error) => write::http_status(error.code()),
        };
        let mut response = self.response(Body::empty());
        *response.status_mut() = status;
        let first = stream::once(async { first }).filter_map(|first| async { first.transpose() });
        let rest = stream::unfold(Some(self), |answer| async move {
            let mut answer = answer?;
            match answer.next().await.transpose()? {
                Ok(message) => Some((Ok(message), Some(answer))),
                Err(error) => Some((Err(error), None)),
            }
        });
        let rest = rest.take(if status == StatusCode::OK {
            usize::MAX
        } else {
            0
        });
        let lines = first
            .chain(rest)
            .map(|next: Result<DynamicMessage, Status>| {
                Ok::<_, Infallible>(match next {
                    Ok(message) => write::result_line(&message),
                    Err(error) => write::error_line(&error),
                })
            });
        *response.body_mut() = Body::from_stream(lines);
        response
    }

    fn response(&self, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.headers_mut() = metadata::back(&self.headers);
        response.headers_mut().insert(CONTENT_TYPE, write::JSON);
        response
    }

    /// The next message; none once the call has ended well.
    async fn next(&mut self) -> Result<Option<DynamicMessage>, Status> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            let ended = match self.body.next().await {
                None => Status::from_header_map(&self.headers),
                Some(Err(error)) => return Err(Status::internal(error.to_string())),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => {
                        self.bytes.extend_from_slice(&bytes);
                        continue;
                    }
                    Err(frame) => frame.trailers_ref().and_then(Status::from_header_map),
                },
            };
            return match ended {
                Some(status) if status.code() != Code::Ok => Err(status),
                _ => Ok(None),
            };
        }
    }

    /// A whole message of those bytes that are here.
    fn take(&mut self) -> Result<Option<DynamicMessage>, Status> {
        let Some(head) = self.bytes.get(1..HEAD_BYTES) else {
            return Ok(None);
        };
        let length = head
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        if self.bytes.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        self.bytes.advance(HEAD_BYTES);
        let message = DynamicMessage::decode(self.of.clone(), self.bytes.split_to(length));
        message
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}
