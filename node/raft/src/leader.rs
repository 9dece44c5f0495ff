//! The leader: decides what stands in the log, spreads it, and knows when it is committed.
//!
//! What a leader sends is not decided message by message: [`Leader::flush`] compares what each
//! follower has with what it should have, once per `Ready`. So a thousand proposals between two
//! `Ready`s leave in one message per follower, and a thousand reads in one round of heartbeats.
//!
//! What this module does not do: vote, or leave the office by itself: it says so to
//! [`crate::raft`].

use crate::core::Core;
use crate::ids::{Index, PeerId, ReadId};
use crate::input::Refused;
use crate::message::{Alteration, Body, Payload};
use crate::progress::Progress;
use crate::read::Reads;
use std::collections::BTreeMap;

/// What a leader makes of something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Office {
    /// Goes on leading.
    Keep,
    /// Leads no more: it was removed, or lost touch with its quorum.
    Leave,
}

/// A leader.
///
/// - `progress` holds every other peer of the membership in effect, and no one else.
/// - `first_index` is its first entry; nothing is known of the commit before that is committed.
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    pub(crate) progress: BTreeMap<PeerId, Progress>,
    first_index: Index,
    reads: Reads,
    transfer: Option<Transfer>,
    /// A leader that committed its own removal, or demotion, leaves, but not before the others know
    /// of it. It appends one more entry, this one, and stays until a quorum of the new membership
    /// has that: it came with the news of the commit. Who asked for the removal hears of it only
    /// then ([`Core::hold_back`]), and may destroy the old leader at once.
    farewell: Option<Index>,
    uncommitted_bytes: u64,
    since_heartbeat: u32,
    since_quorum_check: u32,
}

/// A hand-over that was begun.
#[derive(Clone, Debug)]
struct Transfer {
    to: PeerId,
    elapsed: u32,
    /// The order to call an election is given; it is given once.
    ordered: bool,
}

impl Leader {
    /// Whether nobody needs an entry up to `index` any more: every other peer is known to have them durably.
    pub(crate) fn all_have(&self, index: Index) -> bool {
        self.progress.values().all(|it| it.matched() >= index)
    }

    /// Takes office, with an empty entry of the new term.
    pub(crate) fn new(core: &mut Core) -> Self {
        let first_index = core.log.last_index().next();
        let others = core
            .configuration()
            .peers()
            .filter(|&peer| peer != core.id());
        let progress = others
            .map(|peer| (peer, Progress::unknown(first_index, false)))
            .collect();
        core.append_own(vec![Payload::Empty]);
        Self {
            progress,
            first_index,
            reads: Reads::default(),
            transfer: None,
            farewell: None,
            uncommitted_bytes: 0,
            since_heartbeat: 0,
            since_quorum_check: 0,
        }
    }

    /// To whom it is handing over.
    pub(crate) fn transferring_to(&self) -> Option<PeerId> {
        self.transfer.as_ref().map(|transfer| transfer.to)
    }

    // Time.

    pub(crate) fn tick(&mut self, core: &mut Core) -> Office {
        self.abort_old_transfer(core);
        self.since_quorum_check += 1;
        if self.since_quorum_check >= core.config.election_ticks {
            self.since_quorum_check = 0;
            if core.config.check_quorum && !self.quorum_is_active(core) {
                return Office::Leave;
            }
        }
        self.since_heartbeat += 1;
        if self.since_heartbeat >= core.config.heartbeat_ticks {
            self.heartbeat(core);
        }
        Office::Keep
    }

    /// Whether a quorum was heard from since the last time it was asked.
    fn quorum_is_active(&mut self, core: &Core) -> bool {
        let active = core.agreed(|peer| {
            u64::from(
                self.progress
                    .get(&peer)
                    .is_none_or(|progress| progress.recently_active),
            )
        });
        for progress in self.progress.values_mut() {
            progress.recently_active = false;
        }
        active == 1
    }

    /// Begins a round of heartbeats. A follower is told of no commit beyond what it is known to
    /// have: a heartbeat may overtake the entries.
    fn heartbeat(&mut self, core: &mut Core) {
        self.since_heartbeat = 0;
        let round = self.reads.begin_round();
        for (&peer, progress) in &self.progress {
            let commit = core.log.commit().min(progress.matched());
            core.send(peer, Body::Heartbeat { commit, round });
        }
    }

    // Proposals.

    pub(crate) fn propose(
        &mut self,
        core: &mut Core,
        payloads: Vec<Payload>,
    ) -> Result<(), Refused> {
        if let Some(to) = self.transferring_to() {
            return Err(Refused::Transferring { to });
        }
        if self.farewell.is_some() {
            return Err(Refused::NotLeader { leader: None });
        }
        let bytes: u64 = payloads.iter().map(Payload::weight).sum();
        let all = self.uncommitted_bytes + bytes;
        if self.uncommitted_bytes > 0 && all > core.config.max_uncommitted_bytes {
            return Err(Refused::TooMuchUncommitted);
        }
        self.check_changes(core, &payloads)?;
        self.uncommitted_bytes = all;
        core.append_own(payloads);
        Ok(())
    }

