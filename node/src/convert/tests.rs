use bytes::Bytes;
use prost::Message as _;

use super::*;

fn every_body() -> Vec<Body> {
    let payloads = || {
        vec![
            Payload::Empty,
            Payload::Command(Bytes::from_static(b"command")),
            Payload::Change(Change {
                kind: ChangeKind::AddVoter(PeerId(7)),
                context: Bytes::from_static(b"context"),
            }),
            Payload::Change(Change {
                kind: ChangeKind::AddLearner(PeerId(8)),
                context: Bytes::new(),
            }),
            Payload::Change(Change { kind: ChangeKind::Remove(PeerId(9)), context: Bytes::new() }),
        ]
    };
    let entries = (10u64..)
        .zip(payloads())
        .map(|(index, payload)| Entry { term: Term(3), index: Index(index), payload })
        .collect();
    let vote = |kind, transfer| Body::RequestVote {
        kind,
        last_index: Index(4),
        last_term: Term(2),
        transfer,
    };
    vec![
        vote(VoteKind::PreVote, false),
        vote(VoteKind::Vote, true),
        Body::Vote { kind: VoteKind::Vote, granted: true },
        Body::Vote { kind: VoteKind::PreVote, granted: false },
        Body::Append { prev_index: Index(9), prev_term: Term(2), entries, commit: Index(8) },
        Body::Accepted { match_index: Index(14) },
        Body::Rejected { prev_index: Index(9), hint_index: Index(5), hint_term: Term(1) },
        Body::Heartbeat { commit: Index(8), round: 77 },
        Body::HeartbeatReply { round: 77 },
        Body::TimeoutNow,
        Body::Propose { payloads: payloads() },
        Body::Read { ids: vec![ReadId(1), ReadId(u64::MAX)] },
        Body::ReadReply { ids: vec![ReadId(1)], index: Some(Index(0)) },
        Body::ReadReply { ids: vec![ReadId(2)], index: None },
    ]
}

#[test]
fn every_message_survives_the_wire() {
    for body in every_body() {
        let message = Message { from: PeerId(1), to: PeerId(2), term: Term(3), body };
        let bytes = message_to_wire(message.clone()).encode_to_vec();
        let wire = peer::Message::decode(Bytes::from(bytes)).unwrap();
        assert_eq!(message_from_wire(wire), Ok(message));
    }
}

#[test]
fn a_message_without_a_body_and_an_entry_of_unknown_kind_are_malformed() {
    assert_eq!(message_from_wire(peer::Message::default()), Err(Malformed("no body")));
    let unknown = peer::Entry { kind: 99, ..Default::default() };
    let propose = Wire::Propose(peer::Propose { payloads: vec![unknown] });
    let message = peer::Message { body: Some(propose), ..Default::default() };
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
}
