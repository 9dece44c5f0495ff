//! The world: time, the network, the clients and the faults.
//!
//! What this module does not do: judge. The checker does.

use super::checker::{Checked, Checker, LIVENESS, SOUND, Violation, ensure};
use super::disk::{State, Work, Write};
use super::peer::Process;
use super::profile::{Profile, TICK};
use super::{Run, Summary};
use bytes::Bytes;
use raft::{Body, Change, ChangeKind, Entry, HardState, Index, Input, Message};
use raft::{Payload, PeerId, ReadId, Recovered, Refused, Role, Term};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

/// How long the faults go on, and how long everything may take to come right after.
const TROUBLE: u64 = 4_000;
const RECOVERY: u64 = 8_000;
/// No more peers than this, dead or alive.
const MOST_PEERS: u64 = 9;

/// What will happen.
#[derive(Debug)]
enum Event {
    Tick(PeerId),
    Deliver(Box<Parcel>),
    DiskDone(PeerId, u64),
    Restart(PeerId),
    Client,
    Fault,
}

/// A message on its way.
#[derive(Clone, Debug)]
struct Parcel {
    message: Message,
    image: Option<State>,
    lost: bool,
}

/// The world.
pub(crate) struct World {
    run: Run,
    rng: SmallRng,
    profile: Profile,
    now: u64,
    /// What will happen, by time and then in the order it was decided.
    agenda: BTreeMap<(u64, u64), Event>,
    decided: u64,
    processes: BTreeMap<PeerId, Process>,
    /// Ways that are blocked.
    blocked: BTreeSet<(PeerId, PeerId)>,
    checker: Checker,
    summary: Summary,
    next_command: u64,
    next_read: u64,
    calm: bool,
}

impl World {
    pub(crate) fn new(run: Run) -> Self {
        let mut rng = SmallRng::seed_from_u64(run.seed);
        let profile = Profile::draw(&mut rng);
        let bootstrap = bootstrap(profile.peers);
        let mut world = Self {
            run,
            rng,
            now: 0,
            agenda: BTreeMap::new(),
            decided: 0,
            processes: BTreeMap::new(),
            blocked: BTreeSet::new(),
            checker: Checker::new(&bootstrap.entries),
            summary: Summary::default(),
            next_command: 0,
            next_read: 0,
            calm: false,
            profile,
        };
        for id in 1..=world.profile.peers {
            world.add_process(PeerId(id), &bootstrap);
        }
        world
    }

    pub(crate) fn run(mut self) -> Result<Summary, Violation> {
        if self.run.told {
            eprintln!("{:#?}", self.profile);
        }
        let ids: Vec<PeerId> = self.processes.keys().copied().collect();
        for id in ids {
            self.start(id)?;
        }
        self.plan(1, Event::Client);
        self.plan_fault();
        self.until(TROUBLE, |_| false)?;
        self.come_right()?;
        self.summary.elections = self.checker.elections() as u64;
        self.summary.commits = self.checker.commit().0;
        Ok(self.summary)
    }

    // Time.

    fn plan(&mut self, delay: u64, event: Event) {
        self.decided += 1;
        self.agenda.insert((self.now + delay, self.decided), event);
    }

    /// Lets things happen until a time, or until they are as wanted. Says whether they are.
    fn until(&mut self, end: u64, wanted: impl Fn(&Self) -> bool) -> Checked<bool> {
        while let Some(((at, _), event)) = self.agenda.pop_first() {
            self.now = self.now.max(at);
            if self.run.told {
                eprintln!("{:>6} {event:?}", self.now);
            }
            self.summary.events += 1;
            self.happen(event)?;
            if wanted(self) {
                return Ok(true);
            }
            if self.now >= end {
                break;
            }
        }
        Ok(false)
    }

