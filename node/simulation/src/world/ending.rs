//! The end of a run: the faults stop, and everything must come right within bounded time. Then the judges read.
//!
//! What this module deliberately does not do: judge.

use super::checker::{Checked, LIVENESS, ensure};
use super::member::{Fate, Member};

use super::{World, one};
use crate::clients::all_keys;
use crate::clock::DRIFT_PERMILLE;
use crate::history::{Answer, Asked};
use crate::judge::judge;
use raft::Index;

/// How long it may take until somebody leads, in milliseconds: a few election timeouts, which are drawn up to twice as long.
const ELECTION_MS: u64 = 8_000;
/// How long everything else may take: members are replaced one after another, each by several steps.
const RECOVERY_MS: u64 = 90_000;
/// How long what was asked last may take, what is watched, and leases that nobody renews any more.
const LAST_WORDS_MS: u64 = 20_000;

impl World {
    /// The faults stop. Within bounded time there is a leader, the membership is as wanted, every member has everything, and new
    /// commands are in it.
    pub(super) fn come_right(&mut self) -> Checked {
        self.is_calm = true;
        self.profile.calm();
        self.blocks.clear();
        let ids: Vec<u64> = self.members.keys().copied().collect();
        for id in ids {
            let member = one(&mut self.members, id);
            (member.paused_until, member.stalled_until) = (self.now, self.now);
            member.platter.mend();
            if member.platter.is_flipped() {
                // What is damaged shows at a start, if it matters.
                member.crash(&mut self.rng);
                self.break_calls(id);
            }
            self.start(id)?;
        }
        let begun = self.now;
        let elected = self.until(begun + ELECTION_MS, |world| world.leader().is_some())?;
        ensure(elected, LIVENESS, || {
            format!("nobody leads\n{}", self.describe())
        })?;
        self.summary.add("ms until a leader", self.now - begun);
        let before = self.checker.commit();
        let right = self.until(begun + RECOVERY_MS, |world| world.is_right(before))?;
        ensure(right, LIVENESS, || self.describe())?;
        self.summary.add("ms until all is right", self.now - begun);
        self.ask_everybody()
    }

    /// Every member must give out everything, to whoever asks and whoever watches.
    fn ask_everybody(&mut self) -> Checked {
        self.is_over = true;
        let end = self.now + LAST_WORDS_MS;
        let quiet = self.until(end, |world| world.calls.is_empty())?;
        ensure(quiet, LIVENESS, || "a client is never answered".to_owned())?;
        self.history.quiet_ms = self.now;
        let auditor = self.clients.len();
        let ids: Vec<u64> = self.table().map_or_else(Vec::new, |(_, table)| {
            table.members.keys().copied().collect()
        });
        for id in &ids {
            self.ask_at(*id, auditor, Asked::Range(all_keys()));
        }
        let from = self.history.operations.len() - ids.len();
        let quiet = self.until(end, |world| world.calls.is_empty())?;
        let is_read = |answer: &Answer| matches!(answer, Answer::Range(_));
        let all = self.history.operations[from..]
            .iter()
            .all(|it| is_read(&it.answer));
        ensure(quiet && all, LIVENESS, || {
            let last = &self.history.operations[from..];
            format!("not every member can be read: {last:#?}")
        })?;
        let ended = self.until(end, |world| !world.truth.has_leases())?;
        ensure(ended, LIVENESS, || {
            "a lease that nobody renews lives on".to_owned()
        })?;
        // A grant that was on its way for long may come even now.
        let is_over = |world: &Self| world.is_watched() && !world.truth.has_leases();
        let over = self.until(end + LAST_WORDS_MS, is_over)?;
        ensure(over, LIVENESS, || {
            format!(
                "somebody who watches is not told everything, or a lease came late and lives on: {:?}",
                self.watchers
            )
        })
    }

    fn is_right(&self, before: Index) -> bool {
        let Some(alive) = self
            .leader()
            .and_then(|id| self.members[&id].alive.as_ref())
        else {
            return false;
        };
        let raft = alive.driver.replica().raft();
        let table = &alive.driver.membership().members;
        let has_all = |id: &u64| {
            let alive = self
                .members
                .get(id)
                .and_then(|member| member.alive.as_ref());
            alive.is_some_and(|it| {
                let replica = it.driver.replica();
                replica.applied().index >= raft.commit() && replica.raft().lost_until().is_none()
            })
        };
        !self.is_changing()
            && raft.commit() > Index(before.0 + 3)
            && raft.commit() == self.checker.commit()
            && table.len() == self.wanted
            && table.values().all(|member| !member.is_learner)
            && table.keys().all(has_all)
    }

    /// Gives what happened to the judges.
    pub(super) fn judge(&mut self) -> Checked {
        self.complete_watches();
        let mut history = std::mem::take(&mut self.history);
        history.writes = std::mem::take(&mut self.truth.writes);
        history.leases = std::mem::take(&mut self.truth.leases);
        history.compacted = self.truth.compacted;
        history.is_whole = !self.truth.has_gap;
        history.drift_permille = if self.profile.clocks {
            DRIFT_PERMILLE
        } else {
            1
        };
        let jumped = self.members.values().map(|it| it.clock.jumped_ms());
        history.jumped_ms = jumped.sum();
        self.summary
            .add("operations", history.operations.len() as u64);
        self.summary
            .add("whole histories", u64::from(history.is_whole));
        judge(&history)
    }

    fn describe(&self) -> String {
        let state = |member: &Member| match (&member.alive, &member.fate) {
            (Some(alive), _) => format!(
                "{:?} table {:?}",
                alive.driver.replica().raft().status(),
                alive.driver.membership()
            ),
            (None, Fate::Well) => format!("member {} is down", member.id),
            (None, fate) => format!("member {}: {fate:?}", member.id),
        };
        let states: Vec<String> = self.members.values().map(state).collect();
        format!("{} wanted\n{}", self.wanted, states.join("\n"))
    }
}
