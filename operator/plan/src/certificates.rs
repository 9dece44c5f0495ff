//! Certificates: which Secrets a cluster with TLS needs, what the operator makes and when it makes it anew, and what a pod
//! takes from them.
//!
//! - Each surface has a CA of its own, so that a client's certificate never makes a peer.
//! - A CA is made when no pod mounts its Secret. While one does, another one comes only beside it: members that hold the old
//!   one would not believe those that hold the new.
//! - A certificate is made anew under its CA when a third of its time is left, or when it cannot be read. Members read
//!   their files with each handshake: nothing restarts for it.
//! - No pod starts before all that it would mount is there.
//! - A member dials its peers with a certificate that has no host names: etcd would otherwise look the caller's address up
//!   under each of them, and a name that DNS does not know yet keeps a member out.
//! - Keys are made by the executor, or by cert-manager, and stand in Secrets; no value in this crate holds one.
//!
//! This file deliberately does not replace a CA, and asks no issuer for anything: see `rotation.rs` and `cert_manager.rs`.

mod issue;
mod mounts;

use std::collections::BTreeSet;

use crds::{BlockedBy, OperationType, Plaintext, RaftCluster, Tls, TlsMode};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use crate::{
    action::Action,
    cert_manager::{self, Request},
    draft::Draft,
    names::{self, Scheme, Surface},
    objects,
    observed::Keyring,
    peers,
    report::{Invalid, Work},
    spec::Spec,
    tls,
    view::View,
};

pub use issue::{Authority, Issue, Leaf};
pub(crate) use mounts::{Mount, complete, flags, holds, mounted, mounts};

/// How long a CA is valid: longer than the operator's users keep a cluster.
pub const AUTHORITY_LASTS: SignedDuration = SignedDuration::from_hours(24 * 3_650);
/// How long a certificate under it is valid: an operator may be away for months without harm.
pub const LEAF_LASTS: SignedDuration = SignedDuration::from_hours(24 * 365);
/// How long before its end a certificate is made anew.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(24 * 365 / 3);
/// How long before its end a person is told of what only a person can renew: a CA, and a certificate of the user's own.
const TELL_BEFORE: (SignedDuration, SignedDuration) = (
    SignedDuration::from_hours(24 * 365),
    SignedDuration::from_hours(24 * 14),
);

/// A Secret that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    secret: String,
    surface: Surface,
    /// Entries that it must have.
    entries: Vec<String>,
    source: Source,
}

/// Who fills a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// The operator, with what it signs itself.
    Operator(Made),
    /// The user.
    User,
    /// cert-manager, with what an issuer signs.
    Issuer(Request),
}

impl Wanted {
    const fn made(&self) -> Option<&Made> {
        match &self.source {
            Source::Operator(made) => Some(made),
            Source::User | Source::Issuer(_) => None,
        }
    }
}

/// What the operator signs for one Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Made {
    /// The Secret with the CA, which may be the very one.
    authority: String,
    leaves: Vec<Leaf>,
}

/// How a surface is served.
pub(crate) fn mode(tls: &Tls, surface: Surface) -> TlsMode {
    match surface {
        Surface::Peer => tls.peer.as_ref().map(|it| it.mode),
        Surface::Client => tls.client.as_ref().map(|it| it.mode),
    }
    .unwrap_or_default()
}

/// Whether clients without TLS are served, with or without others beside them.
pub(crate) fn serves_plaintext(tls: &Tls) -> bool {
    let allowed = tls
        .client
        .as_ref()
        .is_some_and(|it| it.plaintext == Plaintext::Allowed);
    allowed || mode(tls, Surface::Client) == TlsMode::Disabled
}

/// The Secret with the certificate that the operator shows to members, as `<stem>.crt` and `<stem>.key` beside `ca.crt`,
/// and that stem; none where clients are served without TLS.
#[must_use]
pub fn shown_by_operator(cluster: &RaftCluster) -> Option<(String, &'static str)> {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    shown(&tls::asked(cluster), name)
}

/// The same of a cluster of this name.
pub(crate) fn shown(tls: &Tls, name: &str) -> Option<(String, &'static str)> {
    match mode(tls, Surface::Client) {
        TlsMode::Disabled => None,
        TlsMode::Operator => Some((names::members_secret(name, Surface::Client), "operator")),
        TlsMode::Secret => Some((tls.client.as_ref()?.operator_secret_name.clone()?, "tls")),
        TlsMode::CertManager => Some((names::issued_operator_secret(name), "tls")),
    }
}

