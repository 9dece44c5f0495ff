//! The Maintenance service: one member's own state.
//!
//! `Defragment` sweeps compacted history, which else goes little by little; there is no file with holes. Alarms are listed by
//! kind, then member; etcd lists them in no order.
//!
//! What this module deliberately does not do: the rules of downgrades, which stand in `downgrade`.

use std::sync::Arc;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::downgrade_request::DowngradeAction;
use proto::etcdserverpb::maintenance_server;
use store::{Alarm, AlarmChange, AlarmKind, Command, Response as Answer};
use tonic::{Request, Response, Status};

use super::{Shared, convert, downgrade};
use crate::auth::Credentials;
use crate::refusal::Refusal;
use crate::snapshot;
use crate::status::{self, alarm_name};
use crate::version::{ETCD_VERSION, cluster_text};

/// See the module.
#[derive(Debug)]
pub(super) struct Maintenance(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl maintenance_server::Maintenance for Maintenance {
    type SnapshotStream = snapshot::Pieces;

    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        let credentials = Credentials::of(&request);
        if request.get_ref().action == AlarmAction::Get as i32 {
            self.0.guard.require_known(&credentials).await?;
        } else {
            self.0.guard.require_root(&credentials).await?;
        }
        let pb::AlarmRequest {
            action,
            member_id,
            alarm,
        } = request.into_inner();
        let alarms = match AlarmAction::try_from(action) {
            Ok(AlarmAction::Get) => self.alarms(alarm).await?,
            Ok(action) => {
                let alarm = Alarm {
                    kind: alarm,
                    member: member_id,
                };
                let raised = action == AlarmAction::Activate;
                let change = AlarmChange { alarm, raised };
                self.change_alarm(&credentials, change).await?
            }
            Err(_) => return Err(unknown_action(action)),
        };
        let alarms = alarms.into_iter().map(convert::alarm).collect();
        let header = self.header();
        Ok(Response::new(pb::AlarmResponse { header, alarms }))
    }

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        self.0
            .guard
            .require_known(&Credentials::of(&request))
            .await?;
        let status = self.0.handle.status();
        Ok(Response::new(pb::StatusResponse {
            header: self.header(),
            version: ETCD_VERSION.to_owned(),
            // etcdctl divides by it, and etcd's file is never empty.
            db_size: as_signed(status.size_bytes.max(1)),
            leader: status.leader.unwrap_or(0),
            raft_index: status.commit,
            raft_term: status.term,
            raft_applied_index: status.applied,
            errors: errors(&status),
            // The store keeps no file with holes: all that it holds is in use.
            db_size_in_use: as_signed(status.size_bytes),
            is_learner: status.is_learner,
            storage_version: cluster_text(status.cluster_version),
            db_size_quota: as_signed(self.0.limits.quota_bytes),
            downgrade_info: Some(downgrade::shown(status.downgrade)),
        }))
    }

    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.0
            .guard
            .require_root(&Credentials::of(&request))
            .await?;
        tracing::info!("starting defragment");
        self.0.handle.sweep().await?;
        tracing::info!("finished defragment");
        Ok(Response::new(pb::DefragmentResponse::default()))
    }

    async fn hash(
        &self,
        request: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        self.0
            .guard
            .require_root(&Credentials::of(&request))
            .await?;
        let hash = self.hash_at(0).await?;
        let header = self.0.header(hash.revision);
        Ok(Response::new(pb::HashResponse {
            header,
            hash: hash.hash,
        }))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        self.0
            .guard
            .require_root(&Credentials::of(&request))
            .await?;
        let hash = self.hash_at(request.get_ref().revision).await?;
        Ok(Response::new(pb::HashKvResponse {
            header: self.0.header(hash.revision),
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.hash_revision,
        }))
    }

    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<snapshot::Pieces>, Status> {
        self.0
            .guard
            .require_root(&Credentials::of(&request))
            .await?;
        let term = self.0.handle.with_status(|status| status.term);
        let image = self.0.handle.image().await?;
        Ok(Response::new(snapshot::stream(image, term)))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.0
            .guard
            .require_root(&Credentials::of(&request))
            .await?;
        self.0
            .handle
            .move_leader(request.get_ref().target_id)
            .await?;
        Ok(Response::new(pb::MoveLeaderResponse {
            header: self.header(),
        }))
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        self.0
            .guard
            .require_root(&Credentials::of(&request))
            .await?;
        let pb::DowngradeRequest { action, version } = request.into_inner();
        let cluster = match DowngradeAction::try_from(action) {
            Ok(DowngradeAction::Validate) => self.0.check_downgrade(&version).await?.0,
            Ok(DowngradeAction::Enable) => self.0.enable_downgrade(&version).await?,
            Ok(DowngradeAction::Cancel) => self.0.cancel_downgrade().await?,
            Err(_) => return Err(Refusal::UnknownMethod.into()),
        };
        Ok(Response::new(pb::DowngradeResponse {
            header: self.header(),
            version: cluster.to_string(),
        }))
    }
}

impl Maintenance {
    /// The alarms of this kind that were up when they were asked for.
    async fn alarms(&self, kind: i32) -> Result<Vec<Alarm>, Refusal> {
        self.0.handle.confirm().await?;
        let is_asked = |alarm: &Alarm| kind == AlarmKind::None as i32 || alarm.kind == kind;
        Ok(self.0.handle.with_status(|status| {
            let alarms = status.alarms.iter();
            alarms.copied().filter(is_asked).collect()
        }))
    }

    async fn change_alarm(
        &self,
        credentials: &Credentials,
        change: AlarmChange,
    ) -> Result<Vec<Alarm>, Status> {
        let command = Command::Alarm(change);
        match self.0.propose_by(credentials, &command).await? {
            Answer::Alarms(answer) => Ok(answer.alarms),
            other => unreachable!("a change of an alarm is not answered by {other:?}"),
        }
    }

    fn header(&self) -> Option<pb::ResponseHeader> {
        self.0
            .header(self.0.handle.with_status(|status| status.revision))
    }

    /// Hashing reads the whole keyspace, so it works on an image, and not on the threads that serve.
    async fn hash_at(&self, revision: i64) -> Result<store::KeyspaceHash, Status> {
        let image = self.0.handle.image().await?;
        let hashing = tokio::task::spawn_blocking(move || image.hash_kv(revision));
        let hash = hashing
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(hash.map_err(Refusal::from)?)
    }
}

/// What is wrong with the member or the cluster, in etcd's words where it has some.
fn errors(status: &status::Status) -> Vec<String> {
    let no_leader = status
        .leader
        .is_none()
        .then(|| Refusal::NoLeader.to_string());
    let lost = status
        .lost_until
        .map(|index| format!("damaged: entries up to {index} are to be got back from the others"));
    let alarms = status.alarms.iter().map(alarm_text);
    no_leader.into_iter().chain(lost).chain(alarms).collect()
}

/// As protobuf's text format has it, which is what etcd shows: fields that are zero are left out.
fn alarm_text(alarm: &Alarm) -> String {
    let name = alarm_name(alarm.kind);
    match alarm.member {
        0 => format!("alarm:{name}"),
        member => format!("memberID:{member} alarm:{name}"),
    }
}

/// etcd's process dies of such a request.
fn unknown_action(action: i32) -> Status {
    Status::invalid_argument(format!(
        "there is no action {action}: ask for 0, raise with 1, take back with 2"
    ))
}

fn as_signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
