//! Questions about leases, which the leader alone answers: a line to him that stays open, and his answers.
//!
//! What this module deliberately does not do: find out who leads, or try again.

use proto::peer::peer_client::PeerClient;
use proto::peer::{
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, RenewLeaseRequest, RenewLeaseResponse,
};
use tokio::sync::Mutex;
use tonic::Status;
use tonic::transport::Channel;

use super::{Dialer, Unanswered};
use crate::event::{LeaseRead, LeaseState, Outcome};
use crate::refusal::Refusal;

/// The largest answer, which names all keys of a lease, in bytes; etcd's figure.
const ANSWER_BYTES_MAX: usize = 100 << 20;

/// A way to whoever leads, opened when it is needed and kept: thousands of clients may renew through this member.
#[derive(Debug)]
pub struct LeaderLine {
    dialer: Dialer,
    /// Where it leads to.
    open: Mutex<Option<(Vec<String>, PeerClient<Channel>)>>,
}

impl LeaderLine {
    /// Not open yet.
    #[must_use]
    pub fn new(dialer: Dialer) -> Self {
        Self {
            dialer,
            open: Mutex::default(),
        }
    }

    /// Asks the leader at `urls`. Waits for as long as the caller does.
    ///
    /// # Errors
    /// That he was not reached, or his refusal.
    pub async fn ask(
        &self,
        urls: &[String],
        cluster_id: u64,
        read: LeaseRead,
    ) -> Result<Outcome, Unanswered> {
        let mut client = self.client(urls).await?;
        let answer = match read {
            LeaseRead::Renew { id } => {
                let request = RenewLeaseRequest { cluster_id, id };
                let answer = client.renew_lease(request).await;
                answer.map(|answer| renewed(answer.into_inner()))
            }
            LeaseRead::TimeToLive { id, keys } => {
                let request = LeaseTimeToLiveRequest {
                    cluster_id,
                    id,
                    keys,
                };
                let answer = client.lease_time_to_live(request).await;
                answer.map(|answer| state(answer.into_inner()))
            }
        };
        answer.map_err(Unanswered::Refused)
    }

    /// The channel mends itself when it breaks; another one is opened when the leader is another.
    async fn client(&self, urls: &[String]) -> Result<PeerClient<Channel>, Unanswered> {
        let mut open = self.open.lock().await;
        if let Some((_, client)) = open.as_ref().filter(|(at, _)| at == urls) {
            return Ok(client.clone());
        }
        let client = self.dialer.connect(urls).await?;
        let client = client.max_decoding_message_size(ANSWER_BYTES_MAX);
        *open = Some((urls.to_vec(), client.clone()));
        Ok(client)
    }
}

impl Unanswered {
    /// Whether it is this refusal, as its code and text say.
    #[must_use]
    pub fn is(&self, refusal: Refusal) -> bool {
        let wanted = Status::from(refusal);
        matches!(self, Self::Refused(status) if status.code() == wanted.code() && status.message() == wanted.message())
    }
}

fn renewed(answer: RenewLeaseResponse) -> Outcome {
    Outcome::Renewed { ttl: answer.ttl }
}

fn state(answer: LeaseTimeToLiveResponse) -> Outcome {
    Outcome::Lease(LeaseState {
        granted_ttl: answer.granted_ttl,
        left: answer.ttl,
        keys: answer.keys,
    })
}
