//! The loop: take events in, write, and only then say what follows; apply while the disk works.
//!
//! One write is in flight at most. While it is, events go on being gathered and the clock goes on ticking, so that a disk
//! that stalls is seen by Raft as what it is, and everything that gathered shares the next write.
//!
//! What this module deliberately does not do: decide anything. The replica does.

use std::sync::Arc;
use std::time::Duration;

use raft::{Index, Message, PeerId};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Ended, ServeError};
use crate::auth::Tokens;
use crate::event::{Event, Outcome};
use crate::handle::Waiter;
use crate::replica::{Replica, Written};
use crate::status::{Membership, Status};
use crate::storage::{Completion, Storage};
use crate::transport::{Peers, REMOVED};
use crate::turn::{Release, Turn};
use crate::watch::{Ask, Hub, Outbox};

/// Events taken in at once, before the clock and the disk are looked at again.
const EVENTS_AT_ONCE: usize = 4_096;
/// Asks of watchers taken in at once.
const ASKS_AT_ONCE: usize = 256;
/// A checkpoint is due when this much log would be freed by it, however few entries that is: entries hold many commands.
const CHECKPOINT_BYTES: u64 = 256 << 20;
/// Memory of compacted history freed at every tick, in records, beside what applying frees.
const SWEEP_PER_TICK: usize = 2_000;

/// When what is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// One tick of the replica.
    pub(super) tick: Duration,
    /// The election timeout, in ticks.
    pub(super) election_ticks: u64,
    /// `--snapshot-count`.
    pub(super) checkpoint_entries: u64,
    /// How long applying may take before it is told.
    pub(super) warning_apply: Duration,
}

/// How the rest of the process reaches the loop, and hears of it.
pub(super) struct Channels {
    pub(super) events: mpsc::Receiver<Event<Waiter>>,
    pub(super) asks: mpsc::Receiver<Ask<Outbox>>,
    pub(super) status: watch::Sender<Status>,
    pub(super) tokens: Arc<Tokens>,
}

/// See the module.
pub(super) struct Rounds {
    replica: Replica<Waiter>,
    storage: Storage,
    peers: Peers,
    events: mpsc::Receiver<Event<Waiter>>,
    asks: mpsc::Receiver<Ask<Outbox>>,
    hub: Hub<Outbox>,
    status: watch::Sender<Status>,
    tokens: Arc<Tokens>,
    membership: Arc<Membership>,
    leader_changes: u64,
    slow_applies: u64,
    schedule: Schedule,
    clock: Interval,
    writing: Option<Writing>,
    checkpoint: Checkpoint,
    removed: CancellationToken,
    /// When to end, after the removal of this member was applied here or another member told of it.
    leave_at: Option<Instant>,
}

/// A turn on its way to the disk.
struct Writing {
    turn: Turn,
    completion: Completion,
    /// Whether the turn installs a snapshot, so that what is applied is ahead of the disk.
    installs: bool,
}

/// The newest checkpoint, and the one that is being written.
struct Checkpoint {
    index: Index,
    at_bytes: u64,
    /// How much of the damage found at rest was answered with a renewal.
    answered_damage: u64,
    writing: Option<(Index, Completion)>,
}

impl Rounds {
    pub(super) fn new(
        replica: Replica<Waiter>,
        storage: Storage,
        peers: Peers,
        channels: Channels,
        schedule: Schedule,
        removed: CancellationToken,
    ) -> Self {
        let mut clock = tokio::time::interval(schedule.tick);
        // After a pause of the whole process, time that nobody could use must not count against the others.
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let index = replica.applied().index;
        let checkpoint = Checkpoint {
            index,
            at_bytes: 0,
            answered_damage: 0,
            writing: None,
        };
        let membership = Arc::new(Membership::of(replica.store().members()));
        Self {
            hub: Hub::new(replica.store().revision()),
            replica,
            storage,
            peers,
            events: channels.events,
            asks: channels.asks,
            status: channels.status,
            tokens: channels.tokens,
            membership,
            leader_changes: 0,
            slow_applies: 0,
            schedule,
            clock,
            writing: None,
            checkpoint,
            removed,
            leave_at: None,
        }
    }

    /// Runs until told to stop, removed, or failed; then answers everybody, and only then waits for the disk, which may hang.
    pub(super) async fn run(
        mut self,
        stop: CancellationToken,
        close_patience: Duration,
    ) -> Result<Ended, ServeError> {
        let ended = self.go_round(&stop).await;
        let Self {
            mut replica,
            storage,
            events,
            ..
        } = self;
        // Who has not been taken in yet hears that there is nobody any more.
        drop(events);
        answer(replica.stop());
        let closed = close(storage, close_patience).await;
        ended.and_then(|ended| closed.map(|()| ended))
    }

