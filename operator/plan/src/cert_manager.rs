//! Certificates that an issuer of cert-manager signs: what it is asked for, and what it has not done yet.
//!
//! - A surface has a `Certificate` for each Secret, named like it: the operator applies it, and applies it again where somebody has
//!   changed it. cert-manager keeps one certificate in a Secret, so that members have one more of their own to dial their peers with.
//! - Its name is remembered in the status before it is made, and until it is gone. So it is known without a list what is to be
//!   deleted once the mode is left, and clusters that never had this mode cost no call.
//! - What is in a Secret says itself who has signed it. Only what the issuer in the spec has signed counts, so that no member starts
//!   with what another one left behind, and no `Certificate` goes to another issuer while members mount its Secret: they would not
//!   believe each other.
//! - What is not wanted any more goes when no pod mounts a Secret of it. The Secrets stay.
//!
//! This file deliberately makes no key, and renews nothing: that is cert-manager's work.

use std::collections::BTreeSet;

use crds::{IssuerRef, RaftCluster, TlsMode};
use jiff::SignedDuration;

use crate::{
    action::{Action, Target},
    certificates::{self, holds, keyring, mode},
    draft::Draft,
    names::{self, Surface},
    objects::{
        self,
        certificate::{Certificate, CertificateCondition, certificate},
    },
    observed::{Keyring, Sought},
    peers,
    spec::Spec,
    view::View,
};

/// How long after the time that cert-manager has set itself for a renewal a person is told that it has not come.
const OVERDUE: SignedDuration = SignedDuration::from_hours(1);

/// For both sides: a member dials itself for its JSON gateway.
const SERVES: &[&str] = &["digital signature", "server auth", "client auth"];
const DIALS: &[&str] = &["digital signature", "client auth"];

/// What cert-manager is asked for, for one Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Name of the Secret and of the `Certificate`.
    pub(crate) name: String,
    /// On which surface it is shown.
    pub(crate) surface: Surface,
    /// Who signs.
    pub(crate) issuer: IssuerRef,
    /// Whom the certificate names.
    pub(crate) common_name: String,
    /// Hosts, by name or address, that it proves to be; none for one that only dials.
    pub(crate) hosts: Vec<String>,
    /// What it may be used for, in cert-manager's words.
    pub(crate) usages: &'static [&'static str],
}

/// What it is asked for of a surface, if that has this mode and names an issuer.
pub(crate) fn requests(spec: &Spec, surface: Surface) -> Vec<Request> {
    let Some(issuer) = issuer(spec, surface) else {
        return Vec::new();
    };
    let request = |name, common_name: &str, hosts, usages| Request {
        name,
        surface,
        issuer: issuer.clone(),
        common_name: common_name.to_owned(),
        hosts,
        usages,
    };
    let served = request(
        names::issued_members_secret(&spec.name, surface),
        &spec.name,
        names::hosts(&spec.namespace, &spec.name),
        SERVES,
    );
    let dials = |name, common_name| request(name, common_name, Vec::new(), DIALS);
    match surface {
        Surface::Peer => {
            let dialer = names::issued_dialer_secret(&spec.name);
            vec![served, dials(dialer, &spec.name)]
        }
        Surface::Client => vec![
            served,
            dials(names::issued_operator_secret(&spec.name), names::ROOT),
            dials(names::issued_application_secret(&spec.name), &spec.name),
        ],
    }
}

/// Who signs for a surface.
fn issuer(spec: &Spec, surface: Surface) -> Option<IssuerRef> {
    let named = match surface {
        Surface::Peer => spec.tls.peer.as_ref()?.issuer_ref.clone(),
        Surface::Client => spec.tls.client.as_ref()?.issuer_ref.clone(),
    };
    named.filter(|_| mode(&spec.tls, surface) == TlsMode::CertManager)
}

/// Names of the `Certificate`s that have to be observed: those that are wanted, and those that may be left.
#[must_use]
pub fn in_question(cluster: &RaftCluster) -> BTreeSet<String> {
    let mut all = remembered(cluster);
    let tls = peers::tls_in_force(cluster);
    let asked = peers::asked(cluster).map(|it| it.mode);
    let modes = Surface::ALL.map(|it| mode(&tls, it));
    if modes
        .into_iter()
        .chain(asked)
        .any(|it| it == TlsMode::CertManager)
    {
        let (spec, _) = Spec::parse(cluster, None);
        all.extend(certificates::requested(&spec).into_iter().map(|it| it.name));
    }
    all
}

fn remembered(cluster: &RaftCluster) -> BTreeSet<String> {
    let status = cluster.status.as_ref();
    let certificates = status.and_then(|it| it.certificates.as_ref());
    let names = certificates.iter().flat_map(|it| &it.requested);
    names.cloned().collect()
}

