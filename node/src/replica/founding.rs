//! How a cluster's log begins.
//!
//! What this module deliberately does not do: decide who founds; `bootstrap` does.

use raft::{Entry, Index, Term};
use store::Command;

use super::batch::Batch;
use super::membership;

/// The first term's log of a brand-new cluster, the same at every member: each founding member, added. The cluster begins
/// with all of it committed.
#[must_use]
pub fn founding_entries(members: &[store::Member]) -> Vec<Entry> {
    let entry = |(index, member): (u64, &store::Member)| {
        let command = Command::MemberAdd(store::MemberAdd {
            member: member.clone(),
            max_learners: 0,
        });
        let batch = Batch {
            starter: 0,
            first: 0,
            commands: vec![command.to_bytes()],
        };
        let payload = membership::payload(&command, batch.encode());
        Entry {
            term: Term(1),
            index: Index(index),
            payload,
        }
    };
    (1..).zip(members).map(entry).collect()
}