/// Every Secret that a cluster needs, CAs first.
fn wanted(spec: &Spec) -> Vec<Wanted> {
    let coming = spec.with_asked_peer_tls();
    let coming = coming.iter().flat_map(|it| wanted_for(it, Surface::Peer));
    let now = Surface::ALL.into_iter().flat_map(|it| wanted_for(spec, it));
    now.chain(coming).collect()
}

fn wanted_for(spec: &Spec, surface: Surface) -> Vec<Wanted> {
    match mode(&spec.tls, surface) {
        TlsMode::Disabled => Vec::new(),
        TlsMode::Operator => made(spec, surface),
        TlsMode::Secret => brought(spec, surface),
        TlsMode::CertManager => issued(spec, surface),
    }
}

fn issued(spec: &Spec, surface: Surface) -> Vec<Wanted> {
    let all = cert_manager::requests(spec, surface).into_iter();
    all.map(|request| Wanted {
        secret: request.name.clone(),
        surface,
        entries: entries(["ca", "tls"]),
        source: Source::Issuer(request),
    })
    .collect()
}

/// What cert-manager is asked for.
pub(crate) fn requested(spec: &Spec) -> Vec<Request> {
    let request = |it: Wanted| match it.source {
        Source::Issuer(request) => Some(request),
        Source::Operator(_) | Source::User => None,
    };
    wanted(spec).into_iter().filter_map(request).collect()
}

/// Names of all Secrets that a cluster needs; each is read by its name, and no others are.
#[must_use]
pub fn secrets(cluster: &RaftCluster) -> BTreeSet<String> {
    let in_force = peers::tls_in_force(cluster);
    let is_plain = Surface::ALL.map(|it| mode(&in_force, it)) == [TlsMode::Disabled; 2];
    if is_plain && peers::asked(cluster).is_none() {
        return BTreeSet::new();
    }
    let (spec, _) = Spec::parse(cluster, None);
    wanted(&spec).into_iter().map(|it| it.secret).collect()
}

fn brought(spec: &Spec, surface: Surface) -> Vec<Wanted> {
    let client = spec
        .tls
        .client
        .as_ref()
        .filter(|_| surface == Surface::Client);
    let operator = client.and_then(|it| it.operator_secret_name.clone());
    let names = mounted(spec, surface).into_iter().chain(operator);
    names
        .map(|secret| Wanted {
            secret,
            surface,
            entries: entries(["ca", "tls"]),
            source: Source::User,
        })
        .collect()
}

fn made(spec: &Spec, surface: Surface) -> Vec<Wanted> {
    let authority = names::members_secret(&spec.name, surface);
    let leaf = |file, common_name: &str, hosts| Leaf {
        file,
        common_name: common_name.to_owned(),
        hosts,
    };
    let served = leaf("tls", &spec.name, names::hosts(&spec.namespace, &spec.name));
    let secret = |secret: String, leaves: Vec<Leaf>| Wanted {
        secret,
        surface,
        entries: entries(leaves.iter().map(|it| it.file).chain(["ca"])),
        source: Source::Operator(Made {
            authority: authority.clone(),
            leaves,
        }),
    };
    match surface {
        Surface::Peer => {
            let dials = leaf("client", &spec.name, Vec::new());
            vec![secret(authority.clone(), vec![served, dials])]
        }
        Surface::Client => {
            let operator = leaf("operator", names::ROOT, Vec::new());
            let application = leaf("tls", &spec.name, Vec::new());
            vec![
                secret(authority.clone(), vec![served, operator]),
                secret(names::application_secret(&spec.name), vec![application]),
            ]
        }
    }
}

/// Certificates and keys by these stems; the key of a CA is nobody's to read.
fn entries<'s>(stems: impl IntoIterator<Item = &'s str>) -> Vec<String> {
    let both = |stem: &str| match stem {
        "ca" => vec!["ca.crt".to_owned()],
        _ => vec![format!("{stem}.crt"), format!("{stem}.key")],
    };
    stems.into_iter().flat_map(both).collect()
}

/// What is to be done about one Secret.
enum Step {
    Issue(Issue),
    Wait(String),
}

/// Makes the next certificate that is missing or due, or says what only a person can do; no work when all is there.
pub(crate) fn certificates(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    let kind = if view.born() {
        OperationType::Repair
    } else {
        OperationType::Bootstrap
    };
    Some(
        match wanted(&view.spec).iter().find_map(|it| step(view, it))? {
            Step::Issue(issue) => {
                draft
                    .actions
                    .push(Action::IssueCertificates(Box::new(issue)));
                work(kind, "IssueCertificates", None)
            }
            Step::Wait(why) => work(kind, "FindCertificates", Some(why)),
        },
    )
}

