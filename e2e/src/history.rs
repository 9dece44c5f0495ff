//! What clients did and what they were told, in an order that can be trusted.
//!
//! Every operation takes a number from one counter before its request leaves and another after
//! its answer came. If operation A returned before B was invoked, A's numbers are smaller: that
//! is the only claim about time that a checker may rest on. Wall time is kept beside it, for
//! gaps and for messages.
//!
//! Invariants:
//! 1. An operation is recorded once, also when its task is dropped in flight (then as unknown).
//! 2. Every written value is used by one operation only, so a value read names its writer.
//!
//! It does not judge: see [`crate::linearizable`].

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A value that exactly one operation of a history writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Value(pub u64);

impl Value {
    /// What a reader reports for bytes that no writer of ours can have written.
    pub const FOREIGN: Self = Self(u64::MAX);

    /// The value as it travels.
    pub fn to_bytes(self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }

    /// The value from what a server answered; [`Value::FOREIGN`] when it is not ours.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        std::str::from_utf8(bytes)
            .ok()
            .and_then(|t| t.parse().ok())
            .map_or(Self::FOREIGN, Self)
    }
}

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Writes the value, whatever is there.
    Put(Value),
    /// Reads, linearizably.
    Get,
    /// Writes `to` if the key holds `expect` (`None`: if it is absent), else reads what is there.
    Swap {
        /// What must be there.
        expect: Option<Value>,
        /// What is written then.
        to: Value,
    },
    /// Removes the key, answering what was there.
    Delete,
}

impl Action {
    /// The value that this action writes, if it takes effect.
    pub fn writes(&self) -> Option<Value> {
        match *self {
            Self::Put(value) | Self::Swap { to: value, .. } => Some(value),
            Self::Get | Self::Delete => None,
        }
    }
}

/// What the server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// To a put: it is written.
    Written,
    /// To a get: this is there.
    Saw(Option<Value>),
    /// To a swap: it held what was expected, and holds the new value now.
    Swapped,
    /// To a swap: it held this instead, and still does.
    Kept(Option<Value>),
    /// To a delete: this was there, and nothing is now.
    Deleted(Option<Value>),
}

impl Answer {
    /// The value that this answer proves to have been there.
    pub fn proves(&self, action: &Action) -> Option<Value> {
        match (*self, action) {
            (Self::Saw(seen) | Self::Kept(seen) | Self::Deleted(seen), _) => seen,
            (Self::Swapped, Action::Swap { expect, .. }) => *expect,
            (Self::Written | Self::Swapped, _) => None,
        }
    }

    /// Whether the server vouched for a write.
    pub fn acknowledges_write(&self) -> bool {
        matches!(self, Self::Written | Self::Swapped)
            || matches!(self, Self::Deleted(previous) if previous.is_some())
    }
}

/// How an operation ended, as far as its client can know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It took effect, and this is the answer.
    Done(Answer),
    /// It was refused and has no effect, now or later.
    Failed(String),
    /// Nobody can say: it may take effect at any later time, or never.
    Unknown(String),
}

/// A point in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Place in the one order of all invocations and returns.
    pub order: u64,
    /// Time since the history began.
    pub at: Duration,
}

/// One operation of one client on one key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Operation {
    /// Who.
    pub client: u32,
    /// On what.
    pub key: String,
    /// What was asked.
    pub action: Action,
    /// Before the request left.
    pub invoked: Moment,
    /// After the client knew its outcome, also when that is "unknown".
    pub returned: Moment,
    /// How it ended.
    pub outcome: Outcome,
    /// The store's revision that came with the answer.
    pub revision: Option<i64>,
}

impl Operation {
    /// The answer, if there was one.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Done(answer) => Some(answer),
            Outcome::Failed(_) | Outcome::Unknown(_) => None,
        }
    }

    /// Whether this is a write that the server acknowledged.
    pub fn is_acknowledged_write(&self) -> bool {
        self.answer().is_some_and(Answer::acknowledges_write)
    }
}

