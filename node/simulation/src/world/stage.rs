//! A world for an administrator who stands outside of it: he starts members, stops them, takes their disks, asks them for what
//! administrators ask for, and says how much time goes by. Clients ask for what they like all the while, and the judges read it at
//! the end.
//!
//! A member that somebody stops is killed, or its machine loses power, as the seed has it.
//!
//! What this module deliberately does not do: know pods, or whether what is done is wise.

use quorate_node::status::Membership;
use raft::Persist;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use store::{Command, MemberAdd, MemberAttributes, MemberPromote, MemberRemove, MemberUpdate};

use super::checker::{Checked, LIVENESS, ensure};
use super::member::Fate;
use super::requests::Wish;
use super::{Event, World, one};
use crate::bug::Bug;
use crate::history::Answer;
use crate::profile::Profile;
use crate::run::{Run, Summary, Violation};

/// How long the end waits for a leader before it asks who is a member, in milliseconds.
const ELECTION_MS: u64 = 8_000;

/// See the module.
pub struct Stage {
    world: World,
    /// The first promise that was broken; nothing happens after that.
    broken: Option<Violation>,
    /// The last id that was given to a member.
    newest: u64,
}

/// What a member says of itself, as `Status` does.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// Its term.
    pub term: u64,
    /// How far it knows the log to be committed.
    pub commit: u64,
    /// How far it has applied the log.
    pub applied: u64,
    /// The newest revision of its store.
    pub revision: i64,
    /// Whether it has no vote.
    pub is_learner: bool,
}

/// One member of the membership.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its id.
    pub id: u64,
    /// Its name; empty until it has started.
    pub name: String,
    /// Where the others reach it.
    pub peer_urls: Vec<String>,
    /// Whether it has no vote.
    pub is_learner: bool,
}

/// Why a member did not do what it was asked for.
#[derive(Clone, Debug)]
pub enum Refused {
    /// Its process does not run.
    Gone,
    /// It did not answer; what it was asked for may be done.
    Silent,
    /// It says so, with etcd's text.
    Says(String),
}

