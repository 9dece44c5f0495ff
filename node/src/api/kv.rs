//! The KV service.
//!
//! What this module deliberately does not do: decide what a request means; the store does.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_server;
use store::{Command, CompactionRequest, Response as Answer, validate};
use tonic::{Request, Response, Status};

use super::pages::{self, Pages};
use super::{Shared, convert};
use crate::auth::Credentials;
use crate::event::{Outcome, Read};
use crate::quota;
use crate::refusal::Refusal;

/// See the module.
#[derive(Debug)]
pub(super) struct Kv(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl kv_server::Kv for Kv {
    type RangeStreamStream = BoxStream<'static, Result<pb::RangeStreamResponse, Status>>;

    async fn range(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        let credentials = Credentials::of(&request);
        let request = convert::range(request.into_inner());
        let serializable = request.serializable;
        if !serializable && self.0.handle.with_status(|status| status.is_learner) {
            return Err(Refusal::NotForLearner.into());
        }
        validate::range(&request).map_err(Refusal::from)?;
        let read = self
            .0
            .read_by(&credentials, Read::Range(request), serializable);
        match read.await? {
            Outcome::Range(answer) => {
                let header = self.0.header(answer.revision);
                Ok(Response::new(convert::range_answer(answer, header)))
            }
            other => unreachable!("a range is not answered by {other:?}"),
        }
    }

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let credentials = Credentials::of(&request);
        let request = convert::range(request.into_inner());
        validate::range(&request).map_err(Refusal::from)?;
        pages::check(&request)?;
        let pages = Pages::new(Arc::clone(&self.0), credentials, request);
        Ok(Response::new(pages.stream().boxed()))
    }

    async fn put(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        let credentials = Credentials::of(&request);
        let request = convert::put(request.into_inner());
        self.0.check_quota(quota::of_put(&request)).await?;
        validate::put(&request).map_err(Refusal::from)?;
        let command = Command::Put(request);
        match self.0.propose_by(&credentials, &command).await? {
            Answer::Put(answer) => {
                let header = self.0.header(answer.revision);
                Ok(Response::new(convert::put_answer(answer, header)))
            }
            other => unreachable!("a put is not answered by {other:?}"),
        }
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let credentials = Credentials::of(&request);
        let request = convert::delete_range(request.into_inner());
        validate::delete_range(&request).map_err(Refusal::from)?;
        let command = Command::DeleteRange(request);
        match self.0.propose_by(&credentials, &command).await? {
            Answer::DeleteRange(answer) => {
                let header = self.0.header(answer.revision);
                Ok(Response::new(convert::delete_answer(answer, header)))
            }
            other => unreachable!("a deletion is not answered by {other:?}"),
        }
    }

    async fn txn(
        &self,
        request: Request<pb::TxnRequest>,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        let credentials = Credentials::of(&request);
        let request = convert::txn(request.into_inner());
        self.0.check_quota(quota::of_txn(&request)).await?;
        validate::txn(&request, self.0.limits.max_txn_ops).map_err(Refusal::from)?;
        let answer = if request.is_read_only() {
            self.read_txn(&credentials, request).await?
        } else {
            self.write_txn(&credentials, request).await?
        };
        let header = self.0.header(answer.revision);
        Ok(Response::new(convert::txn_answer(answer, header)))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let credentials = Credentials::of(&request);
        self.0.guard.require_root(&credentials).await?;
        let pb::CompactionRequest { revision, physical } = request.into_inner();
        let command = Command::Compact(CompactionRequest { revision, physical });
        match self.0.propose_by(&credentials, &command).await? {
            Answer::Compact(answer) => {
                let header = self.0.header(answer.revision);
                Ok(Response::new(pb::CompactionResponse { header }))
            }
            other => unreachable!("a compaction is not answered by {other:?}"),
        }
    }
}

impl Kv {
    async fn read_txn(
        &self,
        credentials: &Credentials,
        request: store::TxnRequest,
    ) -> Result<store::TxnResponse, Status> {
        let serializable = request.is_serializable();
        let read = self
            .0
            .read_by(credentials, Read::Txn(request), serializable);
        match read.await? {
            Outcome::Txn(answer) => Ok(answer),
            other => unreachable!("a transaction is not answered by {other:?}"),
        }
    }

    async fn write_txn(
        &self,
        credentials: &Credentials,
        request: store::TxnRequest,
    ) -> Result<store::TxnResponse, Status> {
        let command = Command::Txn(request);
        match self.0.propose_by(credentials, &command).await? {
            Answer::Txn(answer) => Ok(answer),
            other => unreachable!("a transaction is not answered by {other:?}"),
        }
    }
}
