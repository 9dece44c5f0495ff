//! Replicas that differ are found by the digests of what they applied, which members tell each other at every tick.
//!
//! Same entries, same digest: so two members whose digests differ at one index have diverged, and as the digest runs on,
//! they differ at every index after it as well. A message carries the digest after every entry since the last one, so that
//! the first entry after which they differ is known, and not only that they do.
//!
//! 1. A member judges itself: it has diverged if a majority of the voters agrees on another digest than its own, at one index.
//!    It then serves nothing any more, hands leadership over, writes no checkpoint, and raises `CORRUPT` about itself.
//! 2. Where every voter has spoken and no majority agrees, nobody can tell who is right; the leader raises `CORRUPT` about
//!    member 0, as etcd does.
//! 3. What is not known is held against nobody: a member that lags or is silent does not count.
//! 4. A snapshot of another member's store, or a restart, begins anew: the log played on a sound checkpoint makes a sound
//!    store, which is why a diverged one is not written over it.
//!
//! Raft is told nothing of it. What this module deliberately does not do: repair.

use std::collections::{BTreeMap, VecDeque};

use raft::{Index, PeerId};
use store::{Alarm, AlarmKind};

use super::Replica;
use crate::event::Digests;

/// Digests kept of each member, and the most that one message carries: what a member may lag behind and still be compared. A
/// few ticks of the busiest cluster, in some tens of kilobytes.
const KEPT: usize = 4_096;

/// Without anything new, the newest digest is told once more every so many ticks, to whom it did not reach.
const RETELL_TICKS: u64 = 10;

/// The digests after successive entries, the newest few.
#[derive(Clone, Debug, Default)]
struct Trail {
    first: u64,
    digests: VecDeque<u64>,
}

impl Trail {
    /// Takes note of the digests from `first` on; what was known of those indexes and later ones is forgotten.
    fn put(&mut self, first: u64, digests: &[u64]) {
        let known = self.digests.len();
        match first.checked_sub(self.first).map(usize::try_from) {
            Some(Ok(kept)) if kept <= known && known > 0 => self.digests.truncate(kept),
            _ => {
                self.digests.clear();
                self.first = first;
            }
        }
        self.digests.extend(digests);
        let surplus = self.digests.len().saturating_sub(KEPT);
        self.digests.drain(..surplus);
        self.first = self.first.saturating_add(surplus as u64);
    }

    fn at(&self, index: u64) -> Option<u64> {
        let place = index.checked_sub(self.first)?;
        self.digests.get(usize::try_from(place).ok()?).copied()
    }

    fn last(&self) -> Option<u64> {
        let behind = (self.digests.len() as u64).checked_sub(1)?;
        Some(self.first.saturating_add(behind))
    }

    /// Up to `most` of the newest, and the index of the first of them.
    fn newest(&self, most: usize) -> Digests {
        let left_out = self.digests.len().saturating_sub(most);
        Digests {
            first: Index(self.first + left_out as u64),
            digests: self.digests.iter().skip(left_out).copied().collect(),
        }
    }
}

/// What the digests say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// This member differs from a majority: not yet after `sound`, if that is known, and after `differs`.
    Diverged { sound: Option<u64>, differs: u64 },
    /// The voters differ, and no majority agrees.
    Split { at: u64 },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Divergence {
    own: Trail,
    others: BTreeMap<PeerId, Trail>,
    /// Since when this member knows that it has diverged.
    diverged: Option<u64>,
    /// The voters were seen to differ without a majority.
    is_split: bool,
    told: Option<u64>,
}

impl Divergence {
    /// The digest after an entry that was applied here.
    pub(super) fn applied(&mut self, index: Index, digest: u64) {
        self.own.put(index.0, &[digest]);
    }

    /// The store was replaced by another member's.
    pub(super) fn replaced(&mut self) {
        *self = Self {
            others: std::mem::take(&mut self.others),
            ..Self::default()
        };
    }

