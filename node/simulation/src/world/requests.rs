//! Requests on their way: from a client to a member, on to the leader where only it can answer, and back.
//!
//! A member treats them as the services of `api` do: a learner serves little, renewals and changes of the membership are
//! passed on to the leader until the time is up, and what a client asks is put into the log or read by the replica.
//!
//! What this module deliberately does not do: choose what is asked.

use quorate_node::event::{Event as Happening, LeaseRead, Outcome, Read, Request};
use quorate_node::refusal::Refusal;
use raft::PeerId;
use rand::Rng;
use store::{Command, LeaseRevoke};

use super::checker::Checked;
use super::member::{Fate, RequestId};
use super::{Event, World};
use crate::history::{Answer, Asked, Operation};

/// How long a client waits in all, in milliseconds: longer than a member lets it.
const PATIENCE_MS: u64 = 9_000;
/// How long a member goes on asking the leader, in milliseconds, and how long it pauses, as in production.
const FORWARD_MS: u64 = 7_000;
const RETRY_MS: u64 = 50;
/// When a client looks again for somebody to ask, in milliseconds.
const AGAIN_MS: u64 = 500;

/// Who asked, and what.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// Of a client: the place in the history.
    Client(usize),
    /// Of the administrator.
    Change(Command),
    Move(u64),
    /// Of the administrator, who wants to know the membership.
    Members,
}

/// A request that is not answered yet.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) wish: Wish,
    /// The member that was asked first, and where the request is now.
    asked: u64,
    at: u64,
    began: u64,
}

impl World {
    /// A client does the next thing.
    pub(super) fn client_acts(&mut self, which: usize) -> Checked {
        if self.is_over {
            return Ok(());
        }
        if !self.is_any_well() {
            self.plan(AGAIN_MS, Event::Client(which));
            return Ok(());
        }
        let asked = self.clients[which].choose(self.profile.keys, &mut self.rng);
        self.ask_as(which, asked);
        Ok(())
    }

    pub(super) fn ask_as(&mut self, client: usize, asked: Asked) {
        let member = self.some_member();
        self.ask_at(member, client, asked);
    }

    pub(super) fn ask_at(&mut self, member: u64, client: usize, asked: Asked) {
        self.summary.note(name(&asked));
        self.history.operations.push(Operation {
            client,
            member,
            began_ms: self.now,
            ended_ms: self.now,
            asked,
            answer: Answer::Lost,
        });
        let place = self.history.operations.len() - 1;
        self.call(member, Wish::Client(place));
    }

