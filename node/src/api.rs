//! The etcd v3 services, and the port they are served on.
//!
//! A service's work here: check what can be checked without the state, turn the wire's messages into the store's (field by
//! field, moving keys and values, never copying them), ask the loop, put the header before the answer.
//!
//! Served: KV, Watch, Lease, Cluster, Maintenance, Auth, Lock, Election, `grpc.health.v1`, and our own Membership.
//! Everything else answers `Unimplemented`.
//!
//! What this module deliberately does not do: judge who may do what. It carries along who asks (`identity`), and asks the guard
//! (`auth`) where etcd's services ask.

pub mod access;
mod auth;
mod cluster;
mod convert;
pub mod counts;
mod cut;
mod downgrade;
mod election;
mod frames;
mod gate;
mod identity;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod membership;
mod opening;
mod pages;
mod pings;
pub mod port;
mod queue;
mod reconfigure;
mod sight;
mod watch;

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Uri};
use proto::etcdserverpb::ResponseHeader;
use proto::etcdserverpb::auth_server::AuthServer;
use proto::etcdserverpb::cluster_server::ClusterServer;
use proto::etcdserverpb::kv_server::KvServer;
use proto::etcdserverpb::lease_server::LeaseServer;
use proto::etcdserverpb::maintenance_server::MaintenanceServer;
use proto::etcdserverpb::watch_server::WatchServer;
use proto::membership::membership_server::MembershipServer;
use proto::v3electionpb::election_server::ElectionServer;
use proto::v3lockpb::lock_server::LockServer;
use store::{AlarmChange, AlarmKind, Command, Response as Answer, StoreError};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};

pub(crate) use self::convert::member as member_to_wire;
use self::cut::{Cut, Scissors};
use self::gate::Gate;
pub use self::lease::LeaseIds;
use crate::auth::Guard;
use crate::handle::Handle;
use crate::plain;
use crate::quota;
use crate::refusal::Refusal;
use crate::transport::{Dialer, LeaderLine};

/// What the frame of a gRPC message may have beyond `--max-request-bytes`; etcd's figure.
pub(crate) const OVERHEAD_BYTES: usize = 512 << 10;

/// What the services need to know.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `--max-request-bytes`.
    pub max_request_bytes: usize,
    /// `--max-txn-ops`.
    pub max_txn_ops: usize,
    /// How many learners the cluster may have at once.
    pub max_learners: u32,
    /// The shortest time to live of a lease, in seconds.
    pub min_lease_ttl: i64,
    /// `--quota-backend-bytes`.
    pub quota_bytes: u64,
    /// `--watch-progress-notify-interval`.
    pub progress_interval: std::time::Duration,
    /// `--election-timeout`: streams whose clients want a leader are cut after three of them without one.
    pub election_timeout: std::time::Duration,
    /// How long a request may take that is passed on to the leader.
    pub request_timeout: std::time::Duration,
}

/// What all services share.
#[derive(Debug)]
pub(crate) struct Shared {
    handle: Handle,
    guard: Guard,
    limits: Limits,
    dialer: Dialer,
    leader: LeaderLine,
    lease_ids: LeaseIds,
}

impl Shared {
    fn header(&self, revision: i64) -> Option<ResponseHeader> {
        self.handle.with_status(|status| {
            Some(ResponseHeader {
                cluster_id: status.identity.cluster_id,
                member_id: status.identity.member_id,
                revision,
                raft_term: status.term,
            })
        })
    }

    /// Refuses what would not fit into the quota, and sees that everybody knows why: to be asked before what takes space
    /// is even looked at, as in etcd.
    async fn check_quota(&self, cost_bytes: u64) -> Result<(), Status> {
        let (size, me, is_known) = self.handle.with_status(|status| {
            let me = status.identity.member_id;
            let is_known = status.has_alarm(AlarmKind::NoSpace, me);
            (status.size_bytes, me, is_known)
        });
        if quota::admits(self.limits.quota_bytes, size, cost_bytes) {
            return Ok(());
        }
        if !is_known {
            let raise = Command::Alarm(AlarmChange::raise(AlarmKind::NoSpace, me));
            if let Err(error) = self.propose(&raise).await {
                tracing::warn!(%error, "cannot raise the alarm about the used-up quota");
            }
        }
        Err(Refusal::from(StoreError::NoSpace).into())
    }