    fn judge(&self, me: PeerId, voters: &[PeerId]) -> Option<Verdict> {
        let own_last = self.own.last()?;
        let ends = self.others.values().filter_map(Trail::last);
        let mut common: Vec<u64> = ends.map(|end| end.min(own_last)).collect();
        common.sort_unstable_by(|a, b| b.cmp(a));
        common.dedup();
        common
            .into_iter()
            .find_map(|index| self.judge_at(index, me, voters))
    }

    fn judge_at(&self, index: u64, me: PeerId, voters: &[PeerId]) -> Option<Verdict> {
        let mine = self.own.at(index)?;
        let said = |voter: &PeerId| {
            if *voter == me {
                Some(mine)
            } else {
                self.others.get(voter)?.at(index)
            }
        };
        let votes: Vec<u64> = voters.iter().filter_map(said).collect();
        let agreeing = |digest: u64| votes.iter().filter(|vote| **vote == digest).count();
        let has_majority = |digest: &&u64| agreeing(**digest) > voters.len() / 2;
        match votes.iter().find(has_majority) {
            Some(majority) if *majority != mine => Some(self.diverged_by(index, *majority)),
            Some(_) => None,
            None => (votes.len() == voters.len()).then_some(Verdict::Split { at: index }),
        }
    }

    /// Goes back from `index`, where some other member has the majority's digest, to where it still had ours.
    fn diverged_by(&self, index: u64, majority: u64) -> Verdict {
        let sound_one = |trail: &&Trail| trail.at(index) == Some(majority);
        let other = self.others.values().find(sound_one);
        let before = |index: u64| {
            let index = index.checked_sub(1)?;
            Some((self.own.at(index)?, other?.at(index)?))
        };
        let mut differs = index;
        while let Some((ours, theirs)) = before(differs) {
            if ours == theirs {
                let sound = Some(differs - 1);
                return Verdict::Diverged { sound, differs };
            }
            differs -= 1;
        }
        Verdict::Diverged {
            sound: None,
            differs,
        }
    }
}

impl<W> Replica<W> {
    /// Whether this member's store differs from the others', so that nothing of it may be shown.
    #[must_use]
    pub const fn has_diverged(&self) -> bool {
        self.divergence.diverged.is_some()
    }

    /// What to tell the other members at this tick: the digests since the last one, or now and then the newest again.
    pub fn digests(&mut self) -> Option<Digests> {
        let newest = self.divergence.own.last()?;
        let told = self.divergence.told.unwrap_or(newest - 1);
        let fresh = usize::try_from(newest.saturating_sub(told)).unwrap_or(usize::MAX);
        if fresh == 0 && !self.now.is_multiple_of(RETELL_TICKS) {
            return None;
        }
        self.divergence.told = Some(newest);
        Some(self.divergence.own.newest(fresh.max(1)))
    }

    pub(super) fn note_digests(&mut self, from: PeerId, digests: &Digests) {
        let trail = self.divergence.others.entry(from).or_default();
        trail.put(digests.first.0, &digests.digests);
    }

    /// Looks whether the members still agree; to be asked at every tick.
    pub(super) fn compare_digests(&mut self) {
        let me = self.me();
        let voters: Vec<PeerId> = self.raft.configuration().electors().collect();
        if self.divergence.diverged.is_none() {
            match self.divergence.judge(me, &voters) {
                Some(Verdict::Diverged { sound, differs }) => self.diverge(sound, differs),
                Some(Verdict::Split { at }) => self.note_split(at),
                None => {}
            }
        }
        if self.has_diverged() {
            self.want_alarm(Alarm::new(AlarmKind::Corrupt, me.0));
            self.let_another_lead();
        }
    }

    fn diverge(&mut self, sound: Option<u64>, differs: u64) {
        tracing::error!(
            first_differing_index = differs,
            last_agreeing_index = sound,
            "this member's store differs from the majority's, and is served no more: replace this member; if its disk is \
             sound, a restart makes the store anew"
        );
        self.divergence.diverged = Some(differs);
    }

