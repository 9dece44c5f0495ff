//! The peer service: what other members bring, checked and handed to the loop.
//!
//! What this module deliberately does not do: answer consensus messages; the answers travel on this member's own streams.

use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::middleware::map_request;
use prost::Message as _;
use proto::etcdserverpb::Member;
use proto::peer::delivery::Part;
use proto::peer::message::Body as Wire;
use proto::peer::peer_server::{self, PeerServer};
use proto::peer::{
    self, Batch, DeliverResponse, Delivery, Hello, InstallSnapshotResponse, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse, MembersRequest, MembersResponse, PingRequest, PingResponse,
    ReconfigureRequest, ReconfigureResponse, RenewLeaseRequest, RenewLeaseResponse, SnapshotPiece,
};
use raft::{Body, PeerId};
use store::{Command, Response as Answer, Version};
use tokio::sync::Semaphore;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::whole::Whole;
use super::{Context, REMOVED, snapshot};
use crate::api::member_to_wire;
use crate::config::REQUEST_BYTES_LIMIT;
use crate::convert;
use crate::event::{Event, LeaseRead, Outcome, Read};
use crate::image;

/// The largest message to take from a peer, in bytes: twice what `--max-request-bytes` can be, as a batch of messages ends
/// with the one that makes it large. Not made from this member's own flag: what a leader with another one has taken in must be
/// replicated, and a follower that refused it would refuse it for ever.
const MESSAGE_BYTES_MAX: usize = 2 * REQUEST_BYTES_LIMIT;

