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
        for &at in touched.iter().rev() {
            let Some((left, [right, ..])) = self.chunks.split_at_mut_checked(at) else {
                continue;
            };
            let Some(left) = left.last_mut() else {
                continue;
            };
            if left.entries.len() + right.entries.len() <= CHUNK_LEN / 2 {
                Arc::make_mut(&mut left.entries).extend(right.entries.iter().cloned());
                right.entries = Arc::default();
            }
        }
        self.chunks.retain(|chunk| !chunk.entries.is_empty());
    }
}

impl Chunk {
    fn remove(&mut self, revisions: &[Revision]) {
        let entries = Arc::make_mut(&mut self.entries);
        entries.retain(|(at, _)| revisions.binary_search(at).is_err());
        if let Some((first, _)) = entries.first() {
            self.first = *first;
        }
    }
}

#[cfg(test)]
mod tests {
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
        let mut timeline = timeline(10_000);
        let survivors = |main: &i64| main % 100 == 0;
        let removed: Vec<_> = (1..=10_000)
            .filter(|main| !survivors(main))
            .map(Revision::first_of)
            .collect();
        removed.chunks(333).for_each(|step| timeline.remove(step));
        assert_eq!(
            mains(&timeline),
            (1..=10_000).filter(survivors).collect::<Vec<_>>()
        );
        assert!(
            timeline
                .chunks
                .iter()
                .all(|chunk| !chunk.entries.is_empty())
        );
        assert!(
            timeline.chunks.len() <= 4,
            "{} chunks for 100 records",
            timeline.chunks.len()
        );
    }
}
