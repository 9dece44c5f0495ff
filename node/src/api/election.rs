//! The Election service: whoever is first in the queue of a name leads.
//!
//! A leader proves that he is the one by his key and the revision that created it; a key that was deleted and created again is another's.
//!
//! What this module deliberately does not do: take leadership away. Leaders resign, or their leases end.

use std::sync::Arc;

use bytes::Bytes;
use proto::etcdserverpb::{ResponseHeader, TxnRequest, TxnResponse};
use proto::mvccpb::KeyValue;
use proto::v3electionpb as pb;
use proto::v3electionpb::election_server;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::queue::{self, Client};
use super::{Shared, convert};
use crate::watch::{Ended, KeyRange};

/// See the module.
#[derive(Debug)]
pub(super) struct Election(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl election_server::Election for Election {
    async fn campaign(
        &self,
        request: Request<pb::CampaignRequest>,
    ) -> Result<Response<pb::CampaignResponse>, Status> {
        let (client, request) = Client::of(&self.0, request);
        let pb::CampaignRequest { name, lease, value } = request;
        let lease = client.lease(lease).await?;
        let prefix = queue::prefix(&name);
        let key = queue::key(&prefix, lease);
        let entered = TxnRequest {
            compare: vec![queue::created_at(&key, 0)],
            success: vec![queue::put(&key, &value, lease)],
            failure: vec![queue::get(queue::get_key(&key))],
        };
        let entered = client.txn(entered).await?;
        let leader = pb::LeaderKey {
            name,
            key,
            rev: queue::created(&entered),
            lease,
        };
        let is_old = !entered.succeeded;
        if is_old && queue::found(&entered, 0).is_none_or(|there| there.value != value) {
            proclaim(&client, &leader, &value).await?;
        }
        let resigning = Resigning(Some((client.clone(), leader.clone())));
        let waited = client.wait_for_those_before(&prefix, leader.rev - 1).await;
        // A wait that fails leaves the key: the client may come back with its lease.
        resigning.stay();
        waited?;
        Ok(Response::new(pb::CampaignResponse {
            header: entered.header,
            leader: Some(leader),
        }))
    }

    async fn proclaim(
        &self,
        request: Request<pb::ProclaimRequest>,
    ) -> Result<Response<pb::ProclaimResponse>, Status> {
        let (client, pb::ProclaimRequest { leader, value }) = Client::of(&self.0, request);
        let mut leader = leader.ok_or_else(no_leader_given)?;
        leader.lease = client.lease(leader.lease).await?;
        let header = proclaim(&client, &leader, &value).await?;
        Ok(Response::new(pb::ProclaimResponse { header }))
    }

    async fn leader(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<pb::LeaderResponse>, Status> {
        let (client, pb::LeaderRequest { name }) = Client::of(&self.0, request);
        let answer = client.first(&queue::prefix(&name)).await?;
        let first = answer.kvs.into_iter().next();
        let kv = first.ok_or_else(|| queue::unknown("election: no leader"))?;
        Ok(Response::new(pb::LeaderResponse {
            header: answer.header,
            kv: Some(kv),
        }))
    }

    type ObserveStream = ReceiverStream<Result<pb::LeaderResponse, Status>>;

    async fn observe(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let (client, pb::LeaderRequest { name }) = Client::of(&self.0, request);
        let (leaders, stream) = mpsc::channel(1);
        let observer = Observer {
            client,
            prefix: queue::prefix(&name),
            leaders,
        };
        // The answer begins when there is somebody to tell of, as etcd's does; a client that goes away drops the call.
        match observer.next_leader().await {
            Ok(first) => drop(tokio::spawn(observer.run(first))),
            Err(error) => tell_end(&error),
        }
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn resign(
        &self,
        request: Request<pb::ResignRequest>,
    ) -> Result<Response<pb::ResignResponse>, Status> {
        let (client, pb::ResignRequest { leader }) = Client::of(&self.0, request);
        let leader = leader.ok_or_else(no_leader_given)?;
        let header = resign(&client, &leader).await?.header;
        Ok(Response::new(pb::ResignResponse { header }))
    }
}

fn no_leader_given() -> Status {
    queue::unknown("\"leader\" field must be provided")
}

async fn proclaim(
    client: &Client,
    leader: &pb::LeaderKey,
    value: &Bytes,
) -> Result<Option<ResponseHeader>, Status> {
    let proclaimed = TxnRequest {
        compare: vec![queue::created_at(&leader.key, leader.rev)],
        success: vec![queue::put(&leader.key, value, leader.lease)],
        failure: Vec::new(),
    };
    let proclaimed = client.txn(proclaimed).await?;
    if proclaimed.succeeded {
        Ok(proclaimed.header)
    } else {
        Err(queue::unknown("election: not leader"))
    }
}

/// Whoever does not lead resigns from nothing, which is fine.
async fn resign(client: &Client, leader: &pb::LeaderKey) -> Result<TxnResponse, Status> {
    let resigned = TxnRequest {
        compare: vec![queue::created_at(&leader.key, leader.rev)],
        success: vec![queue::delete(&leader.key)],
        failure: Vec::new(),
    };
    client.txn(resigned).await
}

/// Gives a candidacy up unless it is told to stay: the client went away, which drops the call.
struct Resigning(Option<(Client, pb::LeaderKey)>);

impl Resigning {
    fn stay(mut self) {
        self.0 = None;
    }
}

impl Drop for Resigning {
    fn drop(&mut self) {
        if let Some((client, leader)) = self.0.take() {
            tokio::spawn(async move {
                if let Err(error) = resign(&client, &leader).await {
                    tracing::debug!(%error, "a candidate who went away is one until his lease ends");
                }
            });
        }
    }
}

/// Tells a client who leads, until he goes away or nothing more can be told; as etcd, without saying why.
struct Observer {
    client: Client,
    prefix: Bytes,
    leaders: mpsc::Sender<Result<pb::LeaderResponse, Status>>,
}

impl Observer {
    async fn run(self, first: (i64, KeyValue)) {
        tokio::select! {
            () = self.leaders.closed() => {}
            told = self.tell(first) => {
                if let Err(error) = told {
                    tell_end(&error);
                }
            }
        }
    }

    async fn tell(&self, first: (i64, KeyValue)) -> Result<(), Status> {
        let (mut revision, mut kv) = first;
        loop {
            let key = kv.key.clone();
            self.send(revision, kv).await?;
            self.tell_of(key, revision + 1).await?;
            (revision, kv) = self.next_leader().await?;
        }
    }

    /// Whoever leads, or the first to come; and as of when.
    async fn next_leader(&self) -> Result<(i64, KeyValue), Status> {
        let answer = self.client.first(&self.prefix).await?;
        let revision = answer.header.map_or(0, |header| header.revision);
        if let Some(first) = answer.kvs.into_iter().next() {
            return Ok((revision, first));
        }
        let range = KeyRange::prefix(self.prefix.clone());
        let mut following = self.client.follow(range, revision).await?;
        loop {
            let events = following.next().await.map_err(ended)?;
            let put = events.into_iter().find(|event| !event.change.is_delete());
            if let Some(put) = put {
                let kv = convert::key_value(put.change.kv().clone());
                return Ok((kv.mod_revision, kv));
            }
        }
    }

    /// What a leader proclaims, until he leads no more or what came in between is compacted.
    async fn tell_of(&self, key: Bytes, from: i64) -> Result<(), Status> {
        let mut following = self.client.follow(KeyRange::One(key), from).await?;
        loop {
            let events = match following.next().await {
                Ok(events) => events,
                Err(Ended::Compacted(_)) => return Ok(()),
                Err(stopped) => return Err(ended(stopped)),
            };
            for event in events {
                if event.change.is_delete() {
                    return Ok(());
                }
                let kv = convert::key_value(event.change.kv().clone());
                let revision = self.client.revision().max(kv.mod_revision);
                self.send(revision, kv).await?;
            }
        }
    }

    async fn send(&self, revision: i64, kv: KeyValue) -> Result<(), Status> {
        let response = pb::LeaderResponse {
            header: self.client.header(revision),
            kv: Some(kv),
        };
        let sent = self.leaders.send(Ok(response)).await;
        sent.map_err(|_| queue::unknown("the client went away"))
    }
}

fn tell_end(error: &Status) {
    tracing::debug!(%error, "an election is observed no more");
}

fn ended(ended: Ended) -> Status {
    queue::unknown(ended.to_string())
}
