//! A leader whose disk stalls: it hands over before the others have waited for it in vain.
//!
//! What a leader says waits for its disk, heartbeats too: they carry the proof that it can still write. So when one write
//! hangs, the others hear nothing more and elect another after an election timeout or two. This is quicker: a leader whose
//! write takes longer than half an election timeout orders the follower that is furthest to stand at once. The order may go
//! ahead of the disk, as it promises nothing about it: it only makes a follower call an election, which any may at any time.
//!
//! 1. It is given only while a quorum without this member answers. Else nobody could lead, and a leader that may recover
//!    is better than none.
//! 2. The leader does not insist: it goes on leading if nobody takes over, and is asked to decide again half a timeout later.
//!
//! What this module deliberately does not do: measure time. The clock's ticks are counted from the turn that was given out to
//! the word that it is written.

use std::collections::{BTreeMap, BTreeSet};

use raft::{Body, Message, PeerId, ProgressStatus, Status};

use super::Replica;

/// What the disk is at.
#[derive(Debug, Default)]
pub(super) struct Stall {
    writing_since: Option<u64>,
    again_at: u64,
    /// When each other member was last heard.
    heard: BTreeMap<PeerId, u64>,
    orders: Vec<Message>,
}

impl Stall {
    pub(super) fn begins(&mut self, now: u64) {
        self.writing_since = Some(now);
    }

    pub(super) fn hears(&mut self, from: PeerId, now: u64) {
        self.heard.insert(from, now);
    }

    /// Those who were heard within `ticks` before the disk got stuck, or since: while it is, nobody has anything to answer.
    fn answering(&self, ticks: u64) -> BTreeSet<PeerId> {
        let since = self.writing_since.unwrap_or_default();
        let heard = self.heard.iter();
        let lately = heard.filter(|(_, at)| **at + ticks >= since);
        lately.map(|(peer, _)| *peer).collect()
    }

    pub(super) fn ends(&mut self) {
        self.writing_since = None;
    }
}

/// Who is to lead in the place of a leader that cannot write, if those who answer can do without it.
fn heir(status: &Status, answering: &BTreeSet<PeerId>) -> Option<PeerId> {
    let configuration = &status.configuration;
    let can_decide = |voters: &BTreeSet<PeerId>| {
        let others = voters.iter().filter(|peer| **peer != status.id);
        let answering = others.filter(|peer| answering.contains(peer)).count();
        voters.is_empty() || answering > voters.len() / 2
    };
    if !can_decide(configuration.voters()) || !can_decide(configuration.outgoing()) {
        return None;
    }
    let may = |it: &&ProgressStatus| {
        answering.contains(&it.peer) && configuration.voters().contains(&it.peer)
    };
    let candidates = status.progress.iter().filter(may);
    candidates.max_by_key(|it| it.matched).map(|it| it.peer)
}

impl<W> Replica<W> {
    /// What is to be sent although the disk is busy.
    #[must_use]
    pub fn take_orders(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.stall.orders)
    }

    /// Looks how long the disk has been at one write; to be asked at every tick.
    pub(super) fn mind_the_disk(&mut self) {
        let patience = u64::from(self.settings.raft.election_ticks).div_ceil(2);
        let since = self.stall.writing_since;
        let is_stalled = since.is_some_and(|since| self.now - since >= patience);
        if !is_stalled || !self.leads() || self.now < self.stall.again_at {
            return;
        }
        let status = self.raft.status();
        let answering = self.stall.answering(2 * patience);
        let Some(heir) = heir(&status, &answering) else {
            return;
        };
        tracing::warn!(
            heir = %format!("{:x}", heir.0),
            "one write to the disk takes more than half an election timeout; handing leadership over"
        );
        self.stall.again_at = self.now + patience;
        self.stall.orders.push(Message {
            from: self.me(),
            to: heir,
            term: status.term,
            body: Body::TimeoutNow,
        });
    }
}

#[cfg(test)]
mod tests {
    use raft::{Configuration, Index, ProgressMode, Role, Term};

    use super::*;

    /// Who is the heir of member 1; of each other: id, whether it answers, how far it is.
    fn heir_of(configuration: Configuration, others: &[(u64, bool, u64)]) -> Option<PeerId> {
        let answering = others.iter().filter(|(_, answers, _)| *answers);
        let answering = answering.map(|(id, ..)| PeerId(*id)).collect();
        heir(&status(configuration, others), &answering)
    }

    fn status(configuration: Configuration, others: &[(u64, bool, u64)]) -> Status {
        let progress = |(id, _, matched): &(u64, bool, u64)| ProgressStatus {
            peer: PeerId(*id),
            matched: Index(*matched),
            next: Index(matched + 1),
            mode: ProgressMode::Replicate,
            // What the core has lately forgotten is no matter.
            recently_active: false,
            inflight_messages: 0,
            inflight_bytes: 0,
        };
        Status {
            id: PeerId(1),
            role: Role::Leader,
            term: Term(3),
            leader: Some(PeerId(1)),
            commit: Index(5),
            last_index: Index(9),
            stable_index: Index(5),
            first_index: Index(1),
            configuration,
            transferring_to: None,
            progress: others.iter().map(progress).collect(),
        }
    }

    fn voters(count: u64) -> Configuration {
        Configuration::new((1..=count).map(PeerId), [])
    }

    #[test]
    fn the_furthest_voter_that_answers_is_the_heir() {
        let others = [(2, true, 7), (3, true, 8), (4, false, 9), (5, true, 6)];
        assert_eq!(heir_of(voters(5), &others), Some(PeerId(3)));
        let learner = Configuration::new([1, 2, 3].map(PeerId), [PeerId(4)]);
        let others = [(2, true, 7), (3, true, 8), (4, true, 9)];
        assert_eq!(heir_of(learner, &others), Some(PeerId(3)));
    }

    #[test]
    fn without_a_quorum_of_the_others_the_leader_stays() {
        assert_eq!(heir_of(voters(1), &[]), None);
        assert_eq!(heir_of(voters(2), &[(2, true, 9)]), None, "it needs us");
        let others = [(2, true, 9), (3, false, 9)];
        assert_eq!(heir_of(voters(3), &others), None);
        let joint = Configuration::joint([1, 2, 3].map(PeerId), [1, 4, 5].map(PeerId), [], []);
        let others = [(2, true, 9), (3, true, 9), (4, true, 9), (5, false, 9)];
        assert_eq!(heir_of(joint, &others), None, "of old and new");
    }
}
