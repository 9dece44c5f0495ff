//! The Lock service: whoever is first in the queue of a name holds the lock of that name.
//!
//! What this module deliberately does not do: keep a lock for a client whose call is over. The lease does, and whoever goes away
//! while he waits leaves the queue.

use std::sync::Arc;

use bytes::Bytes;
use proto::etcdserverpb::TxnRequest;
use proto::v3lockpb as pb;
use proto::v3lockpb::lock_server;
use tonic::{Request, Response, Status};

use super::Shared;
use super::queue::{self, Client};

/// See the module.
#[derive(Debug)]
pub(super) struct Lock(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl lock_server::Lock for Lock {
    async fn lock(
        &self,
        request: Request<pb::LockRequest>,
    ) -> Result<Response<pb::LockResponse>, Status> {
        let (client, pb::LockRequest { name, lease }) = Client::of(&self.0, request);
        let lease = client.lease(lease).await?;
        let prefix = queue::prefix(&name);
        let key = queue::key(&prefix, lease);
        let owner = queue::get(queue::first(&prefix));
        let entered = TxnRequest {
            compare: vec![queue::created_at(&key, 0)],
            success: vec![queue::put(&key, &Bytes::new(), lease), owner.clone()],
            failure: vec![queue::get(queue::get_key(&key)), owner],
        };
        let entered = client.txn(entered).await?;
        let created = queue::created(&entered);
        let is_first =
            queue::found(&entered, 1).is_none_or(|first| first.create_revision == created);
        let header = if is_first {
            entered.header
        } else {
            let leaving = Leaving(Some((client.clone(), key.clone())));
            client.wait_for_those_before(&prefix, created - 1).await?;
            let mine = client.range(queue::get_key(&key)).await?;
            leaving.stay();
            // Its lease ended while it waited.
            if mine.kvs.is_empty() {
                return Err(queue::unknown("mutex: session is expired"));
            }
            mine.header
        };
        Ok(Response::new(pb::LockResponse { header, key }))
    }

    async fn unlock(
        &self,
        request: Request<pb::UnlockRequest>,
    ) -> Result<Response<pb::UnlockResponse>, Status> {
        let (client, pb::UnlockRequest { key }) = Client::of(&self.0, request);
        let header = client.delete(key).await?.header;
        Ok(Response::new(pb::UnlockResponse { header }))
    }
}

/// Takes a key out of the queue unless it is told to stay: the wait failed, or the client went away, which drops the call.
struct Leaving(Option<(Client, Bytes)>);

impl Leaving {
    fn stay(mut self) {
        self.0 = None;
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some((client, key)) = self.0.take() {
            tokio::spawn(async move {
                if let Err(error) = client.delete(key).await {
                    tracing::debug!(%error, "who left the queue of a lock is in it until his lease ends");
                }
            });
        }
    }
}
