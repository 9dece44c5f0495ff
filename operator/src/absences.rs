//! Kinds of which a namespace was found to hold nothing: noted for a moment, so that not every round asks for what is rare.
//!
//! Invariants:
//! - Noted is only what a live list has shown, and only if no watch has told of the kind in that namespace since before the list was sent.
//! - A note ends after [`BELIEVED`], or as soon as a watch tells of the kind there. So an event that is lost costs that long and no more.
//!
//! It deliberately keeps nothing of what is there. A cluster for which an absence would end or undo something asks live whatever is
//! noted: see `observe.rs`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::kubernetes::Kind;

/// How long a note holds: as long as the planner leaves a cluster at rest alone.
pub const BELIEVED: Duration = Duration::from_secs(30);

/// A kind, by its plural name, in a namespace.
type Place = (Cow<'static, str>, String);

/// The notes; clones share them.
#[derive(Clone, Default)]
pub struct Absences(Option<Arc<Mutex<Notes>>>);

#[derive(Default)]
struct Notes {
    /// How many events of rare kinds have been heard of.
    heard: u64,
    /// When the list was sent that found nothing.
    empty_at: HashMap<Place, Instant>,
}

/// When, and before which news, a list was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    at: Instant,
    heard: u64,
}

impl Absences {
    /// Notes that are kept, for a process whose watches tell of every change. Those by default are not: every round asks.
    #[must_use]
    pub fn kept() -> Self {
        Self(Some(Arc::default()))
    }

    /// Whether the namespace is known at `now` to hold nothing of this kind.
    pub(crate) fn noted<K: Kind>(&self, namespace: &str, now: Instant) -> bool {
        let notes = self.notes();
        let empty_at = notes
            .as_ref()
            .and_then(|it| it.empty_at.get(&place::<K>(namespace)));
        empty_at.is_some_and(|at| now.saturating_duration_since(*at) < BELIEVED)
    }

    /// To be called right before a list is sent.
    pub(crate) fn sending(&self, now: Instant) -> Sent {
        let heard = self.notes().map_or(0, |it| it.heard);
        Sent { at: now, heard }
    }

    /// Notes that the list found nothing of this kind in the namespace.
    pub(crate) fn note<K: Kind>(&self, namespace: &str, sent: Sent) {
        let Some(mut notes) = self.notes() else {
            return;
        };
        if notes.heard == sent.heard {
            let holds = |at: &Instant| sent.at.saturating_duration_since(*at) < BELIEVED;
            notes.empty_at.retain(|_, at| holds(at));
            notes.empty_at.insert(place::<K>(namespace), sent.at);
        }
    }

    /// Something of this kind in the namespace has changed.
    pub(crate) fn doubt<K: Kind>(&self, namespace: &str) {
        if let Some(mut notes) = self.notes() {
            notes.heard += 1;
            notes.empty_at.remove(&place::<K>(namespace));
        }
    }

    /// Anything may have changed.
    pub(crate) fn doubt_all(&self) {
        if let Some(mut notes) = self.notes() {
            notes.heard += 1;
            notes.empty_at.clear();
        }
    }

    fn notes(&self) -> Option<MutexGuard<'_, Notes>> {
        let notes = self.0.as_ref()?;
        // Each change of the notes is whole: a panic elsewhere cannot have left them half written.
        Some(notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn place<K: Kind>(namespace: &str) -> Place {
    (K::plural(&()), namespace.to_owned())
}

#[cfg(test)]
mod tests {
    use crds::{RaftOperation, RaftUser};

    use super::*;

    fn noted(absences: &Absences, now: Instant) -> bool {
        absences.noted::<RaftUser>("ns", now)
    }

    #[test]
    fn a_note_holds_for_its_kind_and_namespace_and_for_a_while() {
        let (absences, now) = (Absences::kept(), Instant::now());
        assert!(!noted(&absences, now), "nobody has looked");
        absences.note::<RaftUser>("ns", absences.sending(now));
        assert!(noted(&absences, now));
        assert!(!absences.noted::<RaftUser>("other", now));
        assert!(!absences.noted::<RaftOperation>("ns", now));
        let almost = now + BELIEVED - Duration::from_millis(1);
        assert!(noted(&absences, almost));
        assert!(!noted(&absences, now + BELIEVED));
    }

    #[test]
    fn what_a_watch_tells_ends_it() {
        let (absences, now) = (Absences::kept(), Instant::now());
        absences.note::<RaftUser>("ns", absences.sending(now));
        absences.doubt::<RaftUser>("other");
        assert!(noted(&absences, now));
        absences.doubt::<RaftUser>("ns");
        assert!(!noted(&absences, now));
        absences.note::<RaftUser>("ns", absences.sending(now));
        absences.doubt_all();
        assert!(!noted(&absences, now));
    }

    #[test]
    fn a_list_that_was_under_way_when_a_watch_told_is_not_noted() {
        let (absences, now) = (Absences::kept(), Instant::now());
        let sent = absences.sending(now);
        absences.doubt::<RaftUser>("ns");
        absences.note::<RaftUser>("ns", sent);
        assert!(!noted(&absences, now));
    }

    #[test]
    fn nothing_is_noted_where_nobody_watches() {
        let (absences, now) = (Absences::default(), Instant::now());
        absences.note::<RaftUser>("ns", absences.sending(now));
        assert!(!noted(&absences, now));
    }
}
