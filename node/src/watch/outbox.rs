//! Responses on their way from the loop to one stream, bounded by their bytes.
//!
//! What this module deliberately does not do: drop anything. The hub asks for room first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::hub::Outlet;
use super::request::Response;

/// Bytes of events that may wait for one stream, beyond a single response: a moment's traffic for a client that reads, and
/// all that one costs that does not. The rest it is given from history, once it has read half of this.
const WAITING_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Default)]
struct Waiting {
    responses: VecDeque<Response>,
    bytes: usize,
    /// The hub found no room and wants to be told.
    is_awaited: bool,
    is_closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    news: Notify,
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

/// Both ends of a new one.
pub(super) fn outbox() -> (Outbox, Inbox) {
    let shared = Arc::new(Shared::default());
    (Outbox(Arc::clone(&shared)), Inbox(shared))
}

impl Outlet for Outbox {
    fn has_room(&mut self) -> bool {
        let mut waiting = self.0.lock();
        let has_room = waiting.bytes < WAITING_BYTES_MAX;
        waiting.is_awaited |= !has_room;
        has_room
    }

    fn send(&mut self, response: Response) {
        let mut waiting = self.0.lock();
        if waiting.is_closed {
            return;
        }
        waiting.bytes += response.size_bytes();
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

    #[tokio::test]
    async fn who_finds_no_room_hears_of_it_once_half_is_read() {
        let (mut hub, mut stream) = outbox();
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
        let (mut hub, mut stream) = outbox();
        hub.send(large());
        drop(hub);
        assert!(stream.next().await.is_some());
        assert!(stream.next().await.is_none());
    }

    #[test]
    fn nothing_is_kept_for_a_stream_that_is_gone() {
        let (mut hub, stream) = outbox();
        hub.send(large());
        drop(stream);
        hub.send(large());
        assert!(hub.0.lock().responses.is_empty());
    }
}
