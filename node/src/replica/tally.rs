//! How many operations this member's store has seen since the start, as etcd counts them.
//!
//! - Operations of a transaction count one by one, nested ones too, those of the branch alone that was taken.
//! - A transaction counts as one if it did more than one thing.
//!
//! What this module deliberately does not do: count what was refused; it did nothing.

use store::{Response, ResponseOp, TxnResponse};

use crate::event::Outcome;

/// Counts that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Puts.
    pub puts: u64,
    /// Deletions, whatever they found.
    pub deletes: u64,
    /// Ranges, those of reads and of transactions.
    pub ranges: u64,
    /// Transactions with more than one operation.
    pub txns: u64,
}

impl Tally {
    /// Counts what a command did.
    pub(super) fn applied(&mut self, response: &Response) {
        match response {
            Response::Put(_) => self.puts += 1,
            Response::DeleteRange(_) => self.deletes += 1,
            Response::Txn(txn) => self.txn(txn),
            _ => {}
        }
    }

    /// Counts what a read found.
    pub(super) fn read(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Range(_) | Outcome::Large(..) => self.ranges += 1,
            Outcome::Txn(txn) => self.txn(txn),
            _ => {}
        }
    }

    fn txn(&mut self, txn: &TxnResponse) {
        let before = self.operations();
        self.nested(txn);
        self.txns += u64::from(self.operations() - before > 1);
    }

    fn nested(&mut self, txn: &TxnResponse) {
        for response in txn.responses.iter().flatten() {
            match response {
                ResponseOp::Put(_) => self.puts += 1,
                ResponseOp::DeleteRange(_) => self.deletes += 1,
                ResponseOp::Range(_) => self.ranges += 1,
                ResponseOp::Txn(txn) => self.nested(txn),
            }
        }
    }

    const fn operations(&self) -> u64 {
        self.puts + self.deletes + self.ranges
    }
}

#[cfg(test)]
mod tests {
    use store::{Command, Op, PutRequest, RangeRequest, RequestOp, Store, TxnRequest};

    use super::*;

    fn op(request: Op) -> RequestOp {
        RequestOp {
            request: Some(request),
        }
    }

    fn put() -> PutRequest {
        PutRequest {
            key: "k".into(),
            ..PutRequest::default()
        }
    }

    fn range() -> RangeRequest {
        RangeRequest {
            key: "k".into(),
            ..RangeRequest::default()
        }
    }

    #[test]
    fn operations_count_one_by_one() {
        let (mut store, mut tally) = (Store::new(), Tally::default());
        let nested = TxnRequest {
            success: vec![op(Op::Range(range())), op(Op::Put(put()))],
            failure: vec![op(Op::Put(put()))],
            ..TxnRequest::default()
        };
        let one = TxnRequest {
            success: vec![op(Op::Put(put()))],
            ..TxnRequest::default()
        };
        let both = TxnRequest {
            success: vec![op(Op::Txn(nested))],
            ..TxnRequest::default()
        };
        let commands = [Command::Put(put()), Command::Txn(one), Command::Txn(both)];
        for (index, command) in (1..).zip(&commands) {
            tally.applied(&store.apply(index, command).response);
        }
        let expected = Tally {
            puts: 3,
            ranges: 1,
            txns: 1,
            ..Tally::default()
        };
        assert_eq!(tally, expected);
        tally.read(&Outcome::Done);
        assert_eq!(tally, expected);
    }
}
