//! A member's end of its disk: real log and checkpoints on a simulated disk, and the world decides when the disk is done.
//!
//! What is asked for is carried out at once as far as the storage can see, and is *in flight* until the world lands it
//! ([`crate::disk`]): a crash before that leaves a drawn part of it.
//!
//! What this module deliberately does not do: judge. It keeps what the disk has confirmed, for the checker.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use quorate_node::driver::Disk;
use quorate_node::storage::{Completion, Storage, StorageError};
use raft::{Entry, HardState, Index, PeerId, Persist, SnapshotMeta, Term};
use store::Image;

use crate::bug::Bug;
use crate::disk::{Flight, SimulatedDisk};

/// Names one thing that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobId(pub(crate) u64);

/// What the disk has confirmed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Durable {
    pub(crate) term: Term,
    pub(crate) vote: Option<PeerId>,
    /// The end of the log.
    pub(crate) last: Index,
}

impl Durable {
    /// What was found at a start.
    pub(crate) fn of(recovered: &raft::Recovered) -> Self {
        let end = recovered.entries.last().map(|entry| entry.index);
        Self {
            term: recovered.hard_state.term,
            vote: recovered.hard_state.vote,
            last: end.unwrap_or(recovered.snapshot.index),
        }
    }
}

/// Something that the disk is at.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    flight: Flight,
    outcome: Result<(), StorageError>,
    hard_state: Option<HardState>,
    /// Where it makes the log end, and how far back the log may end if only a part of it is done.
    last: Option<Index>,
    least: Option<Index>,
    /// Whether it takes the place of everything that was written before.
    pub(crate) renews: bool,
}

impl Job {
    /// It is done, if it could be: then the disk has confirmed this much.
    pub(crate) fn land(
        self,
        disk: &SimulatedDisk,
        durable: &mut Durable,
    ) -> Result<(), StorageError> {
        disk.land(self.flight);
        self.outcome?;
        if let Some(state) = self.hard_state {
            (durable.term, durable.vote) = (state.term, state.vote);
        }
        durable.last = self.last.unwrap_or(durable.last);
        Ok(())
    }
}

struct Bench {
    disk: SimulatedDisk,
    storage: Storage,
    next: u64,
    writes: VecDeque<Job>,
    checkpoints: VecDeque<Job>,
    /// What the disk has begun with: writes, and a checkpoint.
    begun: (bool, bool),
    /// Entries that were handed in since the checker looked.
    unseen: Vec<Vec<Entry>>,
    bug: Option<Bug>,
}

/// See the module; the world holds another of the same.
#[derive(Clone)]
pub(crate) struct Handle(Rc<RefCell<Bench>>);

impl Handle {
    pub(crate) fn new(disk: SimulatedDisk, storage: Storage, bug: Option<Bug>) -> Self {
        Self(Rc::new(RefCell::new(Bench {
            disk,
            storage,
            next: 0,
            writes: VecDeque::new(),
            checkpoints: VecDeque::new(),
            begun: (false, false),
            unseen: Vec::new(),
            bug,
        })))
    }

    /// All writes that wait: they share one sync.
    pub(crate) fn take_writes(&self) -> VecDeque<Job> {
        let mut bench = self.0.borrow_mut();
        bench.begun.0 = false;
        std::mem::take(&mut bench.writes)
    }

    /// The oldest checkpoint, own or received, that waits.
    pub(crate) fn take_checkpoint(&self) -> Option<Job> {
        let mut bench = self.0.borrow_mut();
        bench.begun.1 = false;
        bench.checkpoints.pop_front()
    }

    /// Whether the disk begins to write to the log, and a checkpoint.
    pub(crate) fn take_begun(&self) -> (bool, bool) {
        let mut bench = self.0.borrow_mut();
        let waits = (!bench.writes.is_empty(), !bench.checkpoints.is_empty());
        let begun = std::mem::replace(&mut bench.begun, waits);
        (waits.0 && !begun.0, waits.1 && !begun.1)
    }

    pub(crate) fn has_writes(&self) -> bool {
        !self.0.borrow().writes.is_empty()
    }

    pub(crate) fn has_checkpoints(&self) -> bool {
        !self.0.borrow().checkpoints.is_empty()
    }

    /// Entries that were handed in since the last time.
    pub(crate) fn take_unseen(&self) -> Vec<Vec<Entry>> {
        std::mem::take(&mut self.0.borrow_mut().unseen)
    }

    /// Reads everything at rest again; how much damage was found there since the start.
    pub(crate) fn scrub(&self) -> u64 {
        let bench = self.0.borrow();
        bench.storage.scrub();
        bench.storage.vitals().damage_found()
    }

    /// How far back the log may end at the least if only a part of what waits is written.
    pub(crate) fn least_end(&self, durable: &Durable) -> Index {
        let bench = self.0.borrow();
        let leasts = bench.writes.iter().filter_map(|job| job.least);
        leasts.fold(durable.last, Index::min)
    }
}

impl Bench {
    /// Lets the storage begin something, which is in flight from then on.
    fn begin(&mut self, begin: impl FnOnce(&Storage) -> Completion) -> Job {
        let storage = &self.storage;
        let (outcome, flight) = self.disk.fly(|| begin(storage).wait());
        self.next += 1;
        Job {
            id: JobId(self.next),
            flight,
            outcome,
            hard_state: None,
            last: None,
            least: None,
            renews: false,
        }
    }

    fn keep(&mut self, job: Job) -> JobId {
        let id = job.id;
        self.checkpoints.push_back(job);
        id
    }
}

impl Disk for Handle {
    type Completion = JobId;

    fn write(&self, mut persist: Persist) -> JobId {
        let mut bench = self.0.borrow_mut();
        let hard_state = persist.hard_state;
        if let (Some(Bug::UnwrittenVote), Some(state)) = (bench.bug, &mut persist.hard_state) {
            state.vote = None;
        }
        let first = persist.entries.first().map(|first| first.index.previous());
        let last = persist.entries.last().map(|last| last.index);
        if !persist.entries.is_empty() {
            bench.unseen.push(persist.entries.clone());
        }
        let job = bench.begin(|storage| storage.submit(persist));
        let id = job.id;
        bench.writes.push_back(Job {
            hard_state,
            last,
            least: first,
            ..job
        });
        id
    }

    fn install(&self, meta: SnapshotMeta, image: Bytes) -> JobId {
        let mut bench = self.0.borrow_mut();
        let last = Some(meta.index);
        let job = bench.begin(|storage| storage.install(meta, image));
        bench.keep(Job { last, ..job })
    }

    fn checkpoint(&self, meta: SnapshotMeta, image: Image) -> JobId {
        let mut bench = self.0.borrow_mut();
        let job = bench.begin(|storage| Disk::checkpoint(storage, meta, image));
        bench.keep(job)
    }

    fn renew(&self, meta: SnapshotMeta, image: Image) -> JobId {
        let mut bench = self.0.borrow_mut();
        let job = bench.begin(|storage| Disk::renew(storage, meta, image));
        bench.keep(Job {
            renews: true,
            ..job
        })
    }

    fn checkpoint_bytes(&self) -> u64 {
        self.0.borrow().storage.vitals().checkpoint_bytes()
    }

    fn damage_found(&self) -> u64 {
        self.0.borrow().storage.vitals().damage_found()
    }
}
