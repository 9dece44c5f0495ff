//! Networks in which some peers reach each other and some do not: the cases of "Omni-Paxos: Breaking the Barriers of
//! Partial Connectivity" (EuroSys 2023), figure 1. A leader who can commit is there again within four election timeouts.
//!
//! What this test does not do: lose messages at random. The simulation does.

#![allow(
    clippy::unwrap_used,
    reason = "what the test sets up cannot fail, or fails the test"
)]

use bytes::Bytes;
use raft::{ChangeKind, Config, Index, Input, Message, Payload, PeerId, Raft, Recovered, Role};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::collections::BTreeSet;

/// Peers by number, and who of them hears whom. A message takes one tick.
struct Network {
    peers: Vec<Raft>,
    links: BTreeSet<(u64, u64)>,
    under_way: Vec<Message>,
}

impl Network {
    /// All connected, with a leader that has committed something everywhere.
    fn new(size: u64, leader: u64, seed: u64) -> Self {
        let voters = (1..=size).map(|id| ChangeKind::AddVoter(PeerId(id)));
        let recovered = Recovered::founding(voters);
        let start = |id| {
            let rng = SmallRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(id));
            Raft::recover(Config::new(PeerId(id)), recovered.clone(), rng).unwrap()
        };
        let mut network = Self {
            peers: (1..=size).map(start).collect(),
            links: BTreeSet::new(),
            under_way: Vec::new(),
        };
        let all: Vec<(u64, u64)> = (1..=size)
            .flat_map(|a| (a + 1..=size).map(move |b| (a, b)))
            .collect();
        network.connect(&all);
        network.peer(leader).step(Input::Campaign).unwrap();
        (0..20).for_each(|_| network.tick());
        assert_eq!(network.peer(leader).role(), Role::Leader);
        network
    }

    fn peer(&mut self, id: u64) -> &mut Raft {
        &mut self.peers[id as usize - 1]
    }

    /// From now on these hear each other, and nobody else.
    fn connect(&mut self, pairs: &[(u64, u64)]) {
        let both = pairs.iter().flat_map(|&(a, b)| [(a, b), (b, a)]);
        self.links = both.collect();
    }

    /// One tick for all, after what was said in the last one has arrived.
    fn tick(&mut self) {
        for message in std::mem::take(&mut self.under_way) {
            if self.links.contains(&(message.from.0, message.to.0)) {
                let to = message.to.0;
                // Some answers come late and are refused; that is what they are for.
                let _refused = self.peer(to).step(Input::Receive(message));
            }
        }
        for peer in &mut self.peers {
            peer.step(Input::Tick).unwrap();
            loop {
                let ready = peer.ready();
                if ready.is_empty() {
                    break;
                }
                let ticket = ready.persist.ticket;
                if ticket > raft::Ticket(0) {
                    peer.step(Input::Persisted { ticket }).unwrap();
                }
                self.under_way.extend(ready.messages);
            }
        }
    }

    fn propose(&mut self, id: u64) {
        let command = Payload::Command(Bytes::from_static(b"x"));
        self.peer(id).step(Input::Propose(vec![command])).unwrap();
    }

    fn commit(&self) -> Index {
        self.peers.iter().map(Raft::commit).max().unwrap()
    }

    /// Ticks until something is committed that was proposed from now on, at whoever leads.
    fn ticks_until_commit(&mut self, most: u64) -> Option<u64> {
        let before = self.peers.iter().map(Raft::last_index).max().unwrap();
        (1..=most).find(|_| {
            for id in 1..=self.peers.len() as u64 {
                if self.peer(id).role() == Role::Leader {
                    self.propose(id);
                }
            }
            self.tick();
            self.commit() > before
        })
    }
}

const ELECTION_TICKS: u64 = 10;

/// In every one of these worlds; gives the longest wait, in ticks.
fn longest(case: &str, world: impl Fn(u64) -> Network) {
    let mut all: Vec<u64> = (0..1_000)
        .map(|seed| {
            let waited = world(seed).ticks_until_commit(100 * ELECTION_TICKS);
            waited.unwrap_or_else(|| panic!("{case}: no leader that commits, seed {seed}"))
        })
        .collect();
    all.sort_unstable();
    let (median, most) = (all[all.len() / 2], all[all.len() - 1]);
    eprintln!(
        "{case}: median {median} ticks, at most {most}, of {ELECTION_TICKS} an election timeout"
    );
    assert!(most <= 4 * ELECTION_TICKS, "{case}: {most} ticks");
}

/// Everybody reaches 1 alone, the leader 3 too: it has lost its quorum and does not know.
#[test]
fn quorum_loss() {
    longest("quorum loss", |seed| {
        let mut network = Network::new(5, 3, seed);
        network.connect(&[(1, 2), (1, 3), (1, 4), (1, 5)]);
        network
    });
}

/// As before, but the leader 3 is gone, and 1, whom alone all others reach, lacks an entry that was committed.
#[test]
fn constrained_election() {
    longest("constrained election", |seed| {
        let mut network = Network::new(5, 3, seed);
        network.connect(&[(2, 3), (3, 4), (3, 5)]);
        network.propose(3);
        (0..4).for_each(|_| network.tick());
        assert!(network.peer(3).commit() > network.peer(1).commit());
        network.connect(&[(1, 2), (1, 4), (1, 5)]);
        network
    });
}

/// A chain: the leader at one end, whom the other end does not reach, leads on; nobody deposes it again and again.
#[test]
fn chained() {
    longest("chained", |seed| {
        let mut network = Network::new(3, 1, seed);
        network.connect(&[(1, 2), (2, 3)]);
        network
    });
    let mut network = Network::new(3, 1, 7);
    network.connect(&[(1, 2), (2, 3)]);
    let term = network.peer(1).term();
    (0..100 * ELECTION_TICKS).for_each(|_| network.tick());
    assert_eq!(
        (network.peer(1).term(), network.peer(1).role()),
        (term, Role::Leader)
    );
}
