//! The Lease service.
//!
//! Grants and revocations go through the log like every write. Renewals and what is left of a lease are the leader's alone
//! to say, who measures: another member passes the question on to the leader's peer port and waits, as long as a request may
//! take, for whoever that turns out to be. A list of leases is answered by every member from what it has.
//!
//! What a stream of renewals says of the revision is taken before the renewal: a client that sees a lease renewed at a revision
//! must not find it revoked at an earlier one.
//!
//! What this module deliberately does not do: measure; see `replica::lessor`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::lease_server;
use store::{AuthError, Command, LeaseGrant, LeaseRevoke, Response as Answer, StoreError};
use tonic::{Request, Response, Status, Streaming};

use super::Shared;
use crate::auth::Credentials;
use crate::event::{LeaseRead, LeaseState, Need, Outcome, Read};
use crate::quota;
use crate::refusal::Refusal;

/// How long to wait before asking again who leads; etcd's figure.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// Renewals of one stream that are under way together: they share a round among the members. Answers keep their order.
const RENEWALS_AT_ONCE: usize = 256;

/// Ids for leases whose owners want none in particular. They count up from a number drawn at the start, so that neither members
/// nor starts get into each other's way.
#[derive(Debug)]
pub struct LeaseIds(AtomicU64);

impl LeaseIds {
    /// Begins at `drawn`, a random number.
    #[must_use]
    pub const fn new(drawn: u64) -> Self {
        Self(AtomicU64::new(drawn))
    }

