//! How far one follower is, in the eyes of the leader, and what to send it next.
//!
//! A follower is *probed*, one message at a time, until it is known where its log agrees; then
//! entries are *replicated* ahead of the answers, within limits on messages and bytes; if it needs
//! entries that are gone, it gets a *snapshot*, and nothing else until that is settled.
//!
//! What this module does not do: count anything towards a commit.

use crate::config::Config;
use crate::ids::Index;
use crate::log::Log;
use crate::message::{Body, Entry};
use crate::status::ProgressMode;
use std::collections::VecDeque;

/// How a leader sends to a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Probe,
    Replicate,
    /// Waiting until the snapshot of this index is there.
    Snapshot(Index),
}

/// One follower.
///
/// - `matched < next`: the follower never needs an entry again that it is known to have.
/// - In `Probe` and `Snapshot` nothing is in flight.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    matched: Index,
    next: Index,
    mode: Mode,
    in_flight: InFlight,
    /// A probe is out; the next one waits for an answer, to that or to a heartbeat.
    paused: bool,
    /// The follower seems to lack something, so even an empty message is worth sending: if one
    /// before it was lost, its answer will say so.
    nudge: bool,
    /// The newest commit sent to it.
    commit_sent: Index,
    /// Whether it was heard from since the leader last checked.
    pub(crate) recently_active: bool,
    /// Whether the driver said, since it was last heard from, that it cannot be reached.
    unreachable: bool,
    /// The newest round of heartbeats it answered.
    pub(crate) round: u64,
}

impl Progress {
    /// A follower of which nothing is known; the guess is that it has all before `next`.
    pub(crate) const fn unknown(next: Index, recently_active: bool) -> Self {
        Self {
            matched: Index(0),
            next,
            mode: Mode::Probe,
            in_flight: InFlight::new(),
            paused: false,
            nudge: false,
            commit_sent: Index(0),
            recently_active,
            unreachable: false,
            round: 0,
        }
    }

    pub(crate) const fn matched(&self) -> Index {
        self.matched
    }

    pub(crate) const fn next(&self) -> Index {
        self.next
    }

    pub(crate) const fn mode(&self) -> ProgressMode {
        match self.mode {
            Mode::Probe => ProgressMode::Probe,
            Mode::Replicate => ProgressMode::Replicate,
            Mode::Snapshot(_) => ProgressMode::Snapshot,
        }
    }

    pub(crate) fn in_flight(&self) -> (usize, u64) {
        (self.in_flight.messages(), self.in_flight.bytes)
    }

    /// The next message for this follower, if one is due; the caller asks until there is none.
    pub(crate) fn next_message(&mut self, log: &Log, config: &Config) -> Option<Body> {
        let full = self.mode == Mode::Replicate && self.in_flight.is_full(config);
        let waits = matches!(self.mode, Mode::Snapshot(_)) || (self.paused && !self.nudge);
        if waits || (full && !self.nudge) {
            return None;
        }
        let prev_index = self.next.previous();
        let Some(prev_term) = log.term(prev_index) else {
            return self.send_snapshot(log);
        };
        let entries = if full {
            Vec::new()
        } else {
            log.slice(self.next, log.last_index(), config.max_append_bytes)
        };
        let news = !entries.is_empty() || self.commit_sent < log.commit().min(prev_index);
        if self.mode == Mode::Replicate && !news && !self.nudge {
            return None;
        }
        self.nudge = false;
        self.note_sent(&entries, log.commit());
        Some(Body::Append {
            prev_index,
            prev_term,
            entries,
            commit: log.commit(),
        })
    }

    fn note_sent(&mut self, entries: &[Entry], commit: Index) {
        let until = entries
            .last()
            .map_or(self.next.previous(), |last| last.index);
        self.commit_sent = commit.min(until);
        if self.mode == Mode::Probe {
            self.paused = true;
        } else if until >= self.next {
            self.next = until.next();
            self.in_flight
                .add(until, entries.iter().map(Entry::weight).sum());
        }
    }

