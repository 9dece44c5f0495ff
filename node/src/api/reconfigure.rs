//! Changes of membership on their way to the leader.
//!
//! Only the leader can judge a change, as only it knows who keeps up; it alone takes changes. Another member passes the
//! wish on to the leader's peer port and hands the leader's answer back, refusals with their code and text.
//!
//! What this module deliberately does not do: the rules; they stand in `replica::membership`.

use std::time::Duration;

use proto::etcdserverpb as pb;
use store::{Command, Response as Answer};
use tonic::Status;

use super::{Shared, convert};
use crate::refusal::Refusal;
use crate::transport::Unanswered;

/// How long to wait before asking again who leads.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How long to wait until a change that the leader made is known here too.
const CATCH_UP: Duration = Duration::from_secs(1);

enum Attempt {
    NoLeaderYet,
    Failed(Status),
}

impl Shared {
    /// Changes the membership, here or at the leader, whoever that turns out to be before the time is up. The members afterwards.
    pub(super) async fn reconfigure(&self, command: Command) -> Result<Vec<pb::Member>, Status> {
        let trying = async {
            loop {
                match self.try_change(&command).await {
                    Err(Attempt::NoLeaderYet) => tokio::time::sleep(RETRY_AFTER).await,
                    Err(Attempt::Failed(status)) => return Err(status),
                    Ok(members) => return Ok(members),
                }
            }
        };
        let timeout = tokio::time::timeout(self.limits.request_timeout, trying);
        timeout
            .await
            .unwrap_or_else(|_| Err(Refusal::Timeout.into()))
    }

    async fn try_change(&self, command: &Command) -> Result<Vec<pb::Member>, Attempt> {
        match self.handle.reconfigure(command.clone()).await {
            Ok(Answer::Members(answer)) => Ok(convert::members(answer.members)),
            Ok(other) => unreachable!("a change of membership is not answered by {other:?}"),
            Err(Refusal::NotLeader) => {
                let members = self.ask_leader(command).await?;
                self.catch_up().await;
                Ok(members)
            }
            Err(refusal) => Err(Attempt::Failed(refusal.into())),
        }
    }

    /// Whoever was told of the change finds it in this member's own list, as in etcd. It is made in any case. A member that
    /// it removed hears nothing more.
    async fn catch_up(&self) {
        let mut status = self.handle.watch_status();
        tokio::select! {
            _ = self.handle.confirm() => {}
            _ = status.wait_for(|status| status.is_removed) => {}
            () = tokio::time::sleep(CATCH_UP) => {}
        }
    }

    async fn ask_leader(&self, command: &Command) -> Result<Vec<pb::Member>, Attempt> {
        let leader = self.handle.with_status(|status| {
            let leader = status
                .leader
                .filter(|leader| *leader != status.identity.member_id)?;
            let member = status.membership.members.get(&leader)?;
            Some((status.identity.cluster_id, member.peer_urls.clone()))
        });
        let (cluster_id, urls) = leader.ok_or(Attempt::NoLeaderYet)?;
        let answer = self
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