    /// Positive, as etcd's are, and never twice.
    fn draw(&self) -> i64 {
        loop {
            let id = self.0.fetch_add(1, Ordering::Relaxed) & (u64::MAX >> 1);
            if id != 0 {
                return id.cast_signed();
            }
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lease(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl lease_server::Lease for Lease {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let credentials = Credentials::of(&request);
        let pb::LeaseGrantRequest { ttl, id } = request.into_inner();
        self.0.check_quota(quota::LEASE_BYTES).await?;
        self.0.guard.require_known(&credentials).await?;
        let grant = LeaseGrant {
            id: if id == 0 { self.0.lease_ids.draw() } else { id },
            ttl: ttl.max(self.0.limits.min_lease_ttl),
        };
        let command = Command::LeaseGrant(grant);
        match self.0.propose_by(&credentials, &command).await? {
            Answer::LeaseGrant(answer) => Ok(Response::new(pb::LeaseGrantResponse {
                header: self.0.header(answer.revision),
                id: answer.id,
                ttl: answer.ttl,
                error: String::new(),
            })),
            other => unreachable!("a grant is not answered by {other:?}"),
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let credentials = Credentials::of(&request);
        self.0.guard.require_known(&credentials).await?;
        let id = request.get_ref().id;
        let command = Command::LeaseRevoke(LeaseRevoke { id });
        match self.0.propose_by(&credentials, &command).await? {
            Answer::LeaseRevoke(answer) => Ok(Response::new(pb::LeaseRevokeResponse {
                header: self.0.header(answer.revision),
            })),
            other => unreachable!("a revocation is not answered by {other:?}"),
        }
    }

    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let shared = Arc::clone(&self.0);
        let credentials = Arc::new(Credentials::of(&request));
        let renewals = request.into_inner().map(move |asked| {
            let (shared, credentials) = (Arc::clone(&shared), Arc::clone(&credentials));
            async move { keep_alive(&shared, &credentials, asked?.id).await }
        });
        Ok(Response::new(Box::pin(renewals.buffered(RENEWALS_AT_ONCE))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let credentials = Credentials::of(&request);
        let pb::LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        self.0.guard.require_known(&credentials).await?;
        let before = self.0.guard.auth().revision();
        if keys {
            self.0.permit(&credentials, Need::ReadKeysOf(id)).await?;
        }
        let state = match ask_leader(&self.0, LeaseRead::TimeToLive { id, keys }).await {
            Ok(Outcome::Lease(state)) => state,
            Ok(other) => unreachable!("what is left of a lease is not answered by {other:?}"),
            Err(refusal) if is_gone(refusal) => LeaseState {
                left: -1,
                ..LeaseState::default()
            },
            Err(refusal) => return Err(refusal.into()),
        };
        let auth = self.0.guard.auth();
        if keys && auth.is_enabled() && auth.revision() != before {
            return Err(Refusal::from(AuthError::OldRevision).into());
        }
        Ok(Response::new(pb::LeaseTimeToLiveResponse {
            header: header(&self.0),
            id,
            ttl: state.left,
            granted_ttl: state.granted_ttl,
            keys: state.keys,
        }))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let credentials = Credentials::of(&request);
        let read = self.0.read_by(&credentials, Read::Leases, true);
        match read.await? {
            Outcome::Leases(ids) => Ok(Response::new(pb::LeaseLeasesResponse {
                header: header(&self.0),
                leases: ids.into_iter().map(|id| pb::LeaseStatus { id }).collect(),
            })),
            other => unreachable!("a list of leases is not answered by {other:?}"),
        }
    }
}

/// Of the revision that this member is at.
fn header(shared: &Shared) -> Option<pb::ResponseHeader> {
    shared.header(shared.handle.with_status(|status| status.revision))
}

fn is_gone(refusal: Refusal) -> bool {
    refusal == Refusal::Store(StoreError::LeaseNotFound)
}

async fn keep_alive(
    shared: &Shared,
    credentials: &Credentials,
    id: i64,
) -> Result<pb::LeaseKeepAliveResponse, Status> {
    let header = header(shared);
    shared.permit(credentials, Need::WriteKeysOf(id)).await?;
    let ttl = match ask_leader(shared, LeaseRead::Renew { id }).await {
        Ok(Outcome::Renewed { ttl }) => ttl,
        Ok(other) => unreachable!("a renewal is not answered by {other:?}"),
        Err(refusal) if is_gone(refusal) => 0,
        Err(refusal) => return Err(refusal.into()),
    };
    Ok(pb::LeaseKeepAliveResponse { header, id, ttl })
}

/// Here or at the leader, whoever that turns out to be before the time is up.
async fn ask_leader(shared: &Shared, read: LeaseRead) -> Result<Outcome, Refusal> {
    let trying = async {
        loop {
            match try_leader(shared, read).await {
                Some(answer) => return answer,
                None => tokio::time::sleep(RETRY_AFTER).await,
            }
        }
    };
    let answer = tokio::time::timeout(shared.limits.request_timeout, trying).await;
    answer.unwrap_or_else(|_| {
        let has_leader = shared.handle.with_status(|status| status.leader.is_some());
        Err(if has_leader {
            Refusal::Timeout
        } else {
            Refusal::NoLeader
        })
    })
}

/// None: there is no leader, or he is not reached, or is none any more.
async fn try_leader(shared: &Shared, read: LeaseRead) -> Option<Result<Outcome, Refusal>> {
    let (leader, me, cluster_id) = shared.handle.with_status(|status| {
        let identity = status.identity;
        (status.leader, identity.member_id, identity.cluster_id)
    });
    if leader? == me {
        let answer = shared.handle.read(Read::Lease(read)).await;
        let leads = !matches!(answer, Err(Refusal::NotLeader));
        return leads.then_some(answer);
    }
    let urls = shared.handle.with_status(|status| {
        let members = &status.membership.members;
        members.get(&leader?).map(|member| member.peer_urls.clone())
    })?;
    let mut status = shared.handle.watch_status();
    let answer = tokio::select! {
        answer = shared.leader.ask(&urls, cluster_id, read) => answer,
        // Who is led by somebody else now need not wait for the one that went away.
        _ = status.wait_for(|status| status.leader != leader) => return None,
    };
    let gone = Refusal::from(StoreError::LeaseNotFound);
    match answer {
        Err(error) if error.is(gone) => Some(Err(gone)),
        answer => answer.ok().map(Ok),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_ids_are_positive_and_differ() {
        let ids = LeaseIds::new(u64::MAX / 2);
        let drawn: Vec<i64> = (0..3).map(|_| ids.draw()).collect();
        assert_eq!(drawn, [i64::MAX, 1, 2]);
        assert!(LeaseIds::new(u64::MAX).draw() > 0);
    }
}
