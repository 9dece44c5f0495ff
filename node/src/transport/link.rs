//! The way to one other member: a task that keeps a stream open and feeds it from a bounded queue.
//!
//! While there is no stream, messages are dropped at once rather than kept: what Raft said a second ago is no longer true.
//!
//! What this module deliberately does not do: judge the peer. It says only what it could not send.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use prost::Message as _;
use proto::peer::delivery::Part;
use proto::peer::peer_client::PeerClient;
use proto::peer::{Batch, Delivery, PingRequest};
use raft::{Body, Message, PeerId, SnapshotMeta, Term};
use store::Image;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use super::{Context, Counts, REMOVED, snapshot};
use crate::convert;
use crate::event::{Digests, Event};

/// Messages that wait for the stream. The core has at most 512 with entries on their way to one peer.
const QUEUE_MAX: usize = 1_024;
/// Batches between the queue and the stream: enough that neither waits for the other.
const BATCHES_MAX: usize = 4;
/// A batch is sent when it has this many bytes of entries.
const BATCH_BYTES: u64 = 1 << 20;
/// Between tries to reach a peer: soon at first, as most are away for a restart only, then once a second.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(1);
/// How often the way to a peer is measured: as often as etcd does.
const PING_EVERY: Duration = Duration::from_secs(3);

/// What goes to a peer.
#[derive(Debug)]
enum Outgoing {
    Message(Message),
    Digests(Digests),
}

/// See the module. Closed when dropped.
#[derive(Debug)]
pub(super) struct Link {
    context: Arc<Context>,
    peer: PeerId,
    urls: Vec<String>,
    queue: mpsc::Sender<Outgoing>,
    connected: Arc<AtomicBool>,
    heard: Arc<Notify>,
    counts: Arc<Counts>,
    task: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    pub(super) fn open(context: Arc<Context>, peer: PeerId, urls: Vec<String>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let connected = Arc::new(AtomicBool::new(false));
        let heard = Arc::new(Notify::new());
        let counts = context.traffic.of(peer.0);
        let feeder = Feeder {
            context: Arc::clone(&context),
            peer,
            urls: urls.clone(),
            waiting,
            connected: Arc::clone(&connected),
            heard: Arc::clone(&heard),
            counts: Arc::clone(&counts),
        };
        let task = tokio::spawn(feeder.run()).abort_handle();
        Self {
            context,
            peer,
            urls,
            queue,
            connected,
            heard,
            counts,
            task,
        }
    }

    /// The peer was heard of: where there is no stream to it, the next try is now.
    pub(super) fn hurry(&self) {
        if !self.connected.load(Ordering::Relaxed) {
            self.heard.notify_one();
        }
    }

    pub(super) fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Says whether the message is on its way.
    pub(super) fn send(&self, message: Message) -> bool {
        let message = Outgoing::Message(message);
        let sent = self.connected.load(Ordering::Relaxed) && self.queue.try_send(message).is_ok();
        if !sent {
            self.counts.failed();
        }
        sent
    }

    /// As [`Link::send`]; that it is lost is nobody's concern.
    pub(super) fn tell(&self, digests: Digests) {
        if self.connected.load(Ordering::Relaxed) {
            drop(self.queue.try_send(Outgoing::Digests(digests)));
        }
    }

    pub(super) fn send_snapshot(&self, term: Term, meta: SnapshotMeta, image: Image) {
        let (context, peer, urls) = (Arc::clone(&self.context), self.peer, self.urls.clone());
        tokio::spawn(async move {
            let index = meta.index.0;
            let sent = snapshot::send(&context, peer, &urls, term, meta, image).await;
            match &sent {
                Ok(()) => tracing::info!(peer = %id(peer), index, "sent a snapshot"),
                Err(error) => {
                    tracing::warn!(peer = %id(peer), index, %error, "sending a snapshot failed")
                }
            }
            context
                .handle
                .bring(Event::SnapshotSent {
                    to: peer,
                    ok: sent.is_ok(),
                })
                .await;
        });
    }
}

/// Ids as etcd prints them.
fn id(peer: PeerId) -> String {
    format!("{:x}", peer.0)
}

struct Feeder {
    context: Arc<Context>,
    peer: PeerId,
    urls: Vec<String>,
    waiting: mpsc::Receiver<Outgoing>,
    connected: Arc<AtomicBool>,
    /// Told when the peer has spoken while there is no stream to it.
    heard: Arc<Notify>,
    counts: Arc<Counts>,
}

impl Feeder {
    async fn run(mut self) {
        loop {
            self.keep_trying().await;
        }
    }

