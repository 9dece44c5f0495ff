//! Alarms that this member wants up: raised through the log, again and again until the table has them.
//!
//! What this module deliberately does not do: take alarms back. Somebody must have looked.

use std::collections::BTreeSet;

use store::{Alarm, AlarmChange, AlarmKind, Command};

use super::Replica;
use crate::quota;

/// What is to be raised, and when to propose it again.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    alarms: BTreeSet<Alarm>,
    again_at: u64,
}

impl<W> Replica<W> {
    /// Wants an alarm to be up.
    pub(super) fn want_alarm(&mut self, alarm: Alarm) {
        self.wanted_alarms.alarms.insert(alarm);
    }

    /// To be asked of every command before it is applied: one beyond the quota is applied all the same, and is the last.
    pub(super) fn note_space(&mut self, command: &Command) {
        let size = self.store.size().bytes;
        if !quota::admits(self.settings.quota_bytes, size, quota::of(command)) {
            self.want_alarm(Alarm::new(AlarmKind::NoSpace, self.me().0));
        }
    }

    /// Proposes what is wanted and not up; to be asked at every tick.
    pub(super) fn raise_alarms(&mut self) {
        let alarms = self.store.alarms();
        // About the quota one member's is enough: the store refuses alike.
        let is_up = |alarm: &Alarm| {
            (alarm.is(AlarmKind::NoSpace) && alarms.has(AlarmKind::NoSpace))
                || alarms.iter().any(|up| up == *alarm)
        };
        self.wanted_alarms.alarms.retain(|alarm| !is_up(alarm));
        let wanted = &self.wanted_alarms;
        if wanted.alarms.is_empty() || self.leader.is_none() || self.now < wanted.again_at {
            return;
        }
        let deadline = self.deadline();
        for alarm in wanted.alarms.clone() {
            tracing::warn!(?alarm, "raising an alarm");
            let change = AlarmChange {
                alarm,
                raised: true,
            };
            self.proposals
                .gather(Command::Alarm(change).to_bytes(), None, deadline);
        }
        // Once more only if it got lost; that it is there twice does no harm.
        self.wanted_alarms.again_at = self.now + u64::from(self.settings.raft.election_ticks);
    }
}
