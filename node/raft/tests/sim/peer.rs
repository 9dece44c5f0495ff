//! One process: a peer of the core, its driver, its disk and its state machine.
//!
//! What this module does not do: decide when anything happens. The world does.

use super::Run;
use super::checker::{Checked, Checker, DURABLE_FIRST, ONE_CHANGE, RECOVERS, Seen, Violation};
use super::checker::{READ_LINEARIZABLE, ensure};
use super::disk::{Disk, State, Work, Write, writes_of};
use raft::{Body, Config, Entry, Index, Input, Message, Payload, PeerId, Raft, ReadId, Ready};
use raft::{Recovered, Role, SnapshotMeta, Term, VoteKind};
use rand::rngs::SmallRng;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A process, alive or not.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: PeerId,
    pub(crate) disk: Disk,
    /// Counts its lives: what was meant for an earlier one is void.
    pub(crate) life: u64,
    pub(crate) alive: Option<Alive>,
    /// It does nothing before this time.
    pub(crate) paused_until: u64,
}

/// What a process has in memory.
#[derive(Debug)]
pub(crate) struct Alive {
    pub(crate) raft: Raft,
    seen: Seen,
    pub(crate) state: State,
    /// What waits for the disk, in order.
    pub(crate) work: VecDeque<Work>,
    /// Snapshots that came with messages, until it is known whether they are needed.
    images: Vec<(SnapshotMeta, State)>,
    /// Terms and changes of the log as submitted, to check what follows what.
    written: Written,
    /// Whether it led in this life.
    led: bool,
    /// Reads begun here, with what was committed then.
    pub(crate) reads: BTreeMap<ReadId, Index>,
    /// Reads that wait until enough is applied.
    ripening: Vec<(ReadId, Index)>,
}

/// The log as it was handed to the disk.
#[derive(Debug, Default)]
struct Written {
    base: (Index, Term),
    terms: Vec<Term>,
    changes: VecDeque<Index>,
}

impl Written {
    fn of(recovered: &Recovered) -> Self {
        let snapshot = &recovered.snapshot;
        let mut written = Self {
            base: (snapshot.index, snapshot.term),
            ..Self::default()
        };
        let entries: Vec<Entry> = recovered
            .entries
            .iter()
            .filter(|e| e.index > snapshot.index)
            .cloned()
            .collect();
        written.extend(&entries);
        written
    }

    fn extend(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        self.terms
            .truncate((first.index.0 - self.base.0.0 - 1) as usize);
        self.changes.retain(|index| *index < first.index);
        self.terms.extend(entries.iter().map(|entry| entry.term));
        let changes = entries.iter().filter(|e| e.payload.alteration().is_some());
        self.changes.extend(changes.map(|entry| entry.index));
    }

    fn term_before(&self, index: Index) -> Term {
        let before = index.0 - self.base.0.0 - 1;
        before
            .checked_sub(1)
            .map_or(self.base.1, |place| self.terms[place as usize])
    }
}

impl Process {
    pub(crate) fn new(id: PeerId, recovered: &Recovered, run: &Run) -> Self {
        let disk = Disk::new(recovered, run.disk);
        Self {
            id,
            disk,
            life: 0,
            alive: None,
            paused_until: 0,
        }
    }

    pub(crate) fn start(&mut self, config: Config, run: &Run, rng: SmallRng) -> Checked {
        let recovered = self.disk.recovered();
        let written = Written::of(&recovered);
        let mut raft = Raft::recover(config, recovered, rng).map_err(|error| Violation {
            property: RECOVERS,
            what: format!("peer {}: {error}", self.id),
        })?;
        raft.break_rules(run.rules);
        self.life += 1;
        self.alive = Some(Alive {
            raft,
            seen: Seen::default(),
            state: self.disk.checkpoint().1,
            work: VecDeque::new(),
            images: Vec::new(),
            written,
            led: false,
            reads: BTreeMap::new(),
            ripening: Vec::new(),
        });
        Ok(())
    }

    /// The power fails.
    pub(crate) fn crash(&mut self, rng: &mut SmallRng) {
        if let Some(alive) = self.alive.take() {
            let unfinished = alive.work.into_iter().flat_map(Work::writes).collect();
            self.disk.crash(unfinished, rng);
        }
    }

    /// Checks what a `Ready` is about to say against what the disk has.
    pub(crate) fn check_promises(&self, messages: &[Message]) -> Checked {
        let durable = self.disk.hard_state();
        for message in messages {
            let kept = match &message.body {
                Body::RequestVote {
                    kind: VoteKind::PreVote,
                    ..
                }
                | Body::Vote {
                    kind: VoteKind::PreVote,
                    ..
                } => true,
                _ if message.term > durable.term => false,
                // What was said in a term since left was true when the term was left.
                _ if message.term < durable.term => true,
                Body::Vote { granted: true, .. } => durable.vote == Some(message.to),
                Body::RequestVote { .. } => durable.vote == Some(self.id),
                Body::Accepted { match_index } => self.disk.last_index() >= *match_index,
                _ => true,
            };
            ensure(kept || !self.disk.is_honest(), DURABLE_FIRST, || {
                format!("{message:?} with {durable:?} on disk")
            })?;
        }
        Ok(())
    }
}

