//! A disk that is slow, keeps its order, and at a crash loses what it had not finished.
//!
//! What this module does not do: damage what is written. That is the storage layer's trouble.

use raft::{Entry, HardState, Index, Recovered, SnapshotMeta};
use rand::Rng;
use rand::rngs::SmallRng;
use std::collections::VecDeque;

/// The state machine: what was applied, in one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) hash: u64,
}

/// One write, which is there or is not.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// One entry; the log ends with it.
    Entry(Entry),
    HardState(HardState),
    /// A snapshot from the leader: the log begins anew.
    Install(SnapshotMeta, State),
    /// A checkpoint of its own, and how many entries before it stay.
    Checkpoint(SnapshotMeta, State, u64),
}

/// How far the disk can be trusted. All but `Honest` are planted bugs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Honesty {
    Honest,
    /// Says "durable" while the last writes are still in its cache.
    SaysDurableTooEarly,
    /// Forgets for whom it voted.
    ForgetsTheVote,
}

/// What is on the platter.
#[derive(Clone, Debug, Default)]
struct Platter {
    hard_state: HardState,
    snapshot: SnapshotMeta,
    state: State,
    entries: Vec<Entry>,
}

/// A disk: the platter, and what is on its way there, in order.
#[derive(Debug)]
pub(crate) struct Disk {
    platter: Platter,
    cache: VecDeque<Write>,
    honesty: Honesty,
}

impl Disk {
    pub(crate) fn new(recovered: &Recovered, honesty: Honesty) -> Self {
        let platter = Platter {
            hard_state: recovered.hard_state,
            entries: recovered.entries.clone(),
            ..Platter::default()
        };
        Self {
            platter,
            cache: VecDeque::new(),
            honesty,
        }
    }

    /// Makes writes durable, if it is honest.
    pub(crate) fn write(&mut self, writes: Vec<Write>) {
        self.cache.extend(writes);
        let held_back = if self.honesty == Honesty::SaysDurableTooEarly {
            12
        } else {
            0
        };
        while self.cache.len() > held_back {
            let write = self.cache.pop_front().expect("the cache is not empty");
            self.platter.apply(write);
        }
    }

    /// Takes writes that need not be durable yet; they are with the next that must, or are lost.
    pub(crate) fn write_lazily(&mut self, writes: Vec<Write>) {
        self.cache.extend(writes);
    }

    /// The power fails while `unfinished` was being written: any first part of it may be there.
    pub(crate) fn crash(&mut self, unfinished: Vec<Write>, rng: &mut SmallRng) {
        self.cache.extend(unfinished);
        let kept = rng.random_range(0..=self.cache.len());
        self.cache
            .drain(..kept)
            .for_each(|write| self.platter.apply(write));
        self.cache.clear();
        if self.honesty == Honesty::ForgetsTheVote {
            self.platter.hard_state.vote = None;
        }
    }

    pub(crate) fn recovered(&self) -> Recovered {
        Recovered {
            hard_state: self.platter.hard_state,
            snapshot: self.platter.snapshot.clone(),
            entries: self.platter.entries.clone(),
        }
    }

    /// The newest checkpoint.
    pub(crate) fn checkpoint(&self) -> (SnapshotMeta, State) {
        let cached = self.cache.iter().rev().find_map(|write| match write {
            Write::Install(meta, state) | Write::Checkpoint(meta, state, _) => {
                Some((meta.clone(), *state))
            }
            Write::Entry(_) | Write::HardState(_) => None,
        });
        if let Some(cached) = cached {
            return cached;
        }
        (self.platter.snapshot.clone(), self.platter.state)
    }

    pub(crate) fn hard_state(&self) -> HardState {
        self.platter.hard_state
    }

    pub(crate) fn last_index(&self) -> Index {
        self.platter
            .entries
            .last()
            .map_or(self.platter.snapshot.index, |entry| entry.index)
    }

    pub(crate) fn is_honest(&self) -> bool {
        self.honesty == Honesty::Honest
    }
}

impl Platter {
    fn apply(&mut self, write: Write) {
        match write {
            Write::Entry(entry) => {
                let kept = self.entries.partition_point(|old| old.index < entry.index);
                self.entries.truncate(kept);
                self.entries.push(entry);
            }
            Write::HardState(hard_state) => self.hard_state = hard_state,
            Write::Install(meta, state) => {
                self.entries.clear();
                (self.snapshot, self.state) = (meta, state);
            }
            Write::Checkpoint(meta, state, keep) => {
                if meta.index > self.snapshot.index {
                    self.entries.retain(|old| old.index.0 + keep > meta.index.0);
                    (self.snapshot, self.state) = (meta, state);
                }
            }
        }
    }
}

/// The writes of a `Ready`, in the order the contract gives.
pub(crate) fn writes_of(ready: &raft::Ready, image: Option<State>) -> Vec<Write> {
    let install = ready.install.iter().map(|meta| {
        Write::Install(
            meta.clone(),
            image.expect("the image came with the message"),
        )
    });
    let entries = ready.persist.entries.iter().cloned().map(Write::Entry);
    let hard_state = ready.persist.hard_state.map(Write::HardState);
    install.chain(entries).chain(hard_state).collect()
}

/// A piece of work for the disk, and what is to follow when it is done.
#[derive(Debug)]
pub(crate) enum Work {
    Ready(Box<raft::Ready>, Vec<Write>),
    Checkpoint(Index, Vec<Write>),
}

impl Work {
    pub(crate) fn writes(self) -> Vec<Write> {
        match self {
            Self::Ready(_, writes) | Self::Checkpoint(_, writes) => writes,
        }
    }

    /// Whether the disk must be waited for.
    pub(crate) fn must_wait(&self) -> bool {
        match self {
            Self::Ready(ready, _) => ready.persist.must_sync || ready.install.is_some(),
            Self::Checkpoint(..) => true,
        }
    }
}
