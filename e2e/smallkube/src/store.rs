//! The objects, one global revision, and the log of changes that watches read.
//!
//! Invariants:
//! - Every commit takes the next revision, and that revision is the object's `resourceVersion`.
//! - The log holds every change after `compacted`; whoever asks for an older one is told so.
//! - A write happens under one lock from its read to its commit, so no writer sees half of another.
//!
//! It deliberately judges nothing: what may be written is decided before a commit.

use crate::kinds::Registry;
use crate::object::Object;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Where an object lives; ordered as lists are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// `plural` or `plural.group`.
    pub(crate) resource: Arc<str>,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self {
            resource: resource.into(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// One committed change: before and after, at least one of the two.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) key: Key,
    pub(crate) before: Option<Arc<Value>>,
    /// What stands now. For a deletion the last state, with the revision of the deletion.
    pub(crate) after: Arc<Value>,
    pub(crate) deleted: bool,
}

/// The version asked for has left the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Compacted;

/// All that one lock guards.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) kinds: Arc<Registry>,
    objects: BTreeMap<Key, Arc<Value>>,
    log: VecDeque<Change>,
    revision: u64,
    compacted: u64,
    random: SmallRng,
    kept: usize,
    network: u8,
    frozen: Option<u64>,
}

/// The objects behind their lock, and a bell that rings at each commit.
pub(crate) struct Store {
    state: Mutex<State>,
    bell: watch::Sender<u64>,
}

/// Changes kept for watches; like the real server's window, but by count, since a test has no minutes to wait.
const KEPT_CHANGES: usize = 20_000;

impl Store {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            kinds: Arc::new(Registry::built_in()),
            objects: BTreeMap::new(),
            log: VecDeque::new(),
            revision: 1,
            compacted: 0,
            random: SmallRng::seed_from_u64(seed),
            kept: KEPT_CHANGES,
            network: 100,
            frozen: None,
        };
        Self {
            state: Mutex::new(state),
            bell: watch::channel(1).0,
        }
    }

    /// The same state behind a lock of its own.
    pub(crate) fn fork(&self) -> Self {
        let state = self.with(|state| state.clone());
        Self {
            bell: watch::channel(state.revision).0,
            state: Mutex::new(state),
        }
    }

    /// Runs `f` on the state with nobody else in it, then wakes the watches if anything was committed.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        // A panic in one request must not take the whole server: every commit is complete or has not begun.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut state);
        self.bell.send_if_modified(|seen| {
            let rang = *seen != state.revision;
            *seen = state.revision;
            rang
        });
        result
    }

    /// Rings with the newest revision.
    pub(crate) fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }
}

impl State {
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// From now on, what is at hand stays as it is.
    pub(crate) fn freeze(&mut self) {
        self.frozen = Some(self.revision);
    }

    /// The version that whoever takes any is shown.
    pub(crate) fn at_hand(&self) -> u64 {
        self.frozen.unwrap_or(self.revision).max(self.compacted)
    }

    pub(crate) fn one(&self, key: &Key) -> Option<Arc<Value>> {
        self.objects.get(key).cloned()
    }

