//! Real members as the operator reaches them, with an operator's fate in between.
//!
//! It deliberately speaks no gRPC: what is asked goes into the member where its services would put it.

use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use plan::{AccountChange, Accounts, Alarm, Answer, Asked, Handshake, Listed};
use quorate_operator::members::{
    CHANGE_TIMEOUT, Door, Endpoint, Members, MembersError, Membership, PROBE_TIMEOUT, READ_TIMEOUT,
};
use simulation::{Refused, Stage};

use super::{Process, Real};
use crate::simulated::Crash;

/// All members' cluster.
const CLUSTER_ID: u64 = 1;
/// What a member holds, in bytes, as far as anybody asks.
const SIZE: u64 = 1_000;

/// Real members behind the operator's port.
pub(super) struct Port {
    real: Real,
    crash: Crash,
}

impl Port {
    pub(super) fn new(real: Real, crash: Crash) -> Self {
        Self { real, crash }
    }

    fn process(&self, at: &Endpoint) -> Option<Process> {
        self.real.tables().processes.get(&at.url).cloned()
    }

    /// Asks the member, for so long.
    fn ask<T: Send + 'static>(
        &self,
        at: &Endpoint,
        (call, limit): (&'static str, Duration),
        ask: impl FnOnce(&mut Stage, u64, u64) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, MembersError> {
        let process = self.process(at).ok_or_else(|| unreachable(at))?;
        let (id, patience) = (process.id, limit.as_millis() as u64);
        let answer = self.real.on_stage(move |stage| ask(stage, id, patience));
        answer.map_err(|why| match why {
            Refused::Gone => unreachable(at),
            Refused::Silent => late(at, call, limit),
            Refused::Says(text) => MembersError::said(at, call, &text),
        })
    }

    /// Sends one change, unless the operator's life ends here.
    fn change<'a, T: Send + 'static>(
        &'a self,
        at: &'a Endpoint,
        call: &'static str,
        change: impl FnOnce(&mut Stage, u64, u64) -> Result<T, Refused> + Send + 'static,
    ) -> BoxFuture<'a, Result<T, MembersError>> {
        let what = format!("{call} through {}", at.member);
        let write = async move { self.ask(at, (call, CHANGE_TIMEOUT), change) };
        let lost = move || late(at, call, CHANGE_TIMEOUT);
        async move { self.crash.around(what, write, lost).await }.boxed()
    }
}

fn unreachable(at: &Endpoint) -> MembersError {
    MembersError::Unreachable {
        member: at.member.clone(),
        url: at.url.clone(),
    }
}

fn late(at: &Endpoint, call: &'static str, after: Duration) -> MembersError {
    MembersError::TimedOut {
        member: at.member.clone(),
        call,
        after,
    }
}

/// What no story with real members asks for.
fn untold<'a, T: Send + 'a>(
    at: &'a Endpoint,
    call: &'static str,
) -> BoxFuture<'a, Result<T, MembersError>> {
    let why = "no story with real members asks for this";
    ready(Err(MembersError::said(at, call, why))).boxed()
}

pub(super) fn listed(member: simulation::Listed) -> Listed {
    Listed {
        id: member.id,
        name: member.name,
        peer_urls: member.peer_urls,
        is_learner: member.is_learner,
    }
}

impl Members for Port {
    fn probe<'a>(&'a self, at: &'a Endpoint) -> BoxFuture<'a, Result<Answer, MembersError>> {
        let probed = self.ask(at, ("Status", PROBE_TIMEOUT), |stage, id, patience| {
            let members = stage.members(id, patience).ok();
            let state = stage.state(id).ok_or(Refused::Silent)?;
            Ok((id, state, members))
        });
        let answer = probed.map(|(member_id, state, members)| Answer {
            cluster_id: CLUSTER_ID,
            member_id,
            leader_id: state.leader.unwrap_or_default(),
            term: state.term,
            raft_index: state.commit,
            applied_index: state.applied,
            revision: state.revision,
            is_learner: state.is_learner,
            db_size: Some(SIZE),
            db_size_in_use: Some(SIZE),
            version: self.process(at).map(|it| it.version).unwrap_or_default(),
            storage_version: None,
            no_space: Vec::new(),
            corrupt: Vec::new(),
            errors: Vec::new(),
            membership: members.map(|all| all.into_iter().map(listed).collect()),
        });
        ready(answer).boxed()
    }

    fn handshake<'a>(&'a self, _: &'a Door) -> BoxFuture<'a, Result<Handshake, String>> {
        ready(Err("no simulated member speaks TLS".to_owned())).boxed()
    }

    fn membership<'a>(
        &'a self,
        at: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Membership, MembersError>> {
        let found = self.ask(at, ("MemberList", READ_TIMEOUT), Stage::members);
        let found = found.map(|members| Membership {
            cluster_id: CLUSTER_ID,
            members: members.into_iter().map(listed).collect(),
        });
        ready(found).boxed()
    }

    fn add_learner<'a>(
        &'a self,
        at: &'a Endpoint,
        peer_url: &'a str,
    ) -> BoxFuture<'a, Result<u64, MembersError>> {
        let url = peer_url.to_owned();
        let room = self.process(at).map_or(0, |it| it.max_learners) as u32;
        self.change(at, "MemberAdd", move |stage, at, patience| {
            stage.add_learner(at, &url, room, patience)
        })
    }

    fn promote<'a>(&'a self, at: &'a Endpoint, id: u64) -> BoxFuture<'a, Result<(), MembersError>> {
        self.change(at, "MemberPromote", move |stage, at, patience| {
            stage.promote(at, id, patience)
        })
    }

    fn remove<'a>(&'a self, at: &'a Endpoint, id: u64) -> BoxFuture<'a, Result<(), MembersError>> {
        self.change(at, "MemberRemove", move |stage, at, patience| {
            stage.remove(at, id, patience)
        })
    }

    fn update_peer_url<'a>(
        &'a self,
        at: &'a Endpoint,
        id: u64,
        peer_url: &'a str,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        let url = peer_url.to_owned();
        self.change(at, "MemberUpdate", move |stage, at, patience| {
            stage.update(at, id, &url, patience)
        })
    }

    fn move_leader<'a>(
        &'a self,
        at: &'a Endpoint,
        to: u64,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        self.change(at, "MoveLeader", move |stage, at, patience| {
            stage.move_leader(at, to, patience)
        })
    }

    fn defragment<'a>(&'a self, at: &'a Endpoint) -> BoxFuture<'a, Result<(), MembersError>> {
        untold(at, "Defragment")
    }

    fn compact<'a>(&'a self, at: &'a Endpoint, _: i64) -> BoxFuture<'a, Result<(), MembersError>> {
        untold(at, "Compact")
    }

    fn disarm<'a>(
        &'a self,
        at: &'a Endpoint,
        _: Alarm,
        _: u64,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        untold(at, "Alarm")
    }

    fn accounts<'a>(
        &'a self,
        at: &'a Endpoint,
        _: &'a Asked,
    ) -> BoxFuture<'a, Result<Accounts, MembersError>> {
        untold(at, "AuthStatus")
    }

    fn change_account<'a>(
        &'a self,
        at: &'a Endpoint,
        _: &'a AccountChange,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        untold(at, "ChangeAccount")
    }
}
