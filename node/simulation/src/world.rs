//! The world: time, and everything that happens in it to members and between them.
//!
//! What this module deliberately does not do: judge. The checker does after every event, and the judges at the end.

mod bench;
pub(crate) mod checker;
mod disks;
mod doubt;
mod ending;
mod faults;
mod member;
mod operator;
mod platter;
mod requests;
pub(crate) mod stage;
mod truth;
mod watching;
mod wires;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use quorate_node::event::{Event as Happening, Outcome};
use quorate_node::replica::founding_entries;
use quorate_node::status::Membership;
use quorate_node::watch::Ask;
use raft::{HardState, Index, PeerId, Persist, Role, Term, Ticket};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::clients::Client;
use crate::history::{Answer, History};
use crate::network::Blocks;
use crate::profile::Profile;
use crate::run::{Run, Summary, Violation};
use checker::{Checked, Checker};
use member::{Alive, Fate, Gone, Member, RequestId};
use requests::Call;
use truth::Truth;
use watching::{Outlet, Watcher};
use wires::{Parcel, told};

/// How long the faults go on, in milliseconds.
const TROUBLE_MS: u64 = 40_000;

/// What will happen.
#[derive(Debug)]
pub(crate) enum Event {
    Tick(u64),
    Deliver(Box<Parcel>),
    WritesDone(u64, u64),
    CheckpointDone(u64, u64),
    Unreachable(u64, u64),
    SnapshotSent(u64, u64, bool),
    ToldRemoved(u64),
    Start(u64),
    Scrub(u64),
    Client(usize),
    Arrive(RequestId),
    Answer(RequestId, Box<Outcome>),
    GiveUp(RequestId),
    Hear(u64, u64, Box<Ask<Outlet>>),
    Watcher(usize),
    WatchRead(usize),
    Operator,
    Doubt(u64, u32),
    Fault,
}

/// See the module.
pub(crate) struct World {
    pub(super) run: Run,
    pub(super) rng: SmallRng,
    pub(super) profile: Profile,
    pub(super) now: u64,
    /// What will happen, by time and then in the order it was decided.
    agenda: BTreeMap<(u64, u64), Event>,
    decided: u64,
    pub(super) members: BTreeMap<u64, Member>,
    pub(super) blocks: Blocks,
    pub(super) checker: Checker,
    pub(super) truth: Truth,
    pub(super) summary: Summary,
    trace: DefaultHasher,
    pub(super) clients: Vec<Client>,
    pub(super) calls: BTreeMap<RequestId, Call>,
    pub(super) watchers: Vec<Watcher>,
    pub(super) streams: u64,
    pub(super) requests: u64,
    pub(super) history: History,
    /// How many members the administrator wants.
    pub(super) wanted: usize,
    /// Whoever was the last to lead a newer term than all before.
    pub(super) office: Option<(Term, u64)>,
    /// When a change of the membership was last asked for.
    pub(super) changed_at: u64,
    /// What whoever stands outside has asked for, and what came of it.
    pub(super) awaited: BTreeMap<RequestId, Option<Answer>>,
    /// The faults have stopped.
    pub(super) is_calm: bool,
    /// Nobody asks for anything new any more.
    pub(super) is_over: bool,
}

impl World {
    pub(crate) fn new(run: Run) -> Self {
        let mut rng = SmallRng::seed_from_u64(run.seed);
        let profile = Profile::draw(&mut rng);
        let founders: Vec<store::Member> = (1..=profile.members).map(table_entry).collect();
        let mut world = Self::without_members(run, rng, profile);
        world.found(&founders);
        world
    }

    /// A world in which nobody serves the clients yet.
    fn without_members(run: Run, rng: SmallRng, profile: Profile) -> Self {
        Self {
            run,
            now: 0,
            agenda: BTreeMap::new(),
            decided: 0,
            members: BTreeMap::new(),
            blocks: Blocks::default(),
            checker: Checker::new(&[], run.bug),
            truth: Truth::default(),
            summary: Summary::default(),
            trace: DefaultHasher::new(),
            clients: (0..profile.clients).map(Client::new).collect(),
            calls: BTreeMap::new(),
            watchers: (0..profile.watchers).map(|_| Watcher::new()).collect(),
            streams: 0,
            requests: 0,
            history: History::default(),
            wanted: 0,
            office: None,
            changed_at: 0,
            awaited: BTreeMap::new(),
            is_calm: false,
            is_over: false,
            rng,
            profile,
        }
    }