    async fn go_round(&mut self, stop: &CancellationToken) -> Result<Ended, ServeError> {
        let mut gathered = Vec::with_capacity(EVENTS_AT_ONCE);
        loop {
            tokio::select! {
                biased;
                done = written(&mut self.writing) => {
                    done.map_err(ServeError::Storage)?;
                    self.go_on_writing();
                }
                _ = self.clock.tick() => self.tick(),
                (index, done) = checkpointed(&mut self.checkpoint) => self.note_checkpoint(index, done),
                _ = self.events.recv_many(&mut gathered, EVENTS_AT_ONCE) => {
                    gathered.drain(..).for_each(|event| self.replica.on(event));
                }
                Some(ask) = self.asks.recv() => self.hear(ask),
                () = stop.cancelled() => return Ok(Ended::Stopped),
                () = self.removed.cancelled(), if self.leave_at.is_none() => self.leave_soon(),
                () = tokio::task::yield_now(), if self.hub.is_behind() => {}
            }
            self.take_turns()?;
            if self.leave_at.is_some_and(|at| at <= Instant::now()) {
                tracing::warn!("{REMOVED}");
                return Ok(Ended::Removed);
            }
        }
    }

    fn hear(&mut self, ask: Ask<Outbox>) {
        self.hub.on(ask, self.replica.store());
        for _ in 1..ASKS_AT_ONCE {
            let Ok(ask) = self.asks.try_recv() else { break };
            self.hub.on(ask, self.replica.store());
        }
    }

    fn tick(&mut self) {
        self.replica.on(Event::Tick);
        self.replica.sweep(SWEEP_PER_TICK);
        let orders = self.replica.take_orders();
        self.send(orders);
        if let Some(digests) = self.replica.digests() {
            self.peers.tell(&digests);
        }
    }

    /// Turns as far as the disk lets them go, and what can be applied meanwhile.
    fn take_turns(&mut self) -> Result<(), ServeError> {
        while self.writing.is_none() {
            let turn = self.replica.turn();
            if turn.is_empty() {
                break;
            }
            self.begin(turn);
        }
        let began = Instant::now();
        let members_changed = self.replica.apply()?;
        self.note_apply(began.elapsed());
        if members_changed {
            self.note_membership();
        }
        // Before anybody is answered: who was told that something is so finds it in the status, and is not told it as news
        // when he begins to watch.
        self.tell_watchers();
        let news = self.replica.take_token_news();
        self.tokens.take(news, Instant::now().into_std());
        self.publish();
        answer(self.replica.take_answers());
        self.checkpoint_if_due();
        Ok(())
    }

    /// etcd's line for what keeps everybody waiting; here of all that was committed at once.
    fn note_apply(&mut self, took: Duration) {
        let expected = self.schedule.warning_apply;
        if took <= expected {
            return;
        }
        self.slow_applies += 1;
        tracing::warn!(
            took = ?took,
            "expected-duration" = ?expected,
            index = self.replica.applied().index.0,
            "apply request took too long"
        );
    }

