//! Secrets with certificates, what the kubelet has written of them into the pods, and what the processes make of it.
//!
//! A CA is its common name here, and a certificate the name of its CA with a number. A process of quorate-node believes what its
//! files say now, one of etcd what they said when it started. It is judged all the time: whoever meets whom believes him.

use std::collections::{BTreeMap, BTreeSet};

use crds::Engine;
use k8s_openapi::api::core::v1::Pod;
use plan::certificates::{AUTHORITY_LASTS, LEAF_LASTS};
use plan::names::{self, Surface};
use plan::{Authority, Handshake, Issue, Keyring};
use rand::Rng;

use super::{World, phase};

/// What one pod has of its Secrets, by their names.
#[derive(Clone, Default)]
pub(crate) struct Mounts {
    files: BTreeMap<String, Keyring>,
    believed: BTreeMap<String, Vec<String>>,
}

impl World {
    /// Makes what is to be issued, against the version that was seen.
    pub(super) fn issue(&mut self, issue: &Issue) -> Result<(), String> {
        let meta = &issue.secret.metadata;
        let secret = meta.name.clone().unwrap();
        let found = self.keyrings.get(&secret).cloned();
        let version = found.as_ref().and_then(|it| it.version.clone());
        if found.as_ref().map(Keyring::target) != issue.replaces || version != issue.version {
            return Err(format!("{secret} is another one"));
        }
        self.uids += 1;
        let mut new = found.unwrap_or_else(|| Keyring {
            secret: secret.clone(),
            uid: format!("uid-{}", self.uids),
            cluster_uid: meta
                .annotations
                .as_ref()
                .and_then(|it| it.get(names::CLUSTER_UID).cloned()),
            ..Keyring::default()
        });
        new.version = Some(self.uids.to_string());
        let signs = self.sign(issue, &mut new)?;
        new.authority = Some(new.roots.join("+"));
        new.entries.insert("ca.crt".to_owned());
        for leaf in &issue.leaves {
            new.ends.insert(leaf.file.to_owned(), self.now + LEAF_LASTS);
            let certificate = format!("{signs}/{}", self.uids);
            new.fingerprints.insert(leaf.file.to_owned(), certificate);
            let both = ["crt", "key"].map(|it| format!("{}.{it}", leaf.file));
            new.entries.extend(both);
        }
        self.keyrings.insert(secret, new);
        Ok(())
    }

    /// Puts the CAs right in a Secret, and says which one signs.
    fn sign(&mut self, issue: &Issue, new: &mut Keyring) -> Result<String, String> {
        let ends = self.now + AUTHORITY_LASTS;
        match &issue.authority {
            Authority::New { common_name } => {
                let mounted = |it: &Pod| mounts(it).contains(&new.secret);
                assert!(
                    !self.pods.values().any(mounted),
                    "a new CA in {} while pods hold the old one",
                    new.secret
                );
                // Another CA every time, under whatever name.
                new.roots = vec![format!("{common_name}.{}", self.uids)];
                new.entries.insert("ca.key".to_owned());
                new.ends.insert("ca".to_owned(), ends);
            }
            Authority::Kept { secret } => {
                let kept = self.keyrings.get(&secret.name);
                let kept = kept.filter(|it| it.target() == *secret && it.has("ca.key"));
                let kept = kept.ok_or("the CA is another one")?;
                new.roots.clone_from(&kept.roots);
                new.ends.insert("ca".to_owned(), kept.ends["ca"]);
            }
            Authority::Beside { common_name, .. } => {
                assert_eq!(new.roots.len(), 1, "a third CA in {}", new.secret);
                new.roots.push(common_name.clone());
                let next = ["next-ca.crt", "next-ca.key"].map(ToOwned::to_owned);
                new.entries.extend(next);
                new.ends.insert("next-ca".to_owned(), ends);
            }
            Authority::Next { .. } => {
                assert!(new.has("next-ca.key"), "there is no CA to sign next");
                new.roots.reverse();
                new.entries.retain(|it| !it.starts_with("next-"));
                let end = new.ends.remove("next-ca").unwrap();
                new.ends.insert("ca".to_owned(), end);
            }
            Authority::Alone { .. } => new.roots.truncate(1),
        }
        Ok(new.roots[0].clone())
    }

