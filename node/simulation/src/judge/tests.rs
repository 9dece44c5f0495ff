//! Histories written by hand: one that is as it should be, and for each rule at least one that breaks it.

mod leases;
mod watches;
mod writes;

use quorate_node::refusal::Refusal;
use store::{
    Command, Compare, CompareTarget, DeleteRangeRequest, LeaseGrant, LeaseRevoke, Op, PutRequest,
    RangeRequest, Response, Store, TargetUnion, TxnRequest,
};

use super::judge;
use crate::history::{Answer, Asked, History, LeaseLife, Operation};

/// A store that does one thing after another, each 10 ms after it was asked and 10 ms before it is answered.
struct Scene {
    store: Store,
    index: u64,
    now: u64,
    history: History,
}

impl Scene {
    fn new() -> Self {
        let history = History {
            is_whole: true,
            quiet_ms: 1_000,
            ..History::default()
        };
        Self {
            store: Store::new(),
            index: 0,
            now: 0,
            history,
        }
    }

    /// Something happens that nobody is told of.
    fn apply(&mut self, command: &Command) -> Answer {
        self.index += 1;
        let applied = self.store.apply(self.index, command);
        let changes = applied.changes.into_iter();
        self.history
            .writes
            .extend(changes.map(|change| (self.now, change)));
        match command {
            Command::LeaseGrant(LeaseGrant { id, ttl }) => self.history.leases.push(LeaseLife {
                id: *id,
                ttl: *ttl,
                granted_ms: self.now,
                ended_ms: None,
            }),
            Command::LeaseRevoke(LeaseRevoke { id }) => {
                let mut lives = self.history.leases.iter_mut();
                let life = lives.find(|life| life.id == *id).expect("it was granted");
                life.ended_ms = Some(self.now);
            }
            _ => {}
        }
        match applied.response.into_result() {
            Ok(response) => Answer::Applied(response),
            Err(error) => Answer::Refused(error.into()),
        }
    }

    /// A client asks, and is told.
    fn ask(&mut self, asked: Asked) -> &Answer {
        self.ask_with(asked, |answer| answer)
    }

    /// A client asks, and is told something else.
    fn ask_with(&mut self, asked: Asked, tell: impl FnOnce(Answer) -> Answer) -> &Answer {
        let began_ms = self.now;
        self.now += 10;
        let answer = match &asked {
            Asked::Put(put) => self.apply(&Command::Put(put.clone())),
            Asked::Delete(delete) => self.apply(&Command::DeleteRange(delete.clone())),
            Asked::Txn(txn) => self.apply(&Command::Txn(txn.clone())),
            Asked::Grant(grant) => self.apply(&Command::LeaseGrant(*grant)),
            Asked::Revoke(id) => self.apply(&Command::LeaseRevoke(LeaseRevoke { id: *id })),
            Asked::Range(range) => Answer::Range(self.store.range(range).expect("it is there")),
            other => panic!("{other:?} is told by the test"),
        };
        self.now += 10;
        self.tell(began_ms, asked, tell(answer))
    }

    /// A client asked and was told just that.
    fn tell(&mut self, began_ms: u64, asked: Asked, answer: Answer) -> &Answer {
        self.history.operations.push(Operation {
            client: 0,
            member: 1,
            began_ms,
            ended_ms: self.now,
            asked,
            answer,
        });
        self.now += 10;
        &self.history.operations.last().expect("just pushed").answer
    }
}

fn put(key: &'static str, value: &'static str) -> Asked {
    put_with(key, value, 0)
}

fn put_with(key: &'static str, value: &'static str, lease: i64) -> Asked {
    Asked::Put(PutRequest {
        key: key.into(),
        value: value.into(),
        lease,
        prev_kv: true,
        ..PutRequest::default()
    })
}

fn delete(key: &'static str, range_end: &'static str) -> Asked {
    Asked::Delete(DeleteRangeRequest {
        key: key.into(),
        range_end: range_end.into(),
        prev_kv: true,
    })
}

fn all() -> Asked {
    Asked::Range(RangeRequest {
        key: "k".into(),
        range_end: "l".into(),
        ..RangeRequest::default()
    })
}

/// If the key was last changed then, two puts.
fn guarded(key: &'static str, seen: i64, value: &'static str, other: &'static str) -> Asked {
    let write = |key: &'static str, value: &'static str| {
        Op::Put(PutRequest {
            key: key.into(),
            value: value.into(),
            ..PutRequest::default()
        })
    };
    Asked::Txn(TxnRequest {
        compare: vec![Compare {
            target: CompareTarget::Mod as i32,
            key: key.into(),
            target_union: Some(TargetUnion::ModRevision(seen)),
            ..Compare::default()
        }],
        success: vec![write(key, value).into(), write("k9", other).into()],
        failure: Vec::new(),
    })
}

/// The promise that a history breaks.
#[track_caller]
fn broken(history: &History) -> &'static str {
    judge(history).expect_err("it breaks a promise").property
}

#[track_caller]
fn assert_good(history: &History) {
    assert_eq!(judge(history), Ok(()));
}

const fn refused() -> Answer {
    Answer::Refused(Refusal::TooManyRequests)
}

fn applied(answer: &mut Answer) -> &mut Response {
    match answer {
        Answer::Applied(response) => response,
        other => panic!("{other:?}"),
    }
}