    /// One change at a time, the one before committed, and an entry of this term too.
    fn check_changes(&self, core: &Core, payloads: &[Payload]) -> Result<(), Refused> {
        let mut newest = core.membership.newest_pending().unwrap_or_default();
        let mut next_index = core.log.last_index().next();
        for payload in payloads {
            if let Some(alteration) = payload.alteration() {
                self.check_change(core, newest, &alteration)?;
                newest = next_index;
            }
            next_index = next_index.next();
        }
        Ok(())
    }

    fn check_change(
        &self,
        core: &Core,
        newest: Index,
        alteration: &Alteration,
    ) -> Result<(), Refused> {
        let commit = core.log.commit();
        if !(core.rules.may_change)(newest, commit) {
            return Err(Refused::ChangeInFlight { index: newest });
        }
        if !(core.rules.term_established)(self.first_index, commit) {
            return Err(Refused::TermNotCommitted { term: core.term });
        }
        let refused = match alteration {
            Alteration::Step(_) => Refused::NoVoterLeft,
            Alteration::EnterJoint(_) | Alteration::LeaveJoint => Refused::ImpossibleChange,
        };
        let after = core.configuration().after(alteration);
        after.map(drop).ok_or(refused)
    }

    // What followers answer.

    pub(crate) fn accepted(
        &mut self,
        core: &mut Core,
        from: PeerId,
        match_index: Index,
    ) -> Result<Office, Refused> {
        if match_index > core.log.last_index() {
            return Err(Refused::Unsound {
                what: "an acknowledgement of what was never sent",
            });
        }
        let Some(progress) = self.progress.get_mut(&from) else {
            return Ok(Office::Keep);
        };
        progress.heard();
        if !progress.accepted(match_index, core.log.first_index()) {
            return Ok(Office::Keep);
        }
        let office = self.advance_commit(core);
        self.order_election(core);
        Ok(office)
    }

    pub(crate) fn rejected(
        &mut self,
        core: &Core,
        from: PeerId,
        prev_index: Index,
        hint: (Index, crate::Term),
    ) {
        if let Some(progress) = self.progress.get_mut(&from) {
            progress.heard();
            progress.rejected(prev_index, core.log.may_agree_at(hint.0, hint.1).0);
        }
    }

    pub(crate) fn heartbeat_reply(
        &mut self,
        core: &Core,
        from: PeerId,
        round: u64,
    ) -> Result<(), Refused> {
        if round > self.reads.round() {
            return Err(Refused::Unsound {
                what: "an answer to a heartbeat that was never sent",
            });
        }
        if let Some(progress) = self.progress.get_mut(&from) {
            progress.heard();
            progress.round = progress.round.max(round);
            progress.answered_heartbeat(core.log.last_index());
        }
        Ok(())
    }

    // The commit.

    /// Moves the commit as far as a quorum allows, change by change: what comes after a change of
    /// the membership is counted under the new one.
    pub(crate) fn advance_commit(&mut self, core: &mut Core) -> Office {
        loop {
            let own = (core.rules.own_match)(core.log.stable(), core.log.last_index());
            let agreed = Index(
                core.agreed(|peer| self.progress.get(&peer).map_or(own, Progress::matched).0),
            );
            let before = core.log.commit();
            let term = core.log.term(agreed).unwrap_or_default();
            if agreed <= before || !(core.rules.counts_for_commit)(term, core.term) {
                return Office::Keep;
            }
            let until = core
                .membership
                .oldest_pending()
                .map_or(agreed, |at| agreed.min(at));
            core.log.commit_to(until);
            self.note_committed(core, before, until);
            // Those who are to go are told while they are still counted among the peers.
            if core.membership.oldest_pending() == Some(until) {
                self.replicate(core);
                core.commit_to(until);
                self.adopt_membership(core, until);
            }
            self.leave_joint_consensus(core);
            if self.farewell.is_some_and(|farewell| farewell <= until) {
                core.hold_back = None;
                self.name_heir(core);
                return Office::Leave;
            }
        }
    }

    /// Old and new voters decide together no longer than they must: the change that began it is
    /// committed, here or by a leader before, so its end may be appended.
    fn leave_joint_consensus(&self, core: &mut Core) {
        let leave = Alteration::LeaveJoint;
        let newest = core.membership.newest_pending().unwrap_or_default();
        if core.configuration().is_joint() && self.check_change(core, newest, &leave).is_ok() {
            core.append_own(vec![Payload::LeaveJoint]);
        }
    }

