//! Whether watchers were told what they asked for.
//!
//! 1. The first response says that the watcher was made, and nothing comes after the one that says that it is no more.
//! 2. From its start on it is told every change of its range, once, in order, in no response before that of its revision's header, with what
//!    was there before if it wants that.
//! 3. No response ends within a revision, as nobody here allows pieces.
//! 4. Of what progress says is delivered nothing comes later.
//! 5. A watcher that is ended for a compaction wanted something of before that, and is told up to where.
//! 6. Who watches until everything was given time to arrive has everything.
//!
//! A watcher that goes on elsewhere begins after the last revision that it was told of, so what (2) says of the parts holds of the whole.
//!
//! What this module deliberately does not do: say how fast.

use std::fmt::Debug;

use bytes::Bytes;
use quorate_node::watch::{Body, Event, KeyRange, Response};
use store::Change;

use super::WATCHED;
use super::sequence::Sequence;
use crate::history::{History, WatchLog};
use crate::world::checker::{Checked, ensure};

pub(super) fn judge(history: &History, sequence: &Sequence<'_>) -> Checked {
    for log in &history.watches {
        Judge::of(log, history, sequence).judge()?;
    }
    Ok(())
}

struct Judge<'a> {
    log: &'a WatchLog,
    history: &'a History,
    sequence: &'a Sequence<'a>,
    start: i64,
    /// What it must be told next.
    expected: Vec<&'a Change>,
    told: usize,
    is_made: bool,
    is_over: bool,
}

impl<'a> Judge<'a> {
    fn of(log: &'a WatchLog, history: &'a History, sequence: &'a Sequence<'a>) -> Self {
        let made = log.told.first().map_or(0, |(_, first)| first.revision);
        let start = match log.create.start {
            0 => made + 1,
            start => start,
        };
        let wanted = |change: &&Change| {
            change.revision().main >= start && is_in(&log.create.range, change.key())
        };
        let changes = history.writes.iter().map(|(_, change)| change);
        Self {
            log,
            history,
            sequence,
            start,
            expected: changes.filter(wanted).collect(),
            told: 0,
            is_made: false,
            is_over: false,
        }
    }

    fn ensure(&self, holds: bool, what: &dyn Debug) -> Checked {
        let WatchLog {
            watcher,
            member,
            create,
            ..
        } = self.log;
        ensure(holds, WATCHED, || {
            format!("watcher {watcher} at {member}, {create:?}: {what:?}")
        })
    }

    /// The revision of what it must be told next.
    fn next(&self) -> Option<i64> {
        let next = self.expected.get(self.told)?;
        Some(next.revision().main)
    }

    fn judge(mut self) -> Checked {
        for (at_ms, response) in &self.log.told {
            self.take(*at_ms, response)?;
        }
        let missing = self.expected.get(self.told);
        let has_all = self.is_over || self.is_made && missing.is_none();
        self.ensure(has_all || !self.log.is_complete, &("missing", missing))
    }

    fn take(&mut self, at_ms: u64, response: &Response) -> Checked {
        self.ensure(!self.is_over, &("after its end", response))?;
        let makes = matches!(response.body, Body::Created | Body::Refused(_));
        self.ensure(self.is_made != makes, &("not in its turn", response))?;
        let newest = self.sequence.revision_before(at_ms + 1);
        let is_known = response.revision <= newest || !self.history.is_whole;
        self.ensure(is_known, &("not written yet", response))?;
        let next = self.next();
        match &response.body {
            Body::Created => self.is_made = true,
            Body::Refused(_) | Body::Canceled => self.is_over = true,
            Body::Compacted(to) => {
                self.is_over = true;
                let holds = self.start <= *to || next.is_none_or(|next| next <= *to);
                let is_known = *to <= self.history.compacted;
                self.ensure(holds && is_known, &("not compacted", response, next))?;
            }
            Body::Progress => {
                let holds = next.is_none_or(|next| next > response.revision);
                self.ensure(holds, &("progress", response, next))?;
            }
            Body::Events(events, _) => self.take_events(events, response.revision)?,
        }
        Ok(())
    }

    fn take_events(&mut self, events: &[Event], header: i64) -> Checked {
        for event in events {
            let next = self.expected.get(self.told).copied();
            self.ensure(next == Some(&event.change), &("instead of", next, event))?;
            self.told += 1;
            self.check_previous(event)?;
        }
        let last = events.last().map(|last| last.change.revision().main);
        let is_past = last.is_none_or(|last| header == 0 || last <= header);
        self.ensure(is_past, &("newer than its header", last, header))?;
        let is_whole = last.is_none() || self.next() != last;
        self.ensure(is_whole, &("a part of", last))
    }

    fn check_previous(&self, event: &Event) -> Checked {
        let before = event.change.revision().main - 1;
        let previous = self.sequence.at(event.change.key(), before);
        let is_wanted = self.log.create.prev_kv;
        let is_known = before >= self.history.compacted && self.history.is_whole;
        let holds = match is_wanted {
            true => !is_known || event.previous.as_ref() == previous,
            false => event.previous.is_none(),
        };
        self.ensure(holds, &("before", event, previous))
    }
}

fn is_in(range: &KeyRange, key: &Bytes) -> bool {
    match range {
        KeyRange::One(one) => one == key,
        KeyRange::Span(from, to) => key >= from && to.as_ref().is_none_or(|to| key < to),
    }
}
