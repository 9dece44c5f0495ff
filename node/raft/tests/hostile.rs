//! Whatever arrives, a peer does not panic: it refuses, or does as if a sound peer had said it.
//!
//! Messages here are made up from small numbers and the largest ones, in every combination; the
//! peer is driven between them as a driver would. Promises are not checked: who talks to liars can
//! keep none.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use raft::{Body, Change, ChangeKind, Config, Configuration, Entry, Index, Input, JointChange};
use raft::{Message, Payload, PeerId, Raft, ReadId, Recovered, SnapshotMeta, Term, VoteKind};
use rand::SeedableRng;
use rand::rngs::SmallRng;

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![20 => 0_u64..8, 1 => Just(u64::MAX), 1 => Just(u64::MAX - 1), 1 => any::<u64>()]
}

fn peer() -> impl Strategy<Value = PeerId> {
    prop_oneof![10 => (1_u64..5).prop_map(PeerId), 1 => number().prop_map(PeerId)]
}

fn index() -> impl Strategy<Value = Index> {
    number().prop_map(Index)
}

fn term() -> impl Strategy<Value = Term> {
    number().prop_map(Term)
}

fn change() -> impl Strategy<Value = ChangeKind> {
    prop_oneof![
        peer().prop_map(ChangeKind::AddVoter),
        peer().prop_map(ChangeKind::AddLearner),
        peer().prop_map(ChangeKind::Remove),
    ]
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Payload::Empty),
        Just(Payload::Command(Bytes::from_static(b"x"))),
        Just(Payload::LeaveJoint),
        proptest::collection::vec(change(), 0..4).prop_map(|steps| {
            Payload::EnterJoint(JointChange {
                steps,
                context: Bytes::new(),
            })
        }),
        change().prop_map(|kind| Payload::Change(Change {
            kind,
            context: Bytes::new()
        })),
    ]
}

/// Entries that follow each other, as most do, or not.
fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let ordered = (index(), term(), vec(payload(), 0..4)).prop_map(|(first, term, payloads)| {
        let place = |(payload, offset): (Payload, u64)| Entry {
            term,
            index: Index(first.0.saturating_add(offset)),
            payload,
        };
        payloads.into_iter().zip(0..).map(place).collect()
    });
    let any = (term(), index(), payload());
    let any = any.prop_map(|(term, index, payload)| Entry {
        term,
        index,
        payload,
    });
    prop_oneof![4 => ordered, 1 => vec(any, 0..4)]
}

fn kind() -> impl Strategy<Value = VoteKind> {
    prop_oneof![Just(VoteKind::PreVote), Just(VoteKind::Vote)]
}

fn snapshot() -> impl Strategy<Value = Body> {
    let peers = (
        vec(peer(), 0..4),
        vec(peer(), 0..3),
        vec(peer(), 0..2),
        vec(peer(), 0..2),
    );
    (index(), term(), peers).prop_map(|(index, term, (v, o, l, n))| {
        let configuration = Configuration::joint(v, o, l, n);
        Body::InstallSnapshot {
            meta: SnapshotMeta {
                index,
                term,
                configuration,
            },
        }
    })
}

fn body() -> impl Strategy<Value = Body> {
    let reads = || vec(number().prop_map(ReadId), 0..3);
    prop_oneof![
        (kind(), index(), term(), any::<bool>()).prop_map(
            |(kind, last_index, last_term, transfer)| {
                Body::RequestVote {
                    kind,
                    last_index,
                    last_term,
                    transfer,
                }
            }
        ),
        (kind(), any::<bool>(), index(), term()).prop_map(
            |(kind, granted, commit, commit_term)| {
                Body::Vote {
                    kind,
                    granted,
                    commit,
                    commit_term,
                }
            }
        ),
        (index(), term(), entries(), index()).prop_map(
            |(prev_index, prev_term, entries, commit)| {
                Body::Append {
                    prev_index,
                    prev_term,
                    entries,
                    commit,
                }
            }
        ),
        (index(), term(), entries(), index()).prop_map(
            |(prev_index, prev_term, entries, commit)| {
                Body::Lend {
                    prev_index,
                    prev_term,
                    entries,
                    commit,
                }
            }
        ),
        index().prop_map(|match_index| Body::Accepted { match_index }),
        (index(), index(), term()).prop_map(|(prev_index, hint_index, hint_term)| {
            Body::Rejected {
                prev_index,
                hint_index,
                hint_term,
            }
        }),
        (index(), number()).prop_map(|(commit, round)| Body::Heartbeat { commit, round }),
        number().prop_map(|round| Body::HeartbeatReply { round }),
        snapshot(),
        Just(Body::TimeoutNow),
        vec(payload(), 0..3).prop_map(|payloads| Body::Propose { payloads }),
        reads().prop_map(|ids| Body::Read { ids }),
        (reads(), proptest::option::of(index()))
            .prop_map(|(ids, index)| Body::ReadReply { ids, index }),
    ]
}

fn input() -> impl Strategy<Value = Input> {
    let message = (peer(), term(), body()).prop_map(|(from, term, body)| Message {
        from,
        to: PeerId(1),
        term,
        body,
    });
    prop_oneof![
        20 => message.prop_map(Input::Receive),
        4 => Just(Input::Tick),
        1 => Just(Input::Campaign),
        2 => vec(payload(), 0..3).prop_map(Input::Propose),
        1 => number().prop_map(|id| Input::Read(ReadId(id))),
        1 => peer().prop_map(Input::TransferLeader),
        1 => peer().prop_map(Input::PeerUnreachable),
        1 => (peer(), any::<bool>()).prop_map(|(to, ok)| Input::SnapshotSent { to, ok }),
    ]
}

/// Peer 1 of a cluster of three, or of one.
fn peer_one(voters: u64) -> Raft {
    let voters = (1..=voters).map(|id| ChangeKind::AddVoter(PeerId(id)));
    let recovered = Recovered::founding(voters);
    let config = Config {
        catchup_entries: 1,
        ..Config::new(PeerId(1))
    };
    Raft::recover(config, recovered, SmallRng::seed_from_u64(1)).expect("the log is sound")
}

/// What a driver does between inputs; now and then it makes a checkpoint.
fn drive(raft: &mut Raft, checkpoint: bool) {
    loop {
        let ready = raft.ready();
        if ready.is_empty() {
            return;
        }
        if let Some(entry) = ready.committed.last().filter(|_| checkpoint) {
            let taken = raft.step(Input::SnapshotTaken { index: entry.index });
            assert_eq!(taken, Ok(()));
        }
        let durable = raft.step(Input::Persisted {
            ticket: ready.persist.ticket,
        });
        assert_eq!(durable, Ok(()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn nothing_that_arrives_makes_a_peer_panic(
        voters in prop_oneof![Just(1_u64), Just(3)],
        lead in any::<bool>(),
        inputs in vec((input(), any::<bool>(), any::<bool>()), 1..40)
    ) {
        let mut raft = peer_one(voters);
        if lead {
            raft.step(Input::Campaign).expect("a voter may stand");
            drive(&mut raft, false);
        }
        for (input, ready, checkpoint) in inputs {
            // Refusing is fine; what must not happen is a panic.
            let _outcome = raft.step(input);
            if ready {
                drive(&mut raft, checkpoint);
            }
        }
        drive(&mut raft, false);
        prop_assert!(raft.commit() <= raft.last_index());
    }
}