    fn note_split(&mut self, at: u64) {
        if !std::mem::replace(&mut self.divergence.is_split, true) {
            tracing::error!(
                index = at,
                "the members' stores differ, and no majority of them agrees"
            );
        }
        if self.leads() {
            self.want_alarm(Alarm::new(AlarmKind::Corrupt, 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: PeerId = PeerId(1);

    fn peers(count: u64) -> Vec<PeerId> {
        (1..=count).map(PeerId).collect()
    }

    /// Trails from index 10 on, one list of digests per member, this member's first.
    fn trails(all: &[&[u64]]) -> Divergence {
        let mut divergence = Divergence::default();
        for (id, digests) in (1..).zip(all) {
            if id == 1 {
                divergence.own.put(10, digests);
            } else {
                let trail = divergence.others.entry(PeerId(id)).or_default();
                trail.put(10, digests);
            }
        }
        divergence
    }

    #[test]
    fn the_minority_finds_itself_with_the_first_index_that_differs() {
        let divergence = trails(&[&[1, 2, 9, 8], &[1, 2, 3, 4], &[1, 2, 3, 4]]);
        let expected = Verdict::Diverged {
            sound: Some(11),
            differs: 12,
        };
        assert_eq!(divergence.judge(ME, &peers(3)), Some(expected));
        let majority = trails(&[&[1, 2, 3, 4], &[1, 2, 3, 4], &[1, 2, 9, 8]]);
        assert_eq!(majority.judge(ME, &peers(3)), None);
    }

    #[test]
    fn a_learner_is_judged_and_judges_nobody() {
        let voters = [PeerId(2), PeerId(3)];
        let learner = trails(&[&[7], &[1], &[1]]);
        let verdict = learner.judge(ME, &voters);
        assert!(matches!(
            verdict,
            Some(Verdict::Diverged {
                sound: None,
                differs: 10
            })
        ));
        let mut voter = trails(&[&[1], &[1]]);
        voter.others.entry(PeerId(9)).or_default().put(10, &[7]);
        assert_eq!(voter.judge(ME, &peers(2)), None);
    }

    #[test]
    fn two_that_differ_cannot_tell_and_silence_is_no_vote() {
        let split = Some(Verdict::Split { at: 11 });
        assert_eq!(trails(&[&[1, 2], &[1, 3]]).judge(ME, &peers(2)), split);
        assert_eq!(
            trails(&[&[1, 2], &[1, 3], &[]]).judge(ME, &peers(3)),
            None,
            "the third may yet say"
        );
        let all_differ = trails(&[&[1, 2], &[1, 3], &[1, 4]]);
        assert_eq!(all_differ.judge(ME, &peers(3)), split);
    }

    #[test]
    fn whoever_lags_is_compared_where_it_is() {
        let divergence = trails(&[&[1, 2, 3, 4], &[1, 2], &[1, 2, 3]]);
        assert_eq!(divergence.judge(ME, &peers(3)), None);
        let differs = trails(&[&[1, 9, 8, 7], &[1, 2], &[1, 2, 3]]);
        let expected = Verdict::Diverged {
            sound: Some(10),
            differs: 11,
        };
        assert_eq!(differs.judge(ME, &peers(3)), Some(expected));
    }

    #[test]
    fn a_trail_keeps_the_newest_and_takes_corrections() {
        let mut trail = Trail::default();
        trail.put(5, &[1, 2, 3]);
        trail.put(6, &[7]);
        assert_eq!(
            (trail.at(5), trail.at(6), trail.at(7)),
            (Some(1), Some(7), None)
        );
        trail.put(100, &[8]);
        assert_eq!((trail.at(6), trail.at(100)), (None, Some(8)), "a gap");
        let many: Vec<u64> = (0..KEPT as u64 + 5).collect();
        trail.put(101, &many);
        assert_eq!(trail.digests.len(), KEPT);
        assert_eq!(trail.last(), Some(100 + many.len() as u64));
        assert_eq!(trail.at(trail.first), Some(many[5]));
        assert_eq!(trail.newest(2).digests, many[many.len() - 2..]);
    }
}
