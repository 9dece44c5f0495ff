//! Every interleaving of a small world: three peers, a handful of elections, proposals, crashes and changes of membership,
//! and messages that arrive in any order, once or never. The simulation goes deep and leaves gaps; this leaves none.
//!
//! Time does not pass: an election begins whenever it may. Pre-votes and check-quorum, which only say when *not* to begin one,
//! are off. What a disk is given is durable before anything leaves, as the driver's contract wants it.
//!
//! What this test does not do: liveness. A message that never arrives is one that has not arrived yet.

#![allow(
    clippy::unwrap_used,
    reason = "what the test sets up cannot fail, or fails the test"
)]

use bytes::Bytes;
use raft::{
    ChangeKind, Config, Entry, Index, Input, JointChange, Message, Payload, PeerId, Raft,
    Recovered, Role, Rules, Term,
};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// How often each thing may happen in one history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Bounds {
    elections: u8,
    proposals: u8,
    crashes: u8,
    changes: u8,
}

/// A moment of a history.
#[derive(Clone)]
struct World {
    peers: Vec<Rc<Raft>>,
    disks: Vec<Rc<Recovered>>,
    /// With what tells each peer, and each message, from others; in the order of that.
    prints: Vec<u64>,
    under_way: Vec<(u64, Rc<Message>)>,
    left: Bounds,
    /// Who led each term.
    leaders: BTreeMap<Term, PeerId>,
    /// The term of every entry that was called committed, and the term in which it was.
    committed: BTreeMap<Index, (Term, Term)>,
}

#[derive(Clone, Debug)]
enum Step {
    Deliver(usize),
    Elect(usize),
    Propose(usize),
    Crash(usize),
    Change(usize),
}

fn config(id: u64) -> Config {
    Config {
        pre_vote: false,
        check_quorum: false,
        ..Config::new(PeerId(id))
    }
}

fn rng() -> SmallRng {
    SmallRng::seed_from_u64(1)
}

const PEERS: u64 = 3;

impl World {
    fn new(left: Bounds, rules: Rules) -> Self {
        let voters = (1..=PEERS).map(|id| ChangeKind::AddVoter(PeerId(id)));
        let disk = Recovered::founding(voters);
        let start = |id| {
            let mut raft = Raft::recover(config(id), disk.clone(), rng()).unwrap();
            raft.break_rules(rules);
            Rc::new(raft)
        };
        let shared = Rc::new(disk.clone());
        let mut world = Self {
            peers: (1..=PEERS).map(start).collect(),
            disks: (1..=PEERS).map(|_| Rc::clone(&shared)).collect(),
            prints: vec![0; PEERS as usize],
            under_way: Vec::new(),
            left,
            leaders: BTreeMap::new(),
            committed: BTreeMap::new(),
        };
        (0..PEERS as usize).for_each(|at| world.settle(at).unwrap());
        world
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = (0..self.under_way.len()).map(Step::Deliver).collect();
        for (at, peer) in self.peers.iter().enumerate() {
            let leads = peer.role() == Role::Leader;
            if self.left.elections > 0 && !leads {
                steps.push(Step::Elect(at));
            }
            if self.left.proposals > 0 && leads {
                steps.push(Step::Propose(at));
            }
            if self.left.changes > 0 && leads {
                steps.push(Step::Change(at));
            }
            if self.left.crashes > 0 {
                steps.push(Step::Crash(at));
            }
        }
        steps
    }