/// The peer port's services.
pub fn routes(context: Context) -> axum::Router {
    let service = Service {
        context: Arc::new(context),
        snapshots: Semaphore::new(1),
    };
    Routes::new(PeerServer::new(service).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .into_axum_router()
        .layer(map_request(async |request: http::Request<HttpBody>| {
            request.map(|body| HttpBody::new(Whole::new(body, MESSAGE_BYTES_MAX)))
        }))
}

#[derive(Debug)]
struct Service {
    context: Arc<Context>,
    /// One snapshot at a time is read into memory.
    snapshots: Semaphore,
}

#[tonic::async_trait]
impl peer_server::Peer for Service {
    async fn deliver(
        &self,
        request: Request<Streaming<Delivery>>,
    ) -> Result<Response<DeliverResponse>, Status> {
        let mut stream = request.into_inner();
        let Some(Part::Hello(hello)) = stream.message().await?.and_then(|first| first.part) else {
            return Err(Status::invalid_argument("a stream must begin with a hello"));
        };
        self.check_hello(&hello)?;
        self.introduce(hello.clone()).await?;
        let counts = self.context.traffic.of(hello.from);
        while let Some(delivery) = stream.message().await? {
            let Some(Part::Batch(batch)) = delivery.part else {
                return Err(Status::invalid_argument("after the hello come batches"));
            };
            counts.received(batch.encoded_len());
            self.check_no_campaign(hello.from, &batch)?;
            self.take(hello.from, batch).await?;
        }
        Ok(Response::new(DeliverResponse {}))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<SnapshotPiece>>,
    ) -> Result<Response<InstallSnapshotResponse>, Status> {
        let mut stream = request.into_inner();
        let opening = snapshot::read_opening(&mut stream).await?;
        self.check_hello(&opening.0)?;
        let Ok(_one) = self.snapshots.try_acquire() else {
            return Err(Status::resource_exhausted("another snapshot is arriving"));
        };
        let arrived = snapshot::read(&mut stream, opening).await?;
        let bytes = arrived.image.clone();
        let decoding = tokio::task::spawn_blocking(move || image::decode(&bytes));
        let store = decoding
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
        let store = store.map_err(|error| Status::data_loss(error.to_string()))?;
        let (message, image) = (arrived.message, arrived.image);
        if !matches!(&message.body, Body::InstallSnapshot { meta } if store.applied_index() <= meta.index.0)
        {
            return Err(Status::data_loss(
                "the snapshot is of a later entry than it says",
            ));
        }
        self.bring(Event::ReceiveSnapshot {
            message,
            image,
            store: Box::new(store),
        })
        .await?;
        Ok(Response::new(InstallSnapshotResponse {}))
    }

    async fn ping(&self, _request: Request<PingRequest>) -> Result<Response<PingResponse>, Status> {
        Ok(Response::new(PingResponse {}))
    }

    async fn members(
        &self,
        _request: Request<MembersRequest>,
    ) -> Result<Response<MembersResponse>, Status> {
        let status = self.context.handle.status();
        let members = &status.membership.members;
        let members: Vec<Member> = members.values().cloned().map(member_to_wire).collect();
        let identity = self.context.identity;
        let (cluster_id, member_id) = (identity.cluster_id, identity.member_id);
        Ok(Response::new(MembersResponse {
            cluster_id,
            member_id,
            members,
        }))
    }

    async fn reconfigure(
        &self,
        request: Request<ReconfigureRequest>,
    ) -> Result<Response<ReconfigureResponse>, Status> {
        let ReconfigureRequest {
            cluster_id,
            command,
        } = request.into_inner();
        self.check_cluster(cluster_id)?;
        let command = Command::from_bytes(&command)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        if !changes_membership(&command) {
            return Err(Status::invalid_argument("not a change of the membership"));
        }
        match self.context.handle.reconfigure(command).await? {
            Answer::Members(answer) => {
                let members = answer.members.into_iter().map(member_to_wire).collect();
                Ok(Response::new(ReconfigureResponse { members }))
            }
            other => unreachable!("a change of the membership is not answered by {other:?}"),
        }
    }

    async fn renew_lease(
        &self,
        request: Request<RenewLeaseRequest>,
    ) -> Result<Response<RenewLeaseResponse>, Status> {
        let RenewLeaseRequest { cluster_id, id } = request.into_inner();
        match self.read_lease(cluster_id, LeaseRead::Renew { id }).await? {
            Outcome::Renewed { ttl } => Ok(Response::new(RenewLeaseResponse { ttl })),
            other => unreachable!("a renewal is not answered by {other:?}"),
        }
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let LeaseTimeToLiveRequest {
            cluster_id,
            id,
            keys,
        } = request.into_inner();
        let read = LeaseRead::TimeToLive { id, keys };
        match self.read_lease(cluster_id, read).await? {
            Outcome::Lease(state) => Ok(Response::new(LeaseTimeToLiveResponse {
                ttl: state.left,
                granted_ttl: state.granted_ttl,
                keys: state.keys,
            })),
            other => unreachable!("what is left of a lease is not answered by {other:?}"),
        }
    }
}

/// What one member asks another to propose for a client. Everything else a client's own member proposes.
const fn changes_membership(command: &Command) -> bool {
    matches!(
        command,
        Command::MemberAdd(_)
            | Command::MemberRemove(_)
            | Command::MemberUpdate(_)
            | Command::MemberPromote(_)
            | Command::MemberChanges(_)
    )
}

impl Service {
    async fn read_lease(&self, cluster_id: u64, read: LeaseRead) -> Result<Outcome, Status> {
        self.check_cluster(cluster_id)?;
        Ok(self.context.handle.read(Read::Lease(read)).await?)
    }

    fn check_hello(&self, hello: &Hello) -> Result<(), Status> {
        self.check_cluster(hello.cluster_id)?;
        let me = self.context.identity.member_id;
        if hello.to != me {
            let sentence = format!("member ID mismatch: this is {me:x}, not {:x}", hello.to);
            tracing::warn!(from = %format!("{:x}", hello.from), sentence, "refused a peer");
            return Err(Status::failed_precondition(sentence));
        }
        self.check_not_removed(hello.from)
    }

    async fn introduce(&self, hello: Hello) -> Result<(), Status> {
        self.bring(Event::Introduced {
            peer: PeerId(hello.from),
            version: Version::parse(&hello.etcd_version),
            peer_urls: hello.peer_urls,
        })
        .await
    }

    fn check_cluster(&self, theirs: u64) -> Result<(), Status> {
        let ours = self.context.identity.cluster_id;
        if theirs == ours {
            return Ok(());
        }
        let sentence =
            format!("cluster ID mismatch: this cluster is {ours:x}, the peer's {theirs:x}");
        tracing::warn!(sentence, "refused a peer of another cluster");
        Err(Status::failed_precondition(sentence))
    }

    fn check_not_removed(&self, peer: u64) -> Result<(), Status> {
        let removed = self
            .context
            .handle
            .with_status(|status| status.membership.removed.contains(&peer));
        if removed {
            Err(Status::permission_denied(REMOVED))
        } else {
            Ok(())
        }
    }

    /// A removed member's open stream serves its farewell. One that campaigns has not understood that it is out.
    fn check_no_campaign(&self, from: u64, batch: &Batch) -> Result<(), Status> {
        let is_campaign =
            |message: &peer::Message| matches!(message.body, Some(Wire::RequestVote(_)));
        if batch.messages.iter().any(is_campaign) {
            self.check_not_removed(from)
        } else {
            Ok(())
        }
    }

    async fn take(&self, from: u64, batch: Batch) -> Result<(), Status> {
        if let Some(digests) = batch.digests {
            let digests = convert::digests_from_wire(digests);
            self.bring(Event::Digests(PeerId(from), digests)).await?;
        }
        for message in batch.messages {
            let message = convert::message_from_wire(message)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            if message.from.0 != from {
                return Err(Status::invalid_argument(
                    "a message in another member's name",
                ));
            }
            self.bring(Event::Receive(message)).await?;
        }
        Ok(())
    }

    async fn bring(&self, event: Event<crate::handle::Waiter>) -> Result<(), Status> {
        if self.context.handle.bring(event).await {
            Ok(())
        } else {
            Err(Status::unavailable("etcdserver: server stopped"))
        }
    }
}

#[cfg(test)]
mod tests {
    use store::PutRequest;
    use tokio::sync::mpsc;
    use tonic::Code;

    use super::peer_server::Peer;
    use super::*;
    use crate::storage::Identity;

    #[tokio::test]
    async fn a_peer_proposes_nothing_but_changes_of_the_membership() {
        let identity = Identity {
            cluster_id: 1,
            member_id: 2,
        };
        let (events, mut waiting) = mpsc::channel(1);
        let service = Service {
            context: Arc::new(Context::of(identity, events)),
            snapshots: Semaphore::new(1),
        };
        let put = Command::Put(PutRequest::default()).to_bytes();
        let request = ReconfigureRequest {
            cluster_id: 1,
            command: put,
        };
        let refused = service.reconfigure(Request::new(request)).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
        assert!(waiting.try_recv().is_err(), "the loop was asked for a put");
    }
}