/// Applies each `Certificate` that is not as it should be, and deletes those that are not wanted any more.
pub(crate) fn keep(view: &View<'_>, draft: &mut Draft) {
    let wanted = certificates::requested(&view.spec);
    for request in &wanted {
        let is_new = draft.memory.requested.insert(request.name.clone());
        let certificate = certificate(&view.spec, request);
        if !is_new && is_due(view, request, &certificate) {
            let apply = Action::ApplyCertificate(Box::new(certificate));
            draft.actions.push(apply);
        }
    }
    let unwanted = |name: &&String| wanted.iter().all(|it| it.name != **name);
    let left: Vec<&String> = view.memory.requested.iter().filter(unwanted).collect();
    // Applications go on with theirs for as long as any member shows what is signed alike.
    if left.iter().any(|it| is_mounted(view, it)) {
        return;
    }
    for name in left {
        match view.observed.certificates.get(name) {
            Some(Sought::There(found)) if is_ours(view, found) => {
                draft.actions.extend(deletion(found));
            }
            Some(Sought::Forbidden) | None => {}
            Some(_) => {
                draft.memory.requested.remove(name);
            }
        }
    }
}

/// Whether it has to be applied, and may be.
fn is_due(view: &View<'_>, request: &Request, wanted: &Certificate) -> bool {
    let differs = match view.observed.certificates.get(&request.name) {
        Some(Sought::Absent) => true,
        Some(Sought::There(found)) => {
            let ending = found.metadata.deletion_timestamp.is_some();
            is_ours(view, found) && !ending && !covers(found, wanted)
        }
        Some(Sought::Forbidden | Sought::Unserved) | None => false,
    };
    differs && stranger(view, request).is_none() && splits(view, request).is_none()
}

fn covers(found: &Certificate, wanted: &Certificate) -> bool {
    objects::covers(&found.metadata, &wanted.metadata) && objects::covers(&found.spec, &wanted.spec)
}

fn deletion(found: &Certificate) -> Option<Action> {
    let metadata = &found.metadata;
    let certificate = Target {
        name: metadata.name.clone()?,
        uid: metadata.uid.clone()?,
    };
    let ending = metadata.deletion_timestamp.is_some();
    (!ending).then_some(Action::DeleteCertificate { certificate })
}

fn is_ours(view: &View<'_>, found: &Certificate) -> bool {
    let mut owners = found.metadata.owner_references.iter().flatten();
    owners.any(|it| it.uid == view.spec.uid)
}

fn is_mounted(view: &View<'_>, secret: &str) -> bool {
    view.observed.pods.iter().any(|it| holds(it, secret))
}

/// What stands at the name of a request and is somebody else's, if anything does.
fn stranger(view: &View<'_>, request: &Request) -> Option<String> {
    let name = &request.name;
    let certificate = match view.observed.certificates.get(name) {
        Some(Sought::There(found)) => !is_ours(view, found),
        _ => false,
    };
    let made_for = |it: &Keyring| it.certificate.as_ref() == Some(name);
    let secret = keyring(view, name).is_some_and(|it| !made_for(it));
    let what = match (certificate, secret) {
        (true, _) => "the Certificate",
        (false, true) => "the Secret",
        (false, false) => return None,
    };
    Some(format!(
        "{what} {name} is there and not this cluster's; delete it, or move it out of the way"
    ))
}

/// A Secret of the same surface that members mount, and who has signed what is in it, where that is another issuer.
fn splits<'v>(view: &'v View<'_>, request: &Request) -> Option<(String, &'v IssuerRef)> {
    let all = certificates::requested(&view.spec).into_iter();
    let mut same = all.filter(|it| it.surface == request.surface);
    same.find_map(|it| {
        let issuer = keyring(view, &it.name)?.issuer.as_ref()?;
        let splits = *issuer != it.issuer && is_mounted(view, &it.name);
        splits.then_some((it.name, issuer))
    })
}

/// Whether the issuers in the spec have signed what members start with. Where members mount what another one has signed, further
/// ones are to have the same.
pub(crate) fn is_signed(view: &View<'_>, spec: &Spec) -> bool {
    let mut all = Surface::ALL.into_iter().flat_map(|it| requests(spec, it));
    all.all(|request| {
        let found = keyring(view, &request.name).and_then(|it| it.issuer.as_ref());
        let goes_on = is_in_force(view, request.surface) && splits(view, &request).is_some();
        found == Some(&request.issuer) || goes_on
    })
}

/// Whether members have this mode now, and are not only to have it.
fn is_in_force(view: &View<'_>, surface: Surface) -> bool {
    mode(&view.spec.tls, surface) == TlsMode::CertManager
}

