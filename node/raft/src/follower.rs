//! The follower: takes what the leader says, hands on what clients want, and waits, up to a point.
//!
//! What this module does not do: vote. Every role does, see [`crate::raft`].

use crate::core::Core;
use crate::ids::{Index, PeerId, ReadId, Term};
use crate::input::Refused;
use crate::log::Misfit;
use crate::message::{Body, Entry, Payload, SnapshotMeta};
use std::collections::BTreeMap;

/// A follower.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    /// Who leads in this term, once it has spoken.
    pub(crate) leader: Option<PeerId>,
    /// Ticks since the leader spoke, or since a vote was given.
    pub(crate) elapsed: u32,
    patience: u32,
    /// Reads to hand on with the next `Ready`, all in one message.
    reads_to_forward: Vec<ReadId>,
    /// Reads handed on, with the ticks they have waited.
    reads_forwarded: BTreeMap<ReadId, u32>,
}

/// Entries as a leader sends them: they follow `prev_index`.
pub(crate) struct Append {
    pub(crate) prev_index: Index,
    pub(crate) prev_term: Term,
    pub(crate) entries: Vec<Entry>,
    pub(crate) commit: Index,
}

impl Follower {
    pub(crate) fn new(core: &mut Core, leader: Option<PeerId>) -> Self {
        Self {
            leader,
            elapsed: 0,
            patience: core.draw_patience(),
            reads_to_forward: Vec::new(),
            reads_forwarded: BTreeMap::new(),
        }
    }

    /// One tick. Says whether patience has ended.
    pub(crate) fn tick(&mut self, core: &mut Core) -> bool {
        self.elapsed += 1;
        self.fail_old_reads(core);
        let ended = self.elapsed >= self.patience;
        if ended {
            self.elapsed = 0;
            self.patience = core.draw_patience();
        }
        ended
    }

    /// Forgets a leader that has fallen silent: clients are told that there is none.
    pub(crate) fn forget_leader(&mut self, core: &mut Core) {
        self.leader = None;
        self.fail_reads(core);
    }

    /// A read that was handed on and not answered for an election timeout was lost.
    fn fail_old_reads(&mut self, core: &mut Core) {
        let limit = core.config.election_ticks;
        let failed = &mut core.reads_failed;
        self.reads_forwarded.retain(|&id, waited| {
            *waited += 1;
            let keep = *waited < limit;
            if !keep {
                failed.push(id);
            }
            keep
        });
    }

    /// No answer will come to the reads that were handed on.
    pub(crate) fn fail_reads(&mut self, core: &mut Core) {
        core.reads_failed.append(&mut self.reads_to_forward);
        core.reads_failed
            .extend(std::mem::take(&mut self.reads_forwarded).into_keys());
    }

    /// The leader of this term spoke.
    pub(crate) fn heard_from(&mut self, leader: PeerId) -> Result<(), Refused> {
        if self.leader.is_some_and(|known| known != leader) {
            return Err(Refused::Unsound {
                what: "two leaders in one term",
            });
        }
        self.leader = Some(leader);
        self.elapsed = 0;
        Ok(())
    }

    pub(crate) fn propose(&self, core: &mut Core, payloads: Vec<Payload>) -> Result<(), Refused> {
        let leader = self.leader.ok_or(Refused::NoLeader)?;
        core.send(leader, Body::Propose { payloads });
        Ok(())
    }

    pub(crate) fn read(&mut self, id: ReadId) -> Result<(), Refused> {
        self.leader.ok_or(Refused::NoLeader)?;
        self.reads_to_forward.push(id);
        Ok(())
    }

    /// The leader answered reads. One that is not waited for any more was answered before.
    pub(crate) fn read_reply(&mut self, core: &mut Core, ids: &[ReadId], index: Option<Index>) {
        for id in ids {
            if self.reads_forwarded.remove(id).is_some() {
                match index {
                    Some(index) => core.reads.push((*id, index)),
                    None => core.reads_failed.push(*id),
                }
            }
        }
    }

