//! How a member finds out who it is: of a new cluster by its flags, of a running one by asking the others, after a restart
//! by its disk.
//!
//! What this module deliberately does not do: discovery services and DNS records.

mod asking;
mod identity;
mod predecessor;
pub(crate) mod token;

use std::path::PathBuf;
use std::time::Duration;

use raft::{HardState, Index, PeerId, Persist, Term, Ticket};
use store::{DecodeError, Member, Store, Version};

use crate::config::{ClusterState, Config, ConfigError};
use crate::image;
use crate::replica::{forcing_entries, founding_entries};
use crate::status::Membership;
use crate::storage::{DataDir, Identity, Options, Recovered, Storage, StorageError, place_log};
use crate::transport::Dialer;
use asking::{JOIN_TIMEOUT, ask_in_time, from_wire, others, texts};

pub use identity::{cluster_id, member_id};
pub(crate) use identity::{founding_identity, founding_members};

/// How long a founding member looks whether it founds what is already there. Nobody answers at a true founding.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a member cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The flags do not fit together.
    #[error(transparent)]
    Flags(#[from] ConfigError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The checkpoint is sound as a file, but no store.
    #[error("cannot read the checkpoint of entry {index}")]
    Image {
        /// What it stands for.
        index: Index,
        /// Why not.
        #[source]
        source: DecodeError,
    },
    /// The data is another cluster's.
    #[error(
        "{path} holds the data of a cluster with the token {held:?}, and --initial-cluster-token is {said:?}: give this \
         member a data directory of its own, or correct the token"
    )]
    Foreign {
        /// The data directory.
        path: PathBuf,
        /// The token of the data.
        held: String,
        /// The token of the flags.
        said: String,
    },
    /// The token's file cannot be read or written.
    #[error("cannot keep the cluster's token in {path}")]
    Token {
        /// The data directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The cluster speaks a version that this program does not know.
    #[error(
        "the data is of a cluster of version {cluster}, and this program serves {served}: start a program of version {cluster}, \
         or downgrade the cluster with it first (etcdctl downgrade enable {served})"
    )]
    ClusterIsNewer {
        /// What the data says.
        cluster: Version,
        /// What this program serves.
        served: Version,
    },
    /// A forced member must belong to the cluster that it forces.
    #[error(
        "--force-new-cluster: member {member_id:x} does not belong to its cluster any more, which ends with {members:?}: \
         force one of these, or restore a snapshot"
    )]
    NotForced {
        /// Who.
        member_id: u64,
        /// Ids of the members that its log ends with.
        members: Vec<String>,
    },
    /// Nobody told who belongs to the cluster.
    #[error(
        "cannot fetch the members of the cluster from {asked:?} within {JOIN_TIMEOUT:?}: make sure that a member of \
         --initial-cluster runs and can be reached at its peer URL"
    )]
    NobodyAnswers {
        /// All peer URLs asked.
        asked: Vec<String>,
    },
    /// The cluster does not know this member.
    #[error(
        "cluster {cluster_id:x} knows no member with the peer URLs {urls:?}: add it first (etcdctl member add), or correct \
         --initial-advertise-peer-urls"
    )]
    NotAMember {
        /// The cluster that was asked.
        cluster_id: u64,
        /// The member's URLs by its flags.
        urls: Vec<String>,
    },
    /// This member has been part of the cluster before, and what it had promised is gone with its data.
    #[error(
        "member {member_id:x} has already been bootstrapped, and its data directory is empty: a member that lost its data \
         must not come back, as it has forgotten what it acknowledged; remove it (etcdctl member remove {member_id:x}) and \
         add a new one"
    )]
    AlreadyBootstrapped {
        /// Who.
        member_id: u64,
    },
}

/// A member that may begin.
pub(crate) struct Beginning {
    pub(crate) identity: Identity,
    pub(crate) storage: Storage,
    pub(crate) store: Store,
    pub(crate) recovered: raft::Recovered,
    /// Where the durable log ends.
    pub(crate) durable: Index,
    /// Whom to speak to until the log says it.
    pub(crate) known: Membership,
}

