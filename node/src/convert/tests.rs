use bytes::Bytes;
use prost::Message as _;

use super::*;

fn change(kind: ChangeKind, context: &'static [u8]) -> Payload {
    Payload::Change(Change {
        kind,
        context: Bytes::from_static(context),
    })
}

fn every_payload() -> Vec<Payload> {
    vec![
        Payload::Empty,
        Payload::Command(Bytes::from_static(b"command")),
        change(ChangeKind::AddVoter(PeerId(7)), b"context"),
        change(ChangeKind::AddLearner(PeerId(8)), b""),
        change(ChangeKind::Remove(PeerId(9)), b""),
        Payload::EnterJoint(JointChange {
            steps: vec![
                ChangeKind::AddVoter(PeerId(7)),
                ChangeKind::AddLearner(PeerId(8)),
                ChangeKind::Remove(PeerId(9)),
            ],
            context: Bytes::from_static(b"context"),
        }),
        Payload::LeaveJoint,
    ]
}

fn votes() -> Vec<Body> {
    let ask = |kind, transfer| Body::RequestVote {
        kind,
        last_index: Index(4),
        last_term: Term(2),
        transfer,
    };
    vec![
        ask(VoteKind::PreVote, false),
        ask(VoteKind::Vote, true),
        Body::Vote {
            kind: VoteKind::Vote,
            granted: true,
            commit: Index(3),
            commit_term: Term(2),
        },
        Body::Vote {
            kind: VoteKind::PreVote,
            granted: false,
            commit: Index(3),
            commit_term: Term(2),
        },
        Body::TimeoutNow,
    ]
}

fn appends() -> Vec<Body> {
    let entries = (10u64..)
        .zip(every_payload())
        .map(|(index, payload)| Entry {
            term: Term(3),
            index: Index(index),
            payload,
        })
        .collect::<Vec<Entry>>();
    let lent = entries.clone();
    vec![
        Body::Lend {
            prev_index: Index(9),
            prev_term: Term(2),
            entries: lent,
            commit: Index(8),
        },
        Body::Append {
            prev_index: Index(9),
            prev_term: Term(2),
            entries,
            commit: Index(8),
        },
        Body::Accepted {
            match_index: Index(14),
        },
        Body::Rejected {
            prev_index: Index(9),
            hint_index: Index(5),
            hint_term: Term(1),
        },
        Body::Heartbeat {
            commit: Index(8),
            round: 77,
        },
        Body::HeartbeatReply { round: 77 },
    ]
}

fn requests() -> Vec<Body> {
    vec![
        Body::Propose {
            payloads: every_payload(),
        },
        Body::Read {
            ids: vec![ReadId(1), ReadId(u64::MAX)],
        },
        Body::ReadReply {
            ids: vec![ReadId(1)],
            index: Some(Index(0)),
        },
        Body::ReadReply {
            ids: vec![ReadId(2)],
            index: None,
        },
    ]
}

#[test]
fn every_message_survives_the_wire() {
    for body in votes().into_iter().chain(appends()).chain(requests()) {
        let message = Message {
            from: PeerId(1),
            to: PeerId(2),
            term: Term(3),
            body,
        };
        let bytes = message_to_wire(message.clone()).encode_to_vec();
        let wire = peer::Message::decode(Bytes::from(bytes)).unwrap();
        assert_eq!(message_from_wire(wire), Ok(message));
    }
}

#[test]
fn a_message_without_a_body_and_an_entry_of_unknown_kind_are_malformed() {
    assert_eq!(
        message_from_wire(peer::Message::default()),
        Err(Malformed("no body"))
    );
    let unknown = peer::Entry {
        kind: 99,
        ..Default::default()
    };
    let propose = Wire::Propose(peer::Propose {
        payloads: vec![unknown],
    });
    let message = peer::Message {
        body: Some(propose),
        ..Default::default()
    };
    assert_eq!(message_from_wire(message), Err(Malformed("kind of entry")));
}

#[test]
fn the_place_of_a_snapshot_survives_the_wire() {
    let meta = SnapshotMeta {
        index: Index(5),
        term: Term(2),
        configuration: Configuration::new([PeerId(1), PeerId(2)], [PeerId(3)]),
    };
    assert_eq!(meta_from_wire(meta_to_wire(&meta)), meta);
    let [one, two, three, four] = [1, 2, 3, 4].map(PeerId);
    let meta = SnapshotMeta {
        configuration: Configuration::joint([one], [two, three], [four], [three]),
        ..meta
    };
    assert_eq!(meta_from_wire(meta_to_wire(&meta)), meta);
}