    fn happen(&mut self, event: Event) -> Checked {
        match event {
            Event::Tick(id) => {
                let pace = self.rng.random_range(TICK - 2..=TICK + 2);
                self.plan(pace, Event::Tick(id));
                if self.is_awake(id) {
                    let _ = self.step(id, Input::Tick)?;
                }
                Ok(())
            }
            Event::Deliver(parcel) => self.deliver(*parcel),
            Event::DiskDone(id, life) => self.disk_done(id, life),
            Event::Restart(id) => self.start(id),
            Event::Client => {
                let longest = if self.calm { 400 } else { 40 };
                let pause = self.rng.random_range(1..longest);
                self.plan(pause, Event::Client);
                self.client_acts()
            }
            Event::Fault => {
                if !self.calm {
                    self.fault();
                    self.plan_fault();
                }
                Ok(())
            }
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.run.told {
            eprintln!("{:>6}   {}", self.now, what());
        }
    }

    fn is_awake(&self, id: PeerId) -> bool {
        let process = &self.processes[&id];
        process.alive.is_some() && process.paused_until <= self.now
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    // Processes.

    fn add_process(&mut self, id: PeerId, recovered: &Recovered) {
        self.processes
            .insert(id, Process::new(id, recovered, &self.run));
        let first = self.rng.random_range(1..=TICK);
        self.plan(first, Event::Tick(id));
    }

    fn start(&mut self, id: PeerId) -> Checked {
        let config = self.profile.config(id);
        let rng = SmallRng::seed_from_u64(self.rng.random());
        let process = self
            .processes
            .get_mut(&id)
            .expect("every planned process exists");
        if process.alive.is_none() {
            process.start(config, &self.run, rng, &mut self.checker)?;
        }
        Ok(())
    }

    /// Tells a peer that something happened, checks it, and lets its driver go on.
    fn step(&mut self, id: PeerId, input: Input) -> Checked<Result<(), Refused>> {
        let process = self
            .processes
            .get_mut(&id)
            .expect("every peer has a process");
        let Some(alive) = &mut process.alive else {
            return Ok(Err(Refused::NoLeader));
        };
        let result = alive.raft.step(input);
        alive.observe(&mut self.checker)?;
        self.drive(id)?;
        Ok(result)
    }

    /// The driver: asks for a `Ready`, unless it would rather gather more, or the disk is behind.
    fn drive(&mut self, id: PeerId) -> Checked {
        let gathers = self.profile.batching;
        while !self.chance(gathers) {
            let process = self
                .processes
                .get_mut(&id)
                .expect("every peer has a process");
            let Some(alive) = &mut process.alive else {
                return Ok(());
            };
            if alive.work.len() >= self.profile.writes_at_once || !alive.gather()? {
                break;
            }
            let (life, idle) = (
                process.life,
                alive.work.len() == 1 && alive.work[0].is_idle(),
            );
            alive.observe(&mut self.checker)?;
            if idle {
                self.disk_done(id, life)?;
            } else if alive_work(&self.processes, id) == 1 {
                self.plan_disk(id, life);
            }
        }
        Ok(())
    }

    fn plan_disk(&mut self, id: PeerId, life: u64) {
        let slow = self.profile.slow_disk;
        let longest = if self.chance(slow) {
            self.profile.disk * 20
        } else {
            self.profile.disk
        };
        let delay = self.rng.random_range(1..=longest);
        self.plan(delay, Event::DiskDone(id, life));
    }

    /// The oldest work of the disk is done.
    fn disk_done(&mut self, id: PeerId, life: u64) -> Checked {
        let process = self
            .processes
            .get_mut(&id)
            .expect("every peer has a process");
        if process.life != life {
            return Ok(());
        }
        let Some(alive) = &mut process.alive else {
            return Ok(());
        };
        let Some(work) = alive.work.pop_front() else {
            return Ok(());
        };
        let more = !alive.work.is_empty();
        match work {
            Work::Checkpoint(index, writes) => {
                process.disk.write(writes);
                self.summary.checkpoints += 1;
                let _ = self.step(id, Input::SnapshotTaken { index })?;
            }
            Work::Ready(mut ready, before, writes) => {
                self.checker.writes(before, &ready.persist.entries)?;
                if let Some(Write::Install(_, state)) = writes.first() {
                    self.summary.installs += 1;
                    alive.install(*state, &self.checker)?;
                }
                process.disk.write(writes);
                process.check_promises(&ready.messages)?;
                let messages = std::mem::take(&mut ready.messages);
                self.apply(id, &mut ready)?;
                messages.into_iter().for_each(|message| self.send(message));
                if ready.persist.ticket.0 > 0 {
                    let _ = self.step(
                        id,
                        Input::Persisted {
                            ticket: ready.persist.ticket,
                        },
                    )?;
                }
            }
        }
        if more {
            self.plan_disk(id, life);
        }
        self.drive(id)
    }

    fn apply(&mut self, id: PeerId, ready: &mut raft::Ready) -> Checked {
        let wants_checkpoint = !ready.committed.is_empty() && self.chance(self.profile.checkpoints);
        let keep = self.rng.random_range(0..10);
        let process = self
            .processes
            .get_mut(&id)
            .expect("every peer has a process");
        let Some(alive) = &mut process.alive else {
            return Ok(());
        };
        let led = alive.raft.role() == Role::Leader;
        let served = alive.apply(ready, &mut self.checker)?.len() as u64;
        self.summary.reads += served;
        self.summary.forwarded_reads += if led { 0 } else { served };
        if wants_checkpoint {
            alive.checkpoint(keep);
            if alive.work.len() == 1 {
                let life = process.life;
                self.plan_disk(id, life);
            }
        }
        Ok(())
    }

    // The network.

    fn send(&mut self, mut message: Message) {
        let way = (message.from, message.to);
        let mut image = None;
        if let Body::InstallSnapshot { meta } = &mut message.body {
            let (newest, state) = self.processes[&message.from].disk.checkpoint();
            assert!(
                newest.index >= meta.index,
                "the core was told of a durable checkpoint"
            );
            *meta = newest;
            image = Some(state);
        }
        let lost = self.blocked.contains(&way) || self.chance(self.profile.loss);
        self.summary.losses += u64::from(lost);
        let parcel = Parcel {
            message,
            image,
            lost,
        };
        if self.chance(self.profile.doubling) {
            self.post(Parcel {
                image,
                ..parcel.clone()
            });
        }
        self.post(parcel);
    }

    fn post(&mut self, parcel: Parcel) {
        let long = self.chance(self.profile.long_delay);
        let longest = if long {
            self.profile.delay * 20
        } else {
            self.profile.delay
        };
        let delay = self.rng.random_range(1..=longest);
        self.plan(delay, Event::Deliver(Box::new(parcel)));
    }

    fn deliver(&mut self, parcel: Parcel) -> Checked {
        let (from, to) = (parcel.message.from, parcel.message.to);
        let Some(process) = self.processes.get_mut(&to) else {
            return Ok(());
        };
        if process.paused_until > self.now {
            let wait = process.paused_until - self.now;
            self.plan(wait, Event::Deliver(Box::new(parcel)));
            return Ok(());
        }
        let is_snapshot = parcel.image.is_some();
        let arrives = !parcel.lost && process.alive.is_some();
        if let (true, Some(alive)) = (arrives, &mut process.alive) {
            let result = alive.receive(parcel.message, parcel.image);
            if let Err(Refused::Unsound { what }) = result {
                return Err(Violation {
                    property: SOUND,
                    what: format!("peer {to}: {what}"),
                });
            }
            alive.observe(&mut self.checker)?;
            self.drive(to)?;
        }
        if is_snapshot {
            // The sender's belief may be wrong.
            let ok = if self.chance(0.1) { !arrives } else { arrives };
            let _ = self.step(from, Input::SnapshotSent { to, ok })?;
        }
        Ok(())
    }

    // Clients.

    fn client_acts(&mut self) -> Checked {
        let leader = self.some_leader().filter(|_| self.calm);
        let id = leader.unwrap_or_else(|| self.some_process());
        if !self.is_awake(id) {
            return Ok(());
        }
        if self.chance(self.profile.changes) {
            return self.change_membership();
        }
        if self.chance(self.profile.transfers) {
            return self.hand_over();
        }
        match self.rng.random_range(0..20) {
            0 => drop(self.step(id, Input::PeerUnreachable(PeerId(1)))?),
            1 if !self.calm => drop(self.step(id, Input::Campaign)?),
            2..=9 => self.read(id)?,
            _ => self.propose(id)?,
        }
        Ok(())
    }

    fn some_process(&mut self) -> PeerId {
        let which = self.rng.random_range(0..self.processes.len());
        *self
            .processes
            .keys()
            .nth(which)
            .expect("the number is below the count")
    }

    fn propose(&mut self, id: PeerId) -> Checked {
        let count = self.rng.random_range(1..=4);
        let payloads = (0..count).map(|_| {
            self.next_command += 1;
            let size = self.rng.random_range(0..60);
            let mut bytes = self.next_command.to_be_bytes().to_vec();
            bytes.resize(8 + size, 0);
            Payload::Command(Bytes::from(bytes))
        });
        let payloads = payloads.collect();
        let result = self.step(id, Input::Propose(payloads))?;
        self.tell(|| format!("propose at {id}: {result:?}"));
        Ok(())
    }

    fn read(&mut self, id: PeerId) -> Checked {
        self.next_read += 1;
        let read = ReadId(self.next_read);
        let floor = self.checker.commit();
        let process = self
            .processes
            .get_mut(&id)
            .expect("every peer has a process");
        if let Some(alive) = &mut process.alive {
            alive.reads.insert(read, floor);
        }
        self.step(id, Input::Read(read)).map(drop)
    }

    fn some_leader(&self) -> Option<PeerId> {
        let leads = |process: &&Process| {
            process
                .alive
                .as_ref()
                .is_some_and(|alive| alive.raft.role() == Role::Leader)
        };
        self.processes
            .values()
            .find(leads)
            .map(|process| process.id)
    }

    fn change_membership(&mut self) -> Checked {
        let Some(leader) = self.some_leader() else {
            return Ok(());
        };
        let newcomer = PeerId(self.processes.len() as u64 + 1);
        let known = self.some_process();
        let kind = match self.rng.random_range(0..6) {
            0 | 1 if newcomer.0 <= MOST_PEERS => ChangeKind::AddLearner(newcomer),
            2 if newcomer.0 <= MOST_PEERS => ChangeKind::AddVoter(newcomer),
            3 => ChangeKind::Remove(known),
            4 => ChangeKind::AddLearner(known),
            _ => ChangeKind::AddVoter(known),
        };
        // The id of a removed peer never comes back.
        let leading = self.processes[&leader].alive.as_ref();
        let known_there = leading.is_some_and(|it| it.raft.configuration().contains(kind.peer()));
        if kind.peer() != newcomer && !known_there {
            return Ok(());
        }
        let change = Payload::Change(Change {
            kind,
            context: Bytes::new(),
        });
        let accepted = self.step(leader, Input::Propose(vec![change]))?.is_ok();
        self.summary.changes += u64::from(accepted);
        if accepted && kind.peer() == newcomer {
            self.add_process(newcomer, &Recovered::default());
            self.start(newcomer)?;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Checked {
        let to = self.some_process();
        let Some(leader) = self.some_leader() else {
            return Ok(());
        };
        let begun = self.step(leader, Input::TransferLeader(to))?.is_ok();
        self.summary.transfers += u64::from(begun && to != leader);
        Ok(())
    }

    // Faults.

    fn plan_fault(&mut self) {
        if let Some(every) = self.profile.fault_every {
            let pause = self.rng.random_range(1..=2 * every);
            self.plan(pause, Event::Fault);
        }
    }

    fn fault(&mut self) {
        let id = self.some_process();
        match self.rng.random_range(0..6) {
            0 | 1 if self.profile.crashes => self.crash(id),
            2 if self.profile.cuts => self.cut_in_two(),
            3 if self.profile.cuts => self.cut_one_way(),
            4 => self.blocked.clear(),
            5 if self.profile.pauses => {
                self.summary.pauses += 1;
                let pause = self.rng.random_range(1..400);
                self.processes
                    .get_mut(&id)
                    .expect("just chosen")
                    .paused_until = self.now + pause;
            }
            _ => {}
        }
    }

    fn crash(&mut self, id: PeerId) {
        self.summary.crashes += 1;
        self.processes
            .get_mut(&id)
            .expect("just chosen")
            .crash(&mut self.rng);
        let down = self.rng.random_range(1..400);
        self.plan(down, Event::Restart(id));
    }

    fn cut_in_two(&mut self) {
        self.summary.cuts += 1;
        let (here, there): (Vec<PeerId>, Vec<PeerId>) = self
            .processes
            .keys()
            .partition(|_| self.rng.random_bool(0.5));
        for &one in &here {
            for &other in &there {
                self.blocked.extend([(one, other), (other, one)]);
            }
        }
    }

    fn cut_one_way(&mut self) {
        self.summary.cuts += 1;
        let from = self.some_process();
        let others: Vec<PeerId> = self.processes.keys().copied().collect();
        let all = self.chance(0.5);
        let deaf = self.chance(0.5);
        for other in others {
            if all || self.chance(0.5) {
                self.blocked
                    .insert(if deaf { (other, from) } else { (from, other) });
            }
        }
    }

    // The end.

    /// The faults stop. Within bounded time everyone who belongs to the cluster has the same log,
    /// a new command in it, and nothing that was committed is gone.
    fn come_right(&mut self) -> Checked {
        self.calm = true;
        self.profile.calm();
        self.blocked.clear();
        let removed = self.removed();
        let ids: Vec<PeerId> = self.processes.keys().copied().collect();
        for id in ids {
            self.processes
                .get_mut(&id)
                .expect("a process stays")
                .paused_until = self.now;
            // With both protections on, even removed peers that go on disturb nobody.
            let harmless = self.profile.pre_vote && self.profile.check_quorum;
            if harmless || !removed.contains(&id) {
                self.start(id)?;
            } else {
                self.processes
                    .get_mut(&id)
                    .expect("a process stays")
                    .crash(&mut self.rng);
            }
        }
        (self.profile.changes, self.profile.transfers) = (0.0, 0.0);
        let before = self.checker.commit();
        let end = self.now + RECOVERY;
        let right = self.until(end, |world| world.is_right(before))?;
        ensure(right, LIVENESS, || self.describe())
    }

    /// Who was removed by a change that was applied somewhere: whoever asked for it may know.
    fn removed(&self) -> BTreeSet<PeerId> {
        let change = |payload: &Payload| match payload {
            Payload::Change(change) => Some(change.kind),
            Payload::Empty | Payload::Command(_) => None,
        };
        let changes = self.checker.applied_payloads().filter_map(change);
        changes
            .filter(|kind| matches!(kind, ChangeKind::Remove(_)))
            .map(ChangeKind::peer)
            .collect()
    }

    fn is_right(&self, before: Index) -> bool {
        let Some(leader) = self.some_leader() else {
            return false;
        };
        let Some(alive) = &self.processes[&leader].alive else {
            return false;
        };
        let commit = alive.raft.commit();
        let has_all = |peer: PeerId| {
            let process = self.processes[&peer].alive.as_ref();
            process.is_some_and(|alive| alive.state.index >= commit)
        };
        commit > Index(before.0 + 3)
            && commit == self.checker.commit()
            && alive.raft.configuration().peers().all(has_all)
    }

    fn describe(&self) -> String {
        let states = self.processes.values().map(|process| match &process.alive {
            Some(alive) => format!("{:?}", alive.raft.status()),
            None => format!("peer {} is down", process.id),
        });
        states.collect::<Vec<_>>().join("\n")
    }
}

fn alive_work(processes: &BTreeMap<PeerId, Process>, id: PeerId) -> usize {
    processes[&id]
        .alive
        .as_ref()
        .map_or(0, |alive| alive.work.len())
}

/// What every first member of a new cluster begins with.
fn bootstrap(peers: u64) -> Recovered {
    let add = |id| Entry {
        term: Term(1),
        index: Index(id),
        payload: Payload::Change(Change {
            kind: ChangeKind::AddVoter(PeerId(id)),
            context: Bytes::new(),
        }),
    };
    Recovered {
        hard_state: HardState {
            term: Term(1),
            vote: None,
            commit: Index(peers),
        },
        entries: (1..=peers).map(add).collect(),
        ..Recovered::default()
    }
}