/// Finds out who this member is, and opens its storage.
pub(crate) async fn begin(
    config: &Config,
    dialer: &Dialer,
    options: Options,
) -> Result<Beginning, BootstrapError> {
    if let Some(wal_dir) = &config.wal_dir {
        place_log(&config.data_dir, wal_dir)?;
    }
    let directory = predecessor::follow(&config.data_dir, predecessor::PATIENCE).await?;
    let token = &config.initial_cluster_token;
    let path = || directory.path().to_path_buf();
    if !directory.is_new() {
        let held =
            token::other_than(directory.path(), token).map_err(|source| BootstrapError::Token {
                path: path(),
                source,
            })?;
        if let Some(held) = held {
            return Err(BootstrapError::Foreign {
                path: path(),
                held,
                said: token.clone(),
            });
        }
        let forced = config.force_new_cluster;
        let opening = tokio::task::spawn_blocking(move || {
            if forced {
                // What the others have is given up with them, so what is damaged cannot be got back.
                force(reopen(directory, options, Storage::open)?)
            } else {
                reopen(directory, options, Storage::open_or_salvage)
            }
        });
        let opened = opening
            .await
            .expect("opening a data directory does not panic");
        return ask_again(config, dialer, opened?).await;
    }
    config.check_founding()?;
    token::keep(directory.path(), token).map_err(|source| BootstrapError::Token {
        path: path(),
        source,
    })?;
    match config.initial_cluster_state {
        ClusterState::New => found(config, dialer, directory, options).await,
        ClusterState::Existing => join(config, dialer, directory, options).await,
    }
}

/// After a restart the flags about the founding are no longer looked at, as in etcd.
fn reopen(
    directory: DataDir,
    options: Options,
    open: fn(DataDir, Options) -> Result<(Storage, Recovered), StorageError>,
) -> Result<Beginning, BootstrapError> {
    let path = directory.path().to_path_buf();
    let (storage, recovered) = open(directory, options)?;
    let Recovered {
        identity,
        hard_state,
        snapshot,
        image,
        entries,
        cut,
        damaged,
        lost,
        salvaged,
    } = recovered;
    tell_damage(salvaged.as_ref(), lost, &damaged);
    if let Some(cut) = cut {
        tracing::warn!(file = %cut.path.display(), offset = cut.offset, bytes = cut.bytes, "cut a torn tail that a crash left");
    }
    let index = snapshot.index;
    let store = image.map_or_else(|| Ok(Store::new()), |bytes| image::decode(&bytes));
    let store = store.map_err(|source| BootstrapError::Image { index, source })?;
    refuse_newer_cluster(store.cluster_version(), crate::version::served())?;
    let durable = entries.last().map_or(snapshot.index, |entry| entry.index);
    tracing::info!(
        path = %path.display(),
        cluster_id = %format!("{:x}", identity.cluster_id),
        member_id = %format!("{:x}", identity.member_id),
        term = hard_state.term.0,
        checkpoint = snapshot.index.0,
        last_index = durable.0,
        "found a member's data; the --initial-* flags are not looked at"
    );
    let known = Membership::of(store.members());
    let recovered = raft::Recovered {
        hard_state,
        snapshot,
        entries,
        lost,
    };
    Ok(Beginning {
        identity,
        storage,
        store,
        recovered,
        durable,
        known,
    })
}

fn tell_damage(
    salvaged: Option<&StorageError>,
    lost: Option<(Term, Index)>,
    checkpoints: &[StorageError],
) {
    for error in checkpoints {
        tracing::warn!(error = error.damage(), "set a damaged checkpoint aside");
    }
    if let Some(error) = salvaged {
        tracing::error!(
            error = error.damage(),
            "the data is damaged; set it aside, and began anew with what is sound"
        );
    }
    if let Some((term, index)) = lost {
        tracing::warn!(
            lost_until = index.0,
            term = term.0,
            "entries were lost: this member leads nobody, and votes for nobody without them, until a leader has given them back"
        );
    }
}

/// As etcd, whose process dies of it: what the other members may ask of each other is unknown here.
fn refuse_newer_cluster(cluster: Option<Version>, served: Version) -> Result<(), BootstrapError> {
    match cluster {
        Some(cluster) if cluster > served => {
            Err(BootstrapError::ClusterIsNewer { cluster, served })
        }
        _ => Ok(()),
    }
}

/// Makes this member's data a cluster of its own; see `replica::forced`.
fn force(mut beginning: Beginning) -> Result<Beginning, BootstrapError> {
    let me = PeerId(beginning.identity.member_id);
    let recovered = &mut beginning.recovered;
    let entries = forcing_entries(me, recovered).map_err(|members| BootstrapError::NotForced {
        member_id: me.0,
        members: members
            .peers()
            .map(|peer| format!("{:x}", peer.0))
            .collect(),
    })?;
    tracing::warn!(
        removed = entries.len(),
        "forcing a new cluster of this member alone: all others are removed for ever"
    );
    if let Some(last) = entries.last() {
        recovered.hard_state.term = last.term;
    }
    recovered.entries.extend(entries.iter().cloned());
    let end = recovered.entries.last().map(|entry| entry.index);
    beginning.durable = end.unwrap_or(recovered.snapshot.index);
    recovered.hard_state.commit = beginning.durable;
    let persist = Persist {
        ticket: Ticket::default(),
        entries,
        hard_state: Some(recovered.hard_state),
        must_sync: true,
    };
    beginning.storage.submit(persist).wait()?;
    Ok(beginning)
}

