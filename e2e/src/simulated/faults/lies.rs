//! Members that lie: they say nothing, say no, do what they were asked and are not heard, tell of the past, or name a leader
//! that does not lead.
//!
//! A member that tells of the past does so in what it is asked by itself (`Status`, and the list that goes with it); and in the
//! linearizable read before a change, which no member of either engine does, but the operator need not know.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use plan::{AccountChange, Accounts, Alarm, Answer, Asked, Handshake};
use quorate_operator::members::{
    CHANGE_TIMEOUT, Door, Endpoint, Members, MembersError, Membership, PROBE_TIMEOUT, READ_TIMEOUT,
};

use super::Schedule;

/// A member remembers so many of its answers.
const KEPT: usize = 8;
/// What no client knows what to make of.
const NONSENSE: &str = "etcdserver: internal error, says the test";

/// How a member lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// It does nothing and does not answer.
    Silent,
    /// It does nothing and says an error.
    Refuses,
    /// It does what it was asked, and its answer is lost.
    Unheard,
    /// It answers what it answered some rounds ago.
    Past,
    /// It answers of now, with the list of members of some rounds ago.
    PastList,
    /// It says that nobody leads.
    Leaderless,
    /// It names a leader that does not lead, in the term of now.
    FalseLeader,
    /// It knows no list of members.
    Unlisted,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Silent,
        Self::Refuses,
        Self::Unheard,
        Self::Past,
        Self::PastList,
        Self::Leaderless,
        Self::FalseLeader,
        Self::Unlisted,
    ];

    /// Whether a call, as [`Schedule::calls`] words it, can be answered so.
    #[must_use]
    pub fn fits(self, call: &str) -> bool {
        match self {
            Self::Silent | Self::Refuses => true,
            Self::Unheard => !call.starts_with("Status") && !call.starts_with("MemberList"),
            Self::PastList => call.starts_with("Status") || call.starts_with("MemberList"),
            Self::Past | Self::Leaderless | Self::FalseLeader | Self::Unlisted => {
                call.starts_with("Status")
            }
        }
    }
}

/// What members answered before, by their URLs.
#[derive(Clone, Default)]
pub(super) struct Past(Arc<Mutex<BTreeMap<String, VecDeque<Answer>>>>);

impl Past {
    /// Remembers an answer, and says the oldest one that is known.
    fn oldest(&self, url: &str, answer: &Answer) -> Answer {
        let mut past = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = past.entry(url.to_owned()).or_default();
        // Another member at the same address has no part in what this one said, nor a process that has begun anew since: whatever
        // that one has not applied yet, the last one had.
        known.retain(|it| {
            let same = (it.cluster_id, it.member_id) == (answer.cluster_id, answer.member_id);
            same && it.applied_index <= answer.applied_index
        });
        known.push_back(answer.clone());
        if known.len() > KEPT {
            known.pop_front();
        }
        known[0].clone()
    }

    /// The oldest list that a member is known to have given.
    fn oldest_list(&self, url: &str) -> Option<Membership> {
        let past = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = past.get(url)?.iter().find(|it| it.membership.is_some())?;
        Some(Membership {
            cluster_id: known.cluster_id,
            members: known.membership.clone()?,
        })
    }
}

pub(super) fn members(
    inner: Arc<dyn Members>,
    schedule: Schedule<Lie>,
    past: Past,
) -> Arc<dyn Members> {
    Arc::new(Lying {
        inner,
        schedule,
        past,
    })
}

struct Lying {
    inner: Arc<dyn Members>,
    schedule: Schedule<Lie>,
    past: Past,
}

fn timed_out(at: &Endpoint, call: &'static str) -> MembersError {
    let after = match call {
        "Status" => PROBE_TIMEOUT,
        "MemberList" => READ_TIMEOUT,
        _ => CHANGE_TIMEOUT,
    };
    let member = at.member.clone();
    MembersError::TimedOut {
        member,
        call,
        after,
    }
}

fn nonsense(at: &Endpoint, call: &'static str) -> MembersError {
    MembersError::Refused {
        member: at.member.clone(),
        call,
        message: NONSENSE.to_owned(),
    }
}

/// Who does not lead: the member itself, or any other one if it does.
fn false_leader(answer: &Answer) -> u64 {
    if answer.leader_id != answer.member_id {
        return answer.member_id;
    }
    let listed = answer.membership.iter().flatten();
    let others = listed.map(|it| it.id).find(|it| *it != answer.leader_id);
    others.unwrap_or(answer.leader_id)
}

impl Lying {
    fn next(&self, at: &Endpoint, call: &'static str) -> Option<Lie> {
        let what = format!("{call} of {}", at.member);
        self.schedule.next(what.clone(), |it| it.fits(&what))
    }

