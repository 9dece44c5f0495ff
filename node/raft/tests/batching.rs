//! What gathers between two `Ready`s costs one write and one message per follower, however much it
//! is.

use bytes::Bytes;
use raft::{Body, ChangeKind, Config, Index, Input, Message, Payload};
use raft::{PeerId, Raft, ReadId, Ready, Recovered, Role, Term, VoteKind};
use rand::SeedableRng;
use rand::rngs::SmallRng;

const MANY: u64 = 5_000;

/// Peer 1, leading term 2 of a cluster of three, with followers that have all it has.
fn leader() -> Raft {
    let voters = (1..=3).map(|id| ChangeKind::AddVoter(PeerId(id)));
    let recovered = Recovered::founding(voters);
    let config = Config {
        pre_vote: false,
        ..Config::new(PeerId(1))
    };
    let rng = SmallRng::seed_from_u64(1);
    let mut raft = Raft::recover(config, recovered, rng).expect("the log is sound");
    raft.step(Input::Campaign).expect("a voter may stand");
    drop(turn(&mut raft));
    let (kind, commit, commit_term) = (VoteKind::Vote, Index(3), Term(1));
    hear(
        &mut raft,
        2,
        Body::Vote {
            kind,
            granted: true,
            commit,
            commit_term,
        },
    );
    drop(turn(&mut raft));
    acknowledge(&mut raft);
    assert_eq!((raft.role(), raft.commit()), (Role::Leader, Index(4)));
    drop(turn(&mut raft));
    raft
}

fn hear(raft: &mut Raft, from: u64, body: Body) {
    let message = Message {
        from: PeerId(from),
        to: PeerId(1),
        term: raft.term(),
        body,
    };
    raft.step(Input::Receive(message)).expect("a sound message");
}

fn acknowledge(raft: &mut Raft) {
    for follower in [2, 3] {
        let match_index = raft.last_index();
        hear(raft, follower, Body::Accepted { match_index });
    }
}

/// One `Ready`, done with.
fn turn(raft: &mut Raft) -> Ready {
    let ready = raft.ready();
    let ticket = ready.persist.ticket;
    raft.step(Input::Persisted { ticket })
        .expect("that the disk is done is never refused");
    ready
}

fn command(number: u64) -> Payload {
    Payload::Command(Bytes::copy_from_slice(&number.to_be_bytes()))
}

#[test]
fn many_proposals_are_one_write_and_one_message_per_follower() {
    let mut raft = leader();
    for number in 0..MANY {
        raft.step(Input::Propose(vec![command(number)]))
            .expect("the leader takes proposals");
    }
    let ready = turn(&mut raft);
    assert_eq!(ready.persist.entries.len() as u64, MANY);
    let entries_in = |message: &Message| match &message.body {
        Body::Append { entries, .. } => entries.len() as u64,
        body => panic!("not an append: {body:?}"),
    };
    let sent: Vec<(PeerId, u64)> = ready
        .messages
        .iter()
        .map(|m| (m.to, entries_in(m)))
        .collect();
    assert_eq!(sent, [(PeerId(2), MANY), (PeerId(3), MANY)]);

    acknowledge(&mut raft);
    assert_eq!(turn(&mut raft).committed.len() as u64, MANY);
}

#[test]
fn many_reads_are_one_round_of_heartbeats() {
    let mut raft = leader();
    for id in 0..MANY {
        raft.step(Input::Read(ReadId(id)))
            .expect("the leader takes reads");
    }
    let asked: Vec<Body> = turn(&mut raft)
        .messages
        .into_iter()
        .map(|m| m.body)
        .collect();
    let heartbeat = Body::Heartbeat {
        commit: Index(4),
        round: 1,
    };
    assert_eq!(asked, [heartbeat.clone(), heartbeat]);

    hear(&mut raft, 2, Body::HeartbeatReply { round: 1 });
    assert_eq!(turn(&mut raft).reads.len() as u64, MANY);
}