    /// Says what gathered since the last `Ready`.
    pub(crate) fn flush(&mut self, core: &mut Core) {
        let ids = std::mem::take(&mut self.reads_to_forward);
        if let Some(leader) = self.leader
            && !ids.is_empty()
        {
            self.reads_forwarded.extend(ids.iter().map(|&id| (id, 0)));
            core.send(leader, Body::Read { ids });
        }
    }
}

/// Takes a leader's entries, and says how far the logs agree.
pub(crate) fn append(core: &mut Core, leader: PeerId, append: Append) -> Result<(), Refused> {
    let Append {
        prev_index,
        prev_term,
        entries,
        commit,
    } = append;
    check_order(core, prev_index, prev_term, &entries)?;
    if prev_index < core.log.commit() {
        // All up to the commit is known to agree, so there is nothing to compare.
        core.send(
            leader,
            Body::Accepted {
                match_index: core.log.commit(),
            },
        );
        return Ok(());
    }
    if !(core.rules.fits)(prev_term, core.log.term(prev_index)) {
        reject(core, leader, prev_index, prev_term);
        return Ok(());
    }
    let match_index = Index(prev_index.0 + entries.len() as u64);
    match core.append(entries) {
        Ok(()) => {}
        Err(Misfit::NotHere) => {
            reject(core, leader, prev_index, prev_term);
            return Ok(());
        }
        Err(Misfit::ContradictsCommitted) => {
            return Err(Refused::Unsound {
                what: "an entry contradicts a committed one",
            });
        }
    }
    core.commit_to(commit.min(match_index));
    core.send(leader, Body::Accepted { match_index });
    Ok(())
}

/// Entries follow each other, in terms that never fall nor exceed the leader's.
pub(crate) fn check_order(
    core: &Core,
    prev: Index,
    prev_term: Term,
    entries: &[Entry],
) -> Result<(), Refused> {
    let mut before = (prev, prev_term);
    for entry in entries {
        if entry.index != before.0.next() || entry.term < before.1 || entry.term > core.term {
            return Err(Refused::Unsound {
                what: "entries out of order",
            });
        }
        before = (entry.index, entry.term);
    }
    Ok(())
}

fn reject(core: &mut Core, leader: PeerId, prev_index: Index, prev_term: Term) {
    let (hint_index, hint_term) = core
        .log
        .may_agree_at(prev_index.min(core.log.last_index()), prev_term);
    core.send(
        leader,
        Body::Rejected {
            prev_index,
            hint_index,
            hint_term,
        },
    );
}

/// The leader lives, and this much is committed.
pub(crate) fn heartbeat(
    core: &mut Core,
    leader: PeerId,
    commit: Index,
    round: u64,
) -> Result<(), Refused> {
    if commit > core.log.last_index() {
        return Err(Refused::Unsound {
            what: "a commit of what was never acknowledged here",
        });
    }
    core.commit_to(commit);
    core.send(leader, Body::HeartbeatReply { round });
    Ok(())
}

/// A snapshot takes the place of what is here, unless that is as new or agrees with it anyway.
pub(crate) fn install(core: &mut Core, leader: PeerId, meta: SnapshotMeta) -> Result<(), Refused> {
    if meta.term > core.term || meta.configuration.voters().is_empty() {
        return Err(Refused::Unsound {
            what: "a snapshot that no leader can have",
        });
    }
    if meta.index <= core.log.commit() {
        core.send(
            leader,
            Body::Accepted {
                match_index: core.log.commit(),
            },
        );
        return Ok(());
    }
    let match_index = meta.index;
    if core.log.term(meta.index) == Some(meta.term) {
        core.commit_to(meta.index);
    } else {
        core.restore(meta);
    }
    core.send(leader, Body::Accepted { match_index });
    Ok(())
}
