//! The hub against a naive model, and its rules one by one.

mod model;
mod rules;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use store::{
    Change, Command, CompactionRequest, DeleteRangeRequest, Op, PutRequest, Store, TxnRequest,
};

use super::*;

/// A stream's end in a test: as many responses as it has room for.
#[derive(Clone, Default)]
struct Pipe(Rc<RefCell<Pending>>);

#[derive(Default)]
struct Pending {
    responses: VecDeque<Response>,
    room: usize,
    is_awaited: bool,
}

impl Outlet for Pipe {
    fn has_room(&mut self) -> bool {
        let mut pending = self.0.borrow_mut();
        let has_room = pending.responses.len() < pending.room;
        pending.is_awaited |= !has_room;
        has_room
    }

    fn send(&mut self, response: Response) {
        self.0.borrow_mut().responses.push_back(response);
    }
}

impl Pipe {
    fn new(room: usize) -> Self {
        let pipe = Self::default();
        pipe.0.borrow_mut().room = room;
        pipe
    }

    fn take(&self) -> Option<Response> {
        self.0.borrow_mut().responses.pop_front()
    }
}

/// A store with a hub beside it, as the loop has them.
struct World {
    store: Store,
    hub: Hub<Pipe>,
    /// Applied and not yet published.
    unpublished: Vec<Change>,
    is_replaced: bool,
}

impl World {
    fn new() -> Self {
        let store = Store::new();
        Self {
            hub: Hub::new(store.revision()),
            store,
            unpublished: Vec::new(),
            is_replaced: false,
        }
    }

    fn apply(&mut self, command: &Command) -> Vec<Change> {
        let index = self.store.applied_index() + 1;
        let changes = self.store.apply(index, command).changes;
        self.unpublished.extend(changes.iter().cloned());
        changes
    }

    fn publish(&mut self) {
        let changes = std::mem::take(&mut self.unpublished);
        let is_replaced = std::mem::take(&mut self.is_replaced);
        self.hub.publish(changes, is_replaced, &self.store);
    }

    /// What the loop does after applying.
    fn round(&mut self) {
        self.publish();
        self.hub.step(&self.store);
    }

    fn settle(&mut self) {
        self.round();
        while self.hub.is_behind() {
            self.round();
        }
    }

    fn ask(&mut self, ask: Ask<Pipe>) {
        self.hub.on(ask, &self.store);
    }

    fn open(&mut self, stream: u64, room: usize) -> Pipe {
        let pipe = Pipe::new(room);
        self.ask(Ask::Open(StreamId(stream), pipe.clone()));
        pipe
    }

    fn create(&mut self, stream: u64, create: Create) {
        self.ask(Ask::Create(StreamId(stream), create));
    }

    /// The next response, after which the hub hears of the room if it waits for that.
    fn read(&mut self, stream: u64, pipe: &Pipe) -> Option<Response> {
        let response = pipe.take();
        if response.is_some() && std::mem::take(&mut pipe.0.borrow_mut().is_awaited) {
            self.ask(Ask::Drained(StreamId(stream)));
        }
        response
    }

    fn put(&mut self, key: &'static str, value: &'static str) {
        self.apply(&put(key, value));
        self.round();
    }

    fn compact(&mut self, revision: i64) {
        let request = CompactionRequest {
            revision,
            physical: false,
        };
        self.apply(&Command::Compact(request));
        self.round();
    }
}

fn put_request(key: impl Into<Bytes>, value: impl Into<Bytes>) -> PutRequest {
    PutRequest {
        key: key.into(),
        value: value.into(),
        ..PutRequest::default()
    }
}

fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Command {
    Command::Put(put_request(key, value))
}

fn delete_request(key: impl Into<Bytes>, end: impl Into<Bytes>) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: key.into(),
        range_end: end.into(),
        ..DeleteRangeRequest::default()
    }
}

fn txn(ops: Vec<Op>) -> Command {
    Command::Txn(TxnRequest {
        success: ops.into_iter().map(Into::into).collect(),
        ..TxnRequest::default()
    })
}

fn key(key: &'static str) -> KeyRange {
    KeyRange::One(key.into())
}
