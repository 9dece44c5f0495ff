//! How the rest of the process watches.
//!
//! What this module deliberately does not do: decide anything; the hub does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::outbox::{Budget, Inbox, Outbox, Taken, outbox};
use super::request::{Ask, Body, Create, Event, KeyRange, Reason, Response, StreamId, WatchId};
use crate::refusal::Refusal;

/// Asks on their way to the loop. Bounded: whoever brings more than the loop takes in waits.
const ASKS_MAX: usize = 4_096;

/// Opens streams. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Watches {
    asks: mpsc::Sender<Ask<Outbox>>,
    next: Arc<AtomicU64>,
    taken: Arc<AtomicU64>,
    budget: Arc<Budget>,
}

impl Watches {
    /// And what the loop hears of it. Bytes that wait for all streams together are bounded by `waiting_bytes_max`, beyond a
    /// single response of each.
    pub(crate) fn new(waiting_bytes_max: u64) -> (Self, mpsc::Receiver<Ask<Outbox>>) {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let watches = Self {
            asks,
            next: Arc::default(),
            taken: Arc::default(),
            budget: Arc::new(Budget::new(waiting_bytes_max)),
        };
        (watches, asked)
    }

    /// A stream without watchers.
    ///
    /// # Errors
    /// That this member is stopping.
    pub async fn open(&self) -> Result<Stream, Refusal> {
        let id = StreamId(self.next.fetch_add(1, Ordering::Relaxed));
        let (outlet, inbox) = outbox(Arc::clone(&self.budget));
        let stream = Stream {
            id,
            asks: self.asks.clone(),
            inbox,
            owes_notice: false,
            taken: Arc::clone(&self.taken),
        };
        stream.ask(Ask::Open(id, outlet)).await?;
        Ok(stream)
    }

    /// The events of these keys from revision `start` on, or from now on for 0.
    ///
    /// # Errors
    /// That this member is stopping.
    pub async fn follow(&self, range: KeyRange, start: i64) -> Result<Follow, Refusal> {
        let mut stream = self.open().await?;
        stream.create(Create::new(range, start)).await?;
        let created = stream.next().await.ok_or(Refusal::Stopped)?;
        Ok(Follow {
            stream,
            revision: created.revision,
        })
    }

    /// Bytes that wait for all streams together.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.budget.used()
    }

    /// Events that streams have taken since the start, or that were dropped with them.
    pub(crate) fn events_taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

/// A stream of watchers; closed by dropping it.
#[derive(Debug)]
pub struct Stream {
    id: StreamId,
    asks: mpsc::Sender<Ask<Outbox>>,
    inbox: Inbox,
    owes_notice: bool,
    taken: Arc<AtomicU64>,
}

impl Stream {
    /// Asks for a watcher; answered by [`Body::Created`] or [`Body::Refused`].
    ///
    /// # Errors
    /// That this member is stopping.
    pub async fn create(&self, create: Create) -> Result<(), Refusal> {
        self.ask(Ask::Create(self.id, create)).await
    }

    /// Answers, in its turn, that a watcher was not made.
    ///
    /// # Errors
    /// That this member is stopping.
    pub async fn refuse(&self, reason: Reason) -> Result<(), Refusal> {
        self.ask(Ask::Refuse(self.id, reason)).await
    }

    /// Ends a watcher; answered if there is one.
    ///
    /// # Errors
    /// That this member is stopping.
    pub async fn cancel(&self, id: WatchId) -> Result<(), Refusal> {
        self.ask(Ask::Cancel(self.id, id)).await
    }

    /// Asks how far all watchers are.
    ///
    /// # Errors
    /// That this member is stopping.
    pub async fn request_progress(&self) -> Result<(), Refusal> {
        self.ask(Ask::Progress(self.id)).await
    }

    /// Has those watchers told of their progress that want it and had no events since the last time.
    ///
    /// # Errors
    /// That this member is stopping.
    pub async fn tick(&self) -> Result<(), Refusal> {
        self.ask(Ask::Tick(self.id)).await
    }

    /// What comes next; none when this member stops. Losing the future loses nothing.
    pub async fn next(&mut self) -> Option<Response> {
        if self.owes_notice {
            self.ask(Ask::Drained(self.id)).await.ok()?;
            self.owes_notice = false;
        }
        let Taken {
            response,
            is_drained,
        } = self.inbox.next().await?;
        self.owes_notice = is_drained;
        self.count(response.events().len());
        Some(response)
    }

    fn count(&self, events: usize) {
        self.taken.fetch_add(events as u64, Ordering::Relaxed);
    }

    async fn ask(&self, ask: Ask<Outbox>) -> Result<(), Refusal> {
        let asked = self.asks.send(ask).await;
        asked.map_err(|_| Refusal::Stopped)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.count(self.inbox.waiting_events());
        let close = Ask::Close(self.id);
        let Err(mpsc::error::TrySendError::Full(close)) = self.asks.try_send(close) else {
            return;
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let asks = self.asks.clone();
            runtime.spawn(async move { asks.send(close).await });
        }
    }
}