fn shown(value: Option<Value>) -> String {
    value.map_or_else(
        || "nothing".to_owned(),
        |v| {
            if v == Value::FOREIGN {
                "bytes that are not ours".to_owned()
            } else {
                v.0.to_string()
            }
        },
    )
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.invoked, self.returned);
        write!(
            f,
            "#{}..#{} ({:.3}..{:.3} s) client {} on {}: ",
            from.order,
            to.order,
            from.at.as_secs_f64(),
            to.at.as_secs_f64(),
            self.client,
            self.key
        )?;
        match &self.action {
            Action::Put(value) => write!(f, "put {}", shown(Some(*value)))?,
            Action::Get => write!(f, "get")?,
            Action::Swap { expect, to } => {
                write!(f, "swap {} for {}", shown(*expect), shown(Some(*to)))?
            }
            Action::Delete => write!(f, "delete")?,
        }
        match &self.outcome {
            Outcome::Done(Answer::Written) => write!(f, " -> written"),
            Outcome::Done(Answer::Saw(seen)) => write!(f, " -> saw {}", shown(*seen)),
            Outcome::Done(Answer::Swapped) => write!(f, " -> swapped"),
            Outcome::Done(Answer::Kept(seen)) => write!(f, " -> kept {}", shown(*seen)),
            Outcome::Done(Answer::Deleted(seen)) => write!(f, " -> deleted {}", shown(*seen)),
            Outcome::Failed(why) => write!(f, " -> refused ({why})"),
            Outcome::Unknown(why) => write!(f, " -> unknown ({why})"),
        }
    }
}

/// Records operations of many clients at once.
#[derive(Debug)]
pub struct Recorder {
    began: Instant,
    order: AtomicU64,
    values: AtomicU64,
    acknowledged: AtomicU64,
    operations: Mutex<Vec<Operation>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            order: AtomicU64::new(0),
            values: AtomicU64::new(1),
            acknowledged: AtomicU64::new(0),
            operations: Mutex::default(),
        }
    }
}

impl Recorder {
    /// A value that no other operation of this history writes.
    pub fn fresh_value(&self) -> Value {
        Value(self.values.fetch_add(1, Ordering::SeqCst))
    }

    /// Call before the request leaves; the answer goes to [`Pending::finish`].
    pub fn invoke(&self, client: u32, key: impl Into<String>, action: Action) -> Pending<'_> {
        Pending {
            recorder: self,
            client,
            key: key.into(),
            action,
            invoked: self.moment(),
            done: false,
        }
    }

    /// The operations so far, in the order of their returns. Those in flight are not in it yet.
    pub fn history(&self) -> History {
        History {
            operations: self.operations.lock().expect("no recording panics").clone(),
        }
    }

    /// The operation that ended last.
    pub fn last(&self) -> Option<Operation> {
        self.operations
            .lock()
            .expect("no recording panics")
            .last()
            .cloned()
    }

    /// How many writes have been acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Time since this recorder was made: the zero of every [`Moment::at`].
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn moment(&self) -> Moment {
        Moment {
            order: self.order.fetch_add(1, Ordering::SeqCst),
            at: self.began.elapsed(),
        }
    }
}

/// An operation whose request may be on its way. Dropped unfinished, it counts as unknown.
#[derive(Debug)]
pub struct Pending<'a> {
    recorder: &'a Recorder,
    client: u32,
    key: String,
    action: Action,
    invoked: Moment,
    done: bool,
}

impl Pending<'_> {
    /// Call after the answer came, with the store's revision if the answer carried one.
    pub fn finish(mut self, outcome: Outcome, revision: Option<i64>) {
        self.record(outcome, revision);
    }

    fn record(&mut self, outcome: Outcome, revision: Option<i64>) {
        self.done = true;
        let operation = Operation {
            client: self.client,
            key: std::mem::take(&mut self.key),
            action: self.action,
            invoked: self.invoked,
            returned: self.recorder.moment(),
            outcome,
            revision,
        };
        if operation.is_acknowledged_write() {
            self.recorder.acknowledged.fetch_add(1, Ordering::SeqCst);
        }
        self.recorder
            .operations
            .lock()
            .expect("no recording panics")
            .push(operation);
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.record(Outcome::Unknown("the client was dropped".to_owned()), None);
        }
    }
}

/// Everything that was recorded.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct History {
    /// In the order of their returns.
    pub operations: Vec<Operation>,
}

/// The longest time during which no write was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// When the last write before it was acknowledged.
    pub from: Duration,
    /// When the first write after it was.
    pub to: Duration,
}

impl Gap {
    /// How long it was.
    pub fn length(&self) -> Duration {
        self.to - self.from
    }
}

impl History {
    /// The longest gap between two acknowledged writes; `None` with fewer than two.
    pub fn largest_write_gap(&self) -> Option<Gap> {
        self.write_gaps(Duration::ZERO, Duration::MAX)
            .max_by_key(Gap::length)
    }

    /// The longest gap that overlaps a stretch of the history's time.
    pub fn largest_write_gap_within(&self, from: Duration, to: Duration) -> Option<Gap> {
        self.write_gaps(from, to).max_by_key(Gap::length)
    }

