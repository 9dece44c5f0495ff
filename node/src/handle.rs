//! How the rest of the process speaks with the loop.
//!
//! What this module deliberately does not do: decide how long to wait for the loop. The replica answers everybody by his
//! deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft::PeerId;
use store::{Command, Response};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::event::{Event, Outcome, Read, Request};
use crate::refusal::Refusal;
use crate::replica;
use crate::status::Status;
use crate::watch::Watches;

/// Who waits for an answer of the loop.
pub type Waiter = oneshot::Sender<Outcome>;

/// Events on their way to the loop. Bounded: whoever brings more than the loop takes in waits, and with him his client.
pub const EVENTS_MAX: usize = 16_384;

/// Records visited at once when all compacted history is swept: about a millisecond of the loop's time.
const SWEEP_AT_ONCE: usize = 10_000;

/// How long a large read may wait for those before it.
const LARGE_READ_PATIENCE: Duration = Duration::from_secs(5);

/// Asks the loop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    events: mpsc::Sender<Event<Waiter>>,
    status: watch::Receiver<Status>,
    watches: Watches,
    /// One large read at a time: each makes an index of the whole store.
    large: Arc<Semaphore>,
}

impl Handle {
    /// A handle on the loop that takes these events and publishes this status, and lets nobody watch.
    #[must_use]
    pub fn new(events: mpsc::Sender<Event<Waiter>>, status: watch::Receiver<Status>) -> Self {
        Self {
            events,
            status,
            watches: Watches::new(0).0,
            large: Arc::new(Semaphore::new(1)),
        }
    }

    /// The same, that lets watch what the loop applies.
    #[must_use]
    pub fn with_watches(self, watches: Watches) -> Self {
        Self { watches, ..self }
    }

    /// How to watch.
    #[must_use]
    pub const fn watches(&self) -> &Watches {
        &self.watches
    }

    /// What the loop last knew.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// One look at the status without copying it. Not to be held across an await.
    pub fn with_status<T>(&self, look: impl FnOnce(&Status) -> T) -> T {
        look(&self.status.borrow())
    }

    /// Wakes whenever the status changes.
    #[must_use]
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until a majority has confirmed that this member is up to date: "the cluster answers".
    ///
    /// # Errors
    /// Why not, at the latest after the request timeout (5 s and two election timeouts).
    pub async fn confirm(&self) -> Result<(), Refusal> {
        self.read(Read::Nothing).await.map(drop)
    }

    /// Puts a command, by `Command::to_bytes`, into the log and waits until it is applied here.
    ///
    /// # Errors
    /// What the store answered, or why that is unknown.
    pub async fn propose(&self, command: Bytes) -> Result<Response, Refusal> {
        self.response(Request::Propose(command)).await
    }

    /// Changes the membership; only the leader takes it.
    ///
    /// # Errors
    /// Why not, or why that is unknown.
    pub async fn reconfigure(&self, command: Command) -> Result<Response, Refusal> {
        self.response(Request::Reconfigure(command)).await
    }

    async fn response(&self, request: Request) -> Result<Response, Refusal> {
        match self.ask(request).await? {
            Outcome::Applied(response) => Ok(response.into_result()?),
            other => unreachable!("a command is answered by its response, not by {other:?}"),
        }
    }

    /// A linearizable read.
    ///
    /// # Errors
    /// What the store answered, or that a majority did not confirm it in time.
    pub async fn read(&self, read: Read) -> Result<Outcome, Refusal> {
        self.ask(Request::Read(read)).await
    }

    /// A serializable read: what this member has.
    ///
    /// # Errors
    /// What the store answered.
    pub async fn read_local(&self, read: Read) -> Result<Outcome, Refusal> {
        self.ask(Request::ReadLocal(read)).await
    }

    /// The store as this member has it now.
    ///
    /// # Errors
    /// That this member is stopping.
    pub async fn image(&self) -> Result<store::Image, Refusal> {
        match self.ask(Request::Image).await? {
            Outcome::Image(image) => Ok(image),
            other => unreachable!("an image is not answered by {other:?}"),
        }
    }

    /// Frees the memory of compacted history, a little at a time, as everybody else waits meanwhile.
    ///
    /// # Errors
    /// That this member is stopping.
    pub async fn sweep(&self) -> Result<(), Refusal> {
        while let Outcome::SweptInPart = self.ask(Request::Sweep(SWEEP_AT_ONCE)).await? {}
        Ok(())
    }

    /// Lets another member lead, and waits until it does.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn move_leader(&self, to: u64) -> Result<(), Refusal> {
        self.ask(Request::MoveLeader(PeerId(to))).await.map(drop)
    }

    /// Lets any other member lead, if this one does, and waits until it does. A lone voter keeps its office.
    ///
    /// # Errors
    /// That nobody took over in time.
    pub async fn hand_over(&self) -> Result<(), Refusal> {
        self.ask(Request::HandOver).await.map(drop)
    }

    /// Brings an event to the loop; waits while it is behind. Says whether there still is a loop.
    pub(crate) async fn bring(&self, event: Event<Waiter>) -> bool {
        self.events.send(event).await.is_ok()
    }

    async fn ask(&self, request: Request) -> Result<Outcome, Refusal> {
        let (waiter, answer) = oneshot::channel();
        if !self.bring(Event::Ask(request, waiter)).await {
            return Err(Refusal::Stopped);
        }
        let outcome = match answer.await {
            Ok(Outcome::Large(image, read)) => self.read_aside(image, read).await?,
            Ok(outcome) => outcome,
            Err(_) => return Err(Refusal::Stopped),
        };
        match outcome {
            Outcome::Refused(refusal) => Err(refusal),
            outcome => Ok(outcome),
        }
    }

    /// Reads from an image, on a thread that serves nobody else.
    async fn read_aside(&self, image: store::Image, read: Read) -> Result<Outcome, Refusal> {
        let turn = Arc::clone(&self.large).acquire_owned();
        let turn = tokio::time::timeout(LARGE_READ_PATIENCE, turn).await;
        let turn = turn
            .map_err(|_| Refusal::Timeout)?
            .map_err(|_| Refusal::Stopped)?;
        let reading = tokio::task::spawn_blocking(move || {
            // Held until it is done, also for a client that has gone away.
            let _turn = turn;
            replica::answer(&image.to_store(), read)
        });
        reading.await.map_err(|_| Refusal::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use store::{PutRequest, RangeRequest, Store};

    use super::*;
    use crate::storage::Identity;

    #[tokio::test]
    async fn a_large_read_is_answered_from_its_image() {
        let (events, mut waiting) = mpsc::channel(1);
        let identity = Identity {
            cluster_id: 1,
            member_id: 2,
        };
        let (_status, published) = watch::channel(Status::new(identity));
        let handle = Handle::new(events, published);
        let mut store = Store::new();
        let put = PutRequest {
            key: "k".into(),
            ..PutRequest::default()
        };
        store.apply(1, &Command::Put(put.clone()));
        let range = RangeRequest {
            key: "k".into(),
            ..RangeRequest::default()
        };
        let asked = tokio::spawn(async move { handle.read(Read::Range(range)).await });
        let Some(Event::Ask(Request::Read(read), waiter)) = waiting.recv().await else {
            panic!("a read was asked for");
        };
        waiter.send(Outcome::Large(store.snapshot(), read)).unwrap();
        store.apply(2, &Command::Put(put));
        let Ok(Outcome::Range(answer)) = asked.await.unwrap() else {
            panic!("a range is answered by a range");
        };
        assert_eq!((answer.revision, answer.count), (2, 1));
        assert_eq!(answer.kvs[0].version, 1);
    }
}