    /// These found the cluster together.
    fn found(&mut self, founders: &[store::Member]) {
        let entries = founding_entries(founders);
        self.checker = Checker::new(&entries, self.run.bug);
        self.wanted = founders.len();
        let commit = Index(entries.len() as u64);
        let first = Persist {
            ticket: Ticket::default(),
            entries,
            hard_state: Some(HardState {
                term: Term(1),
                vote: None,
                commit,
            }),
            must_sync: true,
        };
        let known = Membership {
            members: founders.iter().map(|it| (it.id, it.clone())).collect(),
            ..Membership::default()
        };
        for founder in founders {
            self.add_member(founder.id, &first, known.clone());
        }
    }

    pub(crate) fn run(mut self) -> Result<Summary, Violation> {
        if self.run.told {
            eprintln!("{:#?}", self.profile);
        }
        let ids: Vec<u64> = self.members.keys().copied().collect();
        for id in ids {
            self.start(id)?;
        }
        for which in 0..self.clients.len() {
            self.plan(1, Event::Client(which));
        }
        for which in 0..self.watchers.len() {
            self.plan(500, Event::Watcher(which));
        }
        self.plan(2_000, Event::Operator);
        self.plan_fault();
        self.until(TROUBLE_MS, |_| false)?;
        self.come_right()?;
        self.judge()?;
        self.conclude();
        Ok(self.summary)
    }

    fn conclude(&mut self) {
        self.summary.add("elections", self.checker.elections());
        self.summary.add("commits", self.checker.commit().0);
        self.summary.trace = self.trace.finish();
    }

    // Time.

    pub(super) fn plan(&mut self, delay: u64, event: Event) {
        self.decided += 1;
        self.agenda.insert((self.now + delay, self.decided), event);
    }

    /// Lets things happen until a time, or until they are as wanted. Says whether they are.
    pub(super) fn until(&mut self, end: u64, wanted: impl Fn(&Self) -> bool) -> Checked<bool> {
        while let Some(((at, number), event)) = self.agenda.pop_first() {
            self.now = self.now.max(at);
            if self.run.told {
                eprintln!("{:>6} {}", self.now, told(&event));
            }
            (self.now, number, std::mem::discriminant(&event)).hash(&mut self.trace);
            self.summary.note("events");
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
            Event::Tick(id) => self.tick(id),
            Event::Deliver(parcel) => self.deliver(*parcel),
            Event::WritesDone(id, life) => self.writes_done(id, life),
            Event::CheckpointDone(id, life) => self.checkpoint_done(id, life),
            Event::Unreachable(at, peer) => self.tell(at, Happening::Unreachable(PeerId(peer))),
            Event::SnapshotSent(at, to, ok) => {
                let to = PeerId(to);
                self.tell(at, Happening::SnapshotSent { to, ok })
            }
            Event::ToldRemoved(id) => {
                if let Some(alive) = self.alive(id) {
                    alive.driver.leave_soon();
                }
                self.go_on(id)
            }
            Event::Start(id) => self.start(id),
            Event::Scrub(id) => self.scrub(id),
            Event::Client(which) => self.client_acts(which),
            Event::Arrive(request) => self.arrive(request),
            Event::Answer(request, outcome) => self.answered(request, *outcome),
            Event::GiveUp(request) => self.give_up(request),
            Event::Hear(id, life, ask) => self.hear(id, life, *ask),
            Event::Watcher(which) => self.watcher_acts(which),
            Event::WatchRead(which) => self.watcher_reads(which),
            Event::Operator => self.operator_acts(),
            Event::Doubt(id, visits) => self.doubt(id, visits),
            Event::Fault => self.fault_comes(),
        }
    }

