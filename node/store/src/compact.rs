//! Giving history up.
//!
//! A compaction takes effect at once: from its command on, no read reaches behind it. The memory is freed afterwards, by a
//! sweep through the records in the order of their revisions, a bounded number at a time, so that no apply stalls. How far the
//! sweep has come depends on the commands applied and on nothing else, and no answer, no hash and no change depends on it.

use crate::StoreError;
use crate::keyspace::Keyspace;
use crate::record::Revision;

impl Keyspace {
    /// Makes `revision` the oldest readable one. 0 and negative revisions follow etcd: they are compacted unless they are
    /// greater than the -1 of a store that never was.
    pub(crate) fn compact(&mut self, revision: i64) -> Result<(), StoreError> {
        if revision <= self.compacted {
            return Err(StoreError::Compacted);
        }
        if revision > self.revision {
            return Err(StoreError::FutureRevision);
        }
        // Tombstones written at the last compaction were kept for it and are not any more.
        let last = Revision::first_of(self.compacted);
        self.sweep = Some(self.sweep.map_or(last, |unfinished| unfinished.min(last)));
        self.compacted = revision;
        Ok(())
    }

    /// Sweeps up to `budget` records; whether there is more to do.
    ///
    /// Every record up to the compaction frees what it superseded. Going by what the *swept* revision supersedes, not by what the
    /// compaction does, frees about as many records as are visited, however often one key was written.
    pub(crate) fn sweep(&mut self, budget: usize) -> bool {
        let Some(from) = self.sweep else { return false };
        let compacted = self.compacted;
        let old = self.timeline.iter_from(from);
        let old = old.take_while(|record| record.kv.mod_revision <= compacted);
        let visited: Vec<_> = old.take(budget).cloned().collect();
        let Some(last) = visited.last().map(|record| record.revision()) else {
            self.sweep = None;
            return false;
        };
        let mut dropped = Vec::new();
        for record in &visited {
            self.keys
                .compact(&record.kv.key, last.main, compacted, &mut dropped);
        }
        let freed: u64 = dropped.iter().map(|record| record.size_bytes()).sum();
        self.size_bytes -= freed;
        let mut revisions: Vec<_> = dropped.iter().map(|record| record.revision()).collect();
        revisions.sort_unstable();
        self.timeline.remove(&revisions);
        self.sweep = Some(Revision {
            sub: last.sub.saturating_add(1),
            ..last
        });
        true
    }

    /// Sweeps to the end.
    pub(crate) fn sweep_all(&mut self) {
        while self.sweep(1024) {}
    }
}