/// What is to be waited for until the issuer has signed what belongs in a Secret.
pub(crate) fn lacks(view: &View<'_>, request: &Request) -> Option<String> {
    if let Some((secret, issuer)) = splits(view, request) {
        // Members that are only to have it restart without the Secret first.
        return is_in_force(view, request.surface).then(|| {
            format!(
                "members mount the Secret {secret}, in which is what {} has signed, and spec.tls.{field} names {}; set the \
                 issuer back, in the cluster or in the Certificate, or set spec.tls.{field}.mode Disabled until the members have \
                 restarted without it",
                said(issuer),
                said(&request.issuer),
                field = request.surface.field(),
            )
        });
    }
    let found = keyring(view, &request.name);
    let missing = match found {
        Some(found) => certificates::missing_in(found, ["ca.crt", "tls.crt", "tls.key"]),
        None => Some("everything".to_owned()),
    };
    let signed = found.is_some_and(|it| it.issuer.as_ref() == Some(&request.issuer));
    match missing {
        None if signed => None,
        missing => Some(stranger(view, request).unwrap_or_else(|| waits(view, request, missing))),
    }
}

/// In words for a person: what cert-manager has not done yet, and, as far as it says so, why.
fn waits(view: &View<'_>, request: &Request, missing: Option<String>) -> String {
    let (name, issuer) = (&request.name, said(&request.issuer));
    let field = request.surface.field();
    let found = match view.observed.certificates.get(name) {
        Some(Sought::Forbidden) => {
            return format!(
                "the operator may not ask cert-manager for certificates, as spec.tls.{field} wants; install its chart with \
                 certManager.enabled=true, or choose another mode"
            );
        }
        Some(Sought::Unserved) => {
            return format!(
                "cert-manager, which spec.tls.{field} wants, is not installed: the API server knows no Certificate of \
                 cert-manager.io/v1; install it, or choose another mode"
            );
        }
        Some(Sought::Absent) => {
            return format!("waits for Certificate {name}, which is not there yet");
        }
        None => return format!("waits for Certificate {name}, which could not be read"),
        Some(Sought::There(found)) => found,
    };
    let why = match (trouble(found), missing) {
        (Some(why), _) => why,
        (None, Some(missing)) if is_ready(found) && missing == "ca.crt" => {
            "its Secret lacks ca.crt; choose an issuer that tells the certificate of its CA".to_owned()
        }
        (None, Some(missing)) if is_ready(found) => format!("its Secret lacks {missing}"),
        (None, None) => "what is in its Secret is another issuer's".to_owned(),
        (None, Some(_)) => {
            "cert-manager has said nothing of it yet; see that it runs, and that there is such an issuer".to_owned()
        }
    };
    format!("waits for Certificate {name}, which {issuer} signs: {why}")
}

/// `Issuer peers`, or with its group where that is not cert-manager's own.
fn said(issuer: &IssuerRef) -> String {
    let IssuerRef { name, kind, group } = issuer;
    match group.as_str() {
        "cert-manager.io" => format!("{kind} {name}"),
        _ => format!("{kind}.{group} {name}"),
    }
}

fn condition<'c>(found: &'c Certificate, kind: &str) -> Option<&'c CertificateCondition> {
    let mut all = found.status.iter().flat_map(|it| &it.conditions);
    all.find(|it| it.type_ == kind)
}

fn is_ready(found: &Certificate) -> bool {
    condition(found, "Ready").is_some_and(|it| it.status == "True")
}

/// Why a `Certificate` is not ready, in cert-manager's words: why it could not be issued the last time, or else why it has to be.
fn trouble(found: &Certificate) -> Option<String> {
    let failed = condition(found, "Issuing").filter(|it| it.status == "False");
    let unready = condition(found, "Ready").filter(|it| it.status == "False");
    let told = failed.filter(|it| !it.message.is_empty()).or(unready)?;
    let message = told.message.trim();
    unready.map(|_| format!("{}: {message}", told.reason))
}

/// A renewal that has not come.
pub(crate) fn notice(view: &View<'_>, request: &Request, found: &Keyring) -> Option<String> {
    let certificate = match view.observed.certificates.get(&request.name)? {
        Sought::There(certificate) => certificate,
        _ => return None,
    };
    let due = certificate.status.as_ref()?.renewal_time.as_ref()?.0;
    let end = found.ends.get("tls")?;
    let why = trouble(certificate).map_or_else(String::new, |it| format!(" ({it})"));
    (view.now.duration_since(due) > OVERDUE).then(|| {
        format!(
            "cert-manager was to renew the Certificate {} at {due} and has not{why}; what is in its Secret ends at {end}",
            request.name
        )
    })
}
