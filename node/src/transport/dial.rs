//! Calls to other members' peer ports.
//!
//! What this module deliberately does not do: retry. Who calls knows how long it is worth it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use proto::etcdserverpb::Member;
use proto::peer::peer_client::PeerClient;
use proto::peer::{MembersRequest, MembersResponse, ReconfigureRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};

use crate::resolve::Resolver;
use crate::tls::Credentials;

/// A connection is asked this often whether it lives, and given up when it does not answer in time: well within the
/// patience of clients, well above a pause of a busy machine.
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// For calls that a member answers from memory.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes calls.
#[derive(Clone, Debug, Default)]
pub struct Dialer {
    resolver: Resolver,
    /// For `https://`.
    credentials: Option<Arc<Credentials>>,
}

/// A connection, whatever is below it.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The member was not reached, so it did nothing.
    #[error("cannot reach any of {0:?}")]
    Unreachable(Vec<String>),
    /// The member refused, or the connection broke under the call.
    #[error("refused: {0}")]
    Refused(Status),
}

impl Dialer {
    /// Dials by `resolver`, and where a URL asks for TLS, with `credentials`.
    #[must_use]
    pub const fn new(resolver: Resolver, credentials: Arc<Credentials>) -> Self {
        Self {
            resolver,
            credentials: Some(credentials),
        }
    }

    /// A connection to the first of the URLs that accepts one.
    pub(super) async fn connect(&self, urls: &[String]) -> Result<PeerClient<Channel>, Unanswered> {
        for url in urls {
            match self.connect_one(url).await {
                Ok(channel) => return Ok(PeerClient::new(channel)),
                Err(error) => tracing::debug!(
                    url,
                    error = &error as &dyn std::error::Error,
                    "no connection"
                ),
            }
        }
        Err(Unanswered::Unreachable(urls.to_vec()))
    }

    async fn connect_one(&self, url: &str) -> Result<Channel, tonic::transport::Error> {
        let dialer = self.clone();
        let connector = tower::service_fn(move |uri: Uri| {
            let dialer = dialer.clone();
            async move { dialer.stream(&uri).await.map(TokioIo::new) }
        });
        Endpoint::from_shared(url.to_owned())?
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect_with_connector(connector)
            .await
    }

    async fn stream(&self, uri: &Uri) -> io::Result<Box<dyn Stream>> {
        let host = uri.host().unwrap_or_default();
        let is_secure = uri.scheme_str() == Some("https");
        let usual = if is_secure { 443 } else { 80 };
        let stream = self
            .resolver
            .dial(host, uri.port_u16().unwrap_or(usual))
            .await?;
        if !is_secure {
            return Ok(Box::new(stream));
        }
        let credentials = self.credentials.clone();
        let credentials = credentials.ok_or_else(|| io::Error::other("no TLS to dial with"))?;
        Ok(Box::new(credentials.connect(host, stream).await?))
    }

    /// The members as the one at `urls` knows them.
    ///
    /// # Errors
    /// That it was not reached or does not answer.
    pub async fn members(&self, urls: &[String]) -> Result<MembersResponse, Unanswered> {
        let mut client = self.connect(urls).await?;
        let call = client.members(MembersRequest {});
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Unanswered::Refused(status)),
            Err(_) => Err(Unanswered::Refused(Status::new(
                Code::DeadlineExceeded,
                "no answer",
            ))),
        }
    }

    /// Asks the leader at `urls` to change the membership; the answer is the membership afterwards. Waits for as long as
    /// the caller does.
    ///
    /// # Errors
    /// That it was not reached, or its refusal as clients are to see it.
    pub async fn reconfigure(
        &self,
        urls: &[String],
        cluster_id: u64,
        command: Bytes,
    ) -> Result<Vec<Member>, Unanswered> {
        let mut client = self.connect(urls).await?;
        let call = client.reconfigure(ReconfigureRequest {
            cluster_id,
            command,
        });
        Ok(call
            .await
            .map_err(Unanswered::Refused)?
            .into_inner()
            .members)
    }
}