async fn found(
    config: &Config,
    dialer: &Dialer,
    directory: DataDir,
    options: Options,
) -> Result<Beginning, BootstrapError> {
    let members = founding_members(&config.initial_cluster, &config.initial_cluster_token);
    let identity = founding_identity(&members, &config.name);
    refuse_second_founding(config, dialer, identity).await?;
    let entries = founding_entries(&members);
    let commit = Index(entries.len() as u64);
    let hard_state = HardState {
        term: Term(1),
        vote: None,
        commit,
    };
    let persist = Persist {
        ticket: Ticket::default(),
        entries: entries.clone(),
        hard_state: Some(hard_state),
        must_sync: true,
    };
    let storage = Storage::create(directory, identity, &persist, options)?;
    tracing::info!(
        cluster_id = %format!("{:x}", identity.cluster_id),
        member_id = %format!("{:x}", identity.member_id),
        members = members.len(),
        "founded a new cluster"
    );
    let known = Membership {
        members: members
            .into_iter()
            .map(|member| (member.id, member))
            .collect(),
        ..Membership::default()
    };
    let recovered = raft::Recovered {
        hard_state,
        entries,
        ..raft::Recovered::default()
    };
    Ok(Beginning {
        identity,
        storage,
        store: Store::new(),
        recovered,
        durable: commit,
        known,
    })
}

/// Whoever founds with an empty directory a cluster that already knows him has lost his data.
async fn refuse_second_founding(
    config: &Config,
    dialer: &Dialer,
    identity: Identity,
) -> Result<(), BootstrapError> {
    let asked = others(config);
    let look = async |urls: &Vec<String>| {
        let answer = tokio::time::timeout(LOOK_TIMEOUT, dialer.members(urls)).await;
        let known = answer.ok()?.ok()?;
        let me = known
            .members
            .into_iter()
            .find(|member| member.id == identity.member_id)?;
        (known.cluster_id == identity.cluster_id && !me.client_urls.is_empty()).then_some(())
    };
    let answers = futures::future::join_all(asked.iter().map(look)).await;
    if answers.iter().any(Option::is_some) {
        return Err(BootstrapError::AlreadyBootstrapped {
            member_id: identity.member_id,
        });
    }
    Ok(())
}

async fn join(
    config: &Config,
    dialer: &Dialer,
    directory: DataDir,
    options: Options,
) -> Result<Beginning, BootstrapError> {
    let answer = ask_in_time(dialer, &others(config)).await?;
    let mut urls = texts(&config.initial_advertise_peer_urls);
    urls.sort();
    let mut members: Vec<Member> = answer.members.into_iter().map(from_wire).collect();
    members
        .iter_mut()
        .for_each(|member| member.peer_urls.sort());
    let cluster_id = answer.cluster_id;
    let Some(me) = members.iter().find(|member| member.peer_urls == urls) else {
        return Err(BootstrapError::NotAMember { cluster_id, urls });
    };
    if !me.client_urls.is_empty() {
        return Err(BootstrapError::AlreadyBootstrapped { member_id: me.id });
    }
    let identity = Identity {
        cluster_id,
        member_id: me.id,
    };
    let storage = Storage::create(directory, identity, &Persist::default(), options)?;
    tracing::info!(
        cluster_id = %format!("{cluster_id:x}"),
        member_id = %format!("{:x}", identity.member_id),
        members = members.len(),
        "joined a running cluster"
    );
    let known = Membership {
        members: members
            .into_iter()
            .map(|member| (member.id, member))
            .collect(),
        ..Membership::default()
    };
    let recovered = raft::Recovered::default();
    Ok(Beginning {
        identity,
        storage,
        store: Store::new(),
        recovered,
        durable: Index(0),
        known,
    })
}

/// A member that joined and ended before it had heard anything knows nobody whom it could answer, and nobody can tell it
/// more before it has answered: it asks once more who there is.
async fn ask_again(
    config: &Config,
    dialer: &Dialer,
    mut beginning: Beginning,
) -> Result<Beginning, BootstrapError> {
    let asked = others(config);
    if beginning.durable > Index(0) || asked.is_empty() {
        return Ok(beginning);
    }
    let answer = ask_in_time(dialer, &asked).await?;
    if answer.cluster_id == beginning.identity.cluster_id {
        let members = answer.members.into_iter().map(from_wire);
        beginning.known.members = members.map(|member| (member.id, member)).collect();
    }
    Ok(beginning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_older_than_its_cluster_does_not_start() {
        let [v6, v7] = [6, 7].map(|minor| Version::new(3, minor));
        for (cluster, served) in [(None, v6), (Some(v6), v6), (Some(v6), v7)] {
            refuse_newer_cluster(cluster, served).expect("it knows what the others speak");
        }
        let refused = refuse_newer_cluster(Some(v7), v6).unwrap_err().to_string();
        assert!(refused.contains("of version 3.7"), "{refused}");
        assert!(refused.contains("downgrade enable 3.6"), "{refused}");
    }
}