/// The events of one range; ended by dropping it.
#[derive(Debug)]
pub struct Follow {
    stream: Stream,
    revision: i64,
}

/// Why no more events come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// What would come next is compacted; this is the oldest revision that can be followed from.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted(i64),
    /// This member stops.
    #[error("etcdserver: server stopped")]
    Stopped,
}

impl Follow {
    /// The store's revision when it began: what was written later and is in the range will come.
    #[must_use]
    pub const fn revision(&self) -> i64 {
        self.revision
    }

    /// The next events, of one revision or of several whole ones. Losing the future loses nothing.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn next(&mut self) -> Result<Vec<Event>, Ended> {
        loop {
            match self.stream.next().await.ok_or(Ended::Stopped)?.body {
                Body::Events(events, _) => return Ok(events),
                Body::Compacted(revision) => return Err(Ended::Compacted(revision)),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use store::{Command, CompactionRequest, PutRequest, Store};

    use super::super::hub::Hub;
    use super::*;

    /// What the loop does, one ask after the other.
    struct Loop {
        store: Store,
        hub: Hub<Outbox>,
        asked: mpsc::Receiver<Ask<Outbox>>,
    }

    impl Loop {
        fn new() -> (Watches, Self) {
            let (watches, asked) = Watches::new(u64::MAX);
            let store = Store::new();
            let hub = Hub::new(store.revision());
            (watches, Self { store, hub, asked })
        }

        async fn hear(&mut self, count: usize) {
            for _ in 0..count {
                let ask = self.asked.recv().await.unwrap();
                self.hub.on(ask, &self.store);
            }
            self.settle();
        }

        fn settle(&mut self) {
            self.hub.step(&self.store);
            while self.hub.is_behind() {
                self.hub.step(&self.store);
            }
        }

        fn apply(&mut self, command: &Command) {
            let index = self.store.applied_index() + 1;
            let changes = self.store.apply(index, command).changes;
            self.hub.publish(changes, false, &self.store);
            self.settle();
        }

        fn put(&mut self, value: Vec<u8>) {
            self.apply(&Command::Put(PutRequest {
                key: "a".into(),
                value: value.into(),
                ..PutRequest::default()
            }));
        }
    }

    async fn follow(watches: &Watches, at: &mut Loop, start: i64) -> Follow {
        let watches = watches.clone();
        let range = KeyRange::One("a".into());
        let following = tokio::spawn(async move { watches.follow(range, start).await });
        at.hear(2).await;
        following.await.unwrap().unwrap()
    }

    fn revisions(events: &[Event]) -> Vec<i64> {
        let revisions = events.iter().map(|event| event.change.revision().main);
        revisions.collect()
    }

    #[tokio::test]
    async fn a_service_follows_a_range_until_its_history_is_gone() {
        let (watches, mut at) = Loop::new();
        at.put(Vec::new());
        let mut now = follow(&watches, &mut at, 0).await;
        assert_eq!(now.revision(), 2);
        let mut then = follow(&watches, &mut at, 1).await;
        at.put(Vec::new());
        assert_eq!(revisions(&now.next().await.unwrap()), [3]);
        assert_eq!(revisions(&then.next().await.unwrap()), [2]);
        assert_eq!(revisions(&then.next().await.unwrap()), [3]);
        at.apply(&Command::Compact(CompactionRequest {
            revision: 3,
            physical: false,
        }));
        let mut late = follow(&watches, &mut at, 2).await;
        assert_eq!(late.next().await, Err(Ended::Compacted(3)));
        drop((now, then, late));
        at.hear(3).await;
        assert_eq!(at.hub.figures().streams, 0);
        assert_eq!(watches.events_taken(), at.hub.figures().events);
    }

    #[tokio::test]
    async fn who_does_not_read_costs_a_bounded_queue_and_gets_everything_all_the_same() {
        let (watches, mut at) = Loop::new();
        let mut slow = follow(&watches, &mut at, 0).await;
        for _ in 0..64 {
            at.put(vec![0; 256 << 10]);
        }
        assert_eq!(at.hub.figures().slow, 1);
        let kept = slow.stream.inbox.waiting_events();
        assert!((16..=17).contains(&kept), "{kept} of 256 KiB in 4 MiB");
        let mut got = Vec::new();
        while got.len() < 64 {
            tokio::select! {
                biased;
                events = slow.next() => got.extend(revisions(&events.unwrap())),
                () = at.hear(1) => {}
            }
        }
        assert!(got.into_iter().eq(2..=65));
    }

    #[tokio::test]
    async fn a_member_that_stops_says_so() {
        let (watches, mut at) = Loop::new();
        let mut follow = follow(&watches, &mut at, 0).await;
        drop(at);
        assert_eq!(follow.next().await, Err(Ended::Stopped));
        let open = watches.open().await;
        assert_eq!(open.err(), Some(Refusal::Stopped));
    }
}