    pub(super) fn note(&self, what: impl FnOnce() -> String) {
        if self.run.told {
            eprintln!("{:>6}   {}", self.now, what());
        }
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    // Members.

    pub(super) fn add_member(&mut self, id: u64, first: &Persist, known: Membership) {
        let member = Member::new(id, first, known, &self.profile, &mut self.rng);
        self.members.insert(id, member);
        let soon = self.rng.random_range(1..=100);
        self.plan(soon, Event::Tick(id));
    }

    pub(super) fn start(&mut self, id: u64) -> Checked {
        let member = one(&mut self.members, id);
        if member.alive.is_some() || !matches!(member.fate, Fate::Well) {
            return Ok(());
        }
        let begun = member.start(&self.profile, self.run.bug, &mut self.rng)?;
        self.summary.note(if begun.runs {
            "starts"
        } else {
            "failed starts"
        });
        self.summary.add("checkpoints put aside", begun.put_aside);
        self.summary.add("torn ends", u64::from(begun.was_cut));
        self.summary
            .add("damage set aside", u64::from(begun.was_salvaged));
        if let Fate::Refused(error) = &self.members[&id].fate {
            self.note(|| format!("{id} is refused: {error}"));
            self.summary.note("starts refused for damage");
        } else if !begun.runs {
            self.plan(1_000, Event::Start(id));
        }
        self.go_on(id)
    }

    pub(super) fn alive(&mut self, id: u64) -> Option<&mut Alive> {
        self.members.get_mut(&id)?.alive.as_mut()
    }

    pub(super) fn is_awake(&self, id: u64) -> bool {
        self.members[&id].is_awake(self.now)
    }

    /// How long a process leaves what waits at its sockets: nobody knows what it reads first.
    pub(super) fn until_awake(&mut self, id: u64) -> u64 {
        let left = self.members[&id].paused_until.saturating_sub(self.now);
        if left == 0 {
            0
        } else {
            left + self.rng.random_range(0..100)
        }
    }

    /// Whether there is anybody whom a client could ask.
    pub(super) fn is_any_well(&self) -> bool {
        let mut members = self.members.values();
        members.any(|member| matches!(member.fate, Fate::Well))
    }

    pub(super) fn some_member(&mut self) -> u64 {
        let well: Vec<u64> = self
            .members
            .values()
            .filter(|member| matches!(member.fate, Fate::Well))
            .map(|member| member.id)
            .collect();
        well[self.rng.random_range(0..well.len())]
    }

    /// Whoever leads, by the newest term.
    pub(super) fn leader(&self) -> Option<u64> {
        let raft = |member: &Member| {
            let raft = member.alive.as_ref()?.driver.replica().raft();
            (raft.role() == Role::Leader).then(|| (raft.term(), member.id))
        };
        self.members.values().filter_map(raft).max().map(|it| it.1)
    }

    fn tell(&mut self, id: u64, happening: Happening<RequestId>) -> Checked {
        if let Some(alive) = self.alive(id) {
            alive.driver.on(happening);
            return self.go_on(id);
        }
        Ok(())
    }

    fn tick(&mut self, id: u64) -> Checked {
        let member = one(&mut self.members, id);
        let pause = member.clock.next(&mut self.rng);
        let is_awake = member.is_awake(self.now);
        if !matches!(member.fate, Fate::Removed) {
            self.plan(pause, Event::Tick(id));
        }
        if is_awake && let Some(alive) = self.alive(id) {
            alive.driver.tick();
            return self.go_on(id);
        }
        Ok(())
    }

    /// Lets a member do what it can, checks it, and takes what it gives to the world.
    pub(super) fn go_on(&mut self, id: u64) -> Checked {
        let (now, bug) = (self.now, self.run.bug);
        let member = one(&mut self.members, id);
        let Gone {
            sent,
            answers,
            has_left,
            got_back,
        } = member.go_on(now, bug, &mut self.checker)?;
        if let Some(alive) = &member.alive {
            let replica = alive.driver.replica();
            let raft = (replica.raft().term(), replica.raft().commit());
            (id, raft, replica.applied().index).hash(&mut self.trace);
            replica.store().digest().hash(&mut self.trace);
            self.truth.learn(now, replica.store());
        }
        self.plan_disk(id);
        for mut sent in sent {
            if let Some(bug) = bug {
                bug.sent(&mut sent);
            }
            self.send(id, sent);
        }
        for (request, outcome) in answers {
            let delay = self.rng.random_range(1..10);
            self.plan(delay, Event::Answer(request, Box::new(outcome)));
        }
        self.note_office(id);
        self.plan_watch_reads();
        self.summary.add("members repaired", u64::from(got_back));
        if has_left {
            self.remove(id);
        }
        Ok(())
    }

    /// A removed member has said its farewell and ends for good.
    pub(super) fn remove(&mut self, id: u64) {
        let member = one(&mut self.members, id);
        member.fate = Fate::Removed;
        member.crash(&mut self.rng);
        self.summary.note("members that left");
        self.break_calls(id);
    }
}

/// A member as the table has it before it has started.
pub(super) fn table_entry(id: u64) -> store::Member {
    store::Member {
        id,
        peer_urls: vec![format!("http://m{id}:1")],
        ..store::Member::default()
    }
}

/// A member; every one that is spoken of is there.
pub(super) fn one(members: &mut BTreeMap<u64, Member>, id: u64) -> &mut Member {
    members
        .get_mut(&id)
        .expect("every member that is spoken of is there")
}
