//! What the cluster did, gathered from whichever member is ahead.
//!
//! What this module deliberately does not do: believe clients.

use std::collections::BTreeMap;

use store::{Change, Store};

use crate::history::LeaseLife;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    applied: u64,
    revision: i64,
    pub(crate) compacted: i64,
    /// Something was compacted together with its writing.
    pub(crate) has_gap: bool,
    pub(crate) writes: Vec<(u64, Change)>,
    pub(crate) leases: Vec<LeaseLife>,
    /// Places of leases that live.
    alive: BTreeMap<i64, usize>,
}

impl Truth {
    /// The newest revision that any member has applied.
    pub(crate) const fn revision(&self) -> i64 {
        self.revision
    }

    /// Whether a lease lives.
    pub(crate) fn has_leases(&self) -> bool {
        !self.alive.is_empty()
    }

    /// Leases that live, as far as whoever is ahead knows.
    pub(crate) fn living_leases(&self) -> Vec<i64> {
        self.alive.keys().copied().collect()
    }

    /// A member has this store.
    pub(crate) fn learn(&mut self, now: u64, store: &Store) {
        if store.applied_index() <= self.applied {
            return;
        }
        self.applied = store.applied_index();
        self.compacted = store.compact_revision();
        if store.revision() > self.revision {
            let from = self.revision + 1;
            self.revision = store.revision();
            // What was compacted together with its writing nobody can ask for any more.
            self.has_gap |= store.compact_revision() >= from;
            let changes = store.changes_from(from.max(store.compact_revision() + 1));
            let changes = changes.into_iter().flatten();
            self.writes.extend(changes.map(|change| (now, change)));
        }
        self.learn_leases(now, store);
    }

    fn learn_leases(&mut self, now: u64, store: &Store) {
        let leases = store.leases();
        let Self {
            alive,
            leases: lives,
            ..
        } = self;
        alive.retain(|id, place| {
            let lives_on = leases.find(*id).is_some();
            if !lives_on {
                lives[*place].ended_ms = Some(now);
            }
            lives_on
        });
        for lease in leases.iter() {
            alive.entry(lease.id).or_insert_with(|| {
                lives.push(LeaseLife {
                    id: lease.id,
                    ttl: lease.ttl,
                    granted_ms: now,
                    ended_ms: None,
                });
                lives.len() - 1
            });
        }
    }
}
