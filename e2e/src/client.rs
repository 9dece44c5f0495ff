//! A client of the etcd API for tests: one connection to one member, nothing retried, nothing
//! hidden.
//!
//! The field's Rust client needs `protoc` on the machine that builds it, which this project does
//! not ask of anyone; the stubs in [`proto`] are all that is needed. That they speak etcd's wire
//! is shown by running the same tests against a real etcd.
//!
//! It deliberately balances nothing and reconnects nowhere: whoever records a history must know
//! which request went where.

use std::time::Duration;

use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::auth_client::AuthClient;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::downgrade_request::DowngradeAction;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, Compare, DeleteRangeRequest, DowngradeRequest,
    Member, MemberAddRequest, MemberListRequest, PutRequest, RangeRequest, RequestOp,
    ResponseHeader, StatusRequest, StatusResponse, TxnRequest, compare, request_op, response_op,
};
use proto::mvccpb::KeyValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::history::{Action, Answer, Outcome, Value};

/// How long a connection may take; on loopback a live process accepts at once.
pub(crate) const CONNECT: Duration = Duration::from_secs(2);
/// How long an answer may take before the client gives up: longer than etcd's own limit for a
/// proposal (7 s with default timings), so that the server has the word as long as it lives.
const ANSWER: Duration = Duration::from_secs(10);

/// One connection to one member.
#[derive(Clone, Debug)]
pub struct Client {
    kv: KvClient<Channel>,
    cluster: ClusterClient<Channel>,
    maintenance: MaintenanceClient<Channel>,
    channel: Channel,
}

/// An answer with the store's revision.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// What the server said.
    pub answer: Answer,
    /// At which revision of the store.
    pub revision: i64,
}

impl Client {
    /// Connects to a URL such as `http://127.0.0.1:2379`.
    ///
    /// # Errors
    /// The transport's, when nobody accepts there in time.
    pub async fn connect(url: &str) -> Result<Self, tonic::transport::Error> {
        Ok(Self::over(Self::endpoint(url)?.connect().await?))
    }

    /// How it connects, whatever stands between it and the member.
    pub(crate) fn endpoint(url: &str) -> Result<Endpoint, tonic::transport::Error> {
        Ok(Endpoint::from_shared(url.to_owned())?
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(CONNECT)
            .keep_alive_timeout(CONNECT))
    }

