//! The store against the plainest thing that could be right: a copy of the whole map for every revision.
//!
//! Random commands, valid or not, go to two replicas and to the map. After each of them answers, changes, reads at random
//! revisions and checksums must agree; the second replica gets its commands as bytes, is restored from an image now and then
//! and frees memory at its own pace, and must not differ.

mod model {
    pub(crate) mod naive;
    pub(crate) mod requests;
}

use bytes::Bytes;
use model::naive::{Naive, Write};
use model::requests::{self, Step};
use proptest::prelude::*;
use store::{Change, Command, RangeRequest, Response, Store};

fn write_of(change: &Change) -> Write {
    Write {
        at: change.revision(),
        deleted: change.is_delete(),
        kv: change.kv().clone(),
    }
}

/// The response as plain text: the naive map answers with the same types, so a difference reads well.
fn assert_same_answer(step: &Step, ours: &Response, naive: &Response) {
    assert_eq!(ours, naive, "{step:#?}");
}

struct Pair {
    ours: Store,
    other: Store,
    naive: Naive,
    index: u64,
}

impl Pair {
    fn new() -> Self {
        Self {
            ours: Store::new(),
            other: Store::new(),
            naive: Naive::default(),
            index: 0,
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Apply(command) => self.apply(step, command),
            Step::Burst(len) => {
                (0..*len).for_each(|n| self.apply(step, &requests::of_burst(n)));
            }
            Step::Compact { back, physical } => {
                let revision = self.naive.revision() - back;
                let request = store::CompactionRequest {
                    revision,
                    physical: *physical,
                };
                self.apply(step, &Command::Compact(request));
            }
            Step::Range(request) => self.range(request),
            Step::Restore => {
                let image = self.other.snapshot();
                let bytes = image.encode();
                self.other = if self.index.is_multiple_of(2) {
                    Store::decode(&bytes).expect("an image reads back")
                } else {
                    image.to_store()
                };
                assert_eq!(
                    self.other.snapshot().encode(),
                    bytes,
                    "an image of an image differs"
                );
            }
            Step::Sweep(records) => {
                self.other.sweep(*records);
            }
            Step::Hash { back } => self.hash(*back),
            Step::History { back } => self.history(*back),
        }
    }

    fn apply(&mut self, step: &Step, command: &Command) {
        self.index += 1;
        let (answer, writes) = self.naive.apply(command);
        let ours = self.ours.apply(self.index, command);
        assert_same_answer(step, &ours.response, &answer);
        assert_eq!(
            ours.changes.iter().map(write_of).collect::<Vec<_>>(),
            writes,
            "{step:#?}"
        );
        assert_eq!(ours.revision, self.naive.revision());

        let command = Command::from_bytes(&command.to_bytes()).expect("a command reads back");
        assert_eq!(
            self.other.apply(self.index, &command),
            ours,
            "replicas differ at {step:#?}"
        );
        self.agree();
    }

    fn agree(&self) {
        let (ours, other) = (&self.ours, &self.other);
        assert_eq!(ours.digest(), other.digest());
        assert_eq!(ours.applied_index(), other.applied_index());
        assert_eq!(ours.revision(), other.revision());
        assert_eq!(ours.compact_revision(), other.compact_revision());
        assert_eq!(ours.members(), other.members());
        assert_eq!(ours.leases(), other.leases());
        assert!(ours.leases().iter().eq(self.naive.leases.values()));
        for id in self.naive.leases.keys() {
            assert!(ours.leases().keys(*id).eq(&self.naive.attached(*id)));
        }
    }

    fn range(&self, request: &RangeRequest) {
        let naive = self.naive.range(request);
        assert_eq!(self.ours.range(request), naive, "{request:#?}");
        assert_eq!(self.other.range(request), naive, "{request:#?}");
    }

    fn hash(&self, back: i64) {
        let revision = (self.naive.revision() - back).max(0);
        let naive = self.naive.hash_kv(revision);
        assert_eq!(self.ours.hash_kv(revision), naive, "at {revision}");
        assert_eq!(self.other.hash_kv(revision), naive, "at {revision}");
    }

    fn history(&self, back: i64) {
        let from = self.naive.revision() - back;
        let naive = self.naive.writes_from(from);
        for store in [&self.ours, &self.other] {
            let kept = store.changes_from(from).map(|all| all.collect::<Vec<_>>());
            let writes = kept
                .as_ref()
                .map(|all| all.iter().map(write_of).collect::<Vec<_>>());
            assert_eq!(writes.map_err(|error| *error), naive, "from {from}");
            for change in kept.into_iter().flatten() {
                let before = self.naive.previous(change.key(), change.revision().main);
                assert_eq!(store.previous(&change), before.as_ref());
            }
        }
    }

    /// Everything that can still be read, and what is left when all garbage is gone.
    fn end(mut self) {
        let all = |revision| RangeRequest {
            key: Bytes::from_static(&[0]),
            range_end: Bytes::from_static(&[0]),
            revision,
            ..RangeRequest::default()
        };
        for revision in self.naive.compacted.max(0)..=self.naive.revision() {
            self.range(&all(revision));
        }
        while self.ours.sweep(1) {}
        while self.other.sweep(100) {}
        (0..3).for_each(|back| self.hash(back));
        (0..40).for_each(|back| self.history(back));
        assert_eq!(self.ours.size(), self.other.size());
        assert_eq!(
            self.ours.size().records,
            self.naive.kept_writes(),
            "garbage is left, or too little"
        );
        assert_eq!(
            self.ours.snapshot().encode(),
            self.other.snapshot().encode()
        );
    }
}

/// So many cases, or more if `PROPTEST_CASES` says so.
fn at_least(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases.max(cases),
        ..default
    }
}

proptest! {
    #![proptest_config(at_least(3000))]

    #[test]
    fn the_store_is_a_map_per_revision(steps in requests::steps()) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.take(step);
        }
        pair.end();
    }
}
