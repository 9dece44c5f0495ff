//! Calls of any RPC by its description, without generated stubs: what a server says arrives as it is, unknown fields included.
//!
//! Every call runs beside the text that made it, so that one may wait while others go on; a call that is dropped is cancelled.
//!
//! It deliberately retries nothing and reconnects nowhere.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes};
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::services;

/// How long a connection may take; on loopback a live process accepts at once.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// A connection to a member; it is made when it is needed.
///
/// # Errors
/// When the URL is none.
pub fn channel(url: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned())?;
    Ok(endpoint
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .connect_lazy())
}

/// What is sent as one message.
#[derive(Debug)]
pub enum Payload {
    /// A message.
    Message(DynamicMessage),
    /// Bytes that may be none.
    Raw(Bytes),
}

impl From<DynamicMessage> for Payload {
    fn from(message: DynamicMessage) -> Self {
        Self::Message(message)
    }
}

/// One call that was begun.
#[derive(Debug)]
pub struct Call {
    /// What is sent goes here; gone once this side has said all.
    requests: Option<mpsc::UnboundedSender<Payload>>,
    answers: mpsc::UnboundedReceiver<Said>,
    task: AbortHandle,
}

/// What a server said.
#[derive(Debug)]
pub enum Said {
    /// One message.
    Message(DynamicMessage),
    /// The end, with an error or without.
    End(Option<Status>),
}

impl Call {
    /// Begins a call with its first message.
    pub fn begin(
        channel: Channel,
        method: &MethodDescriptor,
        metadata: &MetadataMap,
        first: impl Into<Payload>,
    ) -> Self {
        let (requests, to_send) = mpsc::unbounded_channel();
        let (told, answers) = mpsc::unbounded_channel();
        let mut request = Request::new(UnboundedReceiverStream::new(to_send));
        *request.metadata_mut() = metadata.clone();
        let method = method.clone();
        let task = tokio::spawn(async move {
            let end = pass(channel, &method, request, &told).await;
            // Nobody listens any more when the text has ended.
            let _ = told.send(Said::End(end.err()));
        });
        let _ = requests.send(first.into());
        Self {
            requests: Some(requests),
            answers,
            task: task.abort_handle(),
        }
    }

    /// Sends one more message.
    ///
    /// # Errors
    /// When this side has ended, or the server has.
    pub fn send(&self, message: impl Into<Payload>) -> Result<()> {
        let requests = self.requests.as_ref().context("this side has ended")?;
        requests.send(message.into()).context("the call has ended")
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        self.requests = None;
    }

    /// The next thing the server says; none when nothing came in time.
    pub async fn next(&mut self, within: Duration) -> Option<Said> {
        let next = tokio::time::timeout(within, self.answers.recv()).await;
        next.ok().map(|it| it.unwrap_or(Said::End(None)))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Any kind of call is the same on the wire: messages one way, messages the other way, a status.
async fn pass(
    channel: Channel,
    method: &MethodDescriptor,
    request: Request<UnboundedReceiverStream<Payload>>,
    told: &mpsc::UnboundedSender<Said>,
) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(usize::MAX);
    let unreachable =
        |e: tonic::transport::Error| Status::unavailable(format!("no connection: {e}"));
    grpc.ready().await.map_err(unreachable)?;
    let codec = Dynamic(method.output());
    let answer = grpc
        .streaming(request, services::path(method), codec)
        .await?;
    let mut messages = answer.into_inner();
    while let Some(message) = messages.message().await? {
        let _ = told.send(Said::Message(message));
    }
    Ok(())
}

/// Messages by their description.
struct Dynamic(MessageDescriptor);

impl Codec for Dynamic {
    type Encode = Payload;
    type Decode = DynamicMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self(self.0.clone())
    }

    fn decoder(&mut self) -> Self {
        Self(self.0.clone())
    }
}

impl Encoder for Dynamic {
    type Item = Payload;
    type Error = Status;

    fn encode(&mut self, item: Payload, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let encoded = match item {
            Payload::Message(message) => message.encode(buffer),
            Payload::Raw(bytes) => {
                buffer.put(bytes);
                Ok(())
            }
        };
        encoded.map_err(|e| Status::internal(format!("encode the request: {e}")))
    }
}

impl Decoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let decoded = DynamicMessage::decode(self.0.clone(), buffer);
        decoded
            .map(Some)
            .map_err(|e| Status::internal(format!("decode the answer: {e}")))
    }
}