impl Stage {
    /// Nobody but clients, of this seed; with a bug in every member, if one is to be there.
    #[must_use]
    pub fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let profile = Profile::of_stage(&mut rng);
        let told = false;
        let mut world = World::without_members(Run { seed, bug, told }, rng, profile);
        for which in 0..world.clients.len() {
            world.plan(1, Event::Client(which));
        }
        world.plan_fault();
        Self {
            world,
            broken: None,
            newest: 0,
        }
    }

    /// A member founds the cluster alone, and is not started yet; its id. Whoever founds a second time founds another cluster,
    /// which knows nothing of what was written in the first.
    ///
    /// # Errors
    /// If there is a cluster.
    pub fn found(&mut self, peer_url: &str) -> Result<u64, String> {
        if self.newest > 0 {
            return Err("a cluster is founded that was founded before".to_owned());
        }
        self.newest = 1;
        let founder = store::Member {
            id: self.newest,
            peer_urls: vec![peer_url.to_owned()],
            ..store::Member::default()
        };
        self.world.found(&[founder]);
        one(&mut self.world.members, self.newest).fate = Fate::Stopped;
        Ok(self.newest)
    }

    /// Gives a member of the cluster a disk with nothing on it, as `through` knows the membership.
    pub fn equip(&mut self, id: u64, through: u64) {
        let table = self.table(through);
        let world = &mut self.world;
        if !world.members.contains_key(&id) {
            world.add_member(id, &Persist::default(), table);
            one(&mut world.members, id).fate = Fate::Stopped;
            return;
        }
        self.stop(id);
        let World {
            members,
            profile,
            rng,
            ..
        } = &mut self.world;
        one(members, id).lose_disk(profile, table, rng);
    }

    /// The membership as this member has it, by id.
    fn table(&mut self, id: u64) -> Membership {
        let alive = self.world.alive(id);
        alive.map_or_else(Membership::default, |alive| {
            Membership::clone(alive.driver.membership())
        })
    }

    /// All members that this one knows of; none if it does not run.
    pub fn known_to(&mut self, id: u64) -> Vec<Listed> {
        self.table(id).members.into_values().map(listed).collect()
    }

    /// Starts a member's process.
    pub fn start(&mut self, id: u64, name: &str, client_url: &str) {
        let member = one(&mut self.world.members, id);
        member.attributes = MemberAttributes {
            id,
            name: name.to_owned(),
            client_urls: vec![client_url.to_owned()],
        };
        if matches!(member.fate, Fate::Stopped) {
            member.fate = Fate::Well;
        }
        self.happen(|world| world.start(id));
    }

    /// Ends a member's process without a warning.
    pub fn stop(&mut self, id: u64) {
        let World { members, rng, .. } = &mut self.world;
        let member = one(members, id);
        if matches!(member.fate, Fate::Well) {
            member.fate = Fate::Stopped;
        }
        member.crash(rng);
        self.world.break_calls(id);
        self.world.summary.note("members stopped");
    }

    /// Whether the cluster has removed this member, and it knows.
    #[must_use]
    pub fn is_removed(&self, id: u64) -> bool {
        let member = self.world.members.get(&id);
        member.is_some_and(|member| matches!(member.fate, Fate::Removed))
    }

    /// How a member is; nothing if it does not run, or does not answer now.
    pub fn state(&mut self, id: u64) -> Option<State> {
        let is_learner = self.world.is_learner(id);
        let known = self.world.members.contains_key(&id);
        let alive = (known && self.world.is_awake(id)).then(|| self.world.alive(id))??;
        let replica = alive.driver.replica();
        let raft = replica.raft();
        Some(State {
            leader: raft.leader().map(|it| it.0),
            term: raft.term().0,
            commit: raft.commit().0,
            applied: replica.applied().index.0,
            revision: replica.store().revision(),
            is_learner,
        })
    }

    /// Lets so many milliseconds go by.
    pub fn pass(&mut self, ms: u64) {
        self.happen(|world| {
            let end = world.now + ms;
            world.until(end, |_| false).map(drop)
        });
    }

    /// Asks for the membership by a linearizable read, for so many milliseconds.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn members(&mut self, at: u64, patience_ms: u64) -> Result<Vec<Listed>, Refused> {
        match self.ask(at, Wish::Members, patience_ms)? {
            Answer::Members(members) => Ok(members.into_iter().map(listed).collect()),
            _ => Err(Refused::Silent),
        }
    }

    /// Asks for a learner that will be reached at `peer_url`; its id.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn add_learner(
        &mut self,
        at: u64,
        peer_url: &str,
        max_learners: u32,
        patience_ms: u64,
    ) -> Result<u64, Refused> {
        self.newest += 1;
        let id = self.newest;
        let member = store::Member {
            id,
            peer_urls: vec![peer_url.to_owned()],
            is_learner: true,
            ..store::Member::default()
        };
        let add = MemberAdd {
            member,
            max_learners,
        };
        self.change(at, Command::MemberAdd(add), patience_ms)?;
        Ok(id)
    }

    /// Asks for a learner to become a voter.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn promote(&mut self, at: u64, id: u64, patience_ms: u64) -> Result<(), Refused> {
        let promote = Command::MemberPromote(MemberPromote { id });
        self.change(at, promote, patience_ms)
    }

    /// Asks for a member to be removed.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn remove(&mut self, at: u64, id: u64, patience_ms: u64) -> Result<(), Refused> {
        let remove = Command::MemberRemove(MemberRemove { id });
        self.change(at, remove, patience_ms)
    }

    /// Asks for a member to be reached elsewhere by the others.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn update(
        &mut self,
        at: u64,
        id: u64,
        peer_url: &str,
        patience_ms: u64,
    ) -> Result<(), Refused> {
        let peer_urls = vec![peer_url.to_owned()];
        let update = Command::MemberUpdate(MemberUpdate { id, peer_urls });
        self.change(at, update, patience_ms)
    }

    /// Asks the leader, which must be `at`, to hand over.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn move_leader(&mut self, at: u64, to: u64, patience_ms: u64) -> Result<(), Refused> {
        if !self.world.leads(at) {
            return Err(Refused::Says("etcdserver: not leader".to_owned()));
        }
        self.ask(at, Wish::Move(to), patience_ms).map(drop)
    }

    /// The end: faults stop, everything comes right, every member gives out everything, and the judges read what clients saw.
    ///
    /// # Errors
    /// The first promise that was broken, at any time.
    pub fn end(&mut self) -> Result<Summary, Violation> {
        self.happen(|world| {
            let end = world.now + ELECTION_MS;
            // One that naps leads as well, and cannot be asked yet.
            world.until(end, |it| it.leader().is_some_and(|id| it.is_awake(id)))?;
            let table = world.table();
            ensure(table.is_some(), LIVENESS, || "nobody leads".to_owned())?;
            world.wanted = table.map_or(0, |(_, table)| table.members.len());
            world.come_right()?;
            world.judge()?;
            world.conclude();
            Ok(())
        });
        match &self.broken {
            Some(violation) => Err(violation.clone()),
            None => Ok(self.world.summary.clone()),
        }
    }

    fn change(&mut self, at: u64, change: Command, patience_ms: u64) -> Result<(), Refused> {
        self.ask(at, Wish::Change(change), patience_ms).map(drop)
    }

    /// Asks a member, and lets time go by until it answers.
    fn ask(&mut self, at: u64, wish: Wish, patience_ms: u64) -> Result<Answer, Refused> {
        if self.world.alive(at).is_none() {
            return Err(Refused::Gone);
        }
        let id = self.world.call(at, wish);
        self.world.awaited.insert(id, None);
        self.happen(|world| {
            let end = world.now + patience_ms;
            let is_answered = |world: &World| world.awaited.values().all(Option::is_some);
            world.until(end, is_answered).map(drop)
        });
        self.world.calls.remove(&id);
        match self.world.awaited.remove(&id).flatten() {
            None | Some(Answer::Lost) => Err(Refused::Silent),
            Some(Answer::Refused(refusal)) => Err(Refused::Says(refusal.to_string())),
            Some(answer) => Ok(answer),
        }
    }

    /// Something happens, unless a promise was broken before.
    fn happen(&mut self, what: impl FnOnce(&mut World) -> Checked) {
        if self.broken.is_none() {
            self.broken = what(&mut self.world).err();
        }
    }
}

fn listed(member: store::Member) -> Listed {
    Listed {
        id: member.id,
        name: member.name,
        peer_urls: member.peer_urls,
        is_learner: member.is_learner,
    }
}
