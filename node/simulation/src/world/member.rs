//! One member: what of it survives, and the process that runs, if one does.
//!
//! What this module deliberately does not do: time, and other members.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_node::driver::{Driver, Schedule};
use quorate_node::event::Outcome;
use quorate_node::replica::{LeaseClock, Replica, Settings};
use quorate_node::status::Membership;
use quorate_node::storage::StorageError;
use raft::{PeerId, Persist, Raft, Recovered};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use store::{MemberAttributes, Store};

use super::bench::{Durable, Handle, JobId};
use super::checker::{
    Checked, Checker, DURABLE_FIRST, EQUAL, RECOVERS, Seen, check_promise, ensure,
};
use super::platter::Platter;
use super::watching::Outlet;
use crate::bug::Bug;
use crate::clock::Clock;
use crate::network::{Load, Port, Sent};
use crate::profile::{Profile, REQUEST_TICKS, TICK_MS};
use crate::run::Violation;

/// Names one request of one client, as a member knows who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RequestId(pub(crate) u64);

/// Why a member does not run and will not again.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It runs, or will once it is started.
    Well,
    /// It refuses to start: its disk lost what it promised to keep.
    Refused(StorageError),
    /// Whoever starts and stops it has stopped it.
    Stopped,
    /// The cluster has removed it.
    Removed,
}

/// See the module.
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) platter: Platter,
    /// What the disk has confirmed.
    pub(crate) durable: Durable,
    /// Where the log must reach at the next start, however the crash went.
    least_end: raft::Index,
    pub(crate) clock: Clock,
    pub(crate) alive: Option<Alive>,
    /// How often it was started.
    pub(crate) life: u64,
    pub(crate) paused_until: u64,
    /// Until when its disk takes everything and finishes nothing.
    pub(crate) stalled_until: u64,
    pub(crate) fate: Fate,
    /// What it tells the others of itself.
    pub(crate) attributes: MemberAttributes,
    /// Whom to speak to until the log says it.
    known: Membership,
}

/// A process.
pub(crate) struct Alive {
    pub(crate) driver: Driver<RequestId, Outlet, Handle, Port>,
    pub(crate) port: Port,
    pub(crate) bench: Handle,
    /// Which start of which peer has said hello.
    pub(crate) introduced: BTreeMap<u64, u64>,
    seen: Seen,
}

/// What came of a start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Begun {
    pub(crate) runs: bool,
    /// Checkpoints that were found damaged, where older ones and the log say everything.
    pub(crate) put_aside: u64,
    /// A torn end of the log was cut.
    pub(crate) was_cut: bool,
    /// What was damaged was set aside; the others give back what is gone, if anything is.
    pub(crate) was_salvaged: bool,
}

/// What came of letting a member go on.
#[derive(Default)]
pub(crate) struct Gone {
    pub(crate) sent: Vec<Sent>,
    pub(crate) answers: Vec<(RequestId, Outcome)>,
    pub(crate) has_left: bool,
    /// Everything that damage had taken is back.
    pub(crate) got_back: bool,
}

impl Member {
    /// A member whose disk begins with this.
    pub(crate) fn new(
        id: u64,
        first: &Persist,
        known: Membership,
        profile: &Profile,
        rng: &mut SmallRng,
    ) -> Self {
        Self {
            id,
            platter: Platter::new(id, first, profile.segment_bytes, rng),
            durable: Durable::default(),
            least_end: raft::Index(0),
            clock: Clock::draw(rng, profile.clocks),
            alive: None,
            life: 0,
            paused_until: 0,
            stalled_until: 0,
            fate: Fate::Well,
            attributes: MemberAttributes {
                id,
                name: format!("m{id}"),
                client_urls: vec![format!("http://m{id}:2")],
            },
            known,
        }
    }

    pub(crate) fn is_awake(&self, now: u64) -> bool {
        self.alive.is_some() && self.paused_until <= now
    }

    /// Everything on its disk is gone, and nobody remembers what was promised.
    pub(crate) fn lose_disk(&mut self, profile: &Profile, known: Membership, rng: &mut SmallRng) {
        self.platter = Platter::new(self.id, &Persist::default(), profile.segment_bytes, rng);
        self.durable = Durable::default();
        self.least_end = raft::Index(0);
        self.known = known;
    }

