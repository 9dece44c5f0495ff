//! Calls to members: each is made through a member that is asked right before whether the membership is the planned one.
//!
//! It deliberately decides nothing: which call and through whom stands in the action.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use plan::{Alarm, Ground, names};

use super::{ActError, Stage};
use crate::context::WriteError;
use crate::members::{Endpoint, MembersError};
use crate::observe::endpoint;

impl Stage<'_> {
    pub(super) async fn update_peer_url(
        &self,
        id: u64,
        url: &str,
        ground: &Ground,
    ) -> Result<(), ActError> {
        let via = self.stand_on(ground).await?;
        self.sent(self.ctx.members.update_peer_url(&via, id, url).await)
    }

    /// The id that the membership gave the learner.
    pub(super) async fn add_learner(
        &self,
        peer_url: &str,
        ground: &Ground,
    ) -> Result<u64, ActError> {
        let via = self.stand_on(ground).await?;
        let id = self.ctx.members.add_learner(&via, peer_url).await;
        id.map_err(ActError::Members)
    }

    pub(super) async fn disarm(
        &self,
        alarm: Alarm,
        id: u64,
        ground: &Ground,
    ) -> Result<(), ActError> {
        let via = self.stand_on(ground).await?;
        self.sent(self.ctx.members.disarm(&via, alarm, id).await)
    }

    pub(super) async fn compact(&self, revision: i64, ground: &Ground) -> Result<(), ActError> {
        let via = self.stand_on(ground).await?;
        self.sent(self.ctx.members.compact(&via, revision).await)
    }

    /// Makes sure that the membership is still the planned one and that this process may still write; says through whom.
    pub(super) async fn stand_on(&self, ground: &Ground) -> Result<Endpoint, ActError> {
        let via = self.way_to(&ground.via)?;
        let found = self
            .ctx
            .members
            .membership(&via)
            .await
            .map_err(ActError::Members)?;
        let members = found
            .members
            .iter()
            .map(|listed| (listed.id, listed.is_learner));
        if !ground.holds(found.cluster_id, members) {
            return Err(ActError::GroundLost);
        }
        self.ctx
            .pass()
            .map_err(|why| ActError::Write(WriteError::Shut(why)))?;
        Ok(via)
    }

    /// Where a member is asked.
    pub(super) fn way_to(&self, name: &str) -> Result<Endpoint, ActError> {
        let of_it = |pod: &&Pod| {
            let member = pod.labels().get(names::MEMBER_LABEL);
            member.is_some_and(|it| it == name)
        };
        let mut pods = self.observed.pods.iter().filter(of_it);
        let way = pods.find_map(|pod| endpoint(pod, self.credentials));
        way.ok_or_else(|| ActError::NoWay {
            via: name.to_owned(),
        })
    }

    pub(super) fn sent(&self, answer: Result<(), MembersError>) -> Result<(), ActError> {
        answer.map_err(ActError::Members)
    }
}
