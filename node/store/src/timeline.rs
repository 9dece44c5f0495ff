//! All kept records in the order in which they were written, and the part of the store that an image shares.
//!
//! Records lie in chunks, and chunks are shared: cloning a timeline copies one pointer per chunk, and whoever writes
//! afterwards copies only the chunks it touches. Decision and figures: `docs/decisions/0003-store-structure.md`.
//!
//! It does not know keys, nor which records are still needed.

use std::sync::Arc;

use crate::record::{Record, Revision};

/// Records per chunk. Small enough that copying one for a write beside an image costs microseconds, large enough that an
/// image of a million records is four thousand pointers.
const CHUNK_LEN: usize = 256;

/// - Revisions ascend strictly, within a chunk and from chunk to chunk.
/// - No chunk is empty, and none is longer than [`CHUNK_LEN`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    chunks: Vec<Chunk>,
}

#[derive(Clone, Debug)]
struct Chunk {
    /// Revision of the first record, here so that a search touches no other memory.
    first: Revision,
    entries: Arc<Vec<Entry>>,
}

/// The revision stands beside the record for the same reason.
type Entry = (Revision, Arc<Record>);

impl Timeline {
    /// Appends the newest record.
    pub(crate) fn push(&mut self, record: Arc<Record>) {
        let revision = record.revision();
        match self.chunks.last_mut() {
            Some(chunk) if chunk.entries.len() < CHUNK_LEN => {
                debug_assert!(
                    chunk
                        .entries
                        .last()
                        .is_none_or(|(last, _)| *last < revision)
                );
                Arc::make_mut(&mut chunk.entries).push((revision, record));
            }
            _ => {
                let mut entries = Vec::with_capacity(CHUNK_LEN);
                entries.push((revision, record));
                self.chunks.push(Chunk {
                    first: revision,
                    entries: Arc::new(entries),
                });
            }
        }
    }

    /// All records, oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Record>> {
        self.chunks
            .iter()
            .flat_map(|chunk| chunk.entries.iter().map(|(_, record)| record))
    }

    /// The records from `revision` on, oldest first.
    pub(crate) fn iter_from(&self, revision: Revision) -> impl Iterator<Item = &Arc<Record>> {
        let chunk = self.chunk_of(revision);
        let entries = self
            .chunks
            .get(chunk)
            .map_or(&[][..], |chunk| &chunk.entries);
        let skipped = entries.partition_point(|(at, _)| *at < revision);
        let later = self
            .chunks
            .iter()
            .skip(chunk + 1)
            .flat_map(|chunk| chunk.entries.iter());
        entries[skipped..]
            .iter()
            .chain(later)
            .map(|(_, record)| record)
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.entries.len()).sum()
    }

    /// Takes the records with these revisions out; `revisions` ascend.
    pub(crate) fn remove(&mut self, revisions: &[Revision]) {
        let mut rest = revisions;
        let mut touched = Vec::new();
        while let Some(&revision) = rest.first() {
            let at = self.chunk_of(revision);
            let end = self.chunks.get(at + 1).map(|next| next.first);
            let here = rest.partition_point(|revision| end.is_none_or(|end| *revision < end));
            let (mine, later) = rest.split_at(here);
            if let Some(chunk) = self.chunks.get_mut(at) {
                chunk.remove(mine);
                touched.push(at);
            }
            rest = later;
        }
        self.close_gaps(&touched);
    }

    /// The chunk whose span `revision` falls into.
    fn chunk_of(&self, revision: Revision) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.first <= revision)
            .saturating_sub(1)
    }

    /// Merges touched chunks into their left neighbour while both fit into half a chunk, and drops the empty ones.
    fn close_gaps(&mut self, touched: &[usize]) {
        let mut empty = Vec::new();
        for &at in touched.iter().rev() {
            if self.chunks[at].entries.is_empty() || self.merge_left(at) {
                empty.push(at);
            }
        }
        if !empty.is_empty() {
            // Looking into every chunk instead would cost a cache miss for each.
            let mut at = 0..;
            self.chunks
                .retain(|_| at.next() != empty.last().copied() || empty.pop().is_none());
        }
    }

    /// Moves what is left of a chunk into the one before it, if that leaves it half empty at least.
    fn merge_left(&mut self, at: usize) -> bool {
        let (before, [chunk, ..]) = self.chunks.split_at_mut(at) else {
            return false;
        };
        let Some(left) = before.last_mut() else {
            return false;
        };
        if left.entries.len() + chunk.entries.len() > CHUNK_LEN / 2 {
            return false;
        }
        Arc::make_mut(&mut left.entries).extend(chunk.entries.iter().cloned());
        true
    }
}

