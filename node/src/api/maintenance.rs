//! The Maintenance service: one member's own state.
//!
//! `Defragment` has nothing to do, as the store keeps no file with holes; it answers that it is done. There are no alarms,
//! so that asking for them or taking them back finds none.
//!
//! What this module deliberately does not do: `Snapshot`, `Downgrade`, and raising alarms.

use std::sync::Arc;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::maintenance_server;
use tonic::{Request, Response, Status};

use super::Shared;
use crate::refusal::Refusal;
use crate::version::{ETCD_CLUSTER_VERSION, ETCD_VERSION};

/// See the module.
#[derive(Debug)]
pub(super) struct Maintenance(pub(super) Arc<Shared>);

type Pieces = futures::stream::Empty<Result<pb::SnapshotResponse, Status>>;

#[tonic::async_trait]
impl maintenance_server::Maintenance for Maintenance {
    type SnapshotStream = Pieces;

    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        if request.get_ref().action() == AlarmAction::Activate {
            return Err(Status::unimplemented("alarms are not served yet"));
        }
        let header = self.header();
        Ok(Response::new(pb::AlarmResponse {
            header,
            alarms: Vec::new(),
        }))
    }

    async fn status(
        &self,
        _request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let status = self.0.handle.status();
        let no_leader = status
            .leader
            .is_none()
            .then(|| Refusal::NoLeader.to_string());
        Ok(Response::new(pb::StatusResponse {
            header: self.header(),
            version: ETCD_VERSION.to_owned(),
            // etcdctl divides by it, and etcd's file is never empty.
            db_size: as_signed(status.size_bytes.max(1)),
            leader: status.leader.unwrap_or(0),
            raft_index: status.commit,
            raft_term: status.term,
            raft_applied_index: status.applied,
            errors: no_leader.into_iter().collect(),
            // The store keeps no file with holes: all that it holds is in use.
            db_size_in_use: as_signed(status.size_bytes),
            is_learner: status.is_learner,
            storage_version: ETCD_CLUSTER_VERSION.to_owned(),
            db_size_quota: as_signed(self.0.limits.quota_bytes),
            downgrade_info: Some(pb::DowngradeInfo::default()),
        }))
    }

    async fn defragment(
        &self,
        _request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        Ok(Response::new(pb::DefragmentResponse::default()))
    }

    async fn hash(
        &self,
        _request: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
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
        _request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Pieces>, Status> {
        Err(Status::unimplemented(
            "snapshots for clients are not served yet",
        ))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
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
        _request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(Status::unimplemented("downgrades are not served yet"))
    }
}

impl Maintenance {
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

fn as_signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
