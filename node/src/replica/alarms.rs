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
    kinds: BTreeSet<AlarmKind>,
    again_at: u64,
}

impl<W> Replica<W> {
    /// Wants an alarm about this member to be up.
    pub(super) fn want_alarm(&mut self, kind: AlarmKind) {
        self.wanted_alarms.kinds.insert(kind);
    }

    /// To be asked of every command before it is applied: one beyond the quota is applied all the same, and is the last.
    pub(super) fn note_space(&mut self, command: &Command) {
        let size = self.store.size().bytes;
        if !quota::admits(self.settings.quota_bytes, size, quota::of(command)) {
            self.want_alarm(AlarmKind::NoSpace);
        }
    }

    /// Proposes what is wanted and not up; to be asked at every tick.
    pub(super) fn raise_alarms(&mut self) {
        let (alarms, me) = (self.store.alarms(), self.me().0);
        let is_up = |kind: &AlarmKind| match kind {
            // One member's is enough: the store refuses alike.
            AlarmKind::NoSpace => alarms.has(*kind),
            _ => alarms.iter().any(|alarm| alarm == Alarm::new(*kind, me)),
        };
        self.wanted_alarms.kinds.retain(|kind| !is_up(kind));
        let wanted = &self.wanted_alarms;
        if wanted.kinds.is_empty() || self.leader.is_none() || self.now < wanted.again_at {
            return;
        }
        let deadline = self.deadline();
        for kind in wanted.kinds.clone() {
            tracing::warn!(?kind, "raising an alarm");
            let change = AlarmChange::raise(kind, me);
            self.proposals
                .gather(Command::Alarm(change).to_bytes(), None, deadline);
        }
        self.wanted_alarms.again_at = self.now + u64::from(self.settings.raft.election_ticks);
    }
}
