//! What a pod says of the process that is to run in it.
//!
//! It deliberately knows only the flags that decide which cluster a member founds or joins, and where it meets the others.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use plan::Listed;

/// How a member's process is started, as its pod says it.
#[derive(Debug, Clone)]
pub struct Start {
    /// The member's name.
    pub name: String,
    /// Where it will be asked.
    pub url: String,
    /// Its pod.
    pub pod_uid: String,
    /// Its volume.
    pub claim_uid: String,
    /// Its image.
    pub image: String,
    /// Whether `--initial-cluster-state` is `new`.
    pub new: bool,
    /// `--initial-cluster`: peer URLs by name.
    pub peers: BTreeMap<String, String>,
    /// Schemes and ports of `--listen-peer-urls`, such as `https:2380`.
    pub listens: BTreeSet<String>,
    /// Whether there is a `--peer-cert-file`.
    pub has_certificate: bool,
    /// `--initial-cluster-token`.
    pub token: String,
    /// `--max-learners`.
    pub max_learners: usize,
    /// The pod that has restored the data in `--data-dir`, if one has.
    pub restored_by: Option<String>,
}

impl Start {
    /// The version that its image is tagged with.
    #[must_use]
    pub fn version(&self) -> &str {
        self.image.rsplit(':').next().unwrap_or_default()
    }

    /// Who it is of these members, by `--initial-cluster`.
    ///
    /// # Errors
    /// What etcd says when they are not the ones in `--initial-cluster`.
    pub fn id_in(&self, members: &[Listed]) -> Result<u64, String> {
        let urls: BTreeSet<&String> = self.peers.values().collect();
        if members.len() != urls.len() {
            return Err("error validating peerURLs: member count is unequal".into());
        }
        let own = self.peers.get(&self.name);
        let is_own = |it: &&Listed| it.peer_urls.iter().any(|url| Some(url) == own);
        let own = members.iter().find(is_own);
        let own =
            own.ok_or("error validating peerURLs: unmatched member while checking PeerURLs")?;
        Ok(own.id)
    }

    /// What the pod says of its member, which is asked at `url`; none if it says too little.
    #[must_use]
    pub fn of(pod: &Pod, claim_uid: &str, url: &str) -> Option<Self> {
        let container = pod.spec.as_ref()?.containers.first()?;
        let args = container.args.clone().unwrap_or_default();
        let flag = |flag: &str| {
            let prefix = format!("--{flag}=");
            args.iter()
                .find_map(|arg| arg.strip_prefix(&prefix))
                .unwrap_or_default()
                .to_owned()
        };
        let peers = flag("initial-cluster");
        let peers = peers.split(',').filter_map(|peer| peer.split_once('='));
        Some(Self {
            name: pod.name_any(),
            url: url.to_owned(),
            pod_uid: pod.uid()?,
            claim_uid: claim_uid.to_owned(),
            image: container.image.clone().unwrap_or_default(),
            new: flag("initial-cluster-state") == "new",
            peers: peers
                .map(|(name, url)| (name.to_owned(), url.to_owned()))
                .collect(),
            listens: flag("listen-peer-urls").split(',').map(way).collect(),
            has_certificate: !flag("peer-cert-file").is_empty(),
            token: flag("initial-cluster-token"),
            max_learners: flag("max-learners").parse().unwrap_or(1),
            restored_by: flag("data-dir")
                .split_once("/restored-")
                .map(|(_, pod)| pod.to_owned()),
        })
    }
}

/// Scheme and port of a URL.
pub(super) fn way(url: &str) -> String {
    let scheme = url.split_once(':').map_or("", |it| it.0);
    let port = url.rsplit_once(':').map_or("", |it| it.1);
    format!("{scheme}:{port}")
}
