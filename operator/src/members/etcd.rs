//! Members over etcd's v3 API, by gRPC.
//!
//! One channel per member is kept and shared; it is dropped when the member did not answer in time (its connection may
//! lead nowhere) and when nobody asked for a while (its pod may be gone for good).
//!
//! It deliberately speaks plain HTTP/2 only: certificates come with the spec's TLS.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use plan::{Answer, Listed};
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::{
    Member, MemberAddRequest, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberRemoveRequest, MoveLeaderRequest, StatusRequest, StatusResponse,
};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint as Address};
use tonic::{Code, Response, Status};

use super::{
    CHANGE_TIMEOUT, Endpoint, Members, MembersError, Membership, PROBE_TIMEOUT, READ_TIMEOUT,
};

/// How long a connection may take to be made: on a pod network that works it takes a millisecond.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a channel that nobody uses is kept: longer than the resync, so that a quiet cluster keeps its own.
const UNUSED: Duration = Duration::from_secs(900);

/// What a member says that does not make a change of the membership yet: a peer has been connected for less than five
/// seconds, or is not; a member has not been heard of yet; a learner lacks too much. The planner's own gates hold at the same
/// time, but members see each other later than we see them.
const NOT_YET: [&str; 3] = [
    "etcdserver: unhealthy cluster",
    "etcdserver: re-configuration failed due to not enough started members",
    "etcdserver: can only promote a learner member which is in sync with leader",
];

/// The real members.
#[derive(Default)]
pub struct EtcdMembers {
    channels: Mutex<HashMap<String, (Channel, Instant)>>,
}

impl EtcdMembers {
    fn channel(&self, at: &Endpoint) -> Result<Channel, MembersError> {
        let now = Instant::now();
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|_, (_, used)| now.saturating_duration_since(*used) < UNUSED);
        if let Some((channel, used)) = channels.get_mut(&at.url) {
            *used = now;
            return Ok(channel.clone());
        }
        let address = Address::from_shared(at.url.clone()).map_err(|_| unreachable(at))?;
        let channel = address
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .connect_lazy();
        channels.insert(at.url.clone(), (channel.clone(), now));
        Ok(channel)
    }

    fn forget(&self, at: &Endpoint) {
        self.channels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&at.url);
    }

    async fn ask<T, F>(
        &self,
        at: &Endpoint,
        (call, limit): (&'static str, Duration),
        send: impl FnOnce(Channel) -> F,
    ) -> Result<T, MembersError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let channel = self.channel(at)?;
        let member = at.member.clone();
        match tokio::time::timeout(limit, send(channel)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) if is_transport(&status) => {
                self.forget(at);
                Err(unreachable(at))
            }
            Ok(Err(status)) if NOT_YET.contains(&status.message()) => Err(MembersError::NotYet {
                member,
                call,
                message: status.message().to_owned(),
            }),
            Ok(Err(status)) => Err(MembersError::Refused {
                member,
                call,
                message: status.message().to_owned(),
            }),
            Err(_) => {
                self.forget(at);
                Err(MembersError::TimedOut {
                    member,
                    call,
                    after: limit,
                })
            }
        }
    }

    async fn status(&self, at: &Endpoint) -> Result<StatusResponse, MembersError> {
        self.ask(at, ("Status", PROBE_TIMEOUT), |channel| async move {
            MaintenanceClient::new(channel)
                .status(StatusRequest::default())
                .await
        })
        .await
    }

    async fn list(
        &self,
        at: &Endpoint,
        limit: Duration,
    ) -> Result<MemberListResponse, MembersError> {
        self.ask(at, ("MemberList", limit), |channel| async move {
            ClusterClient::new(channel)
                .member_list(MemberListRequest { linearizable: true })
                .await
        })
        .await
    }
}

impl Members for EtcdMembers {
    fn probe<'a>(&'a self, at: &'a Endpoint) -> BoxFuture<'a, Result<Answer, MembersError>> {
        async move {
            let (status, list) = tokio::join!(self.status(at), self.list(at, PROBE_TIMEOUT));
            // A learner refuses the list, and a member without a majority cannot answer it: both are no error here.
            Ok(answer(status?, list.ok()))
        }
        .boxed()
    }

    fn membership<'a>(
        &'a self,
        at: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Membership, MembersError>> {
        async move {
            let list = self.list(at, READ_TIMEOUT).await?;
            let cluster_id = list.header.map_or(0, |header| header.cluster_id);
            Ok(Membership {
                cluster_id,
                members: list.members.into_iter().map(listed).collect(),
            })
        }
        .boxed()
    }

    fn add_learner<'a>(
        &'a self,
        at: &'a Endpoint,
        peer_url: &'a str,
    ) -> BoxFuture<'a, Result<u64, MembersError>> {
        let request = MemberAddRequest {
            peer_urls: vec![peer_url.to_owned()],
            is_learner: true,
        };
        async move {
            let added = self
                .ask(at, ("MemberAdd", CHANGE_TIMEOUT), |channel| async move {
                    ClusterClient::new(channel).member_add(request).await
                })
                .await?;
            Ok(added.member.map_or(0, |member| member.id))
        }
        .boxed()
    }

    fn promote<'a>(&'a self, at: &'a Endpoint, id: u64) -> BoxFuture<'a, Result<(), MembersError>> {
        self.ask(
            at,
            ("MemberPromote", CHANGE_TIMEOUT),
            move |channel| async move {
                ClusterClient::new(channel)
                    .member_promote(MemberPromoteRequest { id })
                    .await
            },
        )
        .map(|answer| answer.map(drop))
        .boxed()
    }

    fn remove<'a>(&'a self, at: &'a Endpoint, id: u64) -> BoxFuture<'a, Result<(), MembersError>> {
        self.ask(
            at,
            ("MemberRemove", CHANGE_TIMEOUT),
            move |channel| async move {
                ClusterClient::new(channel)
                    .member_remove(MemberRemoveRequest { id })
                    .await
            },
        )
        .map(|answer| answer.map(drop))
        .boxed()
    }

    fn move_leader<'a>(
        &'a self,
        at: &'a Endpoint,
        to: u64,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        self.ask(
            at,
            ("MoveLeader", CHANGE_TIMEOUT),
            move |channel| async move {
                MaintenanceClient::new(channel)
                    .move_leader(MoveLeaderRequest { target_id: to })
                    .await
            },
        )
        .map(|answer| answer.map(drop))
        .boxed()
    }
}

/// Whether the error came from the way there and not from the member.
fn is_transport(status: &Status) -> bool {
    let caused = std::error::Error::source(status).is_some();
    caused
        && matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled
        )
}

fn unreachable(at: &Endpoint) -> MembersError {
    MembersError::Unreachable {
        member: at.member.clone(),
        url: at.url.clone(),
    }
}

fn answer(status: StatusResponse, list: Option<MemberListResponse>) -> Answer {
    let header = status.header.unwrap_or_default();
    Answer {
        cluster_id: header.cluster_id,
        member_id: header.member_id,
        leader_id: status.leader,
        term: status.raft_term,
        raft_index: status.raft_index,
        applied_index: status.raft_applied_index,
        is_learner: status.is_learner,
        version: status.version,
        storage_version: Some(status.storage_version).filter(|it| !it.is_empty()),
        errors: status.errors,
        membership: list.map(|list| list.members.into_iter().map(listed).collect()),
    }
}

fn listed(member: Member) -> Listed {
    Listed {
        id: member.id,
        name: member.name,
        peer_urls: member.peer_urls,
        is_learner: member.is_learner,
    }
}

#[cfg(test)]
mod tests;
