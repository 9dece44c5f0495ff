//! Leases at work: renewals of clients, the ends and checkpoints that the lessor finds due, and what was applied of them.
//!
//! 1. A renewal counts only with proof that this member leads: it waits, as reads do, for a round in which a quorum says so after
//!    it was asked, and until this member has applied what was committed by then. A leader that was stalled or cut off, and
//!    replaced meanwhile, learns of it by that round, or is told nothing. (etcd asks no quorum while its clock ticks: its
//!    issue 15247.)
//! 2. Ends and checkpoints go into this member's own log, in the term whose leader measured them, or nowhere. They are never passed on
//!    to another leader, who may have renewed the lease since; so what a replaced leader still wants ends with its log.
//!    (etcd's leader proposed them like a client, and a stalled one revoked the leases of its successor when it woke up.)
//! 3. A lease that has ended is not renewed any more: the renewal waits until its revocation is applied, and is told that there is
//!    no such lease; or until this member leads no more, and is told that.
//! 4. A renewal takes a checkpoint back before it counts, through the log. Otherwise the next leader would give the lease less time than
//!    its owner was told.
//!
//! What this module deliberately does not do: measure time; see [`super::lessor`].

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use raft::{Input, Payload};
use store::{
    Author, Command, Lease, LeaseCheckpoint, LeaseRemaining, LeaseRevoke, Response, StoreError,
};

use super::Replica;
use super::batch::Batch;
use crate::event::{LeaseRead, LeaseState, Outcome};
use crate::refusal::Refusal;

/// Renewals that wait for something of their lease to be applied.
#[derive(Debug)]
pub(super) struct Renewals<W> {
    /// By lease, with their deadlines.
    waiting: BTreeMap<i64, Vec<(W, u64)>>,
    /// Leases whose checkpoint is being taken back: the command is in the log and not applied.
    taking_back: BTreeSet<i64>,
}

impl<W> Default for Renewals<W> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            taking_back: BTreeSet::new(),
        }
    }
}

impl<W> Renewals<W> {
    /// This member leads no more: who waited.
    fn give_up(&mut self) -> Vec<W> {
        self.taking_back.clear();
        self.drain()
    }

    /// Everybody.
    pub(super) fn drain(&mut self) -> Vec<W> {
        self.expired(u64::MAX)
    }

    /// Those who have waited long enough.
    pub(super) fn expired(&mut self, now: u64) -> Vec<W> {
        let mut late = Vec::new();
        self.waiting.retain(|_, waiters| {
            let out = waiters.extract_if(.., |(_, deadline)| *deadline <= now);
            late.extend(out.map(|(waiter, _)| waiter));
            !waiters.is_empty()
        });
        late
    }
}

/// What has become of leases since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseCounts {
    /// Granted, as far as this member applied.
    pub granted: u64,
    /// Revoked, ended ones included.
    pub revoked: u64,
    /// Renewed by this member.
    pub renewed: u64,
    /// Ended for want of renewal, and revoked by this member.
    pub expired: u64,
}

impl<W> Replica<W> {
    /// How many leases were granted and so on.
    #[must_use]
    pub const fn lease_counts(&self) -> LeaseCounts {
        self.lease_counts
    }

    /// Begins or ends to measure, as this member leads from now on or does no more.
    pub(super) fn note_office(&mut self) {
        let term = self.leads().then(|| self.raft.term());
        if term == self.lessor.term() {
            return;
        }
        self.lessor.demote();
        let waiters = self.renewals.give_up();
        self.refuse(waiters, Refusal::NotLeader);
        if let Some(term) = term {
            self.lessor
                .promote(term, self.now, self.store.leases().iter());
        }
    }

    /// Whether what the lessor measures is of now: the core may have lost an office that no turn has noted yet, and what an
    /// earlier leader did may still have to be applied.
    fn measures(&self) -> bool {
        let term = self.raft.term();
        self.leads() && self.lessor.term() == Some(term) && self.applied.term == term
    }

    /// Ends leases that nobody renewed, and checkpoints long ones; at every tick.
    pub(super) fn end_leases(&mut self) {
        if !self.measures() {
            return;
        }
        let due = self.lessor.due(self.now);
        let revoke = |id: &i64| Command::LeaseRevoke(LeaseRevoke { id: *id });
        if self.propose_here(due.iter().map(revoke)) {
            self.lessor.mark_ending(self.now, &due);
        }
        self.checkpoint_leases();
        for id in self.renewals.waiting.keys().copied().collect::<Vec<_>>() {
            self.take_checkpoint_back(id);
        }
    }

    fn checkpoint_leases(&mut self) {
        let leases = self.store.leases();
        // One behind a renewal that is under way would make it forgotten.
        let is_free = |it: &LeaseRemaining| !self.renewals.taking_back.contains(&it.id);
        let (news, olds): (Vec<_>, Vec<_>) = self
            .lessor
            .checkpoints_due(self.now)
            .into_iter()
            .filter(is_free)
            .partition(|it| {
                // Of one that has its whole time there is nothing to say, nor of one that is ending.
                let whole = leases
                    .find(it.id)
                    .is_none_or(|lease| it.remaining_ttl >= lease.ttl);
                !whole && it.remaining_ttl > 0
            });
        for old in olds {
            self.lessor.put_checkpoint_off(self.now, old.id);
        }
        if self.propose_checkpoint(news.clone()) {
            self.lessor.mark_checkpointing(&news);
        }
    }

