//! What a member's entries make of a store, without the member.
//!
//! All of the log counts, what was not known to be committed with it: some of it may have been, and was acknowledged then.
//!
//! What this module deliberately does not do: answer anybody, or keep a configuration.

use bytes::Bytes;
use raft::{Entry, Payload};
use store::{Authored, Store};

use super::apply::{Unreadable, UnreadableCause};
use super::batch::Batch;

/// Applies entries that follow on what the store has.
///
/// # Errors
/// [`Unreadable`]
pub fn apply_all(
    store: &mut Store,
    entries: impl IntoIterator<Item = Entry>,
) -> Result<(), Unreadable> {
    for Entry { index, payload, .. } in entries {
        let read = match payload {
            Payload::Empty => {
                store.advance(index.0);
                Ok(())
            }
            Payload::LeaveJoint => {
                store.leave_joint(index.0);
                Ok(())
            }
            Payload::Command(bytes)
            | Payload::Change(raft::Change { context: bytes, .. })
            | Payload::EnterJoint(raft::JointChange { context: bytes, .. }) => {
                apply_batch(store, index.0, bytes)
            }
        };
        read.map_err(|cause| Unreadable::at(index, cause))?;
    }
    Ok(())
}

fn apply_batch(store: &mut Store, index: u64, bytes: Bytes) -> Result<(), UnreadableCause> {
    for command in &Batch::decode(bytes)?.commands {
        let Authored { command, author } = Authored::from_bytes(command)?;
        store.apply_by(index, &command, author.as_ref());
    }
    Ok(())
}
