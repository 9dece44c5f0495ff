//! One member without a world around it: its replica, those who watch it, and what it asks of a disk and a network.
//!
//! The loop of a process (`server::rounds`) and the simulation of whole members drive the same value, so that what is simulated
//! is what runs. Whoever drives it says what happened, and in between calls, in this order, [`Driver::take_turns`],
//! [`Driver::apply`], [`Driver::tell_watchers`], [`Driver::take_answers`] and [`Driver::checkpoint_if_due`].
//!
//! Invariants:
//! - One write is in flight at most. Events go on being taken in meanwhile and share the next one.
//! - Nothing that waits for the disk is sent before [`Driver::written`].
//! - A checkpoint is taken of a sound state that is not ahead of the disk, one at a time.
//!
//! What this module deliberately does not do: wait, measure time other than in ticks, or decide what the replica decides.

mod due;
mod world;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use due::Since;
use raft::{Index, Message};

pub use world::{Disk, Network};

use crate::auth::News;
use crate::event::{Event, Outcome};
use crate::replica::{Replica, Unreadable, Written};
use crate::status::Membership;
use crate::storage::StorageError;
use crate::turn::{Release, Turn};
use crate::watch::{Ask, Figures, Hub, Outlet};

/// Farewells that a removed member waits for, while it hears of no leader.
const LEADERLESS_FAREWELLS: u64 = 10;
/// Memory of compacted history freed at every tick, in records, beside what applying frees.
const SWEEP_PER_TICK: usize = 2_000;

/// When what is due.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// How long a removed member stays to say goodbye, in ticks: an election timeout.
    pub farewell_ticks: u64,
    /// `--snapshot-count`.
    pub checkpoint_entries: u64,
}

/// See the module.
pub struct Driver<W, O, D: Disk, N> {
    replica: Replica<W>,
    hub: Hub<O>,
    disk: D,
    network: N,
    me: u64,
    schedule: Schedule,
    membership: Arc<Membership>,
    writing: Option<Writing<D::Completion>>,
    checkpoint: Checkpoint<D::Completion>,
    now: u64,
    /// When to end, after the removal of this member was applied here or another member told of it.
    leave_at: Option<u64>,
    /// How long this member, removed, waits to hear that somebody leads.
    patient_until: Option<u64>,
}

/// A turn on its way to the disk.
struct Writing<C> {
    turn: Turn,
    completion: C,
    /// Whether the turn installs a snapshot, so that what is applied is ahead of the disk.
    installs: bool,
}

/// The newest checkpoint, and the one that is being written.
struct Checkpoint<C> {
    index: Index,
    at_bytes: u64,
    /// How much of the damage found at rest was answered with a renewal.
    answered_damage: u64,
    writing: Option<(Index, C)>,
}

impl<W, O: Outlet, D: Disk, N: Network> Driver<W, O, D, N> {
    /// Drives member `me`, whose data `disk` holds and whose messages `network` carries.
    #[must_use]
    pub fn new(me: u64, replica: Replica<W>, disk: D, network: N, schedule: Schedule) -> Self {
        let checkpoint = Checkpoint {
            index: replica.applied().index,
            at_bytes: 0,
            answered_damage: 0,
            writing: None,
        };
        Self {
            hub: Hub::new(replica.store().revision()),
            membership: Arc::new(Membership::of(replica.store().members())),
            replica,
            disk,
            network,
            me,
            schedule,
            writing: None,
            checkpoint,
            now: 0,
            leave_at: None,
            patient_until: None,
        }
    }

    /// With another bound on the watchers of one stream.
    #[must_use]
    pub fn with_watchers_max(self, watchers_max: usize) -> Self {
        let hub = self.hub.with_watchers_max(watchers_max);
        Self { hub, ..self }
    }

    /// The replica.
    #[must_use]
    pub const fn replica(&self) -> &Replica<W> {
        &self.replica
    }

    /// The disk.
    #[must_use]
    pub const fn disk(&self) -> &D {
        &self.disk
    }

    /// Who belongs to the cluster, as far as this member has applied.
    #[must_use]
    pub const fn membership(&self) -> &Arc<Membership> {
        &self.membership
    }

