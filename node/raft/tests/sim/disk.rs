//! A disk that is slow, keeps its order, and at a crash loses what it had not finished.
//!
//! What this module does not do: tell damage from a torn end. That is the storage layer's trouble; here it is told.

use raft::{Entry, HardState, Index, Recovered, SnapshotMeta, Term};
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
    /// Takes damage in the log for its end.
    TakesDamageForTheEnd,
    /// Lets a damaged peer go on in the term in which it acknowledged what is gone.
    KeepsTheTermOfDamage,
}

/// What is on the platter.
#[derive(Clone, Debug, Default)]
struct Platter {
    lost: Option<(Term, Index)>,
    hard_state: HardState,
    snapshot: SnapshotMeta,
    state: State,
    entries: Vec<Entry>,
}

/// A disk: the platter, and what is on its way there, in order.
#[derive(Debug)]
pub(crate) struct Disk {
    platter: Platter,
    /// What was on it some writes ago: what damage may leave.
    former: Option<Platter>,
    writes: u64,
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
            former: None,
            writes: 0,
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
        self.writes += 1;
        if self.writes.is_multiple_of(FORMER) {
            self.former = Some(self.platter.clone());
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

    /// Damage takes all that was written since a former time, but for term and vote, and the place
    /// where the log ended; the newest checkpoint too, or not. Says whether there was anything.
    pub(crate) fn damage(&mut self, with_checkpoint: bool) -> bool {
        let Some(mut remains) = self.former.take() else {
            return false;
        };
        let (promised, end) = (self.platter.hard_state, self.platter.end());
        if !with_checkpoint {
            remains.stand_on(self.platter.snapshot.clone(), self.platter.state);
        }
        remains.lost = self.platter.lost;
        let left = Recovered::damaged(remains.recovered(), promised, end);
        (remains.hard_state, remains.lost) = (left.hard_state, left.lost);
        let blind = self.honesty == Honesty::TakesDamageForTheEnd;
        if blind {
            remains.lost = None;
        }
        if blind || self.honesty == Honesty::KeepsTheTermOfDamage {
            remains.hard_state.term = promised.term;
            remains.hard_state.vote = promised.vote;
        }
        self.platter = remains;
        true
    }

    /// Whether damage took entries that are not got back.
    pub(crate) fn has_lost(&self) -> bool {
        self.platter.lost.is_some()
    }

    pub(crate) fn recovered(&self) -> Recovered {
        self.platter.recovered()
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
        self.platter.end().1
    }

    pub(crate) fn is_honest(&self) -> bool {
        self.honesty == Honesty::Honest
    }
}

/// How many writes lie between two former states.
const FORMER: u64 = 24;

impl Platter {
    fn recovered(&self) -> Recovered {
        Recovered {
            hard_state: self.hard_state,
            snapshot: self.snapshot.clone(),
            entries: self.entries.clone(),
            lost: self.lost,
        }
    }

    fn end(&self) -> (Term, Index) {
        let last = self.entries.last();
        let snapshot = &self.snapshot;
        last.map_or((snapshot.term, snapshot.index), |e| (e.term, e.index))
    }

    /// A newer checkpoint is sound: entries count if they follow it.
    fn stand_on(&mut self, snapshot: SnapshotMeta, state: State) {
        let place = self.entries.iter().find(|e| e.index == snapshot.index);
        let follow =
            self.snapshot.index == snapshot.index || place.is_some_and(|e| e.term == snapshot.term);
        if !follow {
            self.entries.clear();
        }
        self.hard_state.commit = self.hard_state.commit.max(snapshot.index);
        (self.snapshot, self.state) = (snapshot, state);
    }

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
        self.lost = self.lost.filter(|lost| self.end() < *lost);
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