fn work(kind: OperationType, step: &'static str, waits: Option<String>) -> Work {
    let gate = |message| BlockedBy {
        gate: "Certificates".to_owned(),
        message,
    };
    Work {
        kind,
        step,
        member: None,
        blocked_by: waits.map(gate).into_iter().collect(),
    }
}

/// The Secret that members mount for a surface now, if it has TLS.
#[must_use]
pub fn mounted_now(cluster: &RaftCluster, surface: Surface) -> Option<String> {
    mounted(&Spec::parse(cluster, None).0, surface)
}

pub(crate) fn keyring<'v>(view: &'v View<'_>, secret: &str) -> Option<&'v Keyring> {
    view.observed.keyrings.iter().find(|it| it.secret == secret)
}

fn step(view: &View<'_>, wanted: &Wanted) -> Option<Step> {
    let found = keyring(view, &wanted.secret);
    let made = match &wanted.source {
        Source::Operator(made) => made,
        Source::User => return missing(wanted, found).map(Step::Wait),
        Source::Issuer(request) => return cert_manager::lacks(view, request).map(Step::Wait),
    };
    if let Some(stranger) = found.filter(|it| it.cluster_uid.as_deref() != Some(&view.spec.uid)) {
        return Some(Step::Wait(format!(
            "the Secret {} is there and not this cluster's; delete it, or move it out of the way",
            stranger.secret
        )));
    }
    let own = made.authority == wanted.secret;
    let authority = keyring(view, &made.authority);
    let sound = found.is_some_and(|it| is_sound(view.now, it, wanted, authority));
    (!sound).then(|| match (authority.filter(|it| it.has("ca.key")), own) {
        (Some(kept), _) => Step::Issue(issue(view, wanted, made, kept_by(kept))),
        (None, true) if found.is_none() => found_authority(view, wanted, made),
        (None, _) => Step::Wait(format!(
            "the Secret {0} has lost `ca.key`, the key of its CA; restore it, or delete {0} and all pods of the cluster to \
             begin with a new CA",
            made.authority
        )),
    })
}

/// What a Secret of the user's lacks.
fn missing(wanted: &Wanted, found: Option<&Keyring>) -> Option<String> {
    let (secret, surface) = (&wanted.secret, wanted.surface.field());
    let Some(found) = found else {
        return Some(format!(
            "there is no Secret {secret}, which spec.tls.{surface} names; create it with ca.crt, tls.crt and tls.key"
        ));
    };
    let lacks = missing_in(found, wanted.entries.iter().map(String::as_str))?;
    Some(format!(
        "the Secret {secret}, which spec.tls.{surface} names, lacks {lacks}; add what is missing, in PEM"
    ))
}

/// Which of these entries a Secret lacks, if it lacks any, counting a certificate that cannot be read.
pub(crate) fn missing_in<'s>(
    found: &Keyring,
    entries: impl IntoIterator<Item = &'s str>,
) -> Option<String> {
    let readable = |it: &&str| *it != "tls.crt" || found.ends.contains_key("tls");
    let lacks: Vec<&str> = entries
        .into_iter()
        .filter(|it| !found.has(it) || !readable(it))
        .collect();
    (!lacks.is_empty()).then(|| lacks.join(", "))
}

/// Whether every certificate is there, readable, not near its end, and under the CA in force.
fn is_sound(now: Timestamp, found: &Keyring, wanted: &Wanted, authority: Option<&Keyring>) -> bool {
    let fresh = |entry: &String| {
        let Some(stem) = entry.strip_suffix(".crt").filter(|it| *it != "ca") else {
            return true;
        };
        let end = found.ends.get(stem);
        end.is_some_and(|end| end.duration_since(now) > RENEW_BEFORE)
    };
    let same_authority = authority.is_some_and(|it| it.authority == found.authority);
    wanted.entries.iter().all(|it| found.has(it) && fresh(it)) && same_authority
}

fn kept_by(kept: &Keyring) -> Authority {
    Authority::Kept {
        secret: kept.target(),
    }
}

/// A change of the CAs in a Secret; certificates are made anew where another CA signs from now on.
pub(crate) fn reissue(view: &View<'_>, secret: &str, authority: Authority) -> Option<Issue> {
    let all = wanted(&view.spec);
    let wanted = all.iter().find(|it| it.secret == secret)?;
    let mut issue = issue(view, wanted, wanted.made()?, authority);
    if !matches!(issue.authority, Authority::Next { .. }) {
        issue.leaves.clear();
    }
    Some(issue)
}

