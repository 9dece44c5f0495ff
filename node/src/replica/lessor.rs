//! When leases end: the leader's measure of time, in ticks.
//!
//! The table of leases is replicated and has no clock. Whoever leads measures, from the moment it leads:
//!
//! 1. A new leader gives every lease the whole of its time again, or what the last checkpoint left of it, and an election
//!    timeout more, in which nobody could renew. It does not know what passed before, and must end no lease early.
//! 2. A lease ends no earlier than its TTL after it was granted or renewed: durations are rounded up, and as a moment lies
//!    somewhere between two ticks, one tick is added.
//! 3. Not more than a thousand leases end within a second, and after a change of leader not more than three quarters of that:
//!    those that would are put off, in their order.
//! 4. What is ended is ended by a command; until that is applied the lease is neither renewed nor forgotten.
//! 5. A long lease is checkpointed now and then, if that is wanted, so that (1) does not make it longer and longer.
//!
//! etcd's figures, but for one habit: what a checkpoint left is taken back by the next renewal on every leader, wanted or not.
//!
//! What this module deliberately does not do: propose, or know whether it still leads; see [`super::leases`].

use std::collections::{BTreeMap, BTreeSet};

use raft::Term;
use store::{Lease, LeaseRemaining};

/// The most leases to end within a second.
const ENDS_PER_SECOND: usize = 1_000;
/// As many after a change of leader, so that those granted since have room as well.
const SPREAD_PER_SECOND: usize = 3 * ENDS_PER_SECOND / 4;
/// The most leases in one checkpoint.
const CHECKPOINT_MAX: usize = 1_000;

/// How leases are measured. Times are in ticks, unless they say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseClock {
    /// How long a tick is, in milliseconds.
    pub tick_ms: u64,
    /// How often a lease is checkpointed that lives longer than this; none: not at all, as `--feature-gates` has it by default.
    pub checkpoint_every: Option<u64>,
}

impl LeaseClock {
    /// Seconds, as ticks that are not shorter.
    fn ticks(self, seconds: i64) -> u64 {
        let seconds = u64::try_from(seconds).unwrap_or(0);
        seconds.saturating_mul(1_000).div_ceil(self.tick_ms)
    }

    /// Ticks, as seconds that are not shorter.
    fn seconds(self, ticks: u64) -> i64 {
        let seconds = ticks.saturating_mul(self.tick_ms).div_ceil(1_000);
        i64::try_from(seconds).unwrap_or(i64::MAX)
    }

    const fn ends_per_tick(self) -> usize {
        let ends = ENDS_PER_SECOND * self.tick_ms as usize / 1_000;
        if ends == 0 { 1 } else { ends }
    }
}

/// See the module. Outside of an office nothing is measured, and everything that is told is forgotten.
#[derive(Debug)]
pub(super) struct Lessor {
    clock: LeaseClock,
    /// What a new leader adds.
    election_ticks: u64,
    /// When to end a lease once more that is still there.
    retry_ticks: u64,
    office: Option<Office>,
}

/// One term of this member's leadership.
///
/// - `due` has every lease of `spans` once, at its `look_at`.
/// - `checkpoints` has those with a `checkpoint_at` once, at that.
#[derive(Debug)]
struct Office {
    term: Term,
    spans: BTreeMap<i64, Span>,
    due: BTreeSet<(u64, i64)>,
    checkpoints: BTreeSet<(u64, i64)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Span {
    /// From this tick on it has ended.
    ends_at: u64,
    /// When to do something about that.
    look_at: u64,
    checkpoint_at: Option<u64>,
    /// A checkpoint of it is in the log and not applied.
    is_being_checkpointed: bool,
}

impl Lessor {
    pub(super) const fn new(clock: LeaseClock, election_ticks: u64, retry_ticks: u64) -> Self {
        Self {
            clock,
            election_ticks,
            retry_ticks,
            office: None,
        }
    }

    /// The term for which it measures.
    pub(super) fn term(&self) -> Option<Term> {
        self.office.as_ref().map(|office| office.term)
    }