    /// Sends a request to a member.
    pub(super) fn call(&mut self, member: u64, wish: Wish) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        let call = Call {
            wish,
            asked: member,
            at: member,
            began: self.now,
        };
        self.calls.insert(id, call);
        let delay = self.rng.random_range(1..10);
        self.plan(delay, Event::Arrive(id));
        self.plan(PATIENCE_MS, Event::GiveUp(id));
        id
    }

    pub(super) fn arrive(&mut self, id: RequestId) -> Checked {
        let Some(call) = self.calls.get(&id).cloned() else {
            return Ok(());
        };
        let at = call.at;
        if self.members[&at].alive.is_none() {
            self.finish(id, Answer::Lost);
            return Ok(());
        }
        let wait = self.until_awake(at);
        if wait > 0 {
            self.plan(wait, Event::Arrive(id));
            return Ok(());
        }
        let request = self.request(&call);
        let request = match self.run.bug {
            Some(bug) => bug.request(request),
            None => request,
        };
        if needs_leader(&request) && !self.leads(at) {
            self.forward(id, &call);
            return Ok(());
        }
        if self.is_learner(at) && !matches!(request, Request::ReadLocal(_)) {
            self.finish(id, Answer::Refused(Refusal::NotForLearner));
            return Ok(());
        }
        if let Some(again) = self.run.bug.and_then(|bug| bug.again(&request)) {
            self.requests += 1;
            let nobody = RequestId(self.requests);
            self.tell(at, Happening::Ask(again, nobody))?;
        }
        self.tell(at, Happening::Ask(request, id))
    }

    fn request(&self, call: &Call) -> Request {
        let place = match &call.wish {
            Wish::Client(place) => *place,
            Wish::Change(command) => return Request::Reconfigure(command.clone()),
            Wish::Move(to) => return Request::MoveLeader(PeerId(*to)),
            Wish::Members => return Request::Read(Read::Members),
        };
        let propose = |command: Command| Request::Propose(command.to_bytes());
        match self.history.operations[place].asked.clone() {
            Asked::Put(put) => propose(Command::Put(put)),
            Asked::Delete(delete) => propose(Command::DeleteRange(delete)),
            Asked::Txn(txn) if txn.is_read_only() => Request::Read(Read::Txn(txn)),
            Asked::Txn(txn) => propose(Command::Txn(txn)),
            Asked::Range(range) if range.serializable => Request::ReadLocal(Read::Range(range)),
            Asked::Range(range) => Request::Read(Read::Range(range)),
            Asked::Compact(compact) => propose(Command::Compact(compact)),
            Asked::Grant(grant) => propose(Command::LeaseGrant(grant)),
            Asked::Revoke(id) => propose(Command::LeaseRevoke(LeaseRevoke { id })),
            Asked::Renew(id) => Request::Read(Read::Lease(LeaseRead::Renew { id })),
            Asked::TimeToLive(id) => {
                Request::Read(Read::Lease(LeaseRead::TimeToLive { id, keys: true }))
            }
        }
    }

    /// The member passes it on to the leader it knows, or waits until it knows one.
    fn forward(&mut self, id: RequestId, call: &Call) {
        if self.now > call.began + FORWARD_MS {
            return self.finish(id, Answer::Refused(Refusal::Timeout));
        }
        let asked = call.asked;
        let leader = self
            .alive(asked)
            .and_then(|alive| alive.driver.replica().raft().leader());
        let way = leader.filter(|leader| !self.blocks.is_blocked(asked, leader.0));
        let way = way.filter(|leader| call.at == asked && leader.0 != asked);
        let call = self.calls.get_mut(&id).expect("it was found by its caller");
        match way {
            Some(leader) => {
                call.at = leader.0;
                self.plan(2, Event::Arrive(id));
            }
            None => {
                call.at = asked;
                self.plan(RETRY_MS, Event::Arrive(id));
            }
        }
    }

    pub(super) fn answered(&mut self, id: RequestId, outcome: Outcome) -> Checked {
        let Some(call) = self.calls.get(&id).cloned() else {
            return Ok(());
        };
        let is_forwarded = call.at != call.asked;
        if is_forwarded && self.blocks.is_blocked(call.at, call.asked) {
            self.finish(id, Answer::Lost);
            return Ok(());
        }
        let outcome = match self.run.bug {
            Some(bug) => bug.outcome(outcome),
            None => outcome,
        };
        let answer = match outcome {
            Outcome::Refused(Refusal::NotLeader) => {
                self.forward(id, &call);
                return Ok(());
            }
            Outcome::Refused(refusal) => Answer::Refused(refusal),
            Outcome::Applied(response) => match response.into_result() {
                Ok(response) => Answer::Applied(response),
                Err(error) => Answer::Refused(error.into()),
            },
            Outcome::Range(found) => Answer::Range(found),
            Outcome::Txn(answer) => Answer::Txn(answer),
            Outcome::Members(members) => Answer::Members(members),
            Outcome::Lease(state) => Answer::Lease(state),
            Outcome::Renewed { ttl } => Answer::Renewed(ttl),
            _ => Answer::Done,
        };
        self.finish(id, answer);
        Ok(())
    }

    pub(super) fn give_up(&mut self, id: RequestId) -> Checked {
        if self.calls.contains_key(&id) {
            self.summary.note("clients that gave up");
            self.finish(id, Answer::Lost);
        }
        Ok(())
    }

    /// The connections to a member broke.
    pub(super) fn break_calls(&mut self, member: u64) {
        let broken: Vec<RequestId> = self
            .calls
            .iter()
            .filter(|(_, call)| call.at == member || call.asked == member)
            .map(|(id, _)| *id)
            .collect();
        for id in broken {
            self.finish(id, Answer::Lost);
        }
    }

    fn finish(&mut self, id: RequestId, answer: Answer) {
        let Some(call) = self.calls.remove(&id) else {
            return;
        };
        self.note(|| format!("{:?}: {answer:?}", call.wish));
        if let Some(came) = self.awaited.get_mut(&id) {
            *came = Some(answer.clone());
        }
        let Wish::Client(place) = call.wish else {
            return self.change_answered(&call.wish, &answer);
        };
        let operation = &mut self.history.operations[place];
        operation.ended_ms = self.now;
        operation.answer = answer;
        let client = operation.client;
        let done = !matches!(operation.answer, Answer::Lost | Answer::Refused(_));
        let kind = name(&operation.asked);
        if let Some(asking) = self.clients.get_mut(client) {
            asking.learn(&operation.asked, &operation.answer, &mut self.rng);
            let pause = self.rng.random_range(1..self.profile.pause_ms);
            self.plan(pause, Event::Client(client));
        }
        if done {
            self.summary.note(done_name(kind));
        }
    }

    pub(super) fn leads(&mut self, id: u64) -> bool {
        self.alive(id)
            .is_some_and(|alive| alive.driver.replica().raft().role() == raft::Role::Leader)
    }

    pub(super) fn is_learner(&mut self, id: u64) -> bool {
        self.alive(id).is_some_and(|alive| {
            let members = &alive.driver.membership().members;
            members.get(&id).is_some_and(|member| member.is_learner)
        })
    }

    /// Whether clients are let in: learners serve little.
    pub(super) fn serves_clients(&mut self, id: u64) -> bool {
        matches!(self.members[&id].fate, Fate::Well) && !self.is_learner(id)
    }
}

const fn needs_leader(request: &Request) -> bool {
    matches!(
        request,
        Request::Read(Read::Lease(_)) | Request::Reconfigure(_) | Request::MoveLeader(_)
    )
}

const fn name(asked: &Asked) -> &'static str {
    match asked {
        Asked::Put(_) => "puts",
        Asked::Delete(_) => "deletions",
        Asked::Txn(_) => "transactions",
        Asked::Range(range) if range.serializable => "serializable reads",
        Asked::Range(_) => "linearizable reads",
        Asked::Compact(_) => "compactions",
        Asked::Grant(_) => "grants",
        Asked::Revoke(_) => "revocations",
        Asked::Renew(_) => "renewals",
        Asked::TimeToLive(_) => "questions about leases",
    }
}

fn done_name(kind: &'static str) -> &'static str {
    match kind {
        "puts" => "puts done",
        "deletions" => "deletions done",
        "transactions" => "transactions done",
        "linearizable reads" => "linearizable reads done",
        "serializable reads" => "serializable reads done",
        "compactions" => "compactions done",
        "grants" => "grants done",
        "revocations" => "revocations done",
        "renewals" => "renewals done",
        _ => "questions about leases done",
    }
}
