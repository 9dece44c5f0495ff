//! From committed entries to the store, and from the store to answers.
//!
//! What this module deliberately does not do: forgive. An entry that cannot be read ends the member; skipping it would make
//! its store differ from the others'.

use bytes::Bytes;
use raft::{Entry, Index, Payload};
use store::{Command, DecodeError, Response};

use super::Replica;
use super::batch::{Batch, BatchError};
use crate::event::{Outcome, Read};

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

#[derive(Debug, thiserror::Error)]
enum UnreadableCause {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Command(#[from] DecodeError),
}

impl<W> Replica<W> {
    /// Applies what is committed and durable here, and answers whom that concerns. Says whether the membership changed,
    /// by an entry or by a snapshot that arrived.
    ///
    /// # Errors
    /// [`Unreadable`]: this member must stop.
    pub fn apply(&mut self) -> Result<bool, Unreadable> {
        let mut members_changed = std::mem::take(&mut self.membership_arrived);
        while let Some(entry) = self
            .unapplied
            .pop_front_if(|entry| entry.index <= self.durable)
        {
            members_changed |= self.apply_entry(entry)?;
        }
        self.serve_reads();
        Ok(members_changed)
    }

    fn apply_entry(&mut self, entry: Entry) -> Result<bool, Unreadable> {
        let index = entry.index;
        let unreadable = |source| Unreadable { index, source };
        if entry.term > self.applied.term {
            // A tick or two for what the old leader passed on to the new one.
            self.overtaken = Some((entry.term, self.now + 2));
        }
        self.applied_bytes += entry.weight();
        let mut members_changed = false;
        match entry.payload {
            Payload::Empty => self.store.advance(index.0),
            Payload::Command(bytes) => {
                members_changed = self.apply_batch(index, bytes).map_err(unreadable)?;
            }
            Payload::Change(change) => {
                let next = self.applied.configuration.after(change.kind);
                self.applied.configuration = next.unwrap_or_default();
                self.apply_batch(index, change.context)
                    .map_err(unreadable)?;
                members_changed = true;
            }
        }
        self.applied.index = index;
        self.applied.term = entry.term;
        Ok(members_changed)
    }

    fn apply_batch(&mut self, index: Index, bytes: Bytes) -> Result<bool, UnreadableCause> {
        let batch = Batch::decode(bytes)?;
        let mut members_changed = false;
        for (number, command) in (batch.first..).zip(&batch.commands) {
            let applied = self.store.apply(index.0, &Command::from_bytes(command)?);
            members_changed |= matches!(applied.response, Response::Members(_));
            if let Some(waiter) = self.proposals.applied(batch.starter, number) {
                self.answers
                    .push((waiter, Outcome::Applied(applied.response)));
            }
        }
        Ok(members_changed)
    }

    fn serve_reads(&mut self) {
        for pending in self.reads.serve(self.applied.index) {
            let outcome = self.read(pending.read);
            self.answers.push((pending.waiter, outcome));
        }
    }

    /// Answers from what this member has, now: for reads that a quorum confirmed, and for serializable ones.
    #[must_use]
    pub fn read(&self, read: Read) -> Outcome {
        let refused = |error: store::StoreError| Outcome::Refused(error.into());
        match read {
            Read::Range(request) => self
                .store
                .range(&request)
                .map_or_else(refused, Outcome::Range),
            Read::Txn(request) => self
                .store
                .read_txn(&request)
                .map_or_else(refused, Outcome::Txn),
            Read::Members => Outcome::Members(self.members().iter().cloned().collect()),
            Read::Nothing => Outcome::Done,
        }
    }
}
