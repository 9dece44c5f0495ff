//! Asking the others who there is.
//!
//! What this module deliberately does not do: discovery services and DNS records.

use std::time::Duration;

use store::Member;

use super::BootstrapError;
use crate::config::{Config, Url};
use crate::transport::Dialer;

/// How long a member that joins looks for one that knows the cluster, before it gives up and whoever keeps it starts it
/// anew.
pub(super) const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
const JOIN_PAUSE: Duration = Duration::from_millis(500);

/// Who there is, as the first says who knows.
pub(super) async fn ask_in_time(
    dialer: &Dialer,
    asked: &[Vec<String>],
) -> Result<proto::peer::MembersResponse, BootstrapError> {
    let asking = tokio::time::timeout(JOIN_TIMEOUT, ask_until_answered(dialer, asked));
    asking.await.map_err(|_| BootstrapError::NobodyAnswers {
        asked: asked.iter().flatten().cloned().collect(),
    })
}

async fn ask_until_answered(
    dialer: &Dialer,
    asked: &[Vec<String>],
) -> proto::peer::MembersResponse {
    loop {
        for urls in asked {
            match dialer.members(urls).await {
                // A member that has not heard of anybody yet cannot help.
                Ok(answer) if !answer.members.is_empty() => return answer,
                Ok(_) => {}
                Err(error) => {
                    tracing::info!(?urls, %error, "a member does not answer; asking the next")
                }
            }
        }
        tokio::time::sleep(JOIN_PAUSE).await;
    }
}

/// Peer URLs of everybody in `--initial-cluster` but this member.
pub(super) fn others(config: &Config) -> Vec<Vec<String>> {
    let others = config
        .initial_cluster
        .iter()
        .filter(|(name, _)| **name != config.name);
    others.map(|(_, urls)| texts(urls)).collect()
}

pub(super) fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(ToString::to_string).collect()
}

pub(super) fn from_wire(member: proto::etcdserverpb::Member) -> Member {
    Member {
        id: member.id,
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        is_learner: member.is_learner,
    }
}