/// New certificates under the same CA, before they are due.
pub(crate) fn renewal(view: &View<'_>, secret: &str) -> Option<Issue> {
    let all = wanted(&view.spec);
    let wanted = all.iter().find(|it| it.secret == secret)?;
    let made = wanted.made()?;
    let kept = keyring(view, &made.authority).filter(|it| it.has("ca.key"))?;
    Some(issue(view, wanted, made, kept_by(kept)))
}

/// The Secrets of a surface that the operator fills, that of the CA first.
pub(crate) fn filled(spec: &Spec, surface: Surface) -> Vec<String> {
    let of_it = |it: &Wanted| it.surface == surface && it.made().is_some();
    let all = wanted(spec).into_iter().filter(of_it);
    all.map(|it| it.secret).collect()
}

/// When the first certificate ends that is shown, or a CA that signs, in whole seconds.
pub(crate) fn first_expiry(view: &View<'_>) -> Option<Timestamp> {
    let wanted = wanted(&view.spec).into_iter();
    let found = wanted.filter_map(|it| keyring(view, &it.secret));
    let counts = |stem: &str| !stem.starts_with("next-");
    let ends = found.flat_map(|it| it.ends.iter().filter(|(stem, _)| counts(stem)));
    let first = ends.map(|(_, end)| *end).min()?;
    Timestamp::from_second(first.as_second()).ok()
}

/// A new CA: only where no member runs that holds an old one.
fn found_authority(view: &View<'_>, wanted: &Wanted, made: &Made) -> Step {
    let mut pods = view.members.values().filter_map(|it| it.pod);
    if pods.any(|pod| holds(pod, &made.authority)) {
        return Step::Wait(format!(
            "the Secret {} is gone, and with it the CA that the members believe in; restore it, or delete all pods of the \
             cluster to begin with a new CA",
            wanted.secret
        ));
    }
    let common_name = names::authority(&view.spec.uid, wanted.surface);
    Step::Issue(issue(view, wanted, made, Authority::New { common_name }))
}

fn issue(view: &View<'_>, wanted: &Wanted, made: &Made, authority: Authority) -> Issue {
    Issue {
        surface: wanted.surface,
        secret: Box::new(objects::secret::secret(&view.spec, wanted.secret.clone())),
        replaces: keyring(view, &wanted.secret).map(Keyring::target),
        version: keyring(view, &wanted.secret).and_then(|it| it.version.clone()),
        authority,
        leaves: made.leaves.clone(),
    }
}

/// A spec that would leave the operator without a word with members that refuse plaintext.
pub(crate) fn stranded(view: &View<'_>) -> Option<Invalid> {
    let plain = view.spec.scheme(Surface::Client) == Scheme::Http;
    let first = view
        .members
        .values()
        .find(|it| plain && it.pod.is_some_and(refuses_plaintext))?;
    Some(Invalid {
        field: "spec.tls.client".to_owned(),
        message: format!(
            "member {} still refuses plaintext; set the mode that was, with plaintext Allowed, until all members have \
             restarted with it, and drop TLS then",
            first.name
        ),
    })
}

fn refuses_plaintext(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|it| &it.containers);
    let mut args = containers.flat_map(|it| it.args.iter().flatten());
    args.any(|it| it.starts_with("--listen-client-urls=https:") && !it.contains("http:"))
}

/// What ends soon and only a person can renew.
pub(crate) fn notices(view: &View<'_>) -> Vec<String> {
    let soon = |end: Option<&Timestamp>, before| {
        end.copied()
            .filter(|end| end.duration_since(view.now) <= before)
    };
    let told = wanted(&view.spec).into_iter().filter_map(|it| {
        let (found, secret) = (keyring(view, &it.secret)?, &it.secret);
        if let Source::Issuer(request) = &it.source {
            return cert_manager::notice(view, request, found);
        }
        if let Some(made) = it.made() {
            if made.authority != *secret || found.has("ca.key") {
                return None;
            }
            let end = soon(found.ends.get("ca"), TELL_BEFORE.0)?;
            return Some(format!(
                "the CA in the Secret {secret} ends at {end}, and all that it has signed; restore `ca.key` to have it replaced"
            ));
        }
        let end = soon(found.ends.get("tls"), TELL_BEFORE.1)?;
        Some(format!(
            "the certificate in the Secret {secret} ends at {end}; put a new one there"
        ))
    });
    told.collect()
}
