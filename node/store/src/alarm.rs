//! Alarms: what is wrong in the cluster, replicated, so that every member refuses the same commands.
//!
//! An alarm is a kind and the member that it is about; etcd's rules decide what each kind refuses:
//!
//! - `NOSPACE` refuses whatever makes the store larger: puts, transactions with a put in any branch, new leases. Deletions
//!   and compactions, which make room, pass.
//! - `CORRUPT` refuses every command on keys, leases and history. Reads pass: whether a member may still answer is its own
//!   to know.
//!
//! A kind counts whoever it is about, and whether it was raised by a member or by a client. It stays until it is taken back,
//! by kind and member exactly: member 0 is an id like any other, which is how an alarm about the whole cluster is written.
//!
//! What this module deliberately does not do: raise alarms. The node measures, and proposes.

use std::collections::BTreeSet;

use prost::{Enumeration, Message};

use crate::{Command, StoreError};

/// What an alarm says. Numbers are etcd's; others are kept and refuse nothing, as etcd has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum AlarmKind {
    /// No alarm; asking for this kind asks for all.
    None = 0,
    /// The quota is used up.
    NoSpace = 1,
    /// A member's data differs from the others'.
    Corrupt = 2,
}

/// One alarm. Ordered by kind, then member, which is the order of every list of alarms.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Message)]
pub struct Alarm {
    /// An [`AlarmKind`], or a number that this version does not know.
    #[prost(enumeration = "AlarmKind", tag = "1")]
    pub kind: i32,
    /// Whom it is about; 0 for nobody in particular.
    #[prost(uint64, tag = "2")]
    pub member: u64,
}

impl Alarm {
    /// The alarm of this kind about this member.
    #[must_use]
    pub const fn new(kind: AlarmKind, member: u64) -> Self {
        Self {
            kind: kind as i32,
            member,
        }
    }

    /// Whether it is of this kind.
    #[must_use]
    pub const fn is(&self, kind: AlarmKind) -> bool {
        self.kind == kind as i32
    }
}

/// Raises an alarm or takes one back. What is so already changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct AlarmChange {
    /// Which.
    #[prost(message, required, tag = "1")]
    pub alarm: Alarm,
    /// Whether it is up from now on.
    #[prost(bool, tag = "2")]
    pub raised: bool,
}

impl AlarmChange {
    /// Raises the alarm.
    #[must_use]
    pub const fn raise(kind: AlarmKind, member: u64) -> Self {
        Self {
            alarm: Alarm::new(kind, member),
            raised: true,
        }
    }
}

/// The alarms that are up.
///
/// - No alarm is of the kind [`AlarmKind::None`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    pub(crate) raised: BTreeSet<Alarm>,
}

impl Alarms {
    /// Those of this kind, or all for [`AlarmKind::None`], in their order.
    pub fn of(&self, kind: i32) -> impl Iterator<Item = Alarm> {
        let asked = move |alarm: &Alarm| kind == AlarmKind::None as i32 || alarm.kind == kind;
        self.raised.iter().copied().filter(asked)
    }

    /// All, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Alarm> {
        self.raised.iter().copied()
    }

    /// Whether one of this kind is up, about whomever.
    #[must_use]
    pub fn has(&self, kind: AlarmKind) -> bool {
        self.of(kind as i32).next().is_some()
    }

    /// Why `command` is not carried out while these alarms are up; the graver reason where there are two.
    pub(crate) fn refusal(&self, command: &Command) -> Option<StoreError> {
        if self.raised.is_empty() {
            return None;
        }
        if self.has(AlarmKind::Corrupt) && touches_data(command) {
            return Some(StoreError::Corrupt);
        }
        (self.has(AlarmKind::NoSpace) && takes_space(command)).then_some(StoreError::NoSpace)
    }

    /// The alarm as the answer has it, if it is up now or was until now; whether anything changed.
    pub(crate) fn change(&mut self, change: AlarmChange) -> (Option<Alarm>, bool) {
        let AlarmChange { alarm, raised } = change;
        if alarm.is(AlarmKind::None) {
            return (None, false);
        }
        if raised {
            (Some(alarm), self.raised.insert(alarm))
        } else {
            let was_up = self.raised.remove(&alarm);
            (was_up.then_some(alarm), was_up)
        }
    }
}

const fn touches_data(command: &Command) -> bool {
    matches!(
        command,
        Command::Put(_)
            | Command::DeleteRange(_)
            | Command::Txn(_)
            | Command::Compact(_)
            | Command::LeaseGrant(_)
            | Command::LeaseRevoke(_)
    )
}

fn takes_space(command: &Command) -> bool {
    match command {
        Command::Put(_) | Command::LeaseGrant(_) => true,
        Command::Txn(txn) => txn.has_put(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graver_alarm_is_the_answer() {
        let mut alarms = Alarms::default();
        let put = Command::Put(crate::PutRequest::default());
        assert_eq!(alarms.refusal(&put), None);
        alarms.change(AlarmChange::raise(AlarmKind::NoSpace, 1));
        assert_eq!(alarms.refusal(&put), Some(StoreError::NoSpace));
        alarms.change(AlarmChange::raise(AlarmKind::Corrupt, 2));
        assert_eq!(alarms.refusal(&put), Some(StoreError::Corrupt));
    }

    #[test]
    fn an_alarm_of_an_unknown_kind_is_kept_and_refuses_nothing() {
        let mut alarms = Alarms::default();
        let alarm = Alarm { kind: 7, member: 9 };
        let raise = AlarmChange {
            alarm,
            raised: true,
        };
        assert_eq!(alarms.change(raise), (Some(alarm), true));
        assert_eq!(alarms.change(raise), (Some(alarm), false));
        let put = Command::Put(crate::PutRequest::default());
        assert_eq!(alarms.refusal(&put), None);
        assert_eq!(alarms.of(0).collect::<Vec<_>>(), [alarm]);
        assert_eq!(alarms.of(1).count(), 0);
    }
}