    /// The log begins after what the follower needs. It gets the snapshot, unless it is silent: a
    /// snapshot is too heavy to send on a guess.
    fn send_snapshot(&mut self, log: &Log) -> Option<Body> {
        if !self.recently_active {
            return None;
        }
        let meta = log.snapshot().clone();
        self.enter(Mode::Snapshot(meta.index));
        Some(Body::InstallSnapshot { meta })
    }

    fn enter(&mut self, mode: Mode) {
        self.mode = mode;
        self.paused = false;
        self.nudge = false;
        self.in_flight = InFlight::new();
    }

    fn probe_from(&mut self, next: Index) {
        self.enter(Mode::Probe);
        self.next = next.max(self.matched.next());
        self.commit_sent = Index(0);
    }

    /// The follower agrees up to `index`. Says whether that is news.
    pub(crate) fn accepted(&mut self, index: Index, first_in_log: Index) -> bool {
        let news = index > self.matched;
        self.matched = self.matched.max(index);
        self.next = self.next.max(self.matched.next());
        self.in_flight.free_up_to(index);
        let reachable = self.matched.next() >= first_in_log;
        let settled = match self.mode {
            Mode::Probe => index == self.matched,
            Mode::Snapshot(_) => reachable,
            Mode::Replicate => false,
        };
        if settled {
            self.enter(Mode::Replicate);
            self.next = self.matched.next();
        }
        news
    }

    /// The follower does not have what stands at `prev_index`; `agreed` is the last place where it
    /// may agree.
    pub(crate) fn rejected(&mut self, prev_index: Index, agreed: Index) {
        match self.mode {
            // Late news of a time before it agreed.
            Mode::Replicate if prev_index <= self.matched => {}
            Mode::Replicate => self.probe_from(agreed.min(prev_index.previous()).next()),
            // The answer to another probe than the last.
            Mode::Probe if prev_index != self.next.previous() => {}
            Mode::Probe => self.probe_from(agreed.min(prev_index.previous()).next()),
            Mode::Snapshot(_) => {}
        }
    }

    /// It answered a heartbeat: it lives, and if it lacks something, that may have been lost.
    pub(crate) fn answered_heartbeat(&mut self, last: Index) {
        self.paused = false;
        self.nudge = self.matched < last && !matches!(self.mode, Mode::Snapshot(_));
    }

    /// It said something.
    pub(crate) const fn heard(&mut self) {
        self.recently_active = true;
        self.unreachable = false;
    }

    /// Whether it would hear of something now, as far as is known: what a change of the membership
    /// rests on. A leader's own office does not: one broken connection must not end it.
    pub(crate) const fn is_active(&self) -> bool {
        self.recently_active && !self.unreachable
    }

    /// What was on its way is probably lost.
    pub(crate) fn unreachable(&mut self) {
        self.unreachable = true;
        if self.mode == Mode::Replicate {
            self.probe_from(self.matched.next());
        }
    }

    /// The driver has done with the snapshot. Its own answer may still be on the way, so the next
    /// probe waits for a sign of life.
    pub(crate) fn snapshot_sent(&mut self, ok: bool) {
        if let Mode::Snapshot(index) = self.mode {
            self.probe_from(if ok {
                index.next()
            } else {
                self.matched.next()
            });
            self.paused = true;
        }
    }
}

/// Messages with entries that were sent and not answered, oldest first.
#[derive(Clone, Debug)]
struct InFlight {
    /// The last index of each, and its bytes.
    messages: VecDeque<(Index, u64)>,
    bytes: u64,
}

impl InFlight {
    const fn new() -> Self {
        Self {
            messages: VecDeque::new(),
            bytes: 0,
        }
    }

    fn messages(&self) -> usize {
        self.messages.len()
    }

    fn is_full(&self, config: &Config) -> bool {
        self.messages.len() >= config.max_inflight_messages
            || self.bytes >= config.max_inflight_bytes
    }

    fn add(&mut self, last: Index, bytes: u64) {
        self.messages.push_back((last, bytes));
        self.bytes += bytes;
    }

    fn free_up_to(&mut self, index: Index) {
        while let Some(&(last, bytes)) = self.messages.front()
            && last <= index
        {
            self.messages.pop_front();
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests;