    fn note_committed(&mut self, core: &Core, after: Index, until: Index) {
        let bytes: u64 = core
            .log
            .between(after, until)
            .map(|entry| entry.payload.weight())
            .sum();
        self.uncommitted_bytes = self.uncommitted_bytes.saturating_sub(bytes);
        if (core.rules.term_established)(self.first_index, until) {
            self.reads.admit_early(until);
        }
    }

    /// The membership changed at `index`: newcomers are probed, and given the benefit of the doubt
    /// until the next check of the quorum; who left is forgotten.
    fn adopt_membership(&mut self, core: &mut Core, index: Index) {
        let configuration = core.configuration();
        self.progress
            .retain(|&peer, _| configuration.contains(peer));
        let next = core.log.last_index().next();
        for peer in configuration.peers().filter(|&peer| peer != core.id()) {
            self.progress
                .entry(peer)
                .or_insert_with(|| Progress::unknown(next, true));
        }
        if self
            .transferring_to()
            .is_some_and(|to| !configuration.is_voter(to))
        {
            self.transfer = None;
        }
        if !core.may_lead() && self.farewell.is_none() {
            self.farewell = Some(next);
            core.hold_back = Some(index);
            core.append_own(vec![Payload::Empty]);
        }
    }

    /// Leaves the office to a voter that has every entry, so that nobody waits for an election.
    fn name_heir(&mut self, core: &mut Core) {
        self.replicate(core);
        let last = core.log.last_index();
        let voters = core.configuration().voters();
        let ready = |(peer, progress): &(&PeerId, &Progress)| {
            voters.contains(peer) && progress.matched() == last
        };
        if let Some(heir) = self.progress.iter().find(ready).map(|(&peer, _)| peer) {
            core.send(heir, Body::TimeoutNow);
        }
    }

    // Reads.

    pub(crate) fn read(&mut self, core: &Core, origin: PeerId, id: ReadId) {
        if (core.rules.term_established)(self.first_index, core.log.commit()) {
            self.reads.add(origin, id, core.log.commit());
        } else {
            self.reads.add_early(origin, id);
        }
    }

    fn serve_reads(&mut self, core: &mut Core) {
        if !self.reads.is_waiting() {
            return;
        }
        let answered = core.agreed(|peer| {
            self.progress
                .get(&peer)
                .map_or(u64::MAX, |progress| progress.round)
        });
        let confirmed = core.rules.read_confirmed;
        let mut replies: BTreeMap<(PeerId, Index), Vec<ReadId>> = BTreeMap::new();
        while let Some(read) = self.reads.pop_confirmed(|after| confirmed(after, answered)) {
            if read.origin == core.id() {
                core.reads.push((read.id, read.index));
            } else {
                replies
                    .entry((read.origin, read.index))
                    .or_default()
                    .push(read.id);
            }
        }
        for ((origin, index), ids) in replies {
            core.send(
                origin,
                Body::ReadReply {
                    ids,
                    index: Some(index),
                },
            );
        }
        if self.reads.want_round() {
            self.heartbeat(core);
        }
    }

    // Handing over.

    pub(crate) fn transfer(&mut self, core: &mut Core, to: PeerId) -> Result<(), Refused> {
        if !core.configuration().is_voter(to) {
            return Err(Refused::NotAVoter { peer: to });
        }
        if to == core.id() || self.transferring_to() == Some(to) {
            return Ok(());
        }
        self.transfer = Some(Transfer {
            to,
            elapsed: 0,
            ordered: false,
        });
        self.order_election(core);
        Ok(())
    }

    /// Orders the next leader to call its election, once it has every entry.
    fn order_election(&mut self, core: &mut Core) {
        if let Some(transfer) = &mut self.transfer
            && !transfer.ordered
            && let Some(progress) = self.progress.get(&transfer.to)
            && progress.matched() == core.log.last_index()
        {
            transfer.ordered = true;
            core.send(transfer.to, Body::TimeoutNow);
        }
    }

    fn abort_old_transfer(&mut self, core: &Core) {
        if let Some(transfer) = &mut self.transfer {
            transfer.elapsed += 1;
            if transfer.elapsed >= core.config.election_ticks {
                self.transfer = None;
            }
        }
    }

    // Sending.

    /// Says what gathered since the last `Ready`.
    pub(crate) fn flush(&mut self, core: &mut Core) {
        self.replicate(core);
        self.serve_reads(core);
    }

    fn replicate(&mut self, core: &mut Core) {
        for (&peer, progress) in &mut self.progress {
            while let Some(body) = progress.next_message(&core.log, &core.config) {
                core.send(peer, body);
            }
        }
    }

    /// The office is left: who waited for a read is told.
    pub(crate) fn resign(self, core: &mut Core) {
        for (origin, id) in self.reads.abandon() {
            if origin == core.id() {
                core.reads_failed.push(id);
            } else {
                core.send(
                    origin,
                    Body::ReadReply {
                        ids: vec![id],
                        index: None,
                    },
                );
            }
        }
    }
}