    fn tell_watchers(&mut self) {
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
            drop(self.storage.submit(persist));
        }
        self.send(ahead);
        self.release(turn.written());
    }

    fn submit(&self, turn: &mut Turn) -> Completion {
        match turn.install.take() {
            Some((meta, image)) => self.storage.install(meta, image),
            None => self.storage.submit(std::mem::take(&mut turn.persist)),
        }
    }

    /// A write is done: the turn's next one, or the turn is.
    fn go_on_writing(&mut self) {
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
        let unreachable: Vec<PeerId> = self.peers.send(messages, image);
        for peer in unreachable {
            self.replica.on(Event::Unreachable(peer));
        }
    }

    fn note_membership(&mut self) {
        let membership = Membership::of(self.replica.store().members());
        self.peers.update(&membership);
        let me = self.status.borrow().identity.member_id;
        if membership.removed.contains(&me) && self.leave_at.is_none() {
            self.leave_soon();
        }
        self.membership = Arc::new(membership);
    }

    /// Not at once: the others shall hear of the removal from us, and whoever waits for it here shall be answered.
    fn leave_soon(&mut self) {
        let ticks = u32::try_from(self.schedule.election_ticks).unwrap_or(u32::MAX);
        self.leave_at = Some(Instant::now() + self.schedule.tick * ticks);
    }

    fn publish(&mut self) {
        let (raft, store) = (self.replica.raft(), self.replica.store());
        let before = self.status.borrow().clone();
        let leader = raft.leader().map(|peer| peer.0);
        if leader.is_some() && leader != before.leader {
            self.leader_changes += 1;
        }
        let me = before.identity.member_id;
        let is_learner = self
            .membership
            .members
            .get(&me)
            .is_some_and(|member| member.is_learner);
        let now = Status {
            leader,
            leader_changes: self.leader_changes,
            term: raft.term().0,
            commit: raft.commit().0,
            applied: self.replica.applied().index.0,
            is_learner,
            is_removed: self.membership.removed.contains(&me),
            revision: store.revision(),
            size_bytes: store.size().bytes,
            has_diverged: self.replica.has_diverged(),
            auth: Arc::clone(store.auth()),
            alarms: store.alarms().iter().collect(),
            cluster_version: store.cluster_version(),
            downgrade: store.downgrade(),
            leases: self.replica.lease_counts(),
            keys: store.size().keys as u64,
            compact_revision: store.compact_revision(),
            tally: self.replica.tally(),
            slow_applies: self.slow_applies,
            pending: self.replica.pending() as u64,
            watch: self.hub.figures(),
            membership: Arc::clone(&self.membership),
            ..before.clone()
        };
        if now.leader != before.leader {
            let leader = now.leader.map(|id| format!("{id:x}"));
            tracing::info!(leader, term = now.term, "the leader changed");
        }
        self.status.send_if_modified(|status| {
            let changed = *status != now;
            *status = now;
            changed
        });
    }

    fn checkpoint_if_due(&mut self) {
        let applied = self.replica.applied();
        let entries = applied.index.0.saturating_sub(self.checkpoint.index.0);
        let bytes = self.replica.applied_bytes() - self.checkpoint.at_bytes;
        let due = entries >= self.schedule.checkpoint_entries || bytes >= CHECKPOINT_BYTES;
        // Entries on their way to the disk are no reason to wait: what is applied is durable. Under load some always are.
        let installs = self.writing.as_ref().is_some_and(|it| it.installs);
        // What has diverged must not take the place of what is sound.
        let is_sound = !self.replica.has_diverged();
        let damage = self.storage.vitals().damage_found();
        let is_damaged = damage > self.checkpoint.answered_damage;
        if !(due || is_damaged) || !is_sound || self.checkpoint.writing.is_some() || installs {
            return;
        }
        self.checkpoint.at_bytes = self.replica.applied_bytes();
        let image = self.replica.store().snapshot();
        let encode = move |out: &mut dyn std::io::Write| {
            image.frames().try_for_each(|frame| out.write_all(&frame))
        };
        let completion = if is_damaged {
            tracing::warn!(
                index = applied.index.0,
                "writing everything anew from memory, as damage was found at rest"
            );
            self.checkpoint.answered_damage = damage;
            self.storage.renew(applied.clone(), encode)
        } else {
            self.storage.checkpoint(applied.clone(), encode)
        };
        self.checkpoint.writing = Some((applied.index, completion));
    }

    fn note_checkpoint(&mut self, index: Index, done: Result<(), crate::storage::StorageError>) {
        self.checkpoint.writing = None;
        // Failed or not, the next one is due only after as much again.
        self.checkpoint.index = index;
        match done {
            Ok(()) => {
                tracing::info!(index = index.0, "wrote a checkpoint");
                self.replica.on(Event::Checkpointed(index));
            }
            Err(error) => tracing::error!(index = index.0, %error, "cannot write a checkpoint"),
        }
    }
}

/// Finishes what is on its way to the disk. Nobody waits for that any more, so a disk that hangs is waited for no longer than
/// `patience`.
async fn close(storage: Storage, patience: Duration) -> Result<(), ServeError> {
    let closing = tokio::task::spawn_blocking(move || storage.close());
    match tokio::time::timeout(patience, closing).await {
        Ok(closed) => closed
            .expect("closing the storage does not panic")
            .map_err(ServeError::Storage),
        Err(_) => Err(ServeError::DiskHangs(patience)),
    }
}

async fn written(writing: &mut Option<Writing>) -> Result<(), crate::storage::StorageError> {
    match writing {
        Some(writing) => (&mut writing.completion).await,
        None => std::future::pending().await,
    }
}

async fn checkpointed(
    checkpoint: &mut Checkpoint,
) -> (Index, Result<(), crate::storage::StorageError>) {
    match &mut checkpoint.writing {
        Some((index, completion)) => (*index, completion.await),
        None => std::future::pending().await,
    }
}

/// Whoever does not wait any more has gone away; that is his business.
fn answer(answers: Vec<(Waiter, Outcome)>) {
    for (waiter, outcome) in answers {
        drop(waiter.send(outcome));
    }
}
