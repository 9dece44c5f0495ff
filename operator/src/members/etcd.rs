//! Members over etcd's v3 API, by gRPC.
//!
//! One channel per member is kept and shared; it is dropped when the member did not answer in time (its connection may
//! lead nowhere) and when nobody asked for a while (its pod may be gone for good).
//!
//! A URL that asks for TLS is never spoken to without it.
//!
//! It deliberately makes no certificates: an [`Endpoint`] brings what to show.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use plan::{AccountChange, Accounts, Alarm, Answer, Asked, Handshake, Listed};
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, DefragmentRequest, Member, MemberAddRequest,
    MemberListRequest, MemberListResponse, MemberPromoteRequest, MemberRemoveRequest,
    MemberUpdateRequest, MoveLeaderRequest, StatusRequest, StatusResponse,
};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint as Address, Uri};
use tonic::{Code, Response, Status};

use super::{
    CHANGE_TIMEOUT, Door, Endpoint, Members, MembersError, Membership, PROBE_TIMEOUT, READ_TIMEOUT,
    SPACE_TIMEOUT, Secured, accounts,
};

/// How long a connection may take to be made: on a pod network that works it takes a millisecond.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a channel that nobody uses is kept. While something goes on a member is asked again within a second or two; a quiet
/// cluster is looked at every few minutes, and its connections, some 40 KiB each, would be most of the operator's memory.
const UNUSED: Duration = Duration::from_secs(5);
/// So many channels are kept, however many clusters are looked at within that time, as after a start. Sixteen clusters at once, as
/// large as they may be, use fewer; where more are worked on, a member is connected to anew now and then.
const KEPT: usize = 256;

/// What a member says whose old revisions are gone already.
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

/// The real members.
#[derive(Default)]
pub struct EtcdMembers {
    channels: Mutex<HashMap<Endpoint, (Channel, Instant)>>,
}

impl EtcdMembers {
    fn channel(&self, at: &Endpoint) -> Result<Channel, MembersError> {
        let now = Instant::now();
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|_, (_, used)| now.saturating_duration_since(*used) < UNUSED);
        if let Some((channel, used)) = channels.get_mut(at) {
            *used = now;
            return Ok(channel.clone());
        }
        let address = Address::from_shared(at.url.clone()).map_err(|_| unreachable(at))?;
        let address = address.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true);
        let channel = match (&at.tls, at.url.strip_prefix("https://")) {
            (Some(tls), Some(authority)) => secured(&address, tls.clone(), authority),
            (None, None) => address.connect_lazy(),
            _ => return Err(unreachable(at)),
        };
        if channels.len() >= KEPT {
            let oldest = channels.iter().min_by_key(|(_, (_, used))| *used);
            let oldest = oldest.map(|(at, _)| at.clone());
            oldest.map(|it| channels.remove(&it));
        }
        channels.insert(at.clone(), (channel.clone(), now));
        Ok(channel)
    }

    fn forget(&self, at: &Endpoint) {
        self.channels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(at);
    }

    pub(super) async fn ask<T, F>(
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
            Ok(Err(status)) => Err(MembersError::said(at, call, status.message())),
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

    fn handshake<'a>(&'a self, door: &'a Door) -> BoxFuture<'a, Result<Handshake, String>> {
        door.shake().boxed()
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

    fn update_peer_url<'a>(
        &'a self,
        at: &'a Endpoint,
        id: u64,
        peer_url: &'a str,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        let request = MemberUpdateRequest {
            id,
            peer_urls: vec![peer_url.to_owned()],
        };
        self.ask(
            at,
            ("MemberUpdate", CHANGE_TIMEOUT),
            move |channel| async move { ClusterClient::new(channel).member_update(request).await },
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

    fn defragment<'a>(&'a self, at: &'a Endpoint) -> BoxFuture<'a, Result<(), MembersError>> {
        self.ask(at, ("Defragment", SPACE_TIMEOUT), |channel| async move {
            MaintenanceClient::new(channel)
                .defragment(DefragmentRequest {})
                .await
        })
        .map(|answer| answer.map(drop))
        .boxed()
    }

    fn compact<'a>(
        &'a self,
        at: &'a Endpoint,
        revision: i64,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        let request = CompactionRequest {
            revision,
            physical: true,
        };
        async move {
            let done = self
                .ask(at, ("Compact", SPACE_TIMEOUT), |channel| async move {
                    KvClient::new(channel).compact(request).await
                })
                .await;
            match done {
                Err(MembersError::Refused { message, .. }) if message == COMPACTED => Ok(()),
                done => done.map(drop),
            }
        }
        .boxed()
    }

    fn disarm<'a>(
        &'a self,
        at: &'a Endpoint,
        alarm: Alarm,
        id: u64,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        let request = AlarmRequest {
            action: AlarmAction::Deactivate.into(),
            member_id: id,
            alarm: kind_of(alarm).into(),
        };
        self.ask(at, ("Alarm", CHANGE_TIMEOUT), move |channel| async move {
            MaintenanceClient::new(channel).alarm(request).await
        })
        .map(|answer| answer.map(drop))
        .boxed()
    }

    fn accounts<'a>(
        &'a self,
        at: &'a Endpoint,
        asked: &'a Asked,
    ) -> BoxFuture<'a, Result<Accounts, MembersError>> {
        accounts::look(self, at, asked).boxed()
    }

    fn change_account<'a>(
        &'a self,
        at: &'a Endpoint,
        change: &'a AccountChange,
        password: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), MembersError>> {
        accounts::change(self, at, change, password).boxed()
    }
}

fn secured(address: &Address, tls: Secured, authority: &str) -> Channel {
    let authority: Arc<str> = authority.into();
    let connector = tower::service_fn(move |_: Uri| {
        let (tls, authority) = (tls.clone(), Arc::clone(&authority));
        async move { tls.connect(&authority).await.map(TokioIo::new) }
    });
    address.connect_with_connector_lazy(connector)
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
        revision: header.revision,
        is_learner: status.is_learner,
        db_size: u64::try_from(status.db_size).ok(),
        db_size_in_use: u64::try_from(status.db_size_in_use).ok(),
        version: status.version,
        storage_version: Some(status.storage_version).filter(|it| !it.is_empty()),
        no_space: alarmed(&status.errors, Alarm::NoSpace),
        corrupt: alarmed(&status.errors, Alarm::Corrupt),
        errors: status.errors,
        membership: list.map(|list| list.members.into_iter().map(listed).collect()),
    }
}

fn kind_of(alarm: Alarm) -> AlarmType {
    match alarm {
        Alarm::NoSpace => AlarmType::Nospace,
        Alarm::Corrupt => AlarmType::Corrupt,
    }
}

/// Whom an alarm is about. A status has alarms only as the text of the message, which is `memberID:1 alarm:NOSPACE` with one
/// space or two, and without the id where that is 0.
fn alarmed(errors: &[String], alarm: Alarm) -> Vec<u64> {
    let alarmed = |text: &String| {
        let (before, kind) = text.rsplit_once("alarm:")?;
        let id = match before.trim() {
            "" => 0,
            id => id.strip_prefix("memberID:")?.parse().ok()?,
        };
        (kind.trim() == alarm.as_str()).then_some(id)
    };
    errors.iter().filter_map(alarmed).collect()
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