    /// This member leads no more.
    pub(super) fn demote(&mut self) {
        self.office = None;
    }

    /// This member leads from now on.
    pub(super) fn promote<'a>(
        &mut self,
        term: Term,
        now: u64,
        leases: impl Iterator<Item = &'a Lease>,
    ) {
        let leases: BTreeMap<i64, &Lease> = leases.map(|lease| (lease.id, lease)).collect();
        let end = |lease: &Lease| now + self.clock.ticks(lease.left()) + self.election_ticks + 1;
        let mut ends: Vec<(u64, i64)> = leases.iter().map(|(id, it)| (end(it), *id)).collect();
        ends.sort_unstable();
        if ends.len() >= ENDS_PER_SECOND {
            spread(&mut ends, self.clock.ticks(1));
        }
        let mut office = Office {
            term,
            spans: BTreeMap::new(),
            due: BTreeSet::new(),
            checkpoints: BTreeSet::new(),
        };
        for (ends_at, id) in ends {
            office.end_at(id, ends_at);
            office.checkpoint_at(id, self.next_checkpoint(now, leases[&id]));
        }
        self.office = Some(office);
    }

    /// A lease was granted.
    pub(super) fn granted(&mut self, now: u64, lease: &Lease) {
        self.renewed(now, lease);
        self.schedule(now, lease);
    }

    /// A lease begins anew.
    pub(super) fn renewed(&mut self, now: u64, lease: &Lease) {
        let ends_at = now + self.clock.ticks(lease.ttl) + 1;
        if let Some(office) = &mut self.office {
            office.end_at(lease.id, ends_at);
        }
    }

    /// A lease is gone; whether it had ended by itself.
    pub(super) fn revoked(&mut self, now: u64, id: i64) -> bool {
        let has_ended = self.has_ended(now, id);
        if let Some(office) = &mut self.office {
            office.remove(id);
        }
        has_ended
    }

    /// A checkpoint of a lease was applied.
    pub(super) fn checkpointed(&mut self, now: u64, lease: &Lease) {
        if let Some(span) = self.span_mut(lease.id) {
            span.is_being_checkpointed = false;
        }
        // Taken back for somebody who renewed it, perhaps before this member led and had applied that: then it measures by
        // the checkpoint still.
        let is_taken_back = lease.remaining_ttl == 0 && self.span(lease.id).is_some();
        if is_taken_back && !self.has_ended(now, lease.id) {
            self.renewed(now, lease);
        }
        self.schedule(now, lease);
    }

    fn schedule(&mut self, now: u64, lease: &Lease) {
        let at = self.next_checkpoint(now, lease);
        if let Some(office) = &mut self.office {
            office.checkpoint_at(lease.id, at);
        }
    }

    fn next_checkpoint(&self, now: u64, lease: &Lease) -> Option<u64> {
        let every = self.clock.checkpoint_every?;
        (self.clock.ticks(lease.left()) > every).then_some(now + every)
    }

    /// Whether a lease has ended, and only its revocation is missing.
    pub(super) fn has_ended(&self, now: u64, id: i64) -> bool {
        self.span(id).is_some_and(|span| span.ends_at <= now)
    }

    /// Whether a checkpoint of it is under way, which would make a renewal forgotten.
    pub(super) fn is_being_checkpointed(&self, id: i64) -> bool {
        self.span(id).is_some_and(|span| span.is_being_checkpointed)
    }

    /// What is left of a lease in whole seconds; negative when it has ended and is still there. None outside of an office.
    pub(super) fn left(&self, now: u64, id: i64) -> Option<i64> {
        let ends_at = self.span(id)?.ends_at;
        // Its last moment lies within the tick before, and some of this tick has passed.
        let ticks = ends_at.cast_signed() - now.cast_signed() - 1;
        let milliseconds = ticks.saturating_mul(self.clock.tick_ms.cast_signed()) - 1;
        Some(milliseconds / 1_000)
    }

