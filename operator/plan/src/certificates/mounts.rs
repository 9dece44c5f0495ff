//! What a pod takes from the Secrets of TLS: volumes, and the flags that name what is in them.
//!
//! This file deliberately does not know how the Secrets are filled.

use crds::TlsMode;
use k8s_openapi::api::core::v1::Pod;

use super::{keyring, mode};
use crate::{
    cert_manager,
    names::{self, Surface},
    spec::Spec,
    view::View,
};

/// What a pod mounts of one Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The Secret.
    pub(crate) secret: String,
    /// Name of the volume.
    pub(crate) volume: &'static str,
    /// Where it is mounted.
    pub(crate) folder: &'static str,
    /// The entries that members read. The CA's key is none of them.
    pub(crate) entries: Vec<&'static str>,
}

/// The Secret that members mount for a surface, if it has TLS.
pub(crate) fn mounted(spec: &Spec, surface: Surface) -> Option<String> {
    let own = match surface {
        Surface::Peer => spec.tls.peer.as_ref()?.secret_name.clone(),
        Surface::Client => spec.tls.client.as_ref()?.secret_name.clone(),
    };
    match mode(&spec.tls, surface) {
        TlsMode::Disabled => None,
        TlsMode::Operator => Some(names::members_secret(&spec.name, surface)),
        TlsMode::Secret => own,
        TlsMode::CertManager => Some(names::issued_members_secret(&spec.name, surface)),
    }
}

/// All that members mount for a surface. What they dial their peers with is in the same Secret, but with cert-manager, which
/// keeps one certificate in each.
pub(crate) fn mounts(spec: &Spec, surface: Surface) -> Vec<Mount> {
    let Some(secret) = mounted(spec, surface) else {
        return Vec::new();
    };
    let mut served = Mount {
        secret,
        volume: surface.volume(),
        folder: surface.folder(),
        entries: vec!["ca.crt", "tls.crt", "tls.key"],
    };
    let mut dialed = None;
    match (mode(&spec.tls, surface), surface) {
        (TlsMode::Operator, Surface::Peer) => served.entries.extend(["client.crt", "client.key"]),
        (TlsMode::CertManager, Surface::Peer) => {
            dialed = Some(Mount {
                secret: names::issued_dialer_secret(&spec.name),
                volume: names::DIALER_VOLUME,
                folder: names::DIALER_FOLDER,
                entries: vec!["tls.crt", "tls.key"],
            });
        }
        _ => {}
    }
    [served].into_iter().chain(dialed).collect()
}

/// The flags of a surface with TLS.
pub(crate) fn flags(spec: &Spec, surface: Surface) -> Vec<String> {
    let prefix = surface.flag_prefix();
    let mut flags = Vec::new();
    for mount in mounts(spec, surface) {
        let folder = mount.folder;
        let both = |flag: &str, stem: &str| {
            [
                format!("--{prefix}{flag}cert-file={folder}/{stem}.crt"),
                format!("--{prefix}{flag}key-file={folder}/{stem}.key"),
            ]
        };
        if mount.entries.contains(&"ca.crt") {
            flags.push(format!("--{prefix}trusted-ca-file={folder}/ca.crt"));
            flags.extend(both("", "tls"));
            flags.push(format!("--{prefix}client-cert-auth=true"));
        } else {
            flags.extend(both("client-", "tls"));
        }
        if mount.entries.contains(&"client.crt") {
            flags.extend(both("client-", "client"));
        }
    }
    flags
}

/// Whether all is there that a pod made by this spec mounts.
pub(crate) fn complete(view: &View<'_>, spec: &Spec) -> bool {
    let mut all = Surface::ALL
        .into_iter()
        .flat_map(|surface| mounts(spec, surface));
    let signed = cert_manager::is_signed(view, spec);
    signed
        && all.all(|it| {
            let found = keyring(view, &it.secret);
            found.is_some_and(|found| it.entries.iter().all(|entry| found.has(entry)))
        })
}

/// Whether a pod mounts this Secret.
pub(crate) fn holds(pod: &Pod, secret: &str) -> bool {
    let volumes = pod.spec.iter().flat_map(|it| it.volumes.iter().flatten());
    let mut secrets = volumes.filter_map(|it| it.secret.as_ref()?.secret_name.as_deref());
    secrets.any(|it| it == secret)
}
