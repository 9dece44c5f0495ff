//! Faults at chosen calls, and the log of every call.
//!
//! A rule names calls and what happens to them: refused, delayed, lost before or after they took effect, never answered, or a
//! watch that misses an event. Rules apply to clients only, never to this crate's own controllers. It deliberately decides
//! nothing at random: a test that wants chance draws it from its own seed.

use crate::refusal::Refusal;
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// One request to the API, as faults and the log see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `apply`, `delete` or `deletecollection`; empty for discovery.
    pub verb: String,
    /// API group, empty for the core group.
    pub group: String,
    /// Plural name of the resource, e.g. `pods`.
    pub resource: String,
    /// `status`, `scale`, `eviction`, `log` or empty.
    pub subresource: String,
    /// Namespace, empty for cluster-wide calls.
    pub namespace: String,
    /// Name of the object, empty for lists and creations by `generateName`.
    pub name: String,
    /// The label and field selectors of a list or watch, one after the other; empty when it is of all there is.
    pub selector: String,
    /// Field manager of a write: the parameter, else the first word of the user agent.
    pub manager: String,
    /// Which client called: the name given to the in-process client, else the user agent.
    pub client: String,
    /// True when the call only tries (`dryRun=All`).
    pub dry_run: bool,
    /// True when a read is content with any version that a server has at hand (`resourceVersion=0`).
    pub at_hand: bool,
}

impl Call {
    /// True when the call may change an object.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "" | "get" | "list" | "watch")
    }
}

/// A call and what came of it.
#[derive(Debug, Clone)]
pub struct Record {
    /// The call.
    pub call: Call,
    /// HTTP status that the server came to; 0 when the call was lost before it took effect.
    pub code: u16,
    /// True when something was committed while the call ran.
    pub changed: bool,
}

/// What happens to a call that a rule matches.
#[derive(Debug, Clone)]
pub enum Effect {
    /// It is refused with this status, e.g. a 500 or a 409, and takes no effect.
    Refuse(Refusal),
    /// It waits this long before anything else happens.
    Delay(Duration),
    /// The connection breaks before the call takes effect.
    LoseRequest,
    /// The call takes effect and the connection breaks before its answer.
    LoseAnswer,
    /// It is never answered and takes no effect, as if the caller were cut off or about to crash.
    HangBefore,
    /// It takes effect and is never answered.
    HangAfter,
    /// The watch leaves this event out.
    DropEvent,
    /// The watch tells this event twice.
    RepeatEvent,
}

impl Effect {
    /// Whether it concerns an event of a watch and no call.
    fn is_of_event(&self) -> bool {
        matches!(self, Self::DropEvent | Self::RepeatEvent)
    }

    /// A refusal by code, reason and message.
    #[must_use]
    pub fn refuse(code: u16, reason: &'static str, message: &str) -> Self {
        Self::Refuse(Refusal::new(code, reason, message))
    }
}

type Chosen = Arc<dyn Fn(&Call, Option<&Value>) -> bool + Send + Sync>;

/// Which calls, which of them, and what happens.
#[derive(Clone)]
pub struct Rule {
    chosen: Chosen,
    effect: Effect,
    skip: u64,
    times: u64,
}

impl Rule {
    /// A rule for every call that the closure chooses.
    pub fn new(effect: Effect, chosen: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Self {
        Self {
            chosen: Arc::new(move |call, _| chosen(call)),
            effect,
            skip: 0,
            times: u64::MAX,
        }
    }

    /// A rule that leaves watch events out; the closure sees the watch's call and the event's object.
    pub fn drop_event(chosen: impl Fn(&Call, &Value) -> bool + Send + Sync + 'static) -> Self {
        Self::on_event(Effect::DropEvent, chosen)
    }

    /// A rule that has watches tell events twice; the closure sees the watch's call and the event's object.
    pub fn repeat_event(chosen: impl Fn(&Call, &Value) -> bool + Send + Sync + 'static) -> Self {
        Self::on_event(Effect::RepeatEvent, chosen)
    }

    fn on_event(
        effect: Effect,
        chosen: impl Fn(&Call, &Value) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            chosen: Arc::new(move |call, object| object.is_some_and(|o| chosen(call, o))),
            effect,
            skip: 0,
            times: u64::MAX,
        }
    }

    /// A rule for every write.
    #[must_use]
    pub fn on_write(effect: Effect) -> Self {
        Self::new(effect, Call::is_write)
    }

    /// Only the n-th call that matches, counted from 1.
    #[must_use]
    pub fn nth(self, n: u64) -> Self {
        assert!(n > 0, "calls are counted from 1");
        Self {
            skip: n - 1,
            times: 1,
            ..self
        }
    }