    /// Starts the process, if its disk lets it.
    pub(crate) fn start(
        &mut self,
        profile: &Profile,
        bug: Option<Bug>,
        rng: &mut SmallRng,
    ) -> Checked<Begun> {
        let mut opened = match self.platter.open() {
            Ok(opened) => opened,
            Err(error) => return self.cannot_start(error),
        };
        if let Some(bug) = bug {
            bug.recovered(&mut opened.recovered);
        }
        self.check_kept(&opened.recovered, opened.lost_end)?;
        self.durable = Durable::of(&opened.recovered);
        self.least_end = self.durable.last;
        self.life += 1;
        let settings = settings(self.attributes.clone(), profile, bug, rng.random());
        let replica = self.replica(opened.recovered, opened.image, settings, bug, rng)?;
        let bench = Handle::new(self.platter.disk.clone(), opened.storage, bug);
        let mut port = Port::new(self.id);
        let known = if self.durable.last > raft::Index(0) && self.life > 1 {
            Membership::of(replica.store().members())
        } else {
            self.known.clone()
        };
        quorate_node::driver::Network::update(&mut port, &known);
        let schedule = Schedule {
            farewell_ticks: 10,
            checkpoint_entries: profile.checkpoint_entries,
        };
        let driver = Driver::new(self.id, replica, bench.clone(), port.clone(), schedule);
        self.alive = Some(Alive {
            driver,
            port,
            bench,
            introduced: BTreeMap::new(),
            seen: Seen::default(),
        });
        Ok(Begun {
            put_aside: opened.put_aside as u64,
            was_cut: opened.was_cut,
            was_salvaged: opened.was_salvaged,
            runs: true,
        })
    }

    /// What was damaged is refused for ever, with its file and what is wrong there; what the disk cannot do now is tried again.
    fn cannot_start(&mut self, error: StorageError) -> Checked<Begun> {
        if !matches!(error, StorageError::Attempt { .. }) {
            ensure(self.platter.is_flipped(), RECOVERS, || {
                format!("member {}: {error}", self.id)
            })?;
            self.fate = Fate::Refused(error);
        }
        Ok(Begun::default())
    }

    fn replica(
        &self,
        recovered: Recovered,
        image: Option<Bytes>,
        settings: Settings,
        bug: Option<Bug>,
        rng: &mut SmallRng,
    ) -> Checked<Replica<RequestId>> {
        let broken = |what: String| Violation {
            property: RECOVERS,
            what: format!("member {}: {what}", self.id),
        };
        let store = image.map_or_else(|| Ok(Store::new()), |image| Store::decode(&image));
        let mut store = store.map_err(|error| broken(error.to_string()))?;
        let applied = recovered.snapshot.clone();
        let seed = SmallRng::seed_from_u64(rng.random());
        let mut raft = Raft::recover(settings.raft.clone(), recovered, seed)
            .map_err(|error| broken(error.to_string()))?;
        if let Some(bug) = bug {
            raft.break_rules(bug.rules());
            bug.store(self.id, &mut store);
        }
        let mut replica = Replica::new(raft, store, applied, self.durable.last, settings);
        if let Some(bug) = bug {
            replica.break_rules(bug.member_rules());
        }
        replica.campaign_if_alone();
        Ok(replica)
    }

    /// What was promised is there, or is known to be lost to damage.
    fn check_kept(&self, recovered: &Recovered, lost_end: Option<raft::Index>) -> Checked {
        let (before, now) = (self.durable, Durable::of(recovered));
        let vote_kept = now.term > before.term || before.vote.is_none() || now.vote == before.vote;
        ensure(
            now.term >= before.term
                && vote_kept
                && lost_end.max(Some(now.last)) >= Some(self.least_end),
            RECOVERS,
            || {
                let least = self.least_end;
                format!(
                    "member {} had {before:?}, and finds {now:?}, at least {least}",
                    self.id
                )
            },
        )
    }

    /// The process ends without a warning; what was on its way to the disk may be there in part.
    pub(crate) fn crash(&mut self, rng: &mut SmallRng) {
        let Some(alive) = self.alive.take() else {
            return;
        };
        if self.platter.is_flipped() {
            for job in alive.bench.take_writes() {
                // Whether it could be written does not matter any more.
                drop(job.land(&self.platter.disk, &mut self.durable));
            }
        }
        self.least_end = self.least_end.min(alive.bench.least_end(&self.durable));
        self.platter.crash(rng);
    }

    /// The disk does what waits, and says so.
    pub(crate) fn finish_writes(&mut self) -> Result<(), StorageError> {
        let Some(alive) = &mut self.alive else {
            return Ok(());
        };
        // If this fails, nobody knows how far it came.
        self.least_end = alive.bench.least_end(&self.durable);
        let jobs = alive.bench.take_writes();
        let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
        for job in jobs {
            job.land(&self.platter.disk, &mut self.durable)?;
        }
        self.least_end = self.durable.last;
        if !ids.is_empty() {
            self.platter.sealed();
        }
        if let (Some(turn), _) = alive.driver.awaited()
            && ids.contains(turn)
        {
            alive.driver.written();
        }
        Ok(())
    }

