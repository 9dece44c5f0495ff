//! The Cluster service: membership.
//!
//! What this module deliberately does not do: the rules; they stand in `replica::membership`. Nor does it find the leader;
//! [`super::reconfigure`] does.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use proto::etcdserverpb as pb;
use proto::etcdserverpb::cluster_server;
use store::{Command, MemberAdd, MemberPromote, MemberRemove, MemberUpdate};
use tonic::{Request, Response, Status};

use super::{Shared, convert};
use crate::auth::Credentials;
use crate::bootstrap;
use crate::config::Url;
use crate::event::{Outcome, Read};
use crate::refusal::Refusal;

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
        let member = new_member(request.into_inner())?;
        self.0.guard.require_root(&credentials).await?;
        let max_learners = self.0.limits.max_learners;
        let add = MemberAdd {
            member: member.clone(),
            max_learners,
        };
        let members = self.0.reconfigure(Command::MemberAdd(add)).await?;
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
            .0
            .reconfigure(Command::MemberRemove(MemberRemove { id }))
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
            .0
            .reconfigure(Command::MemberUpdate(MemberUpdate { id, peer_urls }))
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
            .0
            .reconfigure(Command::MemberPromote(MemberPromote { id }))
            .await?;
        Ok(Response::new(pb::MemberPromoteResponse {
            header: self.0.header(0),
            members,
        }))
    }
}

/// A member to add, under an id of its own.
pub(super) fn new_member(request: pb::MemberAddRequest) -> Result<store::Member, Refusal> {
    let peer_urls = checked_urls(&request.peer_urls)?;
    Ok(store::Member {
        id: bootstrap::member_id(&peer_urls, "", Some(unix_nanoseconds())),
        name: String::new(),
        peer_urls,
        client_urls: Vec::new(),
        is_learner: request.is_learner,
    })
}

/// Each is one URL, neither none nor several.
fn checked_urls(urls: &[String]) -> Result<Vec<String>, Refusal> {
    if urls.iter().any(|url| url.trim().parse::<Url>().is_err()) {
        return Err(Refusal::BadUrls);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_url_of_a_member_is_one() {
        let checked = |urls: &[&str]| {
            let urls: Vec<String> = urls.iter().map(|&it| it.to_owned()).collect();
            checked_urls(&urls).ok()
        };
        assert_eq!(
            checked(&[" http://b:1 ", "http://a:1"]).unwrap(),
            ["http://a:1", "http://b:1"]
        );
        assert_eq!(checked(&[]), None);
        assert_eq!(checked(&["http://a:1", ""]), None);
        assert_eq!(checked(&["http://a:1,http://b:1"]), None);
    }
}
