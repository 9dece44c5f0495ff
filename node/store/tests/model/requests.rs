//! Random requests: few keys, so that they meet; every flag; and now and then one that etcd's front door would refuse.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use store::{
    Command, Compare, DeleteRangeRequest, LeaseCheckpoint, LeaseGrant, LeaseRemaining, LeaseRevoke,
    Op, PutRequest, RangeRequest, RequestOp, TargetUnion, TxnRequest,
};

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Apply(Command),
    /// So many transactions that write and delete the same few keys: more than is swept while they are applied.
    Burst(u8),
    /// At so many revisions before the newest; after it if negative.
    Compact {
        back: i64,
        physical: bool,
    },
    Range(RangeRequest),
    /// The second replica goes on from its own image.
    Restore,
    /// The second replica frees memory.
    Sweep(usize),
    Hash {
        back: i64,
    },
    History {
        back: i64,
    },
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let command = prop_oneof![
        4 => put().prop_map(Command::Put),
        2 => delete().prop_map(Command::DeleteRange),
        4 => txn().prop_map(Command::Txn),
        3 => lease(),
    ];
    let step = prop_oneof![
        12 => command.prop_map(Step::Apply),
        2 => (-1..12_i64, any::<bool>()).prop_map(|(back, physical)| Step::Compact { back, physical }),
        4 => range().prop_map(Step::Range),
        1 => (1..12_u8).prop_map(Step::Burst),
        1 => Just(Step::Restore),
        1 => (1..20_usize).prop_map(Step::Sweep),
        1 => (-1..8_i64).prop_map(|back| Step::Hash { back }),
        1 => (-1..12_i64).prop_map(|back| Step::History { back }),
    ];
    vec(step, 1..60)
}

/// The `n`th of a burst.
pub(crate) fn of_burst(n: u8) -> Command {
    let key = |k: u8| Bytes::copy_from_slice(&[b'a' + (n + k) % 7]);
    let put = |k| {
        Op::Put(PutRequest {
            key: key(k),
            ..PutRequest::default()
        })
    };
    let delete = |k| {
        Op::DeleteRange(DeleteRangeRequest {
            key: key(k),
            ..Default::default()
        })
    };
    let success = [put(0), put(1), put(2), delete(3), put(4), put(5), delete(6)];
    let success = success.into_iter().map(RequestOp::from).collect();
    Command::Txn(TxnRequest {
        success,
        ..TxnRequest::default()
    })
}

fn key() -> impl Strategy<Value = Bytes> {
    let keys: [&'static [u8]; 7] = [b"a", b"ab", b"b", b"b\0", b"c", b"\xff", b"\0"];
    proptest::sample::select(keys.to_vec()).prop_map(Bytes::from_static)
}

fn range_end() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        3 => Just(Bytes::new()),
        1 => Just(Bytes::from_static(b"\0")),
        3 => key(),
    ]
}

fn value() -> impl Strategy<Value = Bytes> {
    let values: [&'static [u8]; 4] = [b"", b"x", b"xy", b"y"];
    proptest::sample::select(values.to_vec()).prop_map(Bytes::from_static)
}

/// Mostly the newest, else one that may be compacted, current or future.
fn revision() -> impl Strategy<Value = i64> {
    prop_oneof![4 => Just(0_i64), 4 => 1..20_i64, 1 => -3..0_i64]
}

fn bound() -> impl Strategy<Value = i64> {
    prop_oneof![6 => Just(0_i64), 1 => 1..20_i64]
}

fn range() -> impl Strategy<Value = RangeRequest> {
    let what = (
        key(),
        range_end(),
        revision(),
        prop_oneof![Just(0_i64), -1..5_i64],
    );
    let order = (0..3_i32, 0..5_i32);
    let flags = (
        any::<bool>(),
        proptest::bool::weighted(0.2),
        proptest::bool::weighted(0.1),
    );
    let bounds = (bound(), bound(), bound(), bound());
    (what, order, flags, bounds).prop_map(|(what, order, flags, bounds)| RangeRequest {
        key: what.0,
        range_end: what.1,
        revision: what.2,
        limit: what.3,
        sort_order: order.0,
        sort_target: order.1,
        serializable: flags.0,
        keys_only: flags.1,
        count_only: flags.2,
        min_mod_revision: bounds.0,
        max_mod_revision: bounds.1,
        min_create_revision: bounds.2,
        max_create_revision: bounds.3,
    })
}

fn put() -> impl Strategy<Value = PutRequest> {
    let rare = || proptest::bool::weighted(0.1);
    let lease = prop_oneof![12 => Just(0_i64), 1 => LEASES];
    (key(), value(), lease, any::<bool>(), rare(), rare()).prop_map(
        |(key, value, lease, prev_kv, ignore_value, ignore_lease)| PutRequest {
            key,
            value,
            lease,
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

/// Few, so that puts find them.
const LEASES: std::ops::Range<i64> = 7..10;

fn lease() -> impl Strategy<Value = Command> {
    let grant = |id| Command::LeaseGrant(LeaseGrant { id, ttl: 60 });
    let revoke = |id| Command::LeaseRevoke(LeaseRevoke { id });
    let remaining =
        (LEASES, 0..60_i64).prop_map(|(id, remaining_ttl)| LeaseRemaining { id, remaining_ttl });
    let checkpoint = vec(remaining, 0..3)
        .prop_map(|checkpoints| Command::LeaseCheckpoint(LeaseCheckpoint { checkpoints }));
    prop_oneof![
        4 => LEASES.prop_map(grant),
        2 => LEASES.prop_map(revoke),
        1 => checkpoint,
    ]
}

fn delete() -> impl Strategy<Value = DeleteRangeRequest> {
    (key(), range_end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

fn compare() -> impl Strategy<Value = Compare> {
    let given = prop_oneof![
        (0..20_i64).prop_map(TargetUnion::Version),
        (0..20_i64).prop_map(TargetUnion::CreateRevision),
        (0..20_i64).prop_map(TargetUnion::ModRevision),
        value().prop_map(TargetUnion::Value),
        (6..10_i64).prop_map(TargetUnion::Lease),
    ];
    let given = proptest::option::weighted(0.9, given);
    (0..4_i32, 0..5_i32, key(), range_end(), given).prop_map(
        |(result, target, key, range_end, target_union)| Compare {
            result,
            target,
            key,
            target_union,
            range_end,
        },
    )
}

fn txn() -> impl Strategy<Value = TxnRequest> {
    let op = prop_oneof![
        3 => range().prop_map(Op::Range),
        4 => put().prop_map(Op::Put),
        2 => delete().prop_map(Op::DeleteRange),
    ];
    let flat = txn_of(op.boxed());
    flat.prop_recursive(3, 24, 3, |inner| {
        let op = prop_oneof![
            2 => range().prop_map(Op::Range),
            3 => put().prop_map(Op::Put),
            2 => delete().prop_map(Op::DeleteRange),
            4 => inner.prop_map(Op::Txn),
        ];
        txn_of(op.boxed())
    })
}

fn txn_of(op: BoxedStrategy<Op>) -> BoxedStrategy<TxnRequest> {
    let branch = || vec(op.clone().prop_map(RequestOp::from), 0..4);
    (vec(compare(), 0..3), branch(), branch())
        .prop_map(|(compare, success, failure)| TxnRequest {
            compare,
            success,
            failure,
        })
        .boxed()
}