    /// Over a connection that is there.
    pub(crate) fn over(channel: Channel) -> Self {
        Self {
            kv: KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX),
            cluster: ClusterClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel.clone()),
            channel,
        }
    }

    /// The same connection, for users and roles.
    #[must_use]
    pub fn auth(&self) -> AuthClient<Channel> {
        AuthClient::new(self.channel.clone())
    }

    /// Reads a key as the user to whom a token was given.
    ///
    /// # Errors
    /// The server's or the transport's status.
    pub async fn get_as(&mut self, token: &str, key: &str) -> Result<(), Status> {
        let request = with_token(get_request(key), token)?;
        self.kv.range(request).await.map(drop)
    }

    /// Writes a key as the user to whom a token was given.
    ///
    /// # Errors
    /// The server's or the transport's status.
    pub async fn put_as(&mut self, token: &str, key: &str) -> Result<(), Status> {
        let put = PutRequest {
            key: key.to_owned().into(),
            ..Default::default()
        };
        let request = with_token(put, token)?;
        self.kv.put(request).await.map(drop)
    }

    /// Does one action on one key, as one request.
    ///
    /// # Errors
    /// The server's or the transport's status; [`outcome_of`] says what it means for a write.
    pub async fn act(&mut self, key: &str, action: Action) -> Result<Answered, Status> {
        match action {
            Action::Put(value) => self.put(key, value).await,
            Action::Get => self.get(key).await,
            Action::Swap { expect, to } => self.swap(key, expect, to).await,
            Action::Delete => self.delete(key).await,
        }
    }

    async fn put(&mut self, key: &str, value: Value) -> Result<Answered, Status> {
        let answer = self.kv.put(put_request(key, value)).await?.into_inner();
        Ok(answered(answer.header, Answer::Written))
    }

    async fn get(&mut self, key: &str) -> Result<Answered, Status> {
        let answer = self.kv.range(get_request(key)).await?.into_inner();
        Ok(answered(answer.header, Answer::Saw(only(&answer.kvs))))
    }

    async fn swap(
        &mut self,
        key: &str,
        expect: Option<Value>,
        to: Value,
    ) -> Result<Answered, Status> {
        let request = TxnRequest {
            compare: vec![holds(key, expect)],
            success: vec![RequestOp {
                request: Some(request_op::Request::RequestPut(put_request(key, to))),
            }],
            failure: vec![RequestOp {
                request: Some(request_op::Request::RequestRange(get_request(key))),
            }],
        };
        let answer = self.kv.txn(request).await?.into_inner();
        if answer.succeeded {
            return Ok(answered(answer.header, Answer::Swapped));
        }
        match answer.responses.first().and_then(|r| r.response.as_ref()) {
            Some(response_op::Response::ResponseRange(range)) => {
                Ok(answered(answer.header, Answer::Kept(only(&range.kvs))))
            }
            other => Err(Status::internal(format!(
                "a failed swap answered {other:?}"
            ))),
        }
    }

    async fn delete(&mut self, key: &str) -> Result<Answered, Status> {
        let request = DeleteRangeRequest {
            key: key.to_owned().into(),
            prev_kv: true,
            ..Default::default()
        };
        let answer = self.kv.delete_range(request).await?.into_inner();
        Ok(answered(
            answer.header,
            Answer::Deleted(only(&answer.prev_kvs)),
        ))
    }

    /// All keys that begin with a prefix, read linearizably, as (key, value) with the revision.
    ///
    /// # Errors
    /// The server's or the transport's status.
    pub async fn under(&mut self, prefix: &str) -> Result<(Vec<(String, Value)>, i64), Status> {
        let request = RangeRequest {
            key: prefix.to_owned().into(),
            range_end: after(prefix).into(),
            ..Default::default()
        };
        let answer = self.kv.range(request).await?.into_inner();
        let pairs = answer.kvs.iter().map(|kv| {
            (
                String::from_utf8_lossy(&kv.key).into_owned(),
                Value::from_bytes(&kv.value),
            )
        });
        Ok((pairs.collect(), revision(answer.header)))
    }

    /// How many keys with this prefix this member has, read without asking the quorum.
    ///
    /// # Errors
    /// The server's or the transport's status.
    pub async fn under_serializable(&mut self, prefix: &str) -> Result<i64, Status> {
        let request = RangeRequest {
            serializable: true,
            count_only: true,
            key: prefix.to_owned().into(),
            range_end: after(prefix).into(),
            ..Default::default()
        };
        Ok(self.kv.range(request).await?.into_inner().count)
    }

    /// What this member says of itself.
    ///
    /// # Errors
    /// The server's or the transport's status.
    pub async fn status(&mut self) -> Result<StatusResponse, Status> {
        Ok(self
            .maintenance
            .status(StatusRequest::default())
            .await?
            .into_inner())
    }

    /// Lets the cluster go back to the minor version before, such as `3.6.0`.
    ///
    /// # Errors
    /// The server's or the transport's status.
    pub async fn enable_downgrade(&mut self, to: &str) -> Result<(), Status> {
        let request = DowngradeRequest {
            action: DowngradeAction::Enable.into(),
            version: to.to_owned(),
        };
        self.maintenance.downgrade(request).await.map(drop)
    }

    /// Raises the alarm CORRUPT about the member with this id.
    ///
    /// # Errors
    /// The server's or the transport's status.
    pub async fn accuse(&mut self, id: u64) -> Result<(), Status> {
        self.alarm(AlarmAction::Activate, id).await
    }

    /// Takes it back.
    ///
    /// # Errors
    /// The server's or the transport's status.
    pub async fn acquit(&mut self, id: u64) -> Result<(), Status> {
        self.alarm(AlarmAction::Deactivate, id).await
    }

    async fn alarm(&mut self, action: AlarmAction, id: u64) -> Result<(), Status> {
        let request = AlarmRequest {
            action: action.into(),
            member_id: id,
            alarm: AlarmType::Corrupt.into(),
        };
        self.maintenance.alarm(request).await.map(drop)
    }

    /// Adds a learner that other members will reach at this URL.
    ///
    /// # Errors
    /// The server's or the transport's status.
    pub async fn add_learner(&mut self, peer_url: &str) -> Result<(), Status> {
        let request = MemberAddRequest {
            peer_urls: vec![peer_url.to_owned()],
            is_learner: true,
        };
        self.cluster.member_add(request).await.map(drop)
    }

    /// Writes all of these keys at once.
    ///
    /// # Errors
    /// The server's or the transport's status.
    pub async fn put_all(&mut self, pairs: Vec<(String, Vec<u8>)>) -> Result<i64, Status> {
        let put = |(key, value): (String, Vec<u8>)| RequestOp {
            request: Some(request_op::Request::RequestPut(PutRequest {
                key: key.into(),
                value: value.into(),
                ..Default::default()
            })),
        };
        let request = TxnRequest {
            success: pairs.into_iter().map(put).collect(),
            ..Default::default()
        };
        Ok(revision(self.kv.txn(request).await?.into_inner().header))
    }

    /// Gives up the history before a revision, and waits until that is done.
    ///
    /// # Errors
    /// The server's or the transport's status.
    pub async fn compact(&mut self, revision: i64) -> Result<(), Status> {
        let request = CompactionRequest {
            revision,
            physical: true,
        };
        self.kv.compact(request).await.map(drop)
    }

    /// The members as this one knows them, read without asking the quorum.
    ///
    /// # Errors
    /// The server's or the transport's status.
    pub async fn members(&mut self) -> Result<Vec<Member>, Status> {
        let request = MemberListRequest {
            linearizable: false,
        };
        Ok(self
            .cluster
            .member_list(request)
            .await?
            .into_inner()
            .members)
    }
}

