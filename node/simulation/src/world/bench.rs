//! A member's end of its disk: what it handed in, in order, until the world lets the disk work.
//!
//! What is done here is real: the disk's log and checkpoints. What the world decides is when, and what goes wrong.
//!
//! What this module deliberately does not do: judge. It keeps what the disk has confirmed, for the checker.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use quorate_node::driver::Disk;
use raft::{Entry, HardState, Index, PeerId, Persist, SnapshotMeta, Term};
use store::Image;

use crate::run::Bug;

/// Names one thing that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobId(pub(crate) u64);

/// What a member wants of its disk.
#[derive(Debug)]
pub(crate) enum Job {
    Write(Persist),
    Install(SnapshotMeta, Bytes),
    Checkpoint(SnapshotMeta, Image),
    Renew(SnapshotMeta, Image),
}

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

    fn note(&mut self, hard_state: Option<HardState>, last: Option<Index>) {
        if let Some(state) = hard_state {
            (self.term, self.vote) = (state.term, state.vote);
        }
        self.last = last.unwrap_or(self.last);
    }
}

#[derive(Debug, Default)]
struct Bench {
    next: u64,
    log: VecDeque<(JobId, Job)>,
    checkpoints: VecDeque<(JobId, Job)>,
    /// What the disk has begun with: writes, and a checkpoint.
    begun: (bool, bool),
    /// Entries that were handed in since the checker looked.
    unseen: Vec<Vec<Entry>>,
    bug: Option<Bug>,
}

/// See the module; the world holds another of the same.
#[derive(Clone, Debug)]
pub(crate) struct Handle(Rc<RefCell<Bench>>);

impl Handle {
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        Self(Rc::new(RefCell::new(Bench {
            bug,
            ..Bench::default()
        })))
    }

    fn push(&self, job: Job) -> JobId {
        let mut bench = self.0.borrow_mut();
        bench.next += 1;
        let id = JobId(bench.next);
        if let Job::Write(persist) = &job
            && !persist.entries.is_empty()
        {
            bench.unseen.push(persist.entries.clone());
        }
        match job {
            Job::Write(_) => bench.log.push_back((id, job)),
            _ => bench.checkpoints.push_back((id, job)),
        }
        id
    }

    /// All writes that wait: they share one sync.
    pub(crate) fn take_writes(&self) -> VecDeque<(JobId, Job)> {
        let mut bench = self.0.borrow_mut();
        bench.begun.0 = false;
        std::mem::take(&mut bench.log)
    }

    /// The oldest checkpoint, own or received, that waits.
    pub(crate) fn take_checkpoint(&self) -> Option<(JobId, Job)> {
        let mut bench = self.0.borrow_mut();
        bench.begun.1 = false;
        bench.checkpoints.pop_front()
    }

    /// Whether the disk begins to write to the log, and a checkpoint.
    pub(crate) fn take_begun(&self) -> (bool, bool) {
        let mut bench = self.0.borrow_mut();
        let waits = (!bench.log.is_empty(), !bench.checkpoints.is_empty());
        let begun = std::mem::replace(&mut bench.begun, waits);
        (waits.0 && !begun.0, waits.1 && !begun.1)
    }

    pub(crate) fn has_writes(&self) -> bool {
        !self.0.borrow().log.is_empty()
    }

    pub(crate) fn has_checkpoints(&self) -> bool {
        !self.0.borrow().checkpoints.is_empty()
    }

    /// Entries that were handed in since the last time.
    pub(crate) fn take_unseen(&self) -> Vec<Vec<Entry>> {
        std::mem::take(&mut self.0.borrow_mut().unseen)
    }

    /// How far back the log may end at the least if only a part of what waits is written.
    pub(crate) fn least_end(&self, durable: &Durable) -> Index {
        let bench = self.0.borrow();
        let firsts = bench.log.iter().filter_map(|(_, job)| match job {
            Job::Write(persist) => persist.entries.first().map(|first| first.index.previous()),
            _ => None,
        });
        firsts.fold(durable.last, Index::min)
    }
}

impl Disk for Handle {
    type Completion = JobId;

    fn write(&self, mut persist: Persist) -> JobId {
        if self.0.borrow().bug == Some(Bug::UnwrittenVote)
            && let Some(state) = &mut persist.hard_state
        {
            state.vote = None;
        }
        self.push(Job::Write(persist))
    }

    fn install(&self, meta: SnapshotMeta, image: Bytes) -> JobId {
        self.push(Job::Install(meta, image))
    }

    fn checkpoint(&self, meta: SnapshotMeta, image: Image) -> JobId {
        self.push(Job::Checkpoint(meta, image))
    }

    fn renew(&self, meta: SnapshotMeta, image: Image) -> JobId {
        self.push(Job::Renew(meta, image))
    }

    fn damage_found(&self) -> u64 {
        0
    }
}

/// What a job will have made durable.
impl Job {
    pub(crate) fn confirm(&self, durable: &mut Durable) {
        match self {
            Self::Write(persist) => durable.note(
                persist.hard_state,
                persist.entries.last().map(|entry| entry.index),
            ),
            Self::Install(meta, _) => durable.note(None, Some(meta.index)),
            Self::Checkpoint(..) | Self::Renew(..) => {}
        }
    }
}