    /// At most this many calls.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times, ..self }
    }
}

/// A rule that is in force until it is removed; tells how often it struck.
#[derive(Clone)]
pub struct Fault {
    id: u64,
    struck: watch::Receiver<u64>,
}

impl Fault {
    /// How many calls it has struck so far.
    #[must_use]
    pub fn struck(&self) -> u64 {
        *self.struck.borrow()
    }

    /// Returns once it has struck at least this many calls, or can strike no more.
    pub async fn has_struck(&mut self, times: u64) {
        // The sender goes with the rule; then nothing more will come.
        let _ = self.struck.wait_for(|n| *n >= times).await;
    }
}

struct Armed {
    id: u64,
    rule: Rule,
    seen: u64,
    struck: watch::Sender<u64>,
}

/// A log longer than this loses its older half: a demo that runs for days must not grow for days. No test comes near.
const KEPT_CALLS: usize = 200_000;

/// All rules in force and the log of calls.
pub struct Faults {
    armed: Mutex<Vec<Armed>>,
    log: Mutex<Vec<Record>>,
    next: AtomicU64,
    cut: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            armed: Mutex::default(),
            log: Mutex::default(),
            next: AtomicU64::new(0),
            cut: watch::channel(0).0,
        }
    }
}

impl Faults {
    /// Puts a rule in force, after those that are.
    pub fn add(&self, rule: Rule) -> Fault {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (struck, seen) = watch::channel(0);
        self.lock().push(Armed {
            id,
            rule,
            seen: 0,
            struck,
        });
        Fault { id, struck: seen }
    }

    /// Takes a rule out of force.
    pub fn remove(&self, fault: &Fault) {
        self.lock().retain(|armed| armed.id != fault.id);
    }

    /// Takes every rule out of force.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Ends every open watch, as a restarted API server would.
    pub fn cut_watches(&self) {
        self.cut.send_modify(|n| *n += 1);
    }

    /// Every call since the start or the last [`Faults::forget_calls`], oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<Record> {
        self.records().clone()
    }

    /// Every write call of that log, tries left out.
    #[must_use]
    pub fn writes(&self) -> Vec<Record> {
        let mut calls = self.calls();
        calls.retain(|r| r.call.is_write() && !r.call.dry_run);
        calls
    }

    /// Empties the log.
    pub fn forget_calls(&self) {
        self.records().clear();
    }

    pub(crate) fn record(&self, record: Record) {
        let mut log = self.records();
        if log.len() >= KEPT_CALLS {
            log.drain(..KEPT_CALLS / 2);
        }
        log.push(record);
    }

    pub(crate) fn cuts(&self) -> watch::Receiver<u64> {
        self.cut.subscribe()
    }

    /// The effects for a call, in the order of their rules.
    pub(crate) fn effects(&self, call: &Call) -> Vec<Effect> {
        let mut armed = self.lock();
        let rules = armed.iter_mut();
        rules
            .filter(|a| !a.rule.effect.is_of_event())
            .filter_map(|a| a.strike(call, None))
            .collect()
    }

    /// How often a watch tells this object's event.
    pub(crate) fn tells(&self, call: &Call, object: &Value) -> usize {
        let mut armed = self.lock();
        let rules = armed.iter_mut().filter(|a| a.rule.effect.is_of_event());
        let struck = rules.filter_map(|a| a.strike(call, Some(object)));
        struck.fold(1, |times, effect| match effect {
            Effect::DropEvent => 0,
            _ => times * 2,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Armed>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn records(&self) -> std::sync::MutexGuard<'_, Vec<Record>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Armed {
    fn strike(&mut self, call: &Call, object: Option<&Value>) -> Option<Effect> {
        if !(self.rule.chosen)(call, object) {
            return None;
        }
        self.seen += 1;
        let counted = self.seen - 1;
        let in_range = counted >= self.rule.skip && counted - self.rule.skip < self.rule.times;
        in_range.then(|| {
            self.struck.send_modify(|n| *n += 1);
            self.rule.effect.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_matching_call_is_struck_and_no_other() {
        let faults = Faults::default();
        let write = |verb: &str| Call {
            verb: verb.to_owned(),
            ..Call::default()
        };
        let fault = faults.add(Rule::on_write(Effect::LoseAnswer).nth(2));
        let struck: Vec<bool> = ["get", "create", "list", "apply", "delete"]
            .iter()
            .map(|verb| !faults.effects(&write(verb)).is_empty())
            .collect();
        assert_eq!(struck, [false, false, false, true, false]);
        assert_eq!(fault.struck(), 1);
    }
}
