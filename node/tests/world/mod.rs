//! Three replicas, their disks and the network between them, all in one value and one thread.
//!
//! What this module deliberately does not do: judge. The tests do.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "see tests/replica.rs"
)]

mod wires;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_node::event::{Event, Outcome, Request};
use quorate_node::replica::{Batch, LeaseClock, Replica, Retention, Settings, founding_entries};
use quorate_node::turn::Turn;
use raft::{Body, Entry, HardState, Index, Message, PeerId, Raft, Recovered, SnapshotMeta, Term};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use store::{Command, Member, MemberAttributes, PutRequest, Store};

/// How long clients wait, in ticks.
pub const TIMEOUT: u64 = 70;

/// How long a tick is.
pub const TICK_MS: u64 = 100;

/// What a member's store may hold.
pub const QUOTA_BYTES: u64 = 4 << 20;

/// A put, as a client asks for it.
pub fn put(key: &str, value: &str) -> Request {
    let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_owned()));
    Request::Propose(
        Command::Put(PutRequest {
            key,
            value,
            ..PutRequest::default()
        })
        .to_bytes(),
    )
}

/// What a member has on its disk.
#[derive(Clone, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub entries: Vec<Entry>,
    pub snapshot: Option<(SnapshotMeta, Bytes)>,
}

struct Node {
    replica: Option<Replica<u64>>,
    disk: Disk,
    writing: Option<Turn>,
}

pub struct World {
    nodes: BTreeMap<u64, Node>,
    network: Vec<(Message, Option<Bytes>)>,
    cut: BTreeSet<u64>,
    /// Members whose disks take what they are given and never finish.
    stalled: BTreeSet<u64>,
    retention: Option<Retention>,
    leases: LeaseClock,
    /// `--strict-reconfig-check`.
    strict: bool,
    starts: u64,
    snapshots: usize,
    /// Members that were told of another membership.
    told: BTreeSet<u64>,
    /// Who asked whom, and was not answered; a crash of the asked takes the answer with it.
    waiting: BTreeMap<u64, u64>,
    answers: BTreeMap<u64, Outcome>,
}

impl World {
    pub fn new(count: u64) -> Self {
        Self::with_retention(count, None)
    }

    pub fn with_retention(count: u64, retention: Option<Retention>) -> Self {
        let members: Vec<Member> = (1..=count)
            .map(|id| Member {
                id,
                name: format!("m{id}"),
                peer_urls: vec![format!("http://m{id}:1")],
                ..Member::default()
            })
            .collect();
        let entries = founding_entries(&members);
        let hard_state = HardState {
            term: Term(1),
            vote: None,
            commit: Index(count),
        };
        let disk = Disk {
            hard_state,
            entries,
            snapshot: None,
        };
        let node = |id| {
            (
                id,
                Node {
                    replica: None,
                    disk: disk.clone(),
                    writing: None,
                },
            )
        };
        let mut world = Self {
            nodes: (1..=count).map(node).collect(),
            network: Vec::new(),
            cut: BTreeSet::new(),
            stalled: BTreeSet::new(),
            retention,
            leases: LeaseClock {
                tick_ms: TICK_MS,
                checkpoint_every: None,
            },
            strict: true,
            starts: 0,
            snapshots: 0,
            told: BTreeSet::new(),
            waiting: BTreeMap::new(),
            answers: BTreeMap::new(),
        };
        (1..=count).for_each(|id| world.restart(id));
        world
    }

    /// All members from now on checkpoint leases that live longer than so many ticks.
    pub fn checkpoint_leases(&mut self, every: u64) {
        self.leases.checkpoint_every = Some(every);
        self.restart_all();
    }

    /// All members from now on take whatever change of membership makes sense.
    pub fn be_lenient(&mut self) {
        self.strict = false;
        self.restart_all();
    }

    fn restart_all(&mut self) {
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for id in ids {
            self.crash(id);
            self.restart(id);
        }
    }

    /// Starts a member that knows nothing yet.
    pub fn join(&mut self, id: u64) {
        let node = Node {
            replica: None,
            disk: Disk::default(),
            writing: None,
        };
        self.nodes.insert(id, node);
        self.restart(id);
    }

    /// Members that run.
    pub fn running(&self) -> Vec<u64> {
        let running = self.nodes.iter().filter(|(_, node)| node.replica.is_some());
        running.map(|(id, _)| *id).collect()
    }

    /// Whoever leads in the newest term.
    pub fn leading(&self) -> Option<u64> {
        let replicas = self.nodes.iter().filter(|(id, _)| !self.cut.contains(id));
        let replicas = replicas.filter_map(|(id, node)| Some((id, node.replica.as_ref()?.raft())));
        let leaders = replicas.filter(|(_, raft)| raft.role() == raft::Role::Leader);
        leaders
            .max_by_key(|(_, raft)| raft.term())
            .map(|(id, _)| *id)
    }

    /// What a member has applied.
    pub fn applied(&self, id: u64) -> &SnapshotMeta {
        self.nodes[&id].replica.as_ref().unwrap().applied()
    }