    /// Who watches.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.hub.figures()
    }

    /// Whether [`Driver::tell_watchers`] has something to do already.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.hub.is_behind()
    }

    /// What is on its way to the disk: the turn, for whose end [`Driver::written`] waits, and the checkpoint, for
    /// [`Driver::checkpointed`].
    pub fn awaited(&mut self) -> (Option<&mut D::Completion>, Option<&mut D::Completion>) {
        let writing = self.writing.as_mut().map(|it| &mut it.completion);
        let checkpoint = self.checkpoint.writing.as_mut();
        (writing, checkpoint.map(|(_, completion)| completion))
    }

    /// Takes in what happened.
    pub fn on(&mut self, event: Event<W>) {
        if let Event::Introduced {
            peer, peer_urls, ..
        } = &event
        {
            self.network.meet(*peer, peer_urls);
        }
        self.replica.on(event);
    }

    /// Takes in what somebody who watches asks.
    pub fn hear(&mut self, ask: Ask<O>) {
        self.hub.on(ask, self.replica.store());
    }

    /// One tick of the clock passed.
    pub fn tick(&mut self) {
        self.now += 1;
        self.leave_if_led();
        self.replica.on(Event::Tick);
        self.replica.sweep(SWEEP_PER_TICK);
        let orders = self.replica.take_orders();
        self.send(orders);
        if let Some(digests) = self.replica.digests() {
            self.network.tell(&digests);
        }
    }

    /// Turns, as far as the disk lets them go.
    pub fn take_turns(&mut self) {
        while self.writing.is_none() {
            let turn = self.replica.turn();
            if turn.is_empty() {
                break;
            }
            self.begin(turn);
        }
    }

    /// What can be applied while the disk works.
    ///
    /// # Errors
    /// [`Unreadable`]: this member must stop.
    pub fn apply(&mut self) -> Result<(), Unreadable> {
        if self.replica.apply()? {
            self.note_membership();
        }
        Ok(())
    }

    /// Before anybody is answered: who was told that something is so is not told it as news when he begins to watch.
    pub fn tell_watchers(&mut self) {
        let Written {
            is_replaced,
            changes,
        } = self.replica.take_written();
        if self.replica.has_diverged() {
            return;
        }
        let store = self.replica.store();
        self.hub.publish(changes, is_replaced, store);
        self.hub.step(store);
    }

    /// What to tell whoever remembers tokens, before anybody is answered.
    #[must_use]
    pub fn take_token_news(&mut self) -> Vec<News> {
        self.replica.take_token_news()
    }

    /// Whom to answer what.
    #[must_use]
    pub fn take_answers(&mut self) -> Vec<(W, Outcome)> {
        self.replica.take_answers()
    }

    /// A write is done: the turn's next one, or the turn is.
    pub fn written(&mut self) {
        let Some(Writing {
            mut turn, installs, ..
        }) = self.writing.take()
        else {
            return;
        };
        if turn.persist.is_empty() {
            self.release(turn.written());
        } else {
            let completion = self.submit(&mut turn);
            self.writing = Some(Writing {
                turn,
                completion,
                installs,
            });
        }
    }

    /// Begins a checkpoint, if one is due.
    pub fn checkpoint_if_due(&mut self) {
        let applied = self.replica.applied();
        let since = Since {
            entries: applied.index.0.saturating_sub(self.checkpoint.index.0),
            bytes: self.replica.applied_bytes() - self.checkpoint.at_bytes,
        };
        let newest_bytes = self.disk.checkpoint_bytes();
        let due = since.is_due(newest_bytes, self.schedule.checkpoint_entries);
        // Entries on their way to the disk are no reason to wait: what is applied is durable. Under load some always are.
        let installs = self.writing.as_ref().is_some_and(|it| it.installs);
        // What has diverged must not take the place of what is sound.
        let is_sound = !self.replica.has_diverged();
        let damage = self.disk.damage_found();
        let is_damaged = damage > self.checkpoint.answered_damage;
        if !(due || is_damaged) || !is_sound || self.checkpoint.writing.is_some() || installs {
            return;
        }
        self.checkpoint.at_bytes = self.replica.applied_bytes();
        let image = self.replica.store().snapshot();
        let completion = if is_damaged {
            tracing::warn!(
                index = applied.index.0,
                "writing everything anew from memory, as damage was found at rest"
            );
            self.checkpoint.answered_damage = damage;
            self.disk.renew(applied.clone(), image)
        } else {
            self.disk.checkpoint(applied.clone(), image)
        };
        self.checkpoint.writing = Some((applied.index, completion));
    }

    /// The checkpoint that was begun is done, or cannot be written: then the next one is due only after as much again.
    pub fn checkpointed(&mut self, done: Result<(), StorageError>) {
        let Some((index, _)) = self.checkpoint.writing.take() else {
            return;
        };
        self.checkpoint.index = index;
        match done {
            Ok(()) => {
                tracing::info!(index = index.0, "wrote a checkpoint");
                self.replica.on(Event::Checkpointed(index));
            }
            Err(error) => tracing::error!(index = index.0, %error, "cannot write a checkpoint"),
        }
    }

    /// This member was removed. It does not leave at once: the others shall hear of it from us, and whoever waits for it here
    /// shall be answered.
    pub fn leave_soon(&mut self) {
        let at = self.now + self.schedule.farewell_ticks;
        self.leave_at.get_or_insert(at);
    }

    /// Whether this member was removed.
    #[must_use]
    pub const fn is_leaving(&self) -> bool {
        self.leave_at.is_some()
    }

    /// Whether it has said its farewell.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.leave_at.is_some_and(|at| at <= self.now)
    }

    /// Ends: the answers to all who still wait, and the disk, to be closed.
    #[must_use]
    pub fn stop(mut self) -> (Vec<(W, Outcome)>, D) {
        (self.replica.stop(), self.disk)
    }

    fn begin(&mut self, mut turn: Turn) {
        let ahead = turn.take_ahead();
        if turn.must_wait() {
            let installs = turn.install.is_some();
            let completion = self.submit(&mut turn);
            self.send(ahead);
            self.writing = Some(Writing {
                turn,
                completion,
                installs,
            });
            return;
        }
        let persist = std::mem::take(&mut turn.persist);
        if !persist.is_empty() {
            // Lazy: it completes at once and is written with what comes next, whose completion speaks for it.
            drop(self.disk.write(persist));
        }
        self.send(ahead);
        self.release(turn.written());
    }

    fn submit(&self, turn: &mut Turn) -> D::Completion {
        match turn.install.take() {
            Some((meta, image)) => self.disk.install(meta, image),
            None => self.disk.write(std::mem::take(&mut turn.persist)),
        }
    }

    fn release(&mut self, release: Release) {
        self.replica.written(&release);
        self.send(release.messages);
    }

    fn send(&mut self, messages: Vec<Message>) {
        if messages.is_empty() {
            return;
        }
        let replica = &self.replica;
        let image = || (replica.applied().clone(), replica.store().snapshot());
        for peer in self.network.send(messages, image) {
            self.replica.on(Event::Unreachable(peer));
        }
    }

    fn note_membership(&mut self) {
        let membership = Membership::of(self.replica.store().members());
        self.network.update(&membership);
        self.membership = Arc::new(membership);
        if self.replica.is_out() {
            self.replica.retire();
        }
        self.leave_if_led();
    }

    /// A removed member leaves once somebody leads: then the others can do without it. If nobody does, it may be the only one
    /// to know that its removal is committed, which a candidate must hear from it before it can win. Others who elect without it
    /// do not tell it, so that it waits for some elections and no more.
    fn leave_if_led(&mut self) {
        if !self.membership.removed.contains(&self.me) {
            return;
        }
        let now = self.now;
        let unheard = LEADERLESS_FAREWELLS * self.schedule.farewell_ticks;
        let patient_until = *self.patient_until.get_or_insert(now + unheard);
        if self.replica.raft().leader().is_some() || patient_until <= now {
            self.leave_soon();
        }
    }
}
