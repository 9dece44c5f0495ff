//! Clients: each does one thing after another, at whichever member it happens to speak to.
//!
//! What this module deliberately does not do: insist. What is refused or lost is not tried again; other things follow.

use rand::Rng;
use rand::rngs::SmallRng;
use store::{
    CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest, LeaseGrant, Op,
    PutRequest, RangeRequest, TargetUnion, TxnRequest,
};

use crate::history::{Answer, Asked};
use crate::profile::MIN_LEASE_TTL;

/// Keys of clients begin with this; the last one's successor ends their range.
pub(crate) fn key(number: u64) -> String {
    format!("k{number}")
}

/// The range of all keys of clients.
pub(crate) fn all_keys() -> RangeRequest {
    RangeRequest {
        key: "k".into(),
        range_end: "l".into(),
        ..RangeRequest::default()
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Client {
    number: usize,
    written: u64,
    /// Leases that it was granted and has not seen end.
    leases: Vec<i64>,
    next_lease: i64,
    /// The newest revision that it was told of.
    revision: i64,
    /// The newest version of some key that it read, to compare with.
    read: Option<(u64, i64)>,
}

impl Client {
    pub(crate) const fn new(number: usize) -> Self {
        Self {
            number,
            written: 0,
            leases: Vec::new(),
            next_lease: 1_000 * (number as i64 + 1),
            revision: 0,
            read: None,
        }
    }

    /// What it does next, with `keys` keys to play with.
    pub(crate) fn choose(&mut self, keys: u64, rng: &mut SmallRng) -> Asked {
        let which = rng.random_range(0..keys);
        let lease = (!self.leases.is_empty()).then(|| rng.random_range(0..self.leases.len()));
        let lease = lease.map(|place| self.leases[place]);
        match (rng.random_range(0..100), lease) {
            (0..6, _) => self.grant(rng),
            (6..18, Some(lease)) => Asked::Renew(lease),
            (18..20, Some(lease)) => Asked::Revoke(lease),
            (20..24, Some(lease)) => Asked::TimeToLive(lease),
            (24..26, _) if self.revision > 20 => Asked::Compact(CompactionRequest {
                revision: self.revision - rng.random_range(5..20),
                physical: rng.random_bool(0.5),
            }),
            (26..46, _) => Self::range(which, rng),
            (46..54, _) => Self::delete(which, rng),
            (54..68, _) => self.txn(which, rng),
            _ => Asked::Put(self.put(which, lease.filter(|_| rng.random_bool(0.4)), rng)),
        }
    }

    fn grant(&mut self, rng: &mut SmallRng) -> Asked {
        self.next_lease += 1;
        Asked::Grant(LeaseGrant {
            id: self.next_lease,
            ttl: rng.random_range(MIN_LEASE_TTL..8),
        })
    }

    fn put(&mut self, which: u64, lease: Option<i64>, rng: &mut SmallRng) -> PutRequest {
        self.written += 1;
        PutRequest {
            key: key(which).into(),
            value: format!("{}-{}", self.number, self.written).into(),
            lease: lease.unwrap_or_default(),
            prev_kv: rng.random_bool(0.3),
            ..PutRequest::default()
        }
    }

    fn range(which: u64, rng: &mut SmallRng) -> Asked {
        let request = if rng.random_bool(0.3) {
            all_keys()
        } else {
            RangeRequest {
                key: key(which).into(),
                ..RangeRequest::default()
            }
        };
        Asked::Range(RangeRequest {
            serializable: rng.random_bool(0.25),
            ..request
        })
    }

    fn delete(which: u64, rng: &mut SmallRng) -> Asked {
        let all = rng.random_bool(0.1);
        Asked::Delete(DeleteRangeRequest {
            key: if all { "k".into() } else { key(which).into() },
            range_end: if all { "l".into() } else { "".into() },
            prev_kv: rng.random_bool(0.3),
        })
    }

    /// Most compare with what was read before, as whoever takes a lock or adds to a counter; some only read.
    fn txn(&mut self, which: u64, rng: &mut SmallRng) -> Asked {
        let read = |which: u64| {
            Op::Range(RangeRequest {
                key: key(which).into(),
                ..RangeRequest::default()
            })
        };
        if rng.random_bool(0.2) {
            let success = vec![read(which).into(), Op::Range(all_keys()).into()];
            return Asked::Txn(TxnRequest {
                success,
                ..TxnRequest::default()
            });
        }
        let (compared, seen) = self.read.unwrap_or((which, 0));
        let compare = Compare {
            result: CompareResult::Equal as i32,
            target: CompareTarget::Mod as i32,
            key: key(compared).into(),
            target_union: Some(TargetUnion::ModRevision(seen)),
            range_end: "".into(),
        };
        let second = self.put(which, None, rng);
        let mut success = vec![Op::Put(self.put(compared, None, rng)).into()];
        if second.key != key(compared) {
            success.push(Op::Put(second).into());
        }
        success.push(read(compared).into());
        Asked::Txn(TxnRequest {
            compare: vec![compare],
            success,
            failure: vec![read(compared).into()],
        })
    }

    /// Learns from an answer.
    pub(crate) fn learn(&mut self, asked: &Asked, answer: &Answer, rng: &mut SmallRng) {
        use store::Response;
        match (asked, answer) {
            (_, Answer::Applied(Response::LeaseGrant(granted))) => self.leases.push(granted.id),
            (Asked::Revoke(id), _) => self.leases.retain(|lease| lease != id),
            (Asked::Renew(id), Answer::Refused(refusal)) if !refusal.is_unknown() => {
                self.leases.retain(|lease| lease != id);
            }
            (_, Answer::Range(found)) => {
                self.revision = self.revision.max(found.revision);
                let place = rng.random_range(0..found.kvs.len().max(1));
                if let Some(kv) = found.kvs.get(place) {
                    let number = String::from_utf8_lossy(&kv.key[1..]).parse();
                    self.read = number.ok().map(|number| (number, kv.mod_revision));
                }
            }
            (_, Answer::Applied(Response::Put(put))) => {
                self.revision = self.revision.max(put.revision);
            }
            _ => {}
        }
    }
}