    /// Has it do what it is asked, or not, and says what is heard of that.
    fn change<'a, T: Send + 'a>(
        &'a self,
        at: &'a Endpoint,
        call: &'static str,
        change: BoxFuture<'a, Result<T, MembersError>>,
    ) -> BoxFuture<'a, Result<T, MembersError>> {
        async move {
            match self.next(at, call) {
                Some(Lie::Silent) => Err(timed_out(at, call)),
                Some(Lie::Refuses) => Err(nonsense(at, call)),
                Some(Lie::Unheard) => {
                    // Whatever its answer is, nobody hears it.
                    drop(change.await);
                    Err(timed_out(at, call))
                }
                _ => change.await,
            }
        }
        .boxed()
    }
}

impl Members for Lying {
    fn probe<'a>(&'a self, at: &'a Endpoint) -> BoxFuture<'a, Result<Answer, MembersError>> {
        const CALL: &str = "Status";
        async move {
            let lie = self.next(at, CALL);
            let mut answer = self.inner.probe(at).await?;
            let past = self.past.oldest(&at.url, &answer);
            match lie {
                Some(Lie::Silent) => return Err(timed_out(at, CALL)),
                Some(Lie::Refuses) => return Err(nonsense(at, CALL)),
                Some(Lie::Past) => return Ok(past),
                Some(Lie::PastList) => answer.membership = past.membership,
                Some(Lie::Leaderless) => answer.leader_id = 0,
                Some(Lie::FalseLeader) => answer.leader_id = false_leader(&answer),
                Some(Lie::Unlisted) => answer.membership = None,
                Some(Lie::Unheard) | None => {}
            }
            Ok(answer)
        }
        .boxed()
    }

    fn handshake<'a>(&'a self, door: &'a Door) -> BoxFuture<'a, Result<Handshake, String>> {
        self.inner.handshake(door)
    }

    fn membership<'a>(
        &'a self,
        at: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Membership, MembersError>> {
        const CALL: &str = "MemberList";
        async move {
            match self.next(at, CALL) {
                Some(Lie::Silent) => Err(timed_out(at, CALL)),
                Some(Lie::Refuses) => Err(nonsense(at, CALL)),
                Some(Lie::PastList) if let Some(past) = self.past.oldest_list(&at.url) => Ok(past),
                _ => self.inner.membership(at).await,
            }
        }
        .boxed()
    }

    fn accounts<'a>(
        &'a self,
        at: &'a Endpoint,
        asked: &'a Asked,
    ) -> BoxFuture<'a, Result<Accounts, MembersError>> {
        self.change(at, "Accounts", self.inner.accounts(at, asked))
    }

    fn change_account<'a>(
        &'a self,
        at: &'a Endpoint,
        change: &'a AccountChange,
        password: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        let changing = self.inner.change_account(at, change, password);
        self.change(at, "ChangeAccount", changing)
    }

    fn add_learner<'a>(
        &'a self,
        at: &'a Endpoint,
        peer_url: &'a str,
    ) -> BoxFuture<'a, Result<u64, MembersError>> {
        self.change(at, "MemberAdd", self.inner.add_learner(at, peer_url))
    }

    fn promote<'a>(&'a self, at: &'a Endpoint, id: u64) -> BoxFuture<'a, Result<(), MembersError>> {
        self.change(at, "MemberPromote", self.inner.promote(at, id))
    }

    fn remove<'a>(&'a self, at: &'a Endpoint, id: u64) -> BoxFuture<'a, Result<(), MembersError>> {
        self.change(at, "MemberRemove", self.inner.remove(at, id))
    }

    fn update_peer_url<'a>(
        &'a self,
        at: &'a Endpoint,
        id: u64,
        peer_url: &'a str,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        let changing = self.inner.update_peer_url(at, id, peer_url);
        self.change(at, "MemberUpdate", changing)
    }

    fn move_leader<'a>(
        &'a self,
        at: &'a Endpoint,
        to: u64,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        self.change(at, "MoveLeader", self.inner.move_leader(at, to))
    }

    fn defragment<'a>(&'a self, at: &'a Endpoint) -> BoxFuture<'a, Result<(), MembersError>> {
        self.change(at, "Defragment", self.inner.defragment(at))
    }

    fn compact<'a>(
        &'a self,
        at: &'a Endpoint,
        revision: i64,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        self.change(at, "Compact", self.inner.compact(at, revision))
    }

    fn disarm<'a>(
        &'a self,
        at: &'a Endpoint,
        alarm: Alarm,
        id: u64,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        self.change(at, "Alarm", self.inner.disarm(at, alarm, id))
    }
}