    /// Returns when a stream that was open for a while has ended, or the peer was heard of. A stream that ends at once, as a peer
    /// refuses us, counts as a try like one that never was.
    async fn keep_trying(&mut self) {
        let retries = ExponentialBuilder::default()
            .with_min_delay(RETRY_FIRST)
            .with_max_delay(RETRY_MOST)
            .with_jitter()
            .without_max_times();
        for (pause, attempt) in retries.build().zip(1u64..) {
            let began = Instant::now();
            let dialed = tokio::select! {
                dialed = self.context.dialer.connect(&self.urls) => dialed,
                // It may be dialed where it was before it came back.
                () = self.heard.notified() => return,
            };
            let (error, was_open) = match dialed {
                Ok(client) => (self.stream(client).await, true),
                Err(error) => (error.to_string(), false),
            };
            let has_lasted = was_open && began.elapsed() > RETRY_MOST;
            if was_open {
                self.connected.store(false, Ordering::Relaxed);
                let lost = Event::Unreachable(self.peer);
                self.context.handle.bring(lost).await;
            }
            // The first failure is news, the hundredth of the same outage is not.
            if has_lasted || attempt == 1 {
                tracing::warn!(peer = %id(self.peer), urls = ?self.urls, error, "no stream to peer; trying again");
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.heard.notified() => return,
            }
            if has_lasted {
                return;
            }
        }
    }

    /// One stream from its opening to its end: why it ended.
    async fn stream(&mut self, mut client: PeerClient<Channel>) -> String {
        let (deliveries, stream) = mpsc::channel(BATCHES_MAX);
        let ping = ping(client.clone(), Arc::clone(&self.counts));
        let mut call =
            tokio::spawn(async move { client.deliver(ReceiverStream::new(stream)).await.err() });
        while self.waiting.try_recv().is_ok() {}
        self.connected.store(true, Ordering::Relaxed);
        self.counts.connected();
        let ended = tokio::select! {
            ended = &mut call => ended.ok().flatten(),
            () = self.feed(deliveries) => (&mut call).await.ok().flatten(),
            never = ping => match never {},
        };
        self.counts.disconnected();
        self.heed(ended.as_ref());
        ended.map_or_else(|| "the peer ended the stream".to_owned(), |s| s.to_string())
    }

    /// Moves messages from the queue to the stream until that is closed.
    async fn feed(&mut self, deliveries: mpsc::Sender<Delivery>) {
        let hello = self.context.hello(self.peer);
        let mut part = Part::Hello(hello);
        while deliveries.send(Delivery { part: Some(part) }).await.is_ok() {
            match self.next_batch().await {
                Some(batch) => {
                    self.counts.sent(batch.encoded_len());
                    part = Part::Batch(batch);
                }
                None => return,
            }
        }
    }

    async fn next_batch(&mut self) -> Option<Batch> {
        let mut next = self.waiting.recv().await?;
        let (mut batch, mut bytes) = (Batch::default(), 0);
        loop {
            match next {
                Outgoing::Message(message) => {
                    bytes += weight(&message);
                    batch.messages.push(convert::message_to_wire(message));
                }
                Outgoing::Digests(digests) => {
                    batch.digests = Some(convert::digests_to_wire(digests))
                }
            }
            // One batch has room for one set of digests.
            if bytes >= BATCH_BYTES || batch.digests.is_some() {
                break;
            }
            match self.waiting.try_recv() {
                Ok(waiting) => next = waiting,
                Err(_) => break,
            }
        }
        Some(batch)
    }

    fn heed(&self, ended: Option<&Status>) {
        if ended.is_some_and(|status| status.message() == REMOVED) {
            self.context.removed.cancel();
        }
    }
}

/// Measures how long a word to a peer and back takes, on the connection that the messages go over.
async fn ping(mut client: PeerClient<Channel>, counts: Arc<Counts>) -> Infallible {
    let mut ticks = tokio::time::interval(PING_EVERY);
    loop {
        ticks.tick().await;
        let began = Instant::now();
        if client.ping(PingRequest {}).await.is_ok() {
            counts.round_trip(began.elapsed());
        }
    }
}

fn weight(message: &Message) -> u64 {
    match &message.body {
        Body::Append { entries, .. } | Body::Lend { entries, .. } => {
            entries.iter().map(raft::Entry::weight).sum()
        }
        Body::Propose { payloads } => payloads.iter().map(raft::Payload::weight).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use tokio::task::spawn_blocking;

    use super::*;
    use crate::storage::Identity;

    const PEER: PeerId = PeerId(2);

    /// Time stands still here, as it does while a blocking task runs under a paused clock: no pause between two tries ever ends.
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_speaks_is_dialed_at_once() {
        let (over, still) = std::sync::mpsc::channel::<()>();
        let still = spawn_blocking(move || still.recv());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (events, mut heard) = mpsc::channel(8);
        let identity = Identity {
            cluster_id: 1,
            member_id: 1,
        };
        let context = Context::of(identity, events);
        let link = Link::open(Arc::new(context), PEER, vec![url]);

        let listener = hang_up_on_one(listener).await;
        let lost = heard.recv().await;
        assert!(matches!(lost, Some(Event::Unreachable(PEER))), "{lost:?}");
        link.hurry();
        hang_up_on_one(listener).await;

        drop(over);
        still.await.unwrap().unwrap_err();
    }

    async fn hang_up_on_one(listener: TcpListener) -> TcpListener {
        let accepting = spawn_blocking(move || {
            for _ in 0..1_000 {
                if listener.accept().is_ok() {
                    return listener;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            panic!("nobody dialed");
        });
        accepting.await.unwrap()
    }
}