    /// All leases, the next to end first. None outside of an office.
    pub(super) fn by_end(&self) -> Option<Vec<i64>> {
        let spans = &self.office.as_ref()?.spans;
        let mut ids: Vec<i64> = spans.keys().copied().collect();
        ids.sort_by_key(|id| spans[id].ends_at);
        Some(ids)
    }

    /// Leases to end now; to be asked at every tick.
    pub(super) fn due(&self, now: u64) -> Vec<i64> {
        let due = self.office.iter().flat_map(|office| &office.due);
        let due = due.take_while(|(at, _)| *at <= now).map(|(_, id)| *id);
        due.take(self.clock.ends_per_tick()).collect()
    }

    /// Their revocations are in the log.
    pub(super) fn mark_ending(&mut self, now: u64, ids: &[i64]) {
        let look_at = now + self.retry_ticks;
        if let Some(office) = &mut self.office {
            ids.iter().for_each(|id| office.look_at(*id, look_at));
        }
    }

    /// What to checkpoint now; to be asked at every tick.
    pub(super) fn checkpoints_due(&self, now: u64) -> Vec<LeaseRemaining> {
        let Some(office) = &self.office else {
            return Vec::new();
        };
        let due = office.checkpoints.iter().take_while(|(at, _)| *at <= now);
        let remaining = |(_, id): &(u64, i64)| LeaseRemaining {
            id: *id,
            // Without the tick that was added, or every change of leader would make it longer.
            remaining_ttl: self
                .clock
                .seconds(office.spans[id].ends_at.saturating_sub(now + 1)),
        };
        due.map(remaining).take(CHECKPOINT_MAX).collect()
    }

    /// A lease needs no checkpoint before this tick.
    pub(super) fn put_checkpoint_off(&mut self, now: u64, id: i64) {
        let every = self.clock.checkpoint_every;
        if let Some(office) = &mut self.office {
            office.checkpoint_at(id, every.map(|every| now + every));
        }
    }

    /// These are in the log.
    pub(super) fn mark_checkpointing(&mut self, checkpoints: &[LeaseRemaining]) {
        for LeaseRemaining { id, .. } in checkpoints {
            if let Some(office) = &mut self.office {
                office.checkpoint_at(*id, None);
            }
            if let Some(span) = self.span_mut(*id) {
                span.is_being_checkpointed = true;
            }
        }
    }

    fn span(&self, id: i64) -> Option<&Span> {
        self.office.as_ref()?.spans.get(&id)
    }

    fn span_mut(&mut self, id: i64) -> Option<&mut Span> {
        self.office.as_mut()?.spans.get_mut(&id)
    }
}

impl Office {
    fn end_at(&mut self, id: i64, ends_at: u64) {
        self.spans.entry(id).or_default().ends_at = ends_at;
        self.look_at(id, ends_at);
    }

    fn look_at(&mut self, id: i64, look_at: u64) {
        if let Some(span) = self.spans.get_mut(&id) {
            self.due.remove(&(span.look_at, id));
            self.due.insert((look_at, id));
            span.look_at = look_at;
        }
    }

    fn checkpoint_at(&mut self, id: i64, at: Option<u64>) {
        if let Some(span) = self.spans.get_mut(&id) {
            if let Some(before) = std::mem::replace(&mut span.checkpoint_at, at) {
                self.checkpoints.remove(&(before, id));
            }
            self.checkpoints.extend(at.map(|at| (at, id)));
        }
    }

    fn remove(&mut self, id: i64) {
        self.checkpoint_at(id, None);
        if let Some(span) = self.spans.remove(&id) {
            self.due.remove(&(span.look_at, id));
        }
    }
}

/// Puts ends off, which come in their order, until none of the windows of a second that they make up has more than
/// [`SPREAD_PER_SECOND`].
fn spread(ends: &mut [(u64, i64)], second: u64) {
    let (mut window, mut count) = (0, 0);
    for (end, _) in ends {
        if *end >= window + second {
            (window, count) = (*end, 0);
        } else if count == SPREAD_PER_SECOND {
            (window, count) = (window + second, 0);
        }
        *end = (*end).max(window);
        count += 1;
    }
}

#[cfg(test)]
mod tests;
