//! Responses on their way from the loop to one stream, bounded by their bytes: of each stream, and of all streams together.
//!
//! Where all together have used what there is for them, a stream has room for one response at a time: whoever reads goes on, and
//! whoever does not costs no more. Nothing is lost; what found no room comes from history.
//!
//! What this module deliberately does not do: drop anything. The hub asks for room first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::hub::Outlet;
use super::request::Response;

/// Bytes of events that may wait for one stream, beyond a single response: a moment's traffic for a client that reads, and
/// all that one costs that does not. The rest it is given from history, once it has read half of this.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// The bytes that wait for all streams together.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicU64,
    bytes_max: u64,
}

impl Budget {
    /// Nothing waits.
    pub(super) const fn new(bytes_max: u64) -> Self {
        Self {
            used: AtomicU64::new(0),
            bytes_max,
        }
    }

    /// What is used of it, in bytes.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn has_room(&self) -> bool {
        self.used() < self.bytes_max
    }

    fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Waiting {
    responses: VecDeque<Response>,
    bytes: usize,
    /// The hub found no room and wants to be told.
    is_awaited: bool,
    is_closed: bool,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    news: Notify,
    budget: Arc<Budget>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.news.notify_one();
    }
}

/// The hub's end. Dropping it ends the stream, once everything in it is read.
#[derive(Debug)]
pub(crate) struct Outbox(Arc<Shared>);

/// The stream's end. Once it is dropped nothing is kept any more.
#[derive(Debug)]
pub(super) struct Inbox(Arc<Shared>);

/// What came out of an [`Inbox`], and whether the hub waits to hear that there is room.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) response: Response,
    pub(super) is_drained: bool,
}

/// Both ends of a new one, whose responses count in this budget while they wait.
pub(super) fn outbox(budget: Arc<Budget>) -> (Outbox, Inbox) {
    let shared = Arc::new(Shared {
        waiting: Mutex::default(),
        news: Notify::new(),
        budget,
    });
    (Outbox(Arc::clone(&shared)), Inbox(shared))
}

impl Outlet for Outbox {
    fn has_room(&mut self) -> bool {
        let mut waiting = self.0.lock();
        let is_next = waiting.responses.is_empty();
        let has_room = waiting.bytes < WAITING_BYTES_MAX && (is_next || self.0.budget.has_room());
        waiting.is_awaited |= !has_room;
        has_room
    }

    fn send(&mut self, response: Response) {
        let mut waiting = self.0.lock();
        if waiting.is_closed {
            return;
        }
        waiting.bytes += response.size_bytes();
        self.0.budget.take(response.size_bytes());
        waiting.responses.push_back(response);
        drop(waiting);
        self.0.news.notify_one();
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Inbox {
    /// The next response; none once the hub is gone. Losing the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<Taken> {
        loop {
            if let Some(taken) = self.take() {
                return Some(taken);
            }
            if self.0.lock().is_closed {
                return self.take();
            }
            self.0.news.notified().await;
        }
    }

    fn take(&self) -> Option<Taken> {
        let mut waiting = self.0.lock();
        let response = waiting.responses.pop_front()?;
        waiting.bytes -= response.size_bytes();
        self.0.budget.give_back(response.size_bytes());
        let has_room = waiting.bytes <= WAITING_BYTES_MAX / 2;
        let is_drained = has_room && std::mem::take(&mut waiting.is_awaited);
        Some(Taken {
            response,
            is_drained,
        })
    }

    /// Events that wait to be taken.
    pub(super) fn waiting_events(&self) -> usize {
        let waiting = self.0.lock();
        waiting.responses.iter().map(|it| it.events().len()).sum()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.is_closed = true;
        waiting.responses.clear();
        self.0.budget.give_back(std::mem::take(&mut waiting.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{Body, NO_ID, Reason};
    use super::*;

    fn large() -> Response {
        let reason = Reason::NotPermitted(String::new());
        let body = Body::Refused(reason);
        Response {
            id: NO_ID,
            revision: 1,
            body,
        }
    }

    fn alone() -> (Outbox, Inbox) {
        outbox(Arc::new(Budget::new(u64::MAX)))
    }

    #[tokio::test]
    async fn all_together_have_a_bound_and_each_goes_on_all_the_same() {
        let one = large().size_bytes() as u64;
        let budget = Arc::new(Budget::new(3 * one));
        let (mut idle, never_read) = outbox(Arc::clone(&budget));
        while idle.has_room() {
            idle.send(large());
        }
        assert_eq!(budget.used(), 3 * one);
        let (mut hub, mut stream) = outbox(Arc::clone(&budget));
        for _ in 0..5 {
            assert!(hub.has_room(), "for one response");
            hub.send(large());
            assert!(!hub.has_room(), "for a second one");
            assert!(stream.next().await.unwrap().is_drained);
        }
        drop(never_read);
        assert_eq!(budget.used(), 0);
        hub.send(large());
        assert!(hub.has_room(), "again");
        drop(stream);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn who_finds_no_room_hears_of_it_once_half_is_read() {
        let (mut hub, mut stream) = alone();
        let mut sent = 0;
        while hub.has_room() {
            hub.send(large());
            sent += 1;
        }
        assert!(sent * large().size_bytes() < WAITING_BYTES_MAX + large().size_bytes());
        let mut drained = Vec::new();
        for number in 0..sent {
            if stream.next().await.unwrap().is_drained {
                drained.push(number);
            }
        }
        assert_eq!(drained.len(), 1);
        assert!(drained[0].abs_diff(sent / 2) <= 1, "{drained:?} of {sent}");
        assert!(hub.has_room());
    }

    #[tokio::test]
    async fn what_was_sent_is_read_before_the_end() {
        let (mut hub, mut stream) = alone();
        hub.send(large());
        drop(hub);
        assert!(stream.next().await.is_some());
        assert!(stream.next().await.is_none());
    }

    #[test]
    fn nothing_is_kept_for_a_stream_that_is_gone() {
        let (mut hub, stream) = alone();
        hub.send(large());
        drop(stream);
        hub.send(large());
        assert!(hub.0.lock().responses.is_empty());
    }
}
