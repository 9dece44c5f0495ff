//! The space quota, `--quota-backend-bytes`: what counts, what a request costs, and what happens when it is used up.
//!
//! What counts is what the store holds in memory ([`store::Size::bytes`]): keys and values of all kept revisions with what
//! keeping them costs, and compacted history until it is swept. etcd counts its file, which never shrinks by itself; here
//! space comes back without help:
//!
//! 1. Deleting keys makes room only once the deletion is compacted, as everywhere with history.
//! 2. Compaction marks history as garbage; it is swept beside the commands that follow and at every tick, some tens of
//!    thousands of records a second. `Defragment` sweeps the rest at once.
//! 3. A checkpoint and the log are not counted: they have bounds of their own.
//!
//! Enforced at two places, as in etcd. Before a request is proposed, against the size as of the last turn: what does not fit
//! is refused, and the member raises `NOSPACE` for itself through the log. When an entry is applied that no longer fits, since
//! much was under way at once: it is applied, as every member must do the same whatever its own quota is, and the member that
//! sees it raises `NOSPACE`. From then on the store itself refuses what takes space, at every member, until somebody takes
//! the alarm back. etcd answers the entry that went over with the error although it was done; here it is told that it was.
//!
//! What this module deliberately does not do: measure, or raise the alarm.

use store::{Command, Op, PutRequest, RequestOp, TxnRequest};

/// What storing a key costs beside its bytes; etcd's figure.
const KEY_BYTES: u64 = 256;
/// What storing a lease costs; etcd's figure.
pub const LEASE_BYTES: u64 = 64;

/// Whether a request of this cost fits beside what is there. What costs nothing always does.
#[must_use]
pub const fn admits(quota_bytes: u64, size_bytes: u64, cost_bytes: u64) -> bool {
    cost_bytes == 0 || size_bytes.saturating_add(cost_bytes) < quota_bytes
}

/// What a put costs, in bytes.
#[must_use]
pub fn of_put(put: &PutRequest) -> u64 {
    KEY_BYTES + (put.key.len() + put.value.len()) as u64
}

/// What a transaction costs, in bytes: its dearer branch.
#[must_use]
pub fn of_txn(txn: &TxnRequest) -> u64 {
    let branch = |ops: &[RequestOp]| ops.iter().map(of_operation).sum::<u64>();
    branch(&txn.success).max(branch(&txn.failure))
}

fn of_operation(op: &RequestOp) -> u64 {
    match &op.request {
        Some(Op::Put(put)) => of_put(put),
        Some(Op::Txn(nested)) => of_txn(nested),
        _ => 0,
    }
}

/// What a command costs, in bytes; 0 for one that takes no space.
#[must_use]
pub fn of(command: &Command) -> u64 {
    match command {
        Command::Put(put) => of_put(put),
        Command::Txn(txn) => of_txn(txn),
        Command::LeaseGrant(_) => LEASE_BYTES,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(bytes: usize) -> RequestOp {
        let value = vec![0; bytes].into();
        Op::Put(PutRequest {
            key: "k".into(),
            value,
            ..PutRequest::default()
        })
        .into()
    }

    #[test]
    fn a_transaction_costs_its_dearer_branch_nested_ones_included() {
        let nested = TxnRequest {
            success: vec![put(10), put(20)],
            ..TxnRequest::default()
        };
        let txn = TxnRequest {
            success: vec![put(500)],
            failure: vec![Op::Txn(nested).into()],
            ..TxnRequest::default()
        };
        assert_eq!(of_txn(&txn), 757);
        let read_only = TxnRequest::default();
        assert_eq!(of(&Command::Txn(read_only)), 0);
    }

    #[test]
    fn what_costs_nothing_is_admitted_by_a_full_quota() {
        assert!(admits(10, 5, 4) && !admits(10, 5, 5));
        assert!(admits(10, 20, 0));
        assert!(!admits(u64::MAX, u64::MAX, 1));
    }
}