/// Removals up to which moving the later entries up, once for each, is cheaper than looking at every entry.
const FEW: usize = 8;

impl Chunk {
    fn remove(&mut self, revisions: &[Revision]) {
        let entries = Arc::make_mut(&mut self.entries);
        if revisions.len() > FEW {
            entries.retain(|(at, _)| revisions.binary_search(at).is_err());
        } else {
            for revision in revisions {
                if let Ok(at) = entries.binary_search_by_key(revision, |(at, _)| *at) {
                    entries.remove(at);
                }
            }
        }
        if let Some((first, _)) = entries.first() {
            self.first = *first;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::KeyValue;

    fn record(main: i64) -> Arc<Record> {
        let kv = KeyValue {
            mod_revision: main,
            ..KeyValue::default()
        };
        Arc::new(Record {
            kv,
            sub: 0,
            tombstone: false,
        })
    }

    fn timeline(len: i64) -> Timeline {
        let mut timeline = Timeline::default();
        (1..=len).for_each(|main| timeline.push(record(main)));
        timeline
    }

    fn mains(timeline: &Timeline) -> Vec<i64> {
        timeline
            .iter()
            .map(|record| record.kv.mod_revision)
            .collect()
    }

    #[test]
    fn a_clone_does_not_see_later_writes() {
        let mut timeline = timeline(1000);
        let image = timeline.clone();
        timeline.push(record(1001));
        timeline.remove(&[Revision::first_of(5), Revision::first_of(700)]);
        assert_eq!(mains(&image), (1..=1000).collect::<Vec<_>>());
        assert_eq!(timeline.len(), 999);
    }

    #[test]
    fn iteration_starts_anywhere() {
        let timeline = timeline(1000);
        for start in [-3, 0, 1, 2, 256, 257, 512, 999, 1000, 1001] {
            let from = timeline.iter_from(Revision::first_of(start));
            let expected: Vec<i64> = (start.max(1)..=1000).collect();
            assert_eq!(
                from.map(|record| record.kv.mod_revision)
                    .collect::<Vec<_>>(),
                expected
            );
        }
        assert_eq!(
            Timeline::default().iter_from(Revision::first_of(1)).count(),
            0
        );
    }

    #[test]
    fn removal_leaves_no_empty_or_scattered_chunk() {
        for step in [3, 333] {
            let mut timeline = timeline(10_000);
            let survives = |main: &i64| main % 100 == 0;
            let removed: Vec<_> = (1..=10_000)
                .filter(|main| !survives(main))
                .map(Revision::first_of)
                .collect();
            removed.chunks(step).for_each(|step| timeline.remove(step));
            assert_eq!(
                mains(&timeline),
                (1..=10_000).filter(survives).collect::<Vec<_>>()
            );
            let chunks = timeline.chunks.len();
            assert!(
                chunks <= 4,
                "{chunks} chunks for 100 records, removed by {step}"
            );
        }
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_list(
            steps in vec((0..400_i64, vec(0..3000_i64, 0..60), any::<bool>()), 1..12),
        ) {
            let (mut timeline, mut list) = (Timeline::default(), BTreeSet::new());
            let mut images = Vec::new();
            let mut main = 0;
            for (pushed, mut removed, image) in steps {
                for _ in 0..pushed {
                    main += 1;
                    timeline.push(record(main));
                    list.insert(main);
                }
                removed.sort_unstable();
                removed.dedup();
                let revisions: Vec<_> = removed.iter().copied().map(Revision::first_of).collect();
                timeline.remove(&revisions);
                list.retain(|main| removed.binary_search(main).is_err());
                let whole = mains(&timeline);
                prop_assert!(whole.iter().eq(&list));
                prop_assert_eq!(timeline.len(), list.len());
                prop_assert!(timeline.chunks.iter().all(|chunk| (1..=CHUNK_LEN)
                    .contains(&chunk.entries.len())
                    && chunk.entries[0].0 == chunk.first));
                for start in [0, main / 2, main, main + 1] {
                    let from = timeline.iter_from(Revision::first_of(start));
                    let from: Vec<_> = from.map(|record| record.kv.mod_revision).collect();
                    prop_assert!(from.iter().eq(list.range(start..)));
                }
                if image {
                    images.push((timeline.clone(), whole));
                }
            }
            for (image, whole) in images {
                prop_assert_eq!(mains(&image), whole, "an image changed");
            }
        }
    }
}
