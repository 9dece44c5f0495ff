//! The Cluster service: membership.
//!
//! Only the leader can judge a change, as only it knows who keeps up; it alone takes changes. Another member passes the
//! wish on to the leader's peer port and hands the leader's answer back, refusals with their code and text.
//!
//! What this module deliberately does not do: the rules; they stand in `replica::membership`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::etcdserverpb as pb;
use proto::etcdserverpb::cluster_server;
use store::{Command, MemberAdd, MemberPromote, MemberRemove, MemberUpdate, Response as Answer};
use tonic::{Request, Response, Status};

use super::{Shared, convert};
use crate::auth::Credentials;
use crate::bootstrap;
use crate::config::Url;
use crate::event::{Outcome, Read};
use crate::refusal::Refusal;
use crate::transport::Unanswered;

/// How long to wait before asking again who leads.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How long to wait until a change that the leader made is known here too. One that removes this member never is.
const CATCH_UP: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Cluster(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl cluster_server::Cluster for Cluster {
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let credentials = Credentials::of(&request);
        let pb::MemberAddRequest {
            peer_urls,
            is_learner,
        } = request.into_inner();
        let peer_urls = checked_urls(&peer_urls)?;
        self.0.guard.require_root(&credentials).await?;
        let id = bootstrap::member_id(&peer_urls, "", Some(unix_nanoseconds()));
        let (name, client_urls) = (String::new(), Vec::new());
        let member = store::Member {
            id,
            name,
            peer_urls,
            client_urls,
            is_learner,
        };
        let max_learners = self.0.limits.max_learners;
        let add = MemberAdd {
            member: member.clone(),
            max_learners,
        };
        let members = self.change(Command::MemberAdd(add)).await?;
        let member = Some(convert::member(member));
        Ok(Response::new(pb::MemberAddResponse {
            header: self.0.header(0),
            member,
            members,
        }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        self.0
            .guard
            .require_root(&Credentials::of(&request))
            .await?;
        let id = request.get_ref().id;
        let members = self
            .change(Command::MemberRemove(MemberRemove { id }))
            .await?;
        Ok(Response::new(pb::MemberRemoveResponse {
            header: self.0.header(0),
            members,
        }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let credentials = Credentials::of(&request);
        let pb::MemberUpdateRequest { id, peer_urls } = request.into_inner();
        let peer_urls = checked_urls(&peer_urls)?;
        self.0.guard.require_root(&credentials).await?;
        let members = self
            .change(Command::MemberUpdate(MemberUpdate { id, peer_urls }))
            .await?;
        Ok(Response::new(pb::MemberUpdateResponse {
            header: self.0.header(0),
            members,
        }))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        let credentials = Credentials::of(&request);
        let serializable = !request.get_ref().linearizable;
        let read = self.0.read_by(&credentials, Read::Members, serializable);
        match read.await? {
            Outcome::Members(members) => Ok(Response::new(pb::MemberListResponse {
                header: self.0.header(0),
                members: convert::members(members),
            })),
            other => unreachable!("a list of members is not answered by {other:?}"),
        }
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        self.0
            .guard
            .require_root(&Credentials::of(&request))
            .await?;
        let id = request.get_ref().id;
        let members = self
            .change(Command::MemberPromote(MemberPromote { id }))
            .await?;
        Ok(Response::new(pb::MemberPromoteResponse {
            header: self.0.header(0),
            members,
        }))
    }
}

impl Cluster {
    /// Here or at the leader, whoever that turns out to be before the time is up.
    async fn change(&self, command: Command) -> Result<Vec<pb::Member>, Status> {
        let trying = async {
            loop {
                match self.try_change(&command).await {
                    Err(Attempt::NoLeaderYet) => tokio::time::sleep(RETRY_AFTER).await,
                    Err(Attempt::Failed(status)) => return Err(status),
                    Ok(members) => return Ok(members),
                }
            }
        };
        let timeout = tokio::time::timeout(self.0.limits.request_timeout, trying);
        timeout
            .await
            .unwrap_or_else(|_| Err(Refusal::Timeout.into()))
    }

    async fn try_change(&self, command: &Command) -> Result<Vec<pb::Member>, Attempt> {
        match self.0.handle.reconfigure(command.clone()).await {
            Ok(Answer::Members(answer)) => Ok(convert::members(answer.members)),
            Ok(other) => unreachable!("a change of membership is not answered by {other:?}"),
            Err(Refusal::NotLeader) => {
                let members = self.ask_leader(command).await?;
                // Whoever was told of the change finds it in this member's own list, as in etcd. It is made in any case.
                drop(tokio::time::timeout(CATCH_UP, self.0.handle.confirm()).await);
                Ok(members)
            }
            Err(refusal) => Err(Attempt::Failed(refusal.into())),
        }
    }

    async fn ask_leader(&self, command: &Command) -> Result<Vec<pb::Member>, Attempt> {
        let leader = self.0.handle.with_status(|status| {
            let leader = status
                .leader
                .filter(|leader| *leader != status.identity.member_id)?;
            let member = status.membership.members.get(&leader)?;
            Some((status.identity.cluster_id, member.peer_urls.clone()))
        });
        let (cluster_id, urls) = leader.ok_or(Attempt::NoLeaderYet)?;
        let answer = self
            .0
            .dialer
            .reconfigure(&urls, cluster_id, command.to_bytes())
            .await;
        answer.map_err(|error| match error {
            // It did nothing.
            Unanswered::Unreachable(_) => Attempt::NoLeaderYet,
            Unanswered::Refused(status) if is_not_leader(&status) => Attempt::NoLeaderYet,
            Unanswered::Refused(status) => Attempt::Failed(status),
        })
    }
}

fn is_not_leader(status: &Status) -> bool {
    status.message() == Refusal::NotLeader.to_string()
}

enum Attempt {
    NoLeaderYet,
    Failed(Status),
}

fn checked_urls(urls: &[String]) -> Result<Vec<String>, Refusal> {
    let urls = Url::list(&urls.join(",")).map_err(|_| Refusal::BadUrls)?;
    Ok(urls.iter().map(ToString::to_string).collect())
}

/// The ids of members that are added are drawn from their URLs and the time, so that none comes twice. etcd takes seconds,
/// which makes a URL that is added, removed and added again within one come back under its used-up id.
#[expect(
    clippy::disallowed_methods,
    reason = "ids are drawn from the wall clock; it decides nothing else"
)]
fn unix_nanoseconds() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_nanos())
}