    /// The disk has written the oldest checkpoint that waits. A failure ends the process if it was a received one.
    pub(crate) fn finish_checkpoint(&mut self) -> Result<(), StorageError> {
        let Some(alive) = &mut self.alive else {
            return Ok(());
        };
        let Some(job) = alive.bench.take_checkpoint() else {
            return Ok(());
        };
        let (id, renews) = (job.id, job.renews);
        let done = job.land(&self.platter.disk, &mut self.durable);
        let is_it = |awaited: Option<&mut JobId>| awaited.is_some_and(|awaited| *awaited == id);
        let (turn, checkpoint) = alive.driver.awaited();
        let (is_turn, is_checkpoint) = (is_it(turn), is_it(checkpoint));
        if is_turn {
            done?;
            self.least_end = self.durable.last;
            alive.driver.written();
        } else if is_checkpoint {
            if renews && done.is_ok() {
                self.platter.renewed();
            }
            alive.driver.checkpointed(done);
        }
        Ok(())
    }

    /// Lets the process do what it can, and checks it.
    pub(crate) fn go_on(
        &mut self,
        now: u64,
        bug: Option<Bug>,
        checker: &mut Checker,
    ) -> Checked<Gone> {
        let Some(alive) = &mut self.alive else {
            return Ok(Gone::default());
        };
        alive.port.set_time(now);
        alive.driver.take_turns();
        while bug == Some(Bug::ReleaseBeforeSync) && alive.bench.has_writes() {
            let is_waiting = alive.driver.awaited().0.is_some();
            if !is_waiting || alive.bench.has_checkpoints() {
                break;
            }
            alive.driver.written();
            alive.driver.take_turns();
        }
        alive.driver.apply().map_err(|error| Violation {
            property: RECOVERS,
            what: format!("member {}: {error}", self.id),
        })?;
        alive.driver.tell_watchers();
        drop(alive.driver.take_token_news());
        let gone = Gone {
            answers: alive.driver.take_answers(),
            has_left: alive.driver.has_left(),
            ..Gone::default()
        };
        alive.driver.checkpoint_if_due();
        let sent = alive.port.take_sent();
        self.check(&sent, checker)?;
        Ok(Gone {
            sent,
            got_back: self.has_everything() && self.platter.got_back(),
            ..gone
        })
    }

    /// Whether nothing is known to be lost, and nothing of what is back waits for the disk.
    fn has_everything(&self) -> bool {
        self.alive.as_ref().is_some_and(|alive| {
            let waits = alive.bench.has_writes() || alive.bench.has_checkpoints();
            !waits && alive.driver.replica().raft().lost_until().is_none()
        })
    }

    fn check(&mut self, sent: &[Sent], checker: &mut Checker) -> Checked {
        let Some(alive) = &mut self.alive else {
            return Ok(());
        };
        let replica = alive.driver.replica();
        let raft = replica.raft();
        for entries in alive.bench.take_unseen() {
            let before = raft.term_at(entries[0].index.previous());
            checker.writes(before, &entries)?;
        }
        checker.observe(raft, &mut alive.seen)?;
        let applied = replica.applied().index;
        checker.is_state(self.id, applied.0, replica.store().digest())?;
        ensure(!replica.has_diverged(), EQUAL, || {
            format!("member {} says that it differs from the others", self.id)
        })?;
        // A snapshot on its way to the disk is ahead of it; nothing is confirmed to anybody by it.
        let installs = alive.bench.has_checkpoints();
        let durable = self.durable;
        ensure(applied <= durable.last || installs, DURABLE_FIRST, || {
            format!("member {} applied {applied} with {durable:?}", self.id)
        })?;
        for Sent { load, .. } in sent {
            match load {
                Load::Message(message) | Load::Snapshot(message, _) => {
                    check_promise(self.id, message, &durable)?;
                }
                Load::Digests(digests) => checker.are_states(self.id, digests)?,
            }
        }
        Ok(())
    }
}

fn settings(
    attributes: MemberAttributes,
    profile: &Profile,
    bug: Option<Bug>,
    starter: u64,
) -> Settings {
    let mut raft = raft::Config::new(PeerId(attributes.id));
    raft.catchup_entries = profile.catchup_entries;
    raft.pre_vote = profile.pre_vote;
    raft.check_quorum = bug.is_none_or(Bug::checks_quorum);
    let tick_ms = bug.map_or(TICK_MS, Bug::tick_ms);
    Settings {
        raft,
        request_timeout_ticks: REQUEST_TICKS,
        strict_reconfig_check: true,
        attributes,
        retention: profile.retention,
        quota_bytes: 64 << 20,
        leases: LeaseClock {
            tick_ms,
            checkpoint_every: profile.lease_checkpoint_ticks,
        },
        starter,
    }
}