    /// Starts a member from its disk, unless it runs.
    pub fn restart(&mut self, id: u64) {
        self.starts += 1;
        let starter = self.starts << 32;
        let mut settings = settings(id, starter, self.retention, self.leases);
        settings.strict_reconfig_check = self.strict;
        let node = self.nodes.get_mut(&id).unwrap();
        if node.replica.is_some() {
            return;
        }
        let Disk {
            hard_state,
            entries,
            snapshot,
        } = node.disk.clone();
        let (meta, store) = match snapshot {
            Some((meta, image)) => (meta, Store::decode(&image).unwrap()),
            None => (SnapshotMeta::default(), Store::new()),
        };
        let durable = entries.last().map_or(meta.index, |entry| entry.index);
        let recovered = Recovered {
            hard_state,
            snapshot: meta.clone(),
            entries,
            lost: None,
        };
        let rng = SmallRng::seed_from_u64(starter ^ id);
        let raft = Raft::recover(settings.raft.clone(), recovered, rng).unwrap();
        let mut replica = Replica::new(raft, store, meta, durable, settings);
        replica.campaign_if_alone();
        node.replica = Some(replica);
    }

    /// Everything that is not on the disk is gone, what was being written with it.
    pub fn crash(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.replica = None;
        node.writing = None;
        self.waiting.retain(|_, asked| *asked != id);
    }

    /// As [`World::crash`], but what was being written is there.
    pub fn crash_after_write(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        if let Some(mut turn) = node.writing.take() {
            write(&mut node.disk, &mut turn);
        }
        self.crash(id);
    }

    pub fn stop(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        let answers = node.replica.take().unwrap().stop();
        self.note(answers);
    }

    pub fn disk(&self, id: u64) -> &Disk {
        &self.nodes[&id].disk
    }

    pub fn store(&self, id: u64) -> &Store {
        self.nodes[&id].replica.as_ref().unwrap().store()
    }

    pub fn has_diverged(&self, id: u64) -> bool {
        self.nodes[&id].replica.as_ref().unwrap().has_diverged()
    }

    pub fn role(&self, id: u64) -> raft::Role {
        self.nodes[&id].replica.as_ref().unwrap().raft().role()
    }

    fn replica(&mut self, id: u64) -> &mut Replica<u64> {
        self.nodes.get_mut(&id).unwrap().replica.as_mut().unwrap()
    }

    /// Whoever all that run and are not cut off agree on.
    pub fn leader(&self) -> Option<u64> {
        let away = |id: &u64| self.cut.contains(id) || self.stalled.contains(id);
        let reachable = self.nodes.iter().filter(|(id, _)| !away(id));
        let mut leaders = reachable
            .filter_map(|(_, node)| node.replica.as_ref())
            .map(|r| r.raft().leader());
        let first = leaders.next()??;
        leaders
            .all(|leader| leader == Some(first))
            .then_some(first.0)
    }

    pub fn elect(&mut self) -> u64 {
        for _ in 0..100 {
            self.tick_all(1);
            if let Some(leader) = self.leader() {
                self.tick_all(3);
                return leader;
            }
        }
        panic!("nobody leads");
    }

    pub fn another(&self, than: u64) -> u64 {
        *self.nodes.keys().find(|id| **id != than).unwrap()
    }

    pub fn ask(&mut self, id: u64, request: Request, client: u64) {
        self.waiting.insert(client, id);
        self.replica(id).on(Event::Ask(request, client));
    }

    pub fn ask_if_up(&mut self, id: u64, request: Request, client: u64) {
        if self.nodes[&id].replica.is_some() {
            self.ask(id, request, client);
        }
    }

    pub fn stall(&mut self, id: u64) {
        self.stalled.insert(id);
    }

    /// Takes the next turn, and says how many entries it writes.
    pub fn begin_turn(&mut self, id: u64) -> usize {
        let mut turn = self.replica(id).turn();
        let entries = turn.persist.entries.len();
        self.post_all(id, turn.take_ahead());
        self.nodes.get_mut(&id).unwrap().writing = Some(turn);
        let answers = self.take_answers(id);
        self.note(answers);
        entries
    }

    pub fn take_answers(&mut self, id: u64) -> Vec<(u64, Outcome)> {
        if self.replica(id).apply().unwrap() {
            self.told.insert(id);
        }
        self.replica(id).take_answers()
    }

    /// Whether the member was told of a membership other than before, since this was last asked.
    pub fn was_told_of_members(&mut self, id: u64) -> bool {
        self.told.remove(&id)
    }

    /// A message that nobody here sent.
    pub fn receive(&mut self, message: Message) {
        let to = message.to.0;
        self.replica(to).on(Event::Receive(message));
    }

    /// The disk has it; what may leave leaves.
    pub fn finish_turn(&mut self, id: u64) -> Vec<Message> {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(mut turn) = node.writing.take() else {
            return Vec::new();
        };
        write(&mut node.disk, &mut turn);
        let release = turn.written();
        let replica = node.replica.as_mut().unwrap();
        replica.written(&release);
        self.post_all(id, release.messages.clone());
        release.messages
    }