    /// The world after a step; what was promised and does not hold.
    fn take(&mut self, step: &Step, rules: Rules) -> Result<(), String> {
        // A refused input is a step that changes nothing.
        match *step {
            Step::Deliver(place) => {
                let (_, message) = self.under_way.remove(place);
                let at = message.to.0 as usize - 1;
                let _refused = self.peer(at).step(Input::Receive(message.as_ref().clone()));
                self.settle(at)
            }
            Step::Elect(at) => {
                self.left.elections -= 1;
                let _refused = self.peer(at).step(Input::Campaign);
                self.settle(at)
            }
            Step::Propose(at) => {
                self.left.proposals -= 1;
                let command = Payload::Command(Bytes::from_static(b"x"));
                let _refused = self.peer(at).step(Input::Propose(vec![command]));
                self.settle(at)
            }
            Step::Change(at) => {
                self.left.changes -= 1;
                let _refused = self.peer(at).step(Input::Propose(vec![a_change()]));
                self.settle(at)
            }
            Step::Crash(at) => {
                self.left.crashes -= 1;
                let disk = self.disks[at].as_ref().clone();
                let raft = Raft::recover(config(at as u64 + 1), disk, rng());
                self.peers[at] = Rc::new(raft.map_err(|error| error.to_string())?);
                self.peer(at).break_rules(rules);
                self.settle(at)
            }
        }
    }

    fn peer(&mut self, at: usize) -> &mut Raft {
        Rc::make_mut(&mut self.peers[at])
    }

    /// Writes, sends and checks until the peer has nothing more to say.
    fn settle(&mut self, at: usize) -> Result<(), String> {
        loop {
            let ready = self.peer(at).ready();
            if ready.is_empty() {
                break;
            }
            let disk = Rc::make_mut(&mut self.disks[at]);
            if let Some(first) = ready.persist.entries.first() {
                disk.entries.truncate(first.index.0 as usize - 1);
                disk.entries.extend(ready.persist.entries);
            }
            disk.hard_state = ready.persist.hard_state.unwrap_or(disk.hard_state);
            if ready.persist.ticket > raft::Ticket(0) {
                let ticket = ready.persist.ticket;
                self.peer(at).step(Input::Persisted { ticket }).unwrap();
            }
            let messages = ready.messages.into_iter();
            self.under_way
                .extend(messages.map(|it| (print(&it), Rc::new(it))));
        }
        // The order in which they were sent is no part of the world: any may arrive next. What was said twice may
        // arrive once.
        self.under_way.sort_by_key(|(print, _)| *print);
        self.under_way.dedup_by_key(|(print, _)| *print);
        self.prints[at] = print(&self.peers[at]);
        self.check(at)
    }

    /// Election safety, state machine safety, leader completeness, log matching (figure 3 of the Raft paper).
    fn check(&mut self, at: usize) -> Result<(), String> {
        let peer = &self.peers[at];
        let known = self.committed.clone();
        for index in (1..=peer.commit().0).map(Index) {
            let term = peer.term_at(index).expect("nothing is compacted here");
            // Whoever is first to call it committed is the leader that counted.
            let first = (term, peer.term());
            let (before, _) = *self.committed.entry(index).or_insert(first);
            if before != term {
                return Err(format!(
                    "{index} is committed with terms {before} and {term}"
                ));
            }
        }
        if peer.role() == Role::Leader {
            let leader = *self.leaders.entry(peer.term()).or_insert(peer.id());
            if leader != peer.id() {
                return Err(format!("{leader} and {} lead {}", peer.id(), peer.term()));
            }
            let lacks = |(index, (term, in_term)): &(&Index, &(Term, Term))| {
                *in_term < peer.term() && peer.term_at(**index) != Some(*term)
            };
            if let Some((index, _)) = known.iter().find(lacks) {
                return Err(format!("leader {} lacks committed {index}", peer.id()));
            }
        }
        self.check_matching(at)
    }

