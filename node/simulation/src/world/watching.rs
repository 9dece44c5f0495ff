//! Those who watch: each one range on a stream of its own, from past, present and future revisions, over crashes of members.
//!
//! What this module deliberately does not do: judge what they are told.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use quorate_node::watch::{self, Ask, Body, Create, KeyRange, Response, StreamId, WatchId};
use rand::Rng;

use super::checker::Checked;
use super::{Event, World};
use crate::bug::Bug;
use crate::clients::key;
use crate::history::WatchLog;

/// What waits for a watcher to read it.
#[derive(Debug, Default)]
struct Inbox {
    responses: VecDeque<Response>,
    /// The hub found no room and wants to be told.
    is_awaited: bool,
    sent: u64,
}

/// The member's end of a stream; the watcher holds another.
#[derive(Clone, Debug)]
pub(crate) struct Outlet {
    inbox: Rc<RefCell<Inbox>>,
    room: usize,
    bug: Option<Bug>,
}

/// In how many responses with events a planted bug shows once.
const BUG_EVERY: u64 = 7;

impl watch::Outlet for Outlet {
    fn has_room(&mut self) -> bool {
        let mut inbox = self.inbox.borrow_mut();
        let has_room = inbox.responses.len() < self.room;
        inbox.is_awaited |= !has_room;
        has_room
    }

    fn send(&mut self, mut response: Response) {
        let mut inbox = self.inbox.borrow_mut();
        if !response.events().is_empty() {
            inbox.sent += 1;
            if inbox.sent.is_multiple_of(BUG_EVERY) {
                match self.bug {
                    Some(Bug::WatchSkips) => return,
                    Some(Bug::WatchRepeats) => inbox.responses.push_back(response.clone()),
                    _ => {}
                }
            }
        }
        if let (Some(Bug::ProgressAhead), Body::Progress) = (self.bug, &response.body) {
            response.revision += 1;
        }
        if let (Some(Bug::WatchSplits), Body::Events(events, pieces)) = (self.bug, &response.body) {
            let alone = |event: &watch::Event| Response {
                body: Body::Events(vec![event.clone()], *pieces),
                ..response.clone()
            };
            return inbox.responses.extend(events.iter().map(alone));
        }
        inbox.responses.push_back(response);
    }
}

/// A stream that a watcher has open.
#[derive(Debug)]
struct Line {
    member: u64,
    life: u64,
    stream: StreamId,
    outlet: Outlet,
    watch: Option<WatchId>,
    reads: bool,
    /// Its place in the history.
    log: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Watcher {
    range: (Vec<u8>, Vec<u8>),
    /// Where to go on; 0 for from now on.
    next: i64,
    line: Option<Line>,
}

impl Watcher {
    pub(crate) fn new() -> Self {
        Self {
            range: (b"k".to_vec(), b"l".to_vec()),
            next: 0,
            line: None,
        }
    }
}

impl World {
    /// A watcher does something, now and then.
    pub(super) fn watcher_acts(&mut self, which: usize) -> Checked {
        let pause = self.rng.random_range(100..3_000);
        self.plan(pause, Event::Watcher(which));
        self.leave_dead_line(which);
        let Some(line) = &self.watchers[which].line else {
            return self.open_line(which);
        };
        let (id, life, stream, watch) = (line.member, line.life, line.stream, line.watch);
        match (self.rng.random_range(0..12), watch) {
            (_, Some(_)) if self.is_over => self.hear(id, life, Ask::Progress(stream)),
            (0, Some(watch)) => {
                self.summary.note("watches cancelled");
                self.hear(id, life, Ask::Cancel(stream, watch))
            }
            (1, _) => {
                self.summary.note("watches left");
                self.watchers[which].line = None;
                self.hear(id, life, Ask::Close(stream))
            }
            (2 | 3, Some(_)) => self.hear(id, life, Ask::Progress(stream)),
            (4, Some(_)) => self.hear(id, life, Ask::Tick(stream)),
            _ => Ok(()),
        }
    }

    /// A stream asks something of the process that it is open at.
    pub(super) fn hear(&mut self, id: u64, life: u64, ask: Ask<Outlet>) -> Checked {
        let wait = self.until_awake(id);
        if self.members[&id].life != life {
            return Ok(());
        }
        if wait > 0 {
            self.plan(wait, Event::Hear(id, life, Box::new(ask)));
            return Ok(());
        }
        if let Some(alive) = self.alive(id) {
            alive.driver.hear(ask);
            return self.go_on(id);
        }
        Ok(())
    }

    /// The member crashed, or ended: the stream broke, and what was not read is lost.
    fn leave_dead_line(&mut self, which: usize) {
        let Some(line) = &self.watchers[which].line else {
            return;
        };
        let member = &self.members[&line.member];
        if member.alive.is_none() || member.life != line.life {
            self.summary.note("watches broken");
            self.watchers[which].line = None;
        }
    }

