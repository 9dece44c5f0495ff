//! The model as the operator reaches it, with an operator's fate in between.
//!
//! It deliberately answers at once: how a real member dawdles is tested on real members.

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use plan::{AccountChange, Accounts, Alarm, Answer, Asked, Handshake};
use quorate_operator::members::{
    CHANGE_TIMEOUT, Door, Endpoint, Members, MembersError, Membership,
};

use super::{Model, State};
use crate::simulated::Crash;

/// The model behind the operator's port.
pub(super) struct Port {
    model: Model,
    crash: Crash,
}

impl Port {
    pub(super) fn new(model: Model, crash: Crash) -> Self {
        Self { model, crash }
    }

    /// Sends one change, unless the operator's life ends here.
    fn change<'a, T: Send + 'a>(
        &'a self,
        at: &'a Endpoint,
        call: &'static str,
        change: impl FnOnce(&mut State) -> Result<T, &'static str> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, MembersError>> {
        let what = format!("{call} through {}", at.member);
        let write = async move {
            let changed = change(&mut self.model.state());
            changed.map_err(|why| error(at, call, why))
        };
        let lost = move || MembersError::TimedOut {
            member: at.member.clone(),
            call,
            after: CHANGE_TIMEOUT,
        };
        async move { self.crash.around(what, write, lost).await }.boxed()
    }
}

fn error(at: &Endpoint, call: &'static str, why: &str) -> MembersError {
    match why {
        "gone" => MembersError::Unreachable {
            member: at.member.clone(),
            url: at.url.clone(),
        },
        _ => MembersError::said(at, call, why),
    }
}

impl Members for Port {
    fn probe<'a>(&'a self, at: &'a Endpoint) -> BoxFuture<'a, Result<Answer, MembersError>> {
        let state = self.model.state();
        if !state.lets_in(at) {
            return ready(Err(error(at, "Status", "etcdserver: user name is empty"))).boxed();
        }
        let answer = state.answer(&at.url);
        ready(answer.ok_or_else(|| error(at, "Status", "gone"))).boxed()
    }

    fn handshake<'a>(&'a self, door: &'a Door) -> BoxFuture<'a, Result<Handshake, String>> {
        ready(self.model.state().handshake(door)).boxed()
    }

    fn membership<'a>(
        &'a self,
        at: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Membership, MembersError>> {
        let mut state = self.model.state();
        let found = state.writable(&at.url).map(|cluster_id| {
            let members = state.clusters[&cluster_id].members.clone();
            Membership {
                cluster_id,
                members,
            }
        });
        ready(found.map_err(|why| error(at, "MemberList", why))).boxed()
    }

    fn add_learner<'a>(
        &'a self,
        at: &'a Endpoint,
        peer_url: &'a str,
    ) -> BoxFuture<'a, Result<u64, MembersError>> {
        self.change(at, "MemberAdd", move |state| state.add(&at.url, peer_url))
    }

    fn promote<'a>(&'a self, at: &'a Endpoint, id: u64) -> BoxFuture<'a, Result<(), MembersError>> {
        self.change(at, "MemberPromote", move |state| state.promote(&at.url, id))
    }

    fn remove<'a>(&'a self, at: &'a Endpoint, id: u64) -> BoxFuture<'a, Result<(), MembersError>> {
        self.change(at, "MemberRemove", move |state| state.remove(&at.url, id))
    }

    fn update_peer_url<'a>(
        &'a self,
        at: &'a Endpoint,
        id: u64,
        peer_url: &'a str,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        self.change(at, "MemberUpdate", move |state| {
            state.update_peer_url(&at.url, id, peer_url)
        })
    }

    fn move_leader<'a>(
        &'a self,
        at: &'a Endpoint,
        to: u64,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        self.change(at, "MoveLeader", move |state| {
            state.move_leader(&at.url, to)
        })
    }

    fn defragment<'a>(&'a self, at: &'a Endpoint) -> BoxFuture<'a, Result<(), MembersError>> {
        self.change(at, "Defragment", |state| state.defragment(&at.url))
    }

    fn compact<'a>(
        &'a self,
        at: &'a Endpoint,
        revision: i64,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        self.change(at, "Compact", move |state| state.compact(&at.url, revision))
    }

    fn disarm<'a>(
        &'a self,
        at: &'a Endpoint,
        alarm: Alarm,
        id: u64,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        self.change(at, "Alarm", move |state| state.disarm(&at.url, alarm, id))
    }

    fn accounts<'a>(
        &'a self,
        at: &'a Endpoint,
        asked: &'a Asked,
    ) -> BoxFuture<'a, Result<Accounts, MembersError>> {
        let found = self.model.state().accounts(at, asked);
        ready(found.map_err(|why| error(at, "AuthStatus", why))).boxed()
    }

    fn change_account<'a>(
        &'a self,
        at: &'a Endpoint,
        change: &'a AccountChange,
        _password: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        self.change(at, "ChangeAccount", move |state| {
            state.change_account(at, change)
        })
    }
}