    fn check_matching(&self, at: usize) -> Result<(), String> {
        let mine = &self.disks[at].entries;
        for (other, disk) in self.disks.iter().enumerate().filter(|(it, _)| *it != at) {
            let same = |(a, b): &(&Entry, &Entry)| a.term == b.term;
            let newest = mine.iter().zip(&disk.entries).rposition(|pair| same(&pair));
            let agree = newest.is_none_or(|newest| mine[..=newest] == disk.entries[..=newest]);
            if !agree {
                return Err(format!(
                    "the logs of {} and {} differ before an equal entry",
                    at + 1,
                    other + 1
                ));
            }
        }
        Ok(())
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.left, &self.leaders, &self.committed, &self.prints).hash(&mut hasher);
        let under_way = self.under_way.iter().map(|(print, _)| print);
        under_way.for_each(|print| print.hash(&mut hasher));
        hasher.finish()
    }
}

/// What tells a value from others. Tickets only count writes, and patience never ends.
fn print(value: &impl std::fmt::Debug) -> u64 {
    let mut hasher = DefaultHasher::new();
    let text = format!("{value:?}");
    for part in text.split("Ticket(").flat_map(|it| it.split("patience: ")) {
        let rest = part.trim_start_matches(|it: char| it.is_ascii_digit());
        rest.hash(&mut hasher);
    }
    hasher.finish()
}

/// Two voters trade places with one that was never there: joint consensus, and nobody new needs to run for it.
fn a_change() -> Payload {
    Payload::EnterJoint(JointChange {
        steps: vec![
            ChangeKind::Remove(PeerId(3)),
            ChangeKind::AddLearner(PeerId(2)),
        ],
        context: Bytes::new(),
    })
}

/// Visits every world within the bounds, depth first; gives how many there are, or the first broken promise.
fn search(bounds: Bounds, rules: Rules) -> Result<usize, String> {
    let first = World::new(bounds, rules);
    let mut seen = HashSet::from([first.fingerprint()]);
    let mut open = vec![first];
    while let Some(world) = open.pop() {
        for step in world.steps() {
            let mut next = world.clone();
            next.take(&step, rules)?;
            if seen.insert(next.fingerprint()) {
                open.push(next);
            }
        }
    }
    Ok(seen.len())
}

fn all_is_well(bounds: Bounds) {
    let states = search(bounds, Rules::RAFT).unwrap();
    eprintln!("{states} states within {bounds:?}");
    assert!(states > 1_000, "the bounds leave nothing to see");
}

const NOTHING: Bounds = Bounds {
    elections: 0,
    proposals: 0,
    crashes: 0,
    changes: 0,
};

#[test]
fn an_election_and_a_crash() {
    all_is_well(Bounds {
        elections: 1,
        crashes: 1,
        ..NOTHING
    });
}

#[test]
fn an_election_a_proposal_and_a_crash() {
    all_is_well(Bounds {
        elections: 1,
        proposals: 1,
        crashes: 1,
        ..NOTHING
    });
}

/// `RAFT_EXHAUSTIVE=ELECTIONS,PROPOSALS,CRASHES,CHANGES` searches wider bounds, for as long as that takes.
#[test]
fn the_bounds_that_were_asked_for() {
    let Ok(asked) = std::env::var("RAFT_EXHAUSTIVE") else {
        return;
    };
    let numbers: Result<Vec<u8>, _> = asked.split(',').map(str::parse).collect();
    let Ok([elections, proposals, crashes, changes]) = numbers.as_deref() else {
        panic!("RAFT_EXHAUSTIVE={asked} is not four numbers with commas between them");
    };
    all_is_well(Bounds {
        elections: *elections,
        proposals: *proposals,
        crashes: *crashes,
        changes: *changes,
    });
}

/// A search that finds nothing may be blind.
#[test]
fn a_broken_rule_is_found() {
    let bounds = Bounds {
        elections: 2,
        ..NOTHING
    };
    let quorum = Rules {
        quorum: |voters| voters / 2,
        ..Rules::RAFT
    };
    let found = search(bounds, quorum).unwrap_err();
    eprintln!("a quorum of half: {found}");
    let vote = Rules {
        may_vote: |_| true,
        ..Rules::RAFT
    };
    let found = search(bounds, vote).unwrap_err();
    eprintln!("votes for all who ask: {found}");
}