    fn open_line(&mut self, which: usize) -> Checked {
        let id = self.some_member();
        if !self.is_awake(id) || !self.serves_clients(id) {
            return Ok(());
        }
        if self.watchers[which].next == 0 || self.chance(0.2) {
            self.choose_watch(which);
        }
        self.streams += 1;
        let stream = StreamId(self.streams);
        let outlet = Outlet {
            inbox: Rc::default(),
            room: self.profile.watch_room,
            bug: self.run.bug,
        };
        let watcher = &mut self.watchers[which];
        let (from, to) = watcher.range.clone();
        let range = KeyRange::new(from.into(), to.into()).expect("a key range that is not empty");
        let mut create = Create {
            prev_kv: which.is_multiple_of(2),
            progress_notify: true,
            ..Create::new(range, watcher.next)
        };
        let life = self.members[&id].life;
        watcher.line = Some(Line {
            member: id,
            life,
            stream,
            outlet: outlet.clone(),
            watch: None,
            reads: false,
            log: self.history.watches.len(),
        });
        self.summary.note("watches created");
        self.history.watches.push(WatchLog {
            watcher: which,
            member: id,
            create: create.clone(),
            told: Vec::new(),
            is_complete: false,
        });
        if let Some(bug) = self.run.bug {
            bug.create(&mut create);
        }
        self.hear(id, life, Ask::Open(stream, outlet))?;
        self.hear(id, life, Ask::Create(stream, create))
    }

    /// Whether everybody who watches has everything.
    pub(super) fn is_watched(&self) -> bool {
        let newest = self.truth.revision();
        let has_all = |watcher: &Watcher| {
            let is_open = watcher
                .line
                .as_ref()
                .is_some_and(|line| line.watch.is_some());
            is_open && watcher.next > newest
        };
        self.watchers.iter().all(has_all)
    }

    /// Notes which watches saw the end of the run.
    pub(super) fn complete_watches(&mut self) {
        for line in self
            .watchers
            .iter()
            .filter_map(|watcher| watcher.line.as_ref())
        {
            self.history.watches[line.log].is_complete = true;
        }
    }

    /// Another range and another beginning: the past as far as it is known, now, or a little in the future.
    fn choose_watch(&mut self, which: usize) {
        let newest = self.truth.revision().max(1);
        let next = match self.rng.random_range(0..4) {
            0 => self.rng.random_range(1..=newest),
            1 => newest + self.rng.random_range(1..10),
            _ => 0,
        };
        let range = if self.chance(0.5) {
            (b"k".to_vec(), b"l".to_vec())
        } else {
            let of = self.rng.random_range(0..self.profile.keys);
            (key(of).into_bytes(), Vec::new())
        };
        self.watchers[which].next = next;
        self.watchers[which].range = range;
    }

    /// Lets watchers read what waits for them, after a while.
    pub(super) fn plan_watch_reads(&mut self) {
        for which in 0..self.watchers.len() {
            let Some(line) = &mut self.watchers[which].line else {
                continue;
            };
            if line.reads || line.outlet.inbox.borrow().responses.is_empty() {
                continue;
            }
            line.reads = true;
            let slow = self.rng.random_bool(0.05);
            let delay = self.rng.random_range(1..if slow { 2_000 } else { 20 });
            self.plan(delay, Event::WatchRead(which));
        }
    }

    pub(super) fn watcher_reads(&mut self, which: usize) -> Checked {
        self.leave_dead_line(which);
        let Some(line) = &mut self.watchers[which].line else {
            return Ok(());
        };
        line.reads = false;
        let mut inbox = line.outlet.inbox.borrow_mut();
        let Some(response) = inbox.responses.pop_front() else {
            return Ok(());
        };
        let has_room = inbox.responses.len() <= line.outlet.room / 2;
        let is_drained = has_room && std::mem::take(&mut inbox.is_awaited);
        drop(inbox);
        let (id, life, stream) = (line.member, line.life, line.stream);
        self.take_watch_response(which, &response);
        self.plan_watch_reads();
        if is_drained {
            self.summary.note("watches that had no room");
            return self.hear(id, life, Ask::Drained(stream));
        }
        Ok(())
    }

    fn take_watch_response(&mut self, which: usize, response: &Response) {
        let watcher = &mut self.watchers[which];
        let Some(line) = &mut watcher.line else {
            return;
        };
        let told = &mut self.history.watches[line.log].told;
        told.push((self.now, response.clone()));
        match &response.body {
            Body::Created => {
                line.watch = Some(response.id);
                if watcher.next == 0 {
                    watcher.next = response.revision + 1;
                }
            }
            Body::Events(events, _) => {
                let last = events
                    .iter()
                    .map(|event| event.change.revision().main)
                    .max();
                watcher.next = last.map_or(watcher.next, |last| last + 1);
                self.summary.add("events watched", events.len() as u64);
            }
            Body::Progress => {
                watcher.next = watcher.next.max(response.revision + 1);
                self.summary.note("progress told");
            }
            Body::Canceled | Body::Refused(_) => (watcher.line, watcher.next) = (None, 0),
            Body::Compacted(_) => {
                self.summary.note("watches of compacted history");
                (watcher.line, watcher.next) = (None, 0);
            }
        }
    }
}