    /// A checkpoint of what is applied, on the disk.
    pub fn checkpoint(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(replica) = &mut node.replica else {
            return;
        };
        if node.writing.is_some() {
            return;
        }
        let meta = replica.applied().clone();
        node.disk.snapshot = Some((meta.clone(), replica.store().snapshot().encode().into()));
        replica.on(Event::Checkpointed(meta.index));
    }

    /// One turn at one member: says whether anything happened.
    pub fn turn(&mut self, id: u64) -> bool {
        let node = self.nodes.get_mut(&id).unwrap();
        if node.replica.is_none() {
            return false;
        }
        let mut busy = node.writing.is_some();
        if busy && self.stalled.contains(&id) {
            let answers = self.take_answers(id);
            self.note(answers);
            return false;
        }
        self.finish_turn(id);
        let mut turn = self.replica(id).turn();
        if !turn.is_empty() {
            busy = true;
            self.post_all(id, turn.take_ahead());
            self.nodes.get_mut(&id).unwrap().writing = Some(turn);
        }
        let answers = self.take_answers(id);
        busy |= !answers.is_empty();
        self.note(answers);
        busy
    }

    /// Until nothing happens any more.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            let ids: Vec<u64> = self.nodes.keys().copied().collect();
            let busy = ids
                .into_iter()
                .map(|id| self.turn(id))
                .fold(false, |any, busy| any | busy);
            let network = std::mem::take(&mut self.network);
            if !busy && network.is_empty() {
                return;
            }
            network.into_iter().for_each(|posted| self.deliver(posted));
        }
        panic!("they never come to rest");
    }

    /// A turn here, a message there, in any order.
    pub fn step_some(&mut self, rng: &mut SmallRng) {
        let id = rng.random_range(1..=self.nodes.len() as u64);
        self.turn(id);
        self.network.shuffle(rng);
        for _ in 0..rng.random_range(0..6) {
            if let Some(posted) = self.network.pop() {
                self.deliver(posted);
            }
        }
    }

    /// A disk that lies: what stands in the log of this member, which does not run, writes another value to `key`.
    pub fn plant(&mut self, id: u64, key: &str) -> u64 {
        let disk = &mut self.nodes.get_mut(&id).unwrap().disk;
        let lie = Command::Put(PutRequest {
            key: key.to_owned().into(),
            value: "planted".into(),
            ..PutRequest::default()
        });
        let entry = disk.entries.iter_mut().find_map(|entry| {
            let raft::Payload::Command(bytes) = &mut entry.payload else {
                return None;
            };
            let mut batch = Batch::decode(bytes.clone()).unwrap();
            let is_it = |command: &Bytes| matches!(Command::from_bytes(command), Ok(Command::Put(put)) if put.key == key);
            let place = batch.commands.iter().position(is_it)?;
            batch.commands[place] = lie.to_bytes();
            *bytes = batch.encode();
            Some(entry.index.0)
        });
        entry.unwrap()
    }

    /// A tick at one member.
    pub fn tick(&mut self, id: u64) {
        self.replica(id).on(Event::Tick);
    }

    pub fn tick_all(&mut self, ticks: u64) {
        for _ in 0..ticks {
            for replica in self
                .nodes
                .values_mut()
                .filter_map(|node| node.replica.as_mut())
            {
                replica.on(Event::Tick);
            }
            self.give_orders();
            self.tell_digests();
            self.settle();
        }
    }

    fn note(&mut self, answers: Vec<(u64, Outcome)>) {
        for (client, outcome) in answers {
            assert!(
                self.waiting.remove(&client).is_some(),
                "{client} was answered twice"
            );
            self.answers.insert(client, outcome);
        }
    }

    /// All answers so far.
    pub fn answered(&self) -> &BTreeMap<u64, Outcome> {
        &self.answers
    }

    pub fn unanswered(&self) -> Vec<u64> {
        self.waiting.keys().copied().collect()
    }
}

fn settings(id: u64, starter: u64, retention: Option<Retention>, leases: LeaseClock) -> Settings {
    let mut raft = raft::Config::new(PeerId(id));
    raft.catchup_entries = 3;
    Settings {
        raft,
        request_timeout_ticks: TIMEOUT,
        strict_reconfig_check: true,
        attributes: MemberAttributes {
            id,
            name: format!("m{id}"),
            client_urls: vec![format!("http://m{id}:2")],
        },
        retention,
        quota_bytes: QUOTA_BYTES,
        leases,
        starter,
    }
}

fn write(disk: &mut Disk, turn: &mut Turn) {
    if let Some((meta, image)) = turn.install.take() {
        disk.entries.clear();
        disk.snapshot = Some((meta, image));
    }
    if let Some(first) = turn.persist.entries.first() {
        let first = first.index;
        disk.entries.retain(|entry| entry.index < first);
    }
    disk.entries.append(&mut turn.persist.entries);
    disk.hard_state = turn.persist.hard_state.unwrap_or(disk.hard_state);
}