    /// The object of a resource by its place.
    pub(crate) fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.one(&Key::new(resource, namespace, name))
    }

    /// Every object of a resource, in one namespace or in all, in the order of lists.
    pub(crate) fn all<'a>(
        &'a self,
        resource: &str,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> + use<'a> {
        let resource: Arc<str> = resource.into();
        let from = Key {
            resource: resource.clone(),
            namespace: namespace.unwrap_or_default().to_owned(),
            name: String::new(),
        };
        self.objects
            .range((Bound::Included(from), Bound::Unbounded))
            .take_while(move |(key, _)| {
                key.resource == resource && namespace.is_none_or(|n| key.namespace == n)
            })
    }

    /// Every object there is.
    pub(crate) fn everything(&self) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.iter()
    }

    /// The objects of a resource as they stood at an earlier revision.
    pub(crate) fn all_at(
        &self,
        resource: &str,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<BTreeMap<Key, Arc<Value>>, Compacted> {
        if revision < self.compacted {
            return Err(Compacted);
        }
        let mut found: BTreeMap<Key, Arc<Value>> = self
            .all(resource, namespace)
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        let later = self.log.iter().rev().take_while(|c| c.revision > revision);
        for change in later.filter(|c| &*c.key.resource == resource) {
            if namespace.is_some_and(|n| change.key.namespace != n) {
                continue;
            }
            match &change.before {
                Some(before) => found.insert(change.key.clone(), before.clone()),
                None => found.remove(&change.key),
            };
        }
        Ok(found)
    }

    /// Stores a new state of an object and answers it with its version.
    pub(crate) fn commit(&mut self, key: &Key, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object.put(
            &["metadata", "resourceVersion"],
            json!(self.revision.to_string()),
        );
        let after = Arc::new(object);
        let before = self.objects.insert(key.clone(), after.clone());
        self.record(key, before, after.clone(), false);
        after
    }

    /// Removes an object and answers its last state.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let before = self.objects.remove(key)?;
        self.revision += 1;
        let mut last = (*before).clone();
        last.put(
            &["metadata", "resourceVersion"],
            json!(self.revision.to_string()),
        );
        let last = Arc::new(last);
        self.record(key, Some(before), last.clone(), true);
        Some(last)
    }

    fn record(&mut self, key: &Key, before: Option<Arc<Value>>, after: Arc<Value>, deleted: bool) {
        self.log.push_back(Change {
            revision: self.revision,
            key: key.clone(),
            before,
            after,
            deleted,
        });
        while self.log.len() > self.kept {
            if let Some(dropped) = self.log.pop_front() {
                self.compacted = dropped.revision;
            }
        }
    }

    /// Forgets every change so far, so that watches from before get 410 Gone.
    pub(crate) fn forget_changes(&mut self) {
        self.log.clear();
        self.compacted = self.revision;
    }

    /// The changes after a revision, oldest first.
    pub(crate) fn since(&self, revision: u64) -> Result<Vec<Change>, Compacted> {
        if revision < self.compacted {
            return Err(Compacted);
        }
        let start = self.log.partition_point(|c| c.revision <= revision);
        Ok(self.log.range(start..).cloned().collect())
    }

    /// Sets the second byte of every address given out, `127.<network>.0.0/16`.
    pub(crate) fn set_network(&mut self, network: u8) {
        self.network = network;
    }

    /// The n-th address for pods, from 1 on: the lower half of the network.
    pub(crate) fn pod_address(&self, n: u32) -> String {
        format!("127.{}.{}.{}", self.network, n / 250 % 128, n % 250 + 1)
    }

    /// The n-th address for Services, from 1 on: the upper half of the network.
    pub(crate) fn service_address(&self, n: u32) -> String {
        format!(
            "127.{}.{}.{}",
            self.network,
            128 + n / 250 % 127,
            n % 250 + 1
        )
    }

    /// A new uid in the form of a random UUID.
    pub(crate) fn new_uid(&mut self) -> String {
        let (a, b): (u64, u64) = (self.random.random(), self.random.random());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | (b >> 48) & 0x3fff,
            b & 0xffff_ffff_ffff
        )
    }

    /// The five characters that follow a `generateName`.
    pub(crate) fn new_suffix(&mut self) -> String {
        // The real alphabet: no vowels and no digits that look like letters, so that no words appear.
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5)
            .map(|_| char::from(ALPHABET[self.random.random_range(0..ALPHABET.len())]))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("pods", "n", name)
    }

    #[test]
    fn every_commit_takes_the_next_revision() {
        let store = Store::new(1);
        let bell = store.bell();
        store.with(|s| {
            assert_eq!(
                s.commit(&key("a"), json!({"metadata": {}}))
                    .text("/metadata/resourceVersion"),
                "2"
            );
            assert_eq!(
                s.commit(&key("a"), json!({"metadata": {}}))
                    .text("/metadata/resourceVersion"),
                "3"
            );
            assert_eq!(
                s.remove(&key("a"))
                    .unwrap()
                    .text("/metadata/resourceVersion"),
                "4"
            );
            assert_eq!(s.since(2).unwrap().len(), 2);
        });
        assert_eq!(*bell.borrow(), 4);
    }

    #[test]
    fn the_past_can_be_listed_until_it_is_forgotten() {
        let store = Store::new(1);
        store.with(|s| {
            s.commit(&key("a"), json!({"v": 1}));
            s.commit(&key("b"), json!({"v": 1}));
            s.commit(&key("a"), json!({"v": 2}));
            s.remove(&key("b"));
            let then = s.all_at("pods", Some("n"), 3).unwrap();
            assert_eq!(then.len(), 2);
            assert_eq!(then[&key("a")]["v"], 1);
            s.forget_changes();
            assert_eq!(s.all_at("pods", None, 3).unwrap_err(), Compacted);
            assert_eq!(s.since(3).unwrap_err(), Compacted);
            assert!(s.since(5).unwrap().is_empty());
        });
    }

    #[test]
    fn lists_stop_at_their_namespace_and_resource() {
        let store = Store::new(1);
        store.with(|s| {
            for (resource, namespace) in [("pods", "a"), ("pods", "b"), ("podsx", "a")] {
                s.commit(&Key::new(resource, namespace, "o"), json!({}));
            }
            assert_eq!(s.all("pods", None).count(), 2);
            assert_eq!(s.all("pods", Some("b")).count(), 1);
        });
    }
}
