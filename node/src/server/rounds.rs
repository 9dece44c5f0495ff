//! The loop: take events in, write, and only then say what follows; apply while the disk works.
//!
//! One write is in flight at most. While it is, events go on being gathered and the clock goes on ticking, so that a disk
//! that stalls is seen by Raft as what it is, and everything that gathered shares the next write.
//!
//! What this module deliberately does not do: decide anything. The [`Driver`] and its replica do.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Ended, ServeError};
use crate::auth::Tokens;
use crate::driver::{self, Driver};
use crate::event::{Event, Outcome};
use crate::handle::Waiter;
use crate::replica::Replica;
use crate::status::Status;
use crate::storage::{Completion, Storage, StorageError};
use crate::transport::{Peers, REMOVED};
use crate::watch::{Ask, Outbox};

/// Events taken in at once, before the clock and the disk are looked at again.
const EVENTS_AT_ONCE: usize = 4_096;
/// Asks of watchers taken in at once.
const ASKS_AT_ONCE: usize = 256;

/// When what is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// One tick of the replica.
    pub(super) tick: Duration,
    /// In ticks.
    pub(super) driver: driver::Schedule,
    /// How long applying may take before it is told.
    pub(super) warning_apply: Duration,
    /// On one stream.
    pub(super) watchers_max: usize,
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
    driver: Driver<Waiter, Outbox, Storage, Peers>,
    events: mpsc::Receiver<Event<Waiter>>,
    asks: mpsc::Receiver<Ask<Outbox>>,
    status: watch::Sender<Status>,
    tokens: Arc<Tokens>,
    leader_changes: u64,
    slow_applies: u64,
    warning_apply: Duration,
    clock: Interval,
    removed: CancellationToken,
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
        let me = channels.status.borrow().identity.member_id;
        Self {
            driver: Driver::new(me, replica, storage, peers, schedule.driver)
                .with_watchers_max(schedule.watchers_max),
            events: channels.events,
            asks: channels.asks,
            status: channels.status,
            tokens: channels.tokens,
            leader_changes: 0,
            slow_applies: 0,
            warning_apply: schedule.warning_apply,
            clock,
            removed,
        }
    }

    /// Runs until told to stop, removed, or failed; then answers everybody, and only then waits for the disk, which may hang.
    pub(super) async fn run(
        mut self,
        stop: CancellationToken,
        close_patience: Duration,
    ) -> Result<Ended, ServeError> {
        let ended = self.go_round(&stop).await;
        // Who has not been taken in yet hears that there is nobody any more.
        drop(self.events);
        let (answers, storage) = self.driver.stop();
        answer(answers);
        let closed = close(storage, close_patience).await;
        ended.and_then(|ended| closed.map(|()| ended))
    }

    async fn go_round(&mut self, stop: &CancellationToken) -> Result<Ended, ServeError> {
        let mut gathered = Vec::with_capacity(EVENTS_AT_ONCE);
        loop {
            let (is_behind, is_leaving) = (self.driver.is_behind(), self.driver.is_leaving());
            let (turn, checkpoint) = self.driver.awaited();
            tokio::select! {
                biased;
                done = completed(turn) => {
                    done.map_err(ServeError::Storage)?;
                    self.driver.written();
                }
                _ = self.clock.tick() => self.driver.tick(),
                done = completed(checkpoint) => self.driver.checkpointed(done),
                _ = self.events.recv_many(&mut gathered, EVENTS_AT_ONCE) => {
                    gathered.drain(..).for_each(|event| self.driver.on(event));
                }
                Some(ask) = self.asks.recv() => self.hear(ask),
                () = stop.cancelled() => return Ok(Ended::Stopped),
                () = self.removed.cancelled(), if !is_leaving => self.driver.leave_soon(),
                () = tokio::task::yield_now(), if is_behind => {}
            }
            self.go_on()?;
            if self.driver.has_left() {
                tracing::warn!("{REMOVED}");
                return Ok(Ended::Removed);
            }
        }
    }

    fn hear(&mut self, ask: Ask<Outbox>) {
        self.driver.hear(ask);
        for _ in 1..ASKS_AT_ONCE {
            let Ok(ask) = self.asks.try_recv() else { break };
            self.driver.hear(ask);
        }
    }

    fn go_on(&mut self) -> Result<(), ServeError> {
        self.driver.take_turns();
        let began = Instant::now();
        self.driver.apply()?;
        self.note_apply(began.elapsed());
        // Before anybody is answered: who was told that something is so finds it in the status.
        self.driver.tell_watchers();
        let news = self.driver.take_token_news();
        self.tokens.take(news, Instant::now().into_std());
        self.publish();
        answer(self.driver.take_answers());
        self.driver.checkpoint_if_due();
        Ok(())
    }

    /// etcd's line for what keeps everybody waiting; here of all that was committed at once.
    fn note_apply(&mut self, took: Duration) {
        let expected = self.warning_apply;
        if took <= expected {
            return;
        }
        self.slow_applies += 1;
        tracing::warn!(
            took = ?took,
            "expected-duration" = ?expected,
            index = self.driver.replica().applied().index.0,
            "apply request took too long"
        );
    }

    fn publish(&mut self) {
        let replica = self.driver.replica();
        let membership = self.driver.membership();
        let (raft, store) = (replica.raft(), replica.store());
        let before = self.status.borrow().clone();
        let leader = raft.leader().map(|peer| peer.0);
        if leader.is_some() && leader != before.leader {
            self.leader_changes += 1;
        }
        let me = before.identity.member_id;
        let is_learner = membership
            .members
            .get(&me)
            .is_some_and(|member| member.is_learner);
        let now = Status {
            leader,
            leader_changes: self.leader_changes,
            term: raft.term().0,
            commit: raft.commit().0,
            applied: replica.applied().index.0,
            is_learner,
            is_removed: membership.removed.contains(&me),
            revision: store.revision(),
            size_bytes: store.size().bytes,
            has_diverged: replica.has_diverged(),
            lost_until: raft.lost_until().map(|index| index.0),
            auth: Arc::clone(store.auth()),
            alarms: store.alarms().iter().collect(),
            cluster_version: store.cluster_version(),
            downgrade: store.downgrade(),
            leases: replica.lease_counts(),
            keys: store.size().keys as u64,
            compact_revision: store.compact_revision(),
            tally: replica.tally(),
            slow_applies: self.slow_applies,
            pending: replica.pending() as u64,
            watch: self.driver.figures(),
            membership: Arc::clone(membership),
            ..before.clone()
        };
        if now.leader != before.leader {
            let leader = now.leader.map(|id| format!("{id:x}"));
            tracing::info!(leader, term = now.term, "the leader changed");
        }
        if let (Some(lost_until), None) = (before.lost_until, now.lost_until) {
            tracing::info!(lost_until, "the others have given back what damage took");
        }
        self.status.send_if_modified(|status| {
            let changed = *status != now;
            *status = now;
            changed
        });
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

async fn completed(completion: Option<&mut Completion>) -> Result<(), StorageError> {
    match completion {
        Some(completion) => completion.await,
        None => std::future::pending().await,
    }
}

/// Whoever does not wait any more has gone away; that is his business.
fn answer(answers: Vec<(Waiter, Outcome)>) {
    for (waiter, outcome) in answers {
        drop(waiter.send(outcome));
    }
}
