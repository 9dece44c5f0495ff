//! The Membership service, which is ours: several members change as one, by joint consensus.
//!
//! Changes need the role `root`, and reads a known user, as etcd's Cluster service asks for both.
//!
//! What this module deliberately does not do: the rules; they stand in `store::Members` and `replica::membership`.

use std::sync::Arc;

use proto::etcdserverpb as etcd;
use proto::membership::member_change::Change;
use proto::membership::{self as pb, membership_server};
use store::{Command, MemberChanges, MemberStep, Members};
use tonic::{Request, Response, Status};

use super::cluster::new_member;
use super::{Shared, convert};
use crate::auth::Credentials;
use crate::event::{Outcome, Read};

/// See the module.
#[derive(Debug)]
pub(super) struct Membership(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl membership_server::Membership for Membership {
    async fn change_members(
        &self,
        request: Request<pb::ChangeMembersRequest>,
    ) -> Result<Response<pb::ChangeMembersResponse>, Status> {
        let credentials = Credentials::of(&request);
        let steps = steps(request.into_inner().changes)?;
        self.0.guard.require_root(&credentials).await?;
        let added = steps.iter().filter_map(|step| match step {
            MemberStep::Add(member) => Some(convert::member(member.clone())),
            _ => None,
        });
        let added: Vec<etcd::Member> = added.collect();
        let changes = MemberChanges {
            changes: steps.into_iter().map(Into::into).collect(),
            max_learners: self.0.limits.max_learners,
        };
        let members = self.0.reconfigure(Command::MemberChanges(changes)).await?;
        Ok(Response::new(pb::ChangeMembersResponse {
            header: self.0.header(0),
            added,
            members,
        }))
    }

    async fn get_membership(
        &self,
        request: Request<pb::GetMembershipRequest>,
    ) -> Result<Response<pb::GetMembershipResponse>, Status> {
        let credentials = Credentials::of(&request);
        let is_local = !request.get_ref().linearizable;
        let read = self.0.read_by(&credentials, Read::Membership, is_local);
        match read.await? {
            Outcome::Membership(members) => Ok(Response::new(pb::GetMembershipResponse {
                header: self.0.header(0),
                ..shown(&members)
            })),
            other => unreachable!("the membership is not answered by {other:?}"),
        }
    }
}

fn steps(changes: Vec<pb::MemberChange>) -> Result<Vec<MemberStep>, Status> {
    let step = |(place, change): (usize, pb::MemberChange)| match change.change {
        Some(Change::Add(add)) => Ok(MemberStep::Add(new_member(add)?)),
        Some(Change::Remove(id)) => Ok(MemberStep::Remove(id)),
        Some(Change::Promote(id)) => Ok(MemberStep::Promote(id)),
        Some(Change::Demote(id)) => Ok(MemberStep::Demote(id)),
        None => Err(Status::invalid_argument(format!(
            "quorate: change {place} says nothing that is known here; it must be one of add, remove, promote, demote"
        ))),
    };
    (1..).zip(changes).map(step).collect()
}

fn shown(members: &Members) -> pb::GetMembershipResponse {
    let transition = members.transition().cloned();
    let is_joint = transition.is_some();
    let old_voters = members.old_voters().filter(|_| is_joint);
    let old_voters = old_voters.map(|member| member.id).collect();
    let store::Transition {
        leaving, demoted, ..
    } = transition.unwrap_or_default();
    pb::GetMembershipResponse {
        header: None,
        is_joint,
        voters: members.voters().map(|member| member.id).collect(),
        old_voters,
        leaving,
        demoted,
        members: convert::members(members.iter().cloned().collect()),
    }
}