    fn write_gaps(&self, from: Duration, to: Duration) -> impl Iterator<Item = Gap> {
        let mut times: Vec<Duration> = self
            .operations
            .iter()
            .filter(|o| o.is_acknowledged_write())
            .map(|o| o.returned.at)
            .collect();
        times.sort_unstable();
        let gaps: Vec<Gap> = times
            .windows(2)
            .map(|w| Gap {
                from: w[0],
                to: w[1],
            })
            .collect();
        gaps.into_iter()
            .filter(move |g| g.to >= from && g.from <= to)
    }

    /// How many writes were acknowledged.
    pub fn acknowledged_writes(&self) -> usize {
        self.operations
            .iter()
            .filter(|o| o.is_acknowledged_write())
            .count()
    }

    /// When the last write was acknowledged, counted in the history's order.
    pub fn last_acknowledged(&self) -> Option<Moment> {
        self.operations
            .iter()
            .rev()
            .find(|o| o.is_acknowledged_write())
            .map(|o| o.returned)
    }

    /// Acknowledged puts on keys that are written only once, and are absent or different in a
    /// later read. A checker finds these too; this names all of them at once.
    pub fn lost(&self) -> Vec<&Operation> {
        let mut writers: std::collections::BTreeMap<&str, Vec<&Operation>> = Default::default();
        for operation in self.operations.iter().filter(|o| o.action != Action::Get) {
            writers.entry(&operation.key).or_default().push(operation);
        }
        self.operations
            .iter()
            .filter_map(|read| {
                let Some(Answer::Saw(seen)) = read.answer() else {
                    return None;
                };
                let [only] = writers.get(read.key.as_str())?[..] else {
                    return None;
                };
                let lost = only.is_acknowledged_write()
                    && only.returned.order < read.invoked.order
                    && *seen != only.action.writes();
                lost.then_some(only)
            })
            .collect()
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count =
            |wanted: fn(&Operation) -> bool| self.operations.iter().filter(|o| wanted(o)).count();
        let answered = count(|o| matches!(o.outcome, Outcome::Done(_)));
        let failed = count(|o| matches!(o.outcome, Outcome::Failed(_)));
        let unknown = count(|o| matches!(o.outcome, Outcome::Unknown(_)));
        write!(
            f,
            "{answered} operations answered ({} writes), {unknown} unknown, {failed} refused",
            self.acknowledged_writes()
        )?;
        match self.largest_write_gap() {
            Some(gap) => write!(
                f,
                "; largest write gap {:.0} ms",
                gap.length().as_secs_f64() * 1e3
            ),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(recorder: &Recorder, key: &str) -> Value {
        let value = recorder.fresh_value();
        let pending = recorder.invoke(1, key, Action::Put(value));
        pending.finish(Outcome::Done(Answer::Written), None);
        value
    }

    #[test]
    fn an_operation_dropped_in_flight_is_unknown() {
        let recorder = Recorder::default();
        drop(recorder.invoke(1, "k", Action::Put(recorder.fresh_value())));
        let history = recorder.history();
        assert_eq!(history.operations.len(), 1);
        assert!(matches!(history.operations[0].outcome, Outcome::Unknown(_)));
    }

    #[test]
    fn a_write_that_is_absent_from_a_later_read_is_lost() {
        let recorder = Recorder::default();
        let kept = put(&recorder, "kept");
        put(&recorder, "gone");
        for (key, seen) in [("kept", Some(kept)), ("gone", None)] {
            let read = recorder.invoke(2, key, Action::Get);
            read.finish(Outcome::Done(Answer::Saw(seen)), None);
        }
        let history = recorder.history();
        let lost: Vec<_> = history.lost().iter().map(|o| o.key.as_str()).collect();
        assert_eq!(lost, ["gone"]);
    }

    #[test]
    fn the_largest_gap_lies_between_two_acknowledged_writes() {
        let recorder = Recorder::default();
        for key in ["a", "b", "c"] {
            put(&recorder, key);
        }
        let mut history = recorder.history();
        for (operation, at_ms) in history.operations.iter_mut().zip([10, 20, 500]) {
            operation.returned.at = Duration::from_millis(at_ms);
        }
        let gap = history.largest_write_gap().unwrap();
        assert_eq!(gap.length(), Duration::from_millis(480));
        let early = history
            .largest_write_gap_within(Duration::ZERO, Duration::from_millis(15))
            .unwrap();
        assert_eq!(early.length(), Duration::from_millis(10));
    }
}