    fn propose_checkpoint(&mut self, checkpoints: Vec<LeaseRemaining>) -> bool {
        let is_any = !checkpoints.is_empty();
        let command = Command::LeaseCheckpoint(LeaseCheckpoint { checkpoints });
        self.propose_here(is_any.then_some(command).into_iter())
    }

    /// Puts commands into this member's own log, as one entry that nobody waits for; says whether they are in it.
    fn propose_here(&mut self, commands: impl Iterator<Item = Command>) -> bool {
        // With authentication on, nobody but root may end what he may not write.
        let root = Author::root();
        let commands: Vec<Bytes> = commands
            .map(|command| command.to_bytes_by(Some(&root)))
            .collect();
        if commands.is_empty() || !self.measures() {
            return false;
        }
        let batch = Batch {
            starter: 0,
            first: 0,
            commands,
        };
        let payload = Payload::Command(batch.encode());
        // Refused while it hands over or has its hands full: the next tick tries again.
        self.raft.step(Input::Propose(vec![payload])).is_ok()
    }

    /// Takes note of a command on leases that was applied.
    pub(super) fn note_lease(&mut self, command: &Command, response: &Response) {
        match (command, response) {
            (Command::LeaseGrant(grant), Response::LeaseGrant(_)) => {
                self.lease_counts.granted += 1;
                if let Some(lease) = self.store.leases().find(grant.id) {
                    self.lessor.granted(self.now, lease);
                }
            }
            (Command::LeaseRevoke(revoke), Response::LeaseRevoke(_)) => {
                self.note_revoked(revoke.id)
            }
            (Command::LeaseCheckpoint(checkpoint), _) => {
                for remaining in &checkpoint.checkpoints {
                    self.note_checkpoint(remaining.id);
                }
            }
            _ => {}
        }
    }

    fn note_revoked(&mut self, id: i64) {
        self.lease_counts.revoked += 1;
        self.lease_counts.expired += u64::from(self.lessor.revoked(self.now, id));
        self.renewals.taking_back.remove(&id);
        let waiting = self.renewals.waiting.remove(&id).unwrap_or_default();
        let waiters = waiting.into_iter().map(|(waiter, _)| waiter);
        self.refuse(waiters, StoreError::LeaseNotFound.into());
    }

    fn note_checkpoint(&mut self, id: i64) {
        let Some(lease) = self.store.leases().find(id) else {
            return;
        };
        self.lessor.checkpointed(self.now, lease);
        if lease.remaining_ttl > 0 {
            return;
        }
        self.renewals.taking_back.remove(&id);
        let waiting = self.renewals.waiting.remove(&id).unwrap_or_default();
        for (waiter, deadline) in waiting {
            self.renew(id, waiter, deadline);
        }
    }

    /// Answers a question about a lease that a quorum has confirmed this member to be the one to answer.
    pub(super) fn answer_lease(&mut self, read: LeaseRead, waiter: W, deadline: u64) {
        if !self.measures() {
            return self.refuse([waiter], Refusal::NotLeader);
        }
        match read {
            LeaseRead::Renew { id } => self.renew(id, waiter, deadline),
            LeaseRead::TimeToLive { id, keys } => {
                let outcome = self.time_to_live(id, keys);
                self.answers.push((waiter, outcome));
            }
        }
    }

    fn renew(&mut self, id: i64, waiter: W, deadline: u64) {
        if !self.measures() {
            return self.refuse([waiter], Refusal::NotLeader);
        }
        let Some(lease) = self.store.leases().find(id) else {
            return self.refuse([waiter], StoreError::LeaseNotFound.into());
        };
        if self.is_checkpointed(lease) || self.lessor.has_ended(self.now, id) {
            let waiting = self.renewals.waiting.entry(id).or_default();
            return waiting.push((waiter, deadline));
        }
        self.lessor.renewed(self.now, lease);
        self.lease_counts.renewed += 1;
        let ttl = lease.ttl;
        self.answers.push((waiter, Outcome::Renewed { ttl }));
    }

    /// Whether the next leader would know it by a checkpoint, as far as is decided.
    fn is_checkpointed(&self, lease: &Lease) -> bool {
        lease.remaining_ttl > 0 || self.lessor.is_being_checkpointed(lease.id)
    }

    /// Somebody wants to renew a lease. That needs no proof that this member leads: if it does not, nothing comes of it.
    pub(super) fn take_checkpoint_back(&mut self, id: i64) {
        let lease = self.store.leases().find(id);
        let is_checkpointed = lease.is_some_and(|lease| self.is_checkpointed(lease));
        let is_under_way = self.renewals.taking_back.contains(&id);
        if !is_checkpointed || is_under_way || self.lessor.has_ended(self.now, id) {
            return;
        }
        let remaining_ttl = 0;
        if self.propose_checkpoint(vec![LeaseRemaining { id, remaining_ttl }]) {
            self.renewals.taking_back.insert(id);
        }
    }

    fn time_to_live(&self, id: i64, with_keys: bool) -> Outcome {
        let leases = self.store.leases();
        let left = self.lessor.left(self.now, id);
        let (Some(lease), Some(left)) = (leases.find(id), left) else {
            return Outcome::Refused(StoreError::LeaseNotFound.into());
        };
        let keys = leases.keys(id).filter(|_| with_keys);
        Outcome::Lease(LeaseState {
            granted_ttl: lease.ttl,
            left,
            keys: keys.cloned().collect(),
        })
    }
}