    /// Puts a command of this member's own into the log, if it is not too large; what needs no author.
    async fn propose(&self, command: &Command) -> Result<Answer, Status> {
        self.put_into_log(command.to_bytes()).await
    }

    async fn put_into_log(&self, bytes: Bytes) -> Result<Answer, Status> {
        if bytes.len() > self.limits.max_request_bytes {
            return Err(Refusal::RequestTooLarge.into());
        }
        Ok(self.handle.propose(bytes).await?)
    }
}

/// All gRPC services of the client port; what is not served answers `Unimplemented`. Streams end once it is `closing`.
pub fn routes<H: Health>(
    guard: Guard,
    limits: Limits,
    dialer: Dialer,
    lease_ids: LeaseIds,
    health: HealthServer<H>,
    closing: CancellationToken,
) -> axum::Router {
    let limit = limits.max_request_bytes + OVERHEAD_BYTES;
    let handle = guard.handle.clone();
    let scissors = Scissors::new(handle.clone(), limits.election_timeout, closing);
    let shared = Arc::new(Shared {
        handle: handle.clone(),
        guard,
        limits,
        leader: LeaderLine::new(dialer.clone()),
        dialer,
        lease_ids,
    });
    let kv = KvServer::new(kv::Kv(Arc::clone(&shared))).max_decoding_message_size(limit);
    let watch = WatchServer::new(watch::Watch(Arc::clone(&shared)));
    let watch = Cut::new(scissors.clone(), watch.max_decoding_message_size(limit));
    let lease = LeaseServer::new(lease::Lease(Arc::clone(&shared)));
    let lease = Cut::new(scissors.clone(), lease);
    let cluster = ClusterServer::new(cluster::Cluster(Arc::clone(&shared)));
    let maintenance = MaintenanceServer::new(maintenance::Maintenance(Arc::clone(&shared)));
    let auth = AuthServer::new(auth::Auth(Arc::clone(&shared)));
    let membership = MembershipServer::new(membership::Membership(Arc::clone(&shared)));
    let lock = LockServer::new(lock::Lock(Arc::clone(&shared)));
    let election = ElectionServer::new(election::Election(shared));
    let election = Cut::new(scissors, election.max_decoding_message_size(limit));
    Routes::new(Gate::new(handle.clone(), kv))
        .add_service(Gate::new(handle.clone(), watch))
        .add_service(Gate::new(handle.clone(), lease))
        .add_service(Gate::new(handle.clone(), lock))
        .add_service(Gate::new(handle.clone(), election))
        .add_service(Gate::new(handle.clone(), cluster))
        .add_service(Gate::new(handle.clone(), membership))
        .add_service(Gate::new(handle.clone(), auth))
        .add_service(Gate::new(handle.clone(), maintenance))
        .add_service(Gate::new(handle, health))
        .into_axum_router()
}

/// The answer to a path that nothing is served at: to a gRPC call `Unimplemented`, to anything else 404.
pub async fn nothing_here(uri: Uri, headers: HeaderMap) -> axum::response::Response {
    nothing_at(&uri, &headers)
}

fn nothing_at(uri: &Uri, headers: &HeaderMap) -> axum::response::Response {
    if is_grpc(headers) {
        let service = uri.path().trim_start_matches('/');
        let service = service
            .rsplit_once('/')
            .map_or(service, |(service, _)| service);
        // In the words of Go's gRPC.
        return Status::unimplemented(format!("unknown service {service}")).into_http();
    }
    plain::not_found()
}

/// Whether a request is a call of gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.starts_with("application/grpc"))
}
