//! The world: time, the network, the clients and the faults.
//!
//! What this module does not do: judge. The checker does.

use super::checker::{Checked, Checker, SOUND, Violation};
use super::disk::{State, Work, Write};
use super::peer::Process;
use super::profile::{Profile, TICK};
use super::{Run, Summary};
use raft::{Body, ChangeKind, Input, Message};
use raft::{PeerId, ReadId, Recovered, Refused, Role};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

/// How long the faults go on.
const TROUBLE: u64 = 4_000;

/// What will happen.
#[derive(Debug)]
pub(super) enum Event {
    Tick(PeerId),
    Deliver(Box<Parcel>),
    DiskDone(PeerId, u64),
    Restart(PeerId),
    Read(PeerId, ReadId),
    Client,
    Fault,
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    message: Message,
    image: Option<State>,
    lost: bool,
}

/// The world.
pub(crate) struct World {
    run: Run,
    pub(super) rng: SmallRng,
    pub(super) profile: Profile,
    pub(super) now: u64,
    /// What will happen, by time and then in the order it was decided.
    agenda: BTreeMap<(u64, u64), Event>,
    decided: u64,
    pub(super) processes: BTreeMap<PeerId, Process>,
    /// Ways that are blocked.
    pub(super) blocked: BTreeSet<(PeerId, PeerId)>,
    pub(super) checker: Checker,
    pub(super) summary: Summary,
    pub(super) next_command: u64,
    pub(super) next_read: u64,
    pub(super) calm: bool,
}

impl World {
    pub(crate) fn new(run: Run) -> Self {
        let mut rng = SmallRng::seed_from_u64(run.seed);
        let profile = Profile::draw(&mut rng);
        let voters = (1..=profile.peers).map(|id| ChangeKind::AddVoter(PeerId(id)));
        let bootstrap = Recovered::founding(voters);
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

    pub(super) fn plan(&mut self, delay: u64, event: Event) {
        self.decided += 1;
        self.agenda.insert((self.now + delay, self.decided), event);
    }

    /// Lets things happen until a time, or until they are as wanted. Says whether they are.
    pub(super) fn until(&mut self, end: u64, wanted: impl Fn(&Self) -> bool) -> Checked<bool> {
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
            Event::Read(id, read) => self.step(id, Input::Read(read)).map(drop),
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

    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        if self.run.told {
            eprintln!("{:>6}   {}", self.now, what());
        }
    }

    pub(super) fn is_awake(&self, id: PeerId) -> bool {
        let process = &self.processes[&id];
        process.alive.is_some() && process.paused_until <= self.now
    }

    /// How long a process leaves what waits at its sockets: nobody knows what it reads first.
    pub(super) fn until_awake(&mut self, id: PeerId) -> u64 {
        let left = self.processes[&id].paused_until.saturating_sub(self.now);
        if left == 0 {
            0
        } else {
            left + self.rng.random_range(0..TICK)
        }
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    // Processes.

    pub(super) fn add_process(&mut self, id: PeerId, recovered: &Recovered) {
        self.processes
            .insert(id, Process::new(id, recovered, &self.run));
        let first = self.rng.random_range(1..=TICK);
        self.plan(first, Event::Tick(id));
    }

    pub(super) fn start(&mut self, id: PeerId) -> Checked {
        let config = self.profile.config(id);
        let rng = SmallRng::seed_from_u64(self.rng.random());
        let process = one(&mut self.processes, id);
        if process.alive.is_none() {
            process.start(config, &self.run, rng)?;
        }
        Ok(())
    }

    /// Tells a peer that something happened, checks it, and lets its driver go on.
    pub(super) fn step(&mut self, id: PeerId, input: Input) -> Checked<Result<(), Refused>> {
        let process = one(&mut self.processes, id);
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
            let process = one(&mut self.processes, id);
            let Some(alive) = &mut process.alive else {
                return Ok(());
            };
            if alive.work.len() >= self.profile.writes_at_once
                || !alive.gather(&mut self.checker)?
            {
                break;
            }
            let at_once = alive.work.len() == 1 && !alive.work[0].must_wait();
            let life = process.life;
            alive.observe(&mut self.checker)?;
            if at_once {
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
        let process = one(&mut self.processes, id);
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
            Work::Ready(mut ready, writes) => {
                if let Some(Write::Install(_, state)) = writes.first() {
                    self.summary.installs += 1;
                    alive.install(*state, &self.checker)?;
                }
                if ready.persist.must_sync || ready.install.is_some() {
                    process.disk.write(writes);
                } else {
                    process.disk.write_lazily(writes);
                }
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
        let process = one(&mut self.processes, id);
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
            let wait = self.until_awake(to);
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
}

/// A process; every peer that is spoken of has one.
pub(super) fn one(processes: &mut BTreeMap<PeerId, Process>, id: PeerId) -> &mut Process {
    processes.get_mut(&id).expect("every peer has a process")
}

fn alive_work(processes: &BTreeMap<PeerId, Process>, id: PeerId) -> usize {
    processes[&id]
        .alive
        .as_ref()
        .map_or(0, |alive| alive.work.len())
}