    /// Somebody takes an entry out of a Secret with certificates, but never the key of a CA.
    pub(crate) fn spoil_certificate(&mut self) {
        let names: Vec<String> = self.keyrings.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = &names[self.rng.random_range(0..names.len())];
        self.uids += 1;
        if let Some(keyring) = self.keyrings.get_mut(name) {
            keyring.entries.remove("tls.crt");
            keyring.version = Some(self.uids.to_string());
        }
    }

    /// A container starts: its files are those of now.
    pub(super) fn mount(&mut self, name: &str) {
        let wanted = mounts(&self.pods[name]);
        let found = self
            .keyrings
            .values()
            .filter(|it| wanted.contains(&it.secret));
        let files: BTreeMap<_, _> = found.map(|it| (it.secret.clone(), it.clone())).collect();
        let believed = files
            .iter()
            .map(|(secret, it)| (secret.clone(), it.roots.clone()));
        let believed = believed.collect();
        self.mounted
            .insert(name.to_owned(), Mounts { files, believed });
    }

    /// The kubelet brings files up to date, some time or other, each Secret as a whole.
    pub(super) fn project(&mut self) {
        let reads_anew = self.cluster.spec.engine == Engine::Quorate;
        for mounts in self.mounted.values_mut() {
            let Mounts { files, believed } = mounts;
            for (secret, file) in files {
                let news = self.keyrings.get(secret).filter(|it| it.has("tls.crt"));
                let Some(news) = news.filter(|it| it.version != file.version) else {
                    continue;
                };
                if self.rng.random_bool(0.1) {
                    file.clone_from(news);
                }
                if reads_anew {
                    believed.insert(secret.clone(), file.roots.clone());
                }
            }
        }
        self.judge_trust();
    }

    /// What a running member shows on a surface, and whom it believes.
    fn shown(&self, pod: &str, surface: Surface) -> Option<Handshake> {
        let (mounts, secret) = (self.mounted.get(pod)?, names::members_secret("kv", surface));
        let shows = mounts.files.get(&secret)?.fingerprints.get("tls")?.clone();
        Some(Handshake {
            trusts: mounts.believed[&secret].iter().cloned().collect(),
            issuer: issuer(&shows),
            shows,
        })
    }

    /// Whoever meets whom believes him: members each other, applications members, and members applications.
    fn judge_trust(&self) {
        let running: BTreeSet<&String> = self
            .pods
            .iter()
            .filter(|(_, it)| phase(it) == "Running")
            .map(|(name, _)| name)
            .collect();
        let all = |surface| running.iter().filter_map(move |it| self.shown(it, surface));
        for (one, other) in
            all(Surface::Peer).flat_map(|one| all(Surface::Peer).map(move |it| (one.clone(), it)))
        {
            assert!(
                other.trusts.contains(&one.issuer),
                "a member shows {one:?} to one that believes {:?}",
                other.trusts
            );
        }
        let Some(application) = self.keyrings.get(&names::application_secret("kv")) else {
            return;
        };
        for member in all(Surface::Client) {
            let shows = application.fingerprints.get("tls").map(|it| issuer(it));
            let shows = shows.unwrap_or_default();
            assert!(
                application.roots.contains(&member.issuer),
                "applications do not believe {member:?}"
            );
            assert!(
                member.trusts.contains(&shows),
                "{shows} is not believed by {member:?}"
            );
        }
    }

    /// What the operator sees when it shakes hands.
    pub(super) fn handshakes(&self) -> BTreeMap<(String, Surface), Result<Handshake, String>> {
        let operations: Vec<_> = self.operations.values().cloned().collect();
        let watched = plan::rotation::watched(&self.cluster, &operations, self.now);
        let mut seen = BTreeMap::new();
        for surface in watched {
            for (name, _) in self.pods.iter().filter(|(_, it)| phase(it) == "Running") {
                let shown = self
                    .shown(name, surface)
                    .ok_or("connection refused".to_owned());
                seen.insert((name.clone(), surface), shown);
            }
        }
        seen
    }
}

fn issuer(certificate: &str) -> String {
    let ca = certificate.rsplit_once('/').map(|(ca, _)| ca);
    ca.unwrap_or_default().to_owned()
}

/// Names of the Secrets that a pod mounts.
fn mounts(pod: &Pod) -> BTreeSet<String> {
    let volumes = pod.spec.iter().flat_map(|it| it.volumes.iter().flatten());
    volumes
        .filter_map(|it| it.secret.as_ref()?.secret_name.clone())
        .collect()
}
