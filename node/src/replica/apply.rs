//! From committed entries to the store, and from the store to answers.
//!
//! What this module deliberately does not do: forgive. An entry that cannot be read ends the member; skipping it would make
//! its store differ from the others'.

use std::sync::Arc;

use bytes::Bytes;
use raft::{Configuration, Entry, Index, Payload};
use store::{Authored, Change, DecodeError, Op, RangeRequest, Response, Store, StoreError};

use super::Replica;
use super::batch::{Batch, BatchError};
use super::changes::tell_beginning;
use super::reads::Pending;
use crate::auth::check_read;
use crate::event::{Outcome, Read};
use crate::refusal::Refusal;

/// A committed entry that this program cannot read: it comes from a newer one, or the log is damaged. Going on would make
/// this member differ from the others, so it must stop.
#[derive(Debug, thiserror::Error)]
#[error("cannot read committed entry {index}")]
pub struct Unreadable {
    /// Where it stands in the log.
    pub index: Index,
    #[source]
    source: UnreadableCause,
}

impl Unreadable {
    pub(super) const fn at(index: Index, source: UnreadableCause) -> Self {
        Self { index, source }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum UnreadableCause {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Command(#[from] DecodeError),
}

/// What applying did to the keys, for those who watch.
#[derive(Debug, Default)]
pub struct Written {
    /// A snapshot took the store's place; what was written before it is not among the changes.
    pub is_replaced: bool,
    /// Every write since then, in order.
    pub changes: Vec<Change>,
}

impl Written {
    pub(super) const fn replaced() -> Self {
        Self {
            is_replaced: true,
            changes: Vec::new(),
        }
    }
}

/// A change of the membership waits until not only the entry, but also its commit is durable; the core makes that durable at once for
/// changes that have an effect, and for no others.
fn is_ready(entry: &Entry, durable: Index, durable_commit: Index, now: &Configuration) -> bool {
    let is_effective = || {
        let alteration = entry.payload.alteration();
        alteration.is_some_and(|it| now.after(&it).is_some())
    };
    entry.index <= durable && (entry.index <= durable_commit || !is_effective())
}

impl<W> Replica<W> {
    /// Applies what is committed and durable here, and answers whom that concerns. Says whether the membership changed,
    /// by an entry or by a snapshot that arrived.
    ///
    /// # Errors
    /// [`Unreadable`]: this member must stop.
    pub fn apply(&mut self) -> Result<bool, Unreadable> {
        let mut members_changed = std::mem::take(&mut self.membership_arrived);
        while let Some(entry) = self.unapplied.pop_front_if(|entry| {
            let now = &self.applied.configuration;
            is_ready(entry, self.durable, self.durable_commit, now)
        }) {
            members_changed |= self.apply_entry(entry)?;
        }
        self.serve_reads();
        Ok(members_changed)
    }

    fn apply_entry(&mut self, entry: Entry) -> Result<bool, Unreadable> {
        let index = entry.index;
        let unreadable = |source| Unreadable::at(index, source);
        if entry.term > self.applied.term {
            // A tick or two for what the old leader passed on to the new one.
            self.overtaken = Some((entry.term, self.now + 2));
        }
        self.applied_bytes += entry.weight();
        let mut members_changed = false;
        let alteration = entry.payload.alteration();
        match entry.payload {
            Payload::Empty => self.store.advance(index.0),
            Payload::Command(bytes) => {
                members_changed = self.apply_batch(index, bytes).map_err(unreadable)?;
            }
            Payload::LeaveJoint => members_changed = self.leave_joint(index),
            Payload::Change(raft::Change { context, .. })
            | Payload::EnterJoint(raft::JointChange { context, .. }) => {
                self.apply_batch(index, context).map_err(unreadable)?;
                tell_beginning(index, self.members());
                members_changed = true;
            }
        }
        // As the core does: an alteration that makes no sense is without effect.
        if let Some(next) = alteration.and_then(|it| self.applied.configuration.after(&it)) {
            self.applied.configuration = next;
        }
        self.divergence.applied(index, self.store.digest());
        self.applied.index = index;
        self.applied.term = entry.term;
        Ok(members_changed)
    }

    fn apply_batch(&mut self, index: Index, bytes: Bytes) -> Result<bool, UnreadableCause> {
        let batch = Batch::decode(bytes)?;
        let mut members_changed = false;
        for (number, command) in (batch.first..).zip(&batch.commands) {
            let Authored { command, author } = Authored::from_bytes(command)?;
            self.note_space(&command);
            let applied = self.store.apply_by(index.0, &command, author.as_ref());
            self.note_lease(&command, &applied.response);
            members_changed |= matches!(applied.response, Response::Members(_));
            self.note_tokens(index, &command, &applied.response);
            self.tally.applied(&applied.response);
            self.written.changes.extend(applied.changes);
            if let Some(waiter) = self.proposals.applied(batch.starter, number) {
                self.answer_applied(waiter, &command, applied.response);
            }
        }
        Ok(members_changed)
    }

    fn serve_reads(&mut self) {
        for pending in self.reads.serve(self.applied.index) {
            self.serve(pending);
        }
    }

    /// Answers a read that needs to wait for nothing any more.
    pub(super) fn serve(&mut self, pending: Pending<W>) {
        match pending.read {
            Read::Lease(read) => self.answer_lease(read, pending.waiter, pending.deadline),
            read => {
                let outcome = self.read(read);
                self.tally.read(&outcome);
                self.answers.push((pending.waiter, outcome));
            }
        }
    }

    /// Answers from what this member has, now: for reads that a quorum confirmed, and for serializable ones.
    #[must_use]
    pub fn read(&self, read: Read) -> Outcome {
        let read = match read {
            Read::By(caller, read) => match check_read(&self.store, caller.as_ref(), &read) {
                Ok(()) => *read,
                Err(error) => return Outcome::Refused(error.into()),
            },
            read => read,
        };
        if self.has_diverged() && matches!(read, Read::Range(_) | Read::Page(_) | Read::Txn(_)) {
            return Outcome::Refused(Refusal::Store(StoreError::Corrupt));
        }
        if is_large(&self.store, &read, LARGE_READ) {
            return Outcome::Large(self.store.snapshot(), read);
        }
        let by_end = matches!(read, Read::Leases).then(|| self.lessor.by_end());
        match by_end.flatten() {
            Some(ids) => Outcome::Leases(ids),
            None => answer(&self.store, read),
        }
    }
}

/// Keys to copy beyond which a read is not the loop's business: they take it about one tick, of the ten after which the
/// others look for a new leader.
const LARGE_READ: usize = 250_000;

/// Whether answering takes more than `most` keys to copy.
fn is_large(store: &Store, read: &Read, most: usize) -> bool {
    let spend = |left: usize, range: &RangeRequest| {
        left.checked_sub(store.range_cost(range, left.saturating_add(1)))
    };
    match read {
        Read::Range(range) => spend(most, range).is_none(),
        Read::Txn(txn) => {
            let compared = txn.compare.iter().map(|compare| RangeRequest {
                key: compare.key.clone(),
                range_end: compare.range_end.clone(),
                count_only: true,
                ..RangeRequest::default()
            });
            let ops = txn.success.iter().chain(&txn.failure);
            let mut ranges = ops.filter_map(|op| match &op.request {
                Some(Op::Range(range)) => Some(range),
                _ => None,
            });
            let left = compared
                .into_iter()
                .try_fold(most, |left, it| spend(left, &it));
            left.and_then(|left| ranges.try_fold(left, spend)).is_none()
        }
        Read::By(_, read) => is_large(store, read, most),
        _ => false,
    }
}

/// Answers a read from a store as it is.
#[must_use]
pub fn answer(store: &Store, read: Read) -> Outcome {
    let refused = |error: store::StoreError| Outcome::Refused(error.into());
    match read {
        Read::Range(request) => store.range(&request).map_or_else(refused, Outcome::Range),
        Read::Page(request) => store.page(&request).map_or_else(refused, Outcome::Range),
        Read::Txn(request) => store.read_txn(&request).map_or_else(refused, Outcome::Txn),
        Read::Members => Outcome::Members(store.members().iter().cloned().collect()),
        Read::Membership => Outcome::Membership(Box::new(store.members().clone())),
        Read::Leases => Outcome::Leases(store.leases().iter().map(|lease| lease.id).collect()),
        Read::Lease(_) => Outcome::Refused(Refusal::NotLeader),
        Read::Auth => Outcome::Auth(Arc::clone(store.auth())),
        Read::By(caller, read) => match check_read(store, caller.as_ref(), &read) {
            Ok(()) => answer(store, *read),
            Err(error) => refused(error),
        },
        Read::Permit(_) | Read::Nothing => Outcome::Done,
    }
}

#[cfg(test)]
mod tests {
    use raft::{Change, ChangeKind, PeerId, Term};

    use store::{Command, Compare, TxnRequest};

    use super::*;

    fn store(keys: u64) -> Store {
        let mut store = Store::new();
        for key in 1..=keys {
            let put = store::PutRequest {
                key: format!("k{key:04}").into(),
                ..Default::default()
            };
            store.apply(key, &Command::Put(put));
        }
        store
    }

    fn all() -> RangeRequest {
        RangeRequest {
            key: "k".into(),
            range_end: "l".into(),
            ..RangeRequest::default()
        }
    }

    #[test]
    fn a_read_is_large_by_what_it_looks_at() {
        let store = store(100);
        let is_large = |range: RangeRequest, most| is_large(&store, &Read::Range(range), most);
        assert!(is_large(all(), 99) && !is_large(all(), 100));
        let one = RangeRequest {
            key: "k0001".into(),
            ..RangeRequest::default()
        };
        assert!(!is_large(one, 1));
        let count_only = RangeRequest {
            count_only: true,
            ..all()
        };
        assert!(is_large(count_only.clone(), 11) && !is_large(count_only, 12));
        let page = RangeRequest { limit: 10, ..all() };
        assert!(is_large(page.clone(), 21) && !is_large(page.clone(), 22));
        let filtered = RangeRequest {
            min_mod_revision: 99,
            ..page
        };
        assert!(is_large(filtered, 99));
    }

    #[test]
    fn the_parts_of_a_transaction_add_up() {
        let store = store(100);
        let op = || Op::Range(all()).into();
        let txn = TxnRequest {
            compare: vec![Compare {
                key: "k".into(),
                range_end: "l".into(),
                ..Compare::default()
            }],
            success: vec![op()],
            failure: vec![op()],
        };
        let read = Read::Txn(txn);
        assert!(is_large(&store, &read, 211) && !is_large(&store, &read, 212));
    }

    #[test]
    fn a_change_of_the_membership_waits_for_its_commit_to_be_durable() {
        let entry = |payload| Entry {
            term: Term(1),
            index: Index(5),
            payload,
        };
        let removal = entry(Payload::Change(Change {
            kind: ChangeKind::Remove(PeerId(1)),
            context: Bytes::new(),
        }));
        let two = Configuration::new([PeerId(1), PeerId(2)], []);
        assert!(!is_ready(&removal, Index(4), Index(5), &two));
        assert!(!is_ready(&removal, Index(5), Index(4), &two));
        assert!(is_ready(&removal, Index(5), Index(5), &two));
        let command = entry(Payload::Command(Bytes::new()));
        assert!(is_ready(&command, Index(5), Index(4), &two));
        let alone = Configuration::new([PeerId(1)], []);
        assert!(
            is_ready(&removal, Index(5), Index(4), &alone),
            "it has no effect"
        );
    }
}
