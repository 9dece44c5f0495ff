//! The log's content while it is read back: successive entries after a base.
//!
//! What this module does not do: files. The running log keeps no entries here; consensus has them.

use raft::{Entry, Index, Term};

/// Entries `base + 1 ..= last`, without a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    base: (Index, Term),
    /// Whether entries behind the base may come: where segments before were released, the base is only the place where the
    /// log ended then, and its end may have been overwritten since.
    released: bool,
    /// Whether nothing is known of what came before: the first entries say where they stand.
    unknown: bool,
    entries: Vec<Entry>,
}

/// Where the log once ended, unless it ends no worse by now, in the order in which ends of logs are compared.
pub(super) fn still_lost(
    lost: Option<(Index, Term)>,
    last: (Index, Term),
) -> Option<(Index, Term)> {
    lost.filter(|lost| (last.1, last.0) < (lost.1, lost.0))
}

impl Log {
    /// An empty log that continues at `base`.
    pub(super) const fn after(base: (Index, Term)) -> Self {
        Self {
            base,
            released: false,
            unknown: false,
            entries: Vec::new(),
        }
    }

    /// An empty log whose earlier part, up to `end`, was released.
    pub(super) const fn released_up_to(end: (Index, Term)) -> Self {
        Self {
            base: end,
            released: true,
            unknown: false,
            entries: Vec::new(),
        }
    }

    /// A log of which only what follows will be known.
    pub(super) fn unknown() -> Self {
        Self {
            released: true,
            unknown: true,
            ..Self::default()
        }
    }

    /// Whether nothing has said where it ends.
    pub(super) const fn is_unknown(&self) -> bool {
        self.unknown
    }

    /// The place before the first entry.
    pub(super) const fn base(&self) -> (Index, Term) {
        self.base
    }

    /// The last place; the base if there is no entry.
    pub(super) fn last(&self) -> (Index, Term) {
        self.entries
            .last()
            .map_or(self.base, |entry| (entry.index, entry.term))
    }

    /// The term at a place, if the log reaches there.
    pub(super) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        let offset = index.0.checked_sub(self.base.0.0 + 1)?;
        let entry = self.entries.get(usize::try_from(offset).ok()?)?;
        Some(entry.term)
    }

    /// Cuts the log at the first entry's index and appends; false if that would leave a gap or reach behind the base.
    #[must_use]
    pub(super) fn append(&mut self, entries: Vec<Entry>) -> bool {
        let Some(first) = entries.first().map(|entry| entry.index) else {
            return true;
        };
        if first == Index(0) {
            return false;
        }
        if std::mem::take(&mut self.unknown) {
            self.base = (first.previous(), Term(0));
        }
        if first > self.last().0.next() {
            return false;
        }
        if first <= self.base.0 {
            if !self.released {
                return false;
            }
            // Nobody asks for the term there: what was released is behind a checkpoint of an entry that comes later.
            self.base = (first.previous(), Term(0));
        }
        let kept = first.0 - self.base.0.0 - 1;
        let kept = usize::try_from(kept).expect("what is kept is in memory");
        self.entries.truncate(kept);
        self.entries.extend(entries);
        true
    }

    /// The entries after a place that the log reaches.
    pub(super) fn into_entries_after(mut self, index: Index) -> Vec<Entry> {
        self.entries.retain(|entry| entry.index > index);
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::Payload;

    fn entries(term: u64, indexes: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
        indexes
            .map(|index| Entry {
                term: Term(term),
                index: Index(index),
                payload: Payload::Empty,
            })
            .collect()
    }

    #[test]
    fn later_entries_overwrite_and_gaps_are_refused() {
        let mut log = Log::after((Index(10), Term(1)));
        assert!(log.append(entries(1, 11..=15)));
        assert!(log.append(entries(2, 13..=14)));
        assert_eq!(log.last(), (Index(14), Term(2)));
        assert_eq!(log.term_at(Index(10)), Some(Term(1)));
        assert_eq!(log.term_at(Index(12)), Some(Term(1)));
        assert_eq!(log.term_at(Index(13)), Some(Term(2)));
        assert_eq!(log.term_at(Index(15)), None);
        assert_eq!(log.term_at(Index(9)), None);
        assert!(!log.append(entries(2, 16..=16)), "15 is missing");
        assert!(!log.append(entries(2, 10..=10)), "10 is the base");
        assert_eq!(log.into_entries_after(Index(12)), entries(2, 13..=14));
    }

    #[test]
    fn the_end_of_a_released_part_may_be_overwritten() {
        let mut log = Log::released_up_to((Index(20), Term(1)));
        assert!(log.append(entries(2, 15..=17)));
        assert_eq!(
            (log.base().0, log.last()),
            (Index(14), (Index(17), Term(2)))
        );
        assert!(!log.append(entries(2, 19..=19)));
    }
}
