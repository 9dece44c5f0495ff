//! Kinds of which a namespace was found to hold nothing: noted for a moment, so that not every round asks for what is rare.
//!
//! Invariants:
//! - Noted is only what a live list has shown, and only if since before it was sent nobody has told of the kind in that namespace:
//!   neither a watch nor another round's list. So what one round has acted on, no later one takes for absent.
//! - A note ends after [`BELIEVED`], or as soon as somebody tells of the kind there. So an event that is lost costs that long and no more.
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
    places: HashMap<Place, Note>,
    /// When anything anywhere may have changed, last.
    all_told_at: Option<Instant>,
}

/// What was learnt last of a place. Either means nothing after [`BELIEVED`]: a list that was sent before that is noted no more.
#[derive(Debug, Clone, Copy)]
enum Note {
    /// A list that was sent then found nothing.
    EmptyAt(Instant),
    /// Somebody told of something there.
    ToldAt(Instant),
}

impl Note {
    fn holds(self, now: Instant) -> bool {
        let (Self::EmptyAt(at) | Self::ToldAt(at)) = self;
        now.saturating_duration_since(at) < BELIEVED
    }
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
        let note = notes
            .as_ref()
            .and_then(|it| it.places.get(&place::<K>(namespace)));
        note.is_some_and(|it| matches!(it, Note::EmptyAt(_)) && it.holds(now))
    }

    /// Notes that a list which was sent at `sent` has found nothing of this kind in the namespace.
    pub(crate) fn note<K: Kind>(&self, namespace: &str, sent: Instant) {
        let Some(mut notes) = self.notes() else {
            return;
        };
        notes.places.retain(|_, it| it.holds(sent));
        let place = place::<K>(namespace);
        let told_at = match notes.places.get(&place) {
            Some(Note::ToldAt(at)) => Some(*at),
            _ => None,
        };
        if told_at.max(notes.all_told_at) < Some(sent) {
            notes.places.insert(place, Note::EmptyAt(sent));
        }
    }

    /// There is something of this kind in the namespace, or there was.
    pub(crate) fn told<K: Kind>(&self, namespace: &str, now: Instant) {
        if let Some(mut notes) = self.notes() {
            notes
                .places
                .insert(place::<K>(namespace), Note::ToldAt(now));
        }
    }

    /// Anything may have changed.
    pub(crate) fn told_all(&self, now: Instant) {
        if let Some(mut notes) = self.notes() {
            notes.places.clear();
            notes.all_told_at = Some(now);
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
        absences.note::<RaftUser>("ns", now);
        assert!(noted(&absences, now));
        assert!(!absences.noted::<RaftUser>("other", now));
        assert!(!absences.noted::<RaftOperation>("ns", now));
        let almost = now + BELIEVED - Duration::from_millis(1);
        assert!(noted(&absences, almost));
        assert!(!noted(&absences, now + BELIEVED));
    }

    #[test]
    fn what_is_told_ends_it_until_a_later_list() {
        let (absences, now) = (Absences::kept(), Instant::now());
        let later = now + Duration::from_millis(1);
        absences.note::<RaftUser>("ns", now);
        absences.told::<RaftUser>("other", now);
        assert!(noted(&absences, now));
        absences.told::<RaftUser>("ns", now);
        assert!(!noted(&absences, now));
        absences.note::<RaftUser>("ns", later);
        assert!(noted(&absences, later));
        absences.told_all(later);
        assert!(!noted(&absences, later));
        absences.note::<RaftUser>("ns", later + Duration::from_millis(1));
        assert!(noted(&absences, later));
    }

    #[test]
    fn a_list_that_was_under_way_when_it_was_told_is_not_noted() {
        let (absences, sent) = (Absences::kept(), Instant::now());
        let answered = sent + Duration::from_millis(50);
        absences.told::<RaftUser>("ns", answered);
        absences.note::<RaftUser>("ns", sent);
        assert!(!noted(&absences, answered));
        // As the other way round: another round's list was answered later, and found something.
        absences.note::<RaftOperation>("ns", sent);
        absences.told::<RaftOperation>("ns", answered);
        assert!(!absences.noted::<RaftOperation>("ns", answered));
    }

    #[test]
    fn nothing_is_noted_where_nobody_watches() {
        let (absences, now) = (Absences::default(), Instant::now());
        absences.note::<RaftUser>("ns", now);
        assert!(!noted(&absences, now));
    }
}