impl Alive {
    /// Takes in a snapshot that came with a message, then the message.
    pub(crate) fn receive(
        &mut self,
        message: Message,
        image: Option<State>,
    ) -> Result<(), raft::Refused> {
        if let (Body::InstallSnapshot { meta }, Some(image)) = (&message.body, image) {
            self.images.push((meta.clone(), image));
        }
        self.raft.step(Input::Receive(message))
    }

    /// Looks at the core after an event.
    pub(crate) fn observe(&mut self, checker: &mut Checker) -> Checked {
        self.led |= self.raft.role() == Role::Leader;
        checker.observe(&self.raft, &mut self.seen)
    }

    /// Asks for a `Ready` and puts it before the disk.
    pub(crate) fn gather(&mut self, checker: &mut Checker) -> Checked<bool> {
        let ready = self.raft.ready();
        if ready.is_empty() {
            return Ok(false);
        }
        if let Some(meta) = &ready.install {
            self.written = Written {
                base: (meta.index, meta.term),
                ..Written::default()
            };
        }
        let first = ready.persist.entries.first();
        let before = first.map_or(Term(0), |first| self.written.term_before(first.index));
        checker.writes(before, &ready.persist.entries)?;
        self.written.extend(&ready.persist.entries);
        let commit = self.raft.commit();
        let open = self
            .written
            .changes
            .iter()
            .filter(|index| **index > commit)
            .count();
        ensure(open <= 1, ONE_CHANGE, || {
            format!("{open} changes in flight at {}", self.raft.id())
        })?;
        let image = ready.install.as_ref().and_then(|meta| {
            self.images
                .iter()
                .find(|(known, _)| known == meta)
                .map(|(_, state)| *state)
        });
        self.images.clear();
        let writes = writes_of(&ready, image);
        self.work.push_back(Work::Ready(Box::new(ready), writes));
        Ok(true)
    }

    /// A checkpoint of what is applied, as work for the disk.
    pub(crate) fn checkpoint(&mut self, keep: u64) {
        if let Some(meta) = self.raft.meta_at(self.state.index) {
            let index = meta.index;
            let write = Write::Checkpoint(meta, self.state, keep);
            self.work.push_back(Work::Checkpoint(index, vec![write]));
        }
    }

    /// The disk is done with a `Ready`: applies what it brought. Gives the reads that are served.
    pub(crate) fn apply(
        &mut self,
        ready: &mut Ready,
        checker: &mut Checker,
    ) -> Checked<Vec<ReadId>> {
        let id = self.raft.id();
        for entry in ready.committed.drain(..) {
            ensure(
                entry.index == self.state.index.next(),
                super::checker::STATE_MACHINE_SAFETY,
                || {
                    format!(
                        "peer {id} is handed {} after {}",
                        entry.index, self.state.index
                    )
                },
            )?;
            self.state = after(self.state, &entry);
            checker.applied(id, &entry, self.state)?;
            let left = checker.left_by(&entry).into_iter();
            let led = self.led;
            checker
                .removed
                .extend(left.filter(|removed| *removed != id || led));
        }
        for (read, index) in ready.reads.drain(..) {
            let floor = self.reads.get(&read).copied().unwrap_or_default();
            ensure(index >= floor, READ_LINEARIZABLE, || {
                format!("read {read} at {id} is sent to {index}, {floor} was committed before it")
            })?;
            self.ripening.push((read, index));
        }
        for read in ready.reads_failed.drain(..) {
            self.reads.remove(&read);
        }
        let applied = self.state.index;
        let ripe: Vec<ReadId> = self
            .ripening
            .extract_if(.., |(_, index)| *index <= applied)
            .map(|r| r.0)
            .collect();
        self.reads.retain(|read, _| !ripe.contains(read));
        Ok(ripe)
    }

    /// A snapshot from the leader is durable: it is the state now.
    pub(crate) fn install(&mut self, state: State, checker: &Checker) -> Checked {
        self.state = state;
        checker.is_state(self.raft.id(), state)
    }
}

fn after(state: State, entry: &Entry) -> State {
    let mut hasher = DefaultHasher::new();
    state.hash.hash(&mut hasher);
    entry.term.hash(&mut hasher);
    if let Payload::Command(bytes) = &entry.payload {
        bytes.hash(&mut hasher);
    }
    State {
        index: entry.index,
        hash: hasher.finish(),
    }
}
