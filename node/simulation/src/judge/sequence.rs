//! The sequence of writes that the members agreed on, replayed by rules of its own.
//!
//! 1. Revisions follow one another from 2 on, and the places within one from 0 on.
//! 2. Versions and revisions of creation are what the writes before make them; what is deleted was there.
//!
//! With a history that is not whole neither can be told, and nothing is asked of it.
//!
//! What this module deliberately does not do: use the store's code, whose mistakes it would share.

use std::collections::BTreeMap;

use bytes::Bytes;
use store::{Change, KeyValue};

use super::LINEARIZABLE;
use crate::history::History;
use crate::world::checker::{Checked, ensure};

/// One revision.
#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) revision: i64,
    /// When the first member had it.
    pub(super) at_ms: u64,
    pub(super) changes: Vec<&'a Change>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sequence<'a> {
    pub(super) steps: Vec<Step<'a>>,
    /// Every key's versions, by the revision that wrote them; none for a deletion.
    keys: BTreeMap<Bytes, Vec<(i64, Option<KeyValue>)>>,
}

impl<'a> Sequence<'a> {
    pub(super) fn replay(history: &'a History) -> Checked<Self> {
        let mut sequence = Self::default();
        for (at_ms, change) in &history.writes {
            let follows = sequence.append(*at_ms, change);
            ensure(follows || !history.is_whole, LINEARIZABLE, || {
                format!("{change:?} does not follow what was written before")
            })?;
        }
        Ok(sequence)
    }

    /// Takes a write, and says whether it is what it must be.
    fn append(&mut self, at_ms: u64, change: &'a Change) -> bool {
        let revision = change.revision();
        let last = self.steps.last().map_or(1, |step| step.revision);
        if revision.main != last || self.steps.is_empty() {
            self.steps.push(Step {
                revision: revision.main,
                at_ms,
                changes: Vec::new(),
            });
        }
        let changes = &mut self.steps.last_mut().expect("one was just pushed").changes;
        let is_next = match changes.len() {
            0 => revision.main == last + 1 && revision.sub == 0,
            place => revision.sub == place as i64,
        };
        changes.push(change);
        let before = self.newest(change.key());
        let wanted = expected(change, before);
        let was_there = before.is_some() || !change.is_delete();
        let kv = change.kv().clone();
        let holds = is_next && was_there && kv == wanted;
        let version = (!change.is_delete()).then_some(kv);
        let versions = self.keys.entry(change.key().clone()).or_default();
        versions.push((revision.main, version));
        holds
    }

    fn newest(&self, key: &Bytes) -> Option<&KeyValue> {
        self.keys.get(key)?.last()?.1.as_ref()
    }

    /// A key as it was at a revision.
    pub(super) fn at(&self, key: &Bytes, revision: i64) -> Option<&KeyValue> {
        let versions = self.keys.get(key)?;
        let later = versions.partition_point(|(written, _)| *written <= revision);
        versions[..later].last()?.1.as_ref()
    }

    /// The keys of a range as they were at a revision.
    pub(super) fn range(&self, key: &Bytes, range_end: &Bytes, revision: i64) -> Vec<&KeyValue> {
        if range_end.is_empty() {
            return self.at(key, revision).into_iter().collect();
        }
        let keys = self.keys.range(key.clone()..range_end.clone());
        keys.filter_map(|(key, _)| self.at(key, revision)).collect()
    }

    /// The keys that hung on a lease at a revision.
    pub(super) fn attached(&self, lease: i64, revision: i64) -> Vec<&Bytes> {
        let at = self.keys.keys().filter_map(|key| self.at(key, revision));
        at.filter(|kv| kv.lease == lease)
            .map(|kv| &kv.key)
            .collect()
    }

    /// The newest revision that any member had before this time.
    pub(super) fn revision_before(&self, ms: u64) -> i64 {
        let later = self.steps.partition_point(|step| step.at_ms < ms);
        self.steps[..later].last().map_or(1, |step| step.revision)
    }
}

/// What a write must leave of its key.
fn expected(change: &Change, before: Option<&KeyValue>) -> KeyValue {
    let (kv, main) = (change.kv(), change.revision().main);
    let key = kv.key.clone();
    if change.is_delete() {
        return KeyValue {
            key,
            mod_revision: main,
            ..KeyValue::default()
        };
    }
    KeyValue {
        key,
        create_revision: before.map_or(main, |before| before.create_revision),
        mod_revision: main,
        version: before.map_or(0, |before| before.version) + 1,
        value: kv.value.clone(),
        lease: kv.lease,
    }
}
