//! What members show of their certificates, and whom they believe.
//!
//! Each takes over what its Secret holds without a restart, as `quorate-node` does, but not all at once: kubelets bring it when they
//! like. It deliberately encrypts nothing: who would not believe a peer is noted, and that is all.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use plan::Handshake;
use plan::names::Surface;
use quorate_operator::certificates::{keyring, roots, signer};
use quorate_operator::members::Door;

use super::{Process, State};

/// By what is served with it.
pub type Papers = BTreeMap<Surface, Handshake>;

/// Within so many steps every kubelet has brought what a Secret holds.
const BROUGHT: u64 = 7;

/// What a member shows that has taken over what a Secret holds; none while it holds no certificate.
#[must_use]
pub fn shown(secret: &Secret) -> Option<Handshake> {
    let ring = keyring(secret);
    Some(Handshake {
        trusts: ring.roots.iter().cloned().collect(),
        shows: ring.fingerprints.get("tls")?.clone(),
        issuer: signer(secret, "tls.crt")?,
    })
}

impl State {
    /// A pod's Secrets hold this now.
    pub(super) fn bring(&mut self, pod_uid: &str, papers: Papers) {
        let mut turns = self.processes.values_mut().zip(self.steps..);
        let Some((process, turn)) = turns.find(|(it, _)| it.pod_uid == pod_uid) else {
            return;
        };
        if process.papers.is_empty() || turn.is_multiple_of(BROUGHT) {
            process.papers = papers;
            self.note_unbelieved_peers();
        }
    }

    /// What a handshake shows behind a door, by the client URL of the same address.
    pub(super) fn handshake(&self, door: &Door) -> Result<Handshake, String> {
        let authority = door.authority.as_str();
        let (address, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
        let host = format!("//{address}:");
        let refused = || "connection refused".to_owned();
        let mut processes = self.processes.iter();
        let (url, process) = processes
            .find(|(url, _)| url.contains(&host))
            .ok_or_else(refused)?;
        let surface = if url.starts_with("https:") && url.ends_with(&format!(":{port}")) {
            Surface::Client
        } else if process.listens.contains(&format!("https:{port}")) {
            Surface::Peer
        } else {
            return Err(refused());
        };
        let shown = process.papers.get(&surface).ok_or_else(refused)?;
        if !roots(door.roots.as_bytes()).contains(&shown.issuer) {
            return Err("invalid peer certificate: UnknownIssuer".to_owned());
        }
        Ok(shown.clone())
    }

    /// Members that run must believe each other at any time, whichever of them has heard of what first.
    fn note_unbelieved_peers(&mut self) {
        let shown = |it: &Process| it.papers.get(&Surface::Peer).cloned();
        let all: Vec<(&String, Handshake)> = self
            .processes
            .iter()
            .filter_map(|(url, it)| Some((url, shown(it)?)))
            .collect();
        let pairs = all.iter().flat_map(|of| all.iter().map(move |to| (of, to)));
        let unbelieved = pairs.filter(|(of, to)| !to.1.trusts.contains(&of.1.issuer));
        let sentences: Vec<String> = unbelieved
            .map(|(of, to)| {
                format!(
                    "{} does not believe {}, whose certificate {} has signed",
                    to.0, of.0, of.1.issuer
                )
            })
            .collect();
        self.violations.extend(sentences);
    }
}