fn with_token<T>(message: T, token: &str) -> Result<Request<T>, Status> {
    let token = token.parse();
    let token = token.map_err(|_| Status::invalid_argument("a token is text"))?;
    let mut request = Request::new(message);
    request.metadata_mut().insert("token", token);
    Ok(request)
}

fn put_request(key: &str, value: Value) -> PutRequest {
    PutRequest {
        key: key.to_owned().into(),
        value: value.to_bytes().into(),
        ..Default::default()
    }
}

fn get_request(key: &str) -> RangeRequest {
    RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

/// "The key holds this"; an absent key is one that was created at revision 0.
fn holds(key: &str, expect: Option<Value>) -> Compare {
    let (target, union) = match expect {
        Some(value) => (
            compare::CompareTarget::Value,
            compare::TargetUnion::Value(value.to_bytes().into()),
        ),
        None => (
            compare::CompareTarget::Create,
            compare::TargetUnion::CreateRevision(0),
        ),
    };
    Compare {
        result: compare::CompareResult::Equal.into(),
        target: target.into(),
        key: key.to_owned().into(),
        target_union: Some(union),
        ..Default::default()
    }
}

/// The end of the range of all keys with this prefix.
fn after(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    let last = end.last_mut().expect("a prefix is not empty");
    assert!(*last < u8::MAX, "prefixes are text");
    *last += 1;
    end
}

fn only(found: &[KeyValue]) -> Option<Value> {
    found.first().map(|kv| Value::from_bytes(&kv.value))
}

fn revision(header: Option<ResponseHeader>) -> i64 {
    header.map_or(0, |h| h.revision)
}

fn answered(header: Option<ResponseHeader>, answer: Answer) -> Answered {
    Answered {
        answer,
        revision: revision(header),
    }
}

/// What an error says about whether the operation took effect.
///
/// Only what a server says before it proposes anything counts as refused; everything else, also
/// a broken connection, may have taken effect or still take it.
pub fn outcome_of(status: &Status) -> Outcome {
    let text = format!("{:?}: {}", status.code(), status.message());
    let refused = match status.code() {
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented
        | Code::ResourceExhausted => true,
        Code::Unavailable => status.message() == "etcdserver: rpc not supported for learner",
        // While the alarm CORRUPT is up.
        Code::DataLoss => status.message() == "etcdserver: corrupt cluster",
        _ => false,
    };
    if refused {
        Outcome::Failed(text)
    } else {
        Outcome::Unknown(text)
    }
}
