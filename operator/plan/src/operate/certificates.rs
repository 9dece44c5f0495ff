//! Certificates that a `RaftOperation` has made anew, and CAs that it has replaced.
//!
//! A step names what was there when it was planned: it is done when that is gone, and members show what has come in its place.
//! A CA is replaced by `rotation.rs`, whoever has asked for it.
//!
//! It deliberately touches no Secret of the user's own.

use crds::{
    OperationPlan, OperationStep, OperationType::Requested, RotateCertificates, RotationStep,
    TlsMode,
};

use super::plan::Fault;
use super::step::Turn;
use crate::{
    action::Action,
    cert_manager, certificates,
    draft::Draft,
    names::{self, Surface},
    report::Work,
    rotation,
    view::View,
};

const REPLACE: &str = "ReplaceAuthority";
const RENEW: &str = "RenewCertificates";

/// One step for each CA, or for each Secret.
pub(super) fn plan(
    view: &View<'_>,
    asked: &RotateCertificates,
) -> Result<Vec<OperationStep>, Fault> {
    let mut steps = Vec::new();
    for surface in surfaces(view, asked)? {
        let all = certificates::filled(&view.spec, surface);
        let number = if asked.certificate_authority {
            1
        } else {
            all.len()
        };
        for secret in all.into_iter().take(number) {
            let certificate = current(view, &secret, asked.certificate_authority);
            let Some(certificate) = certificate else {
                return Err(Fault::NotYet(format!(
                    "the Secret {secret} has no certificates yet"
                )));
            };
            let action = if asked.certificate_authority {
                REPLACE
            } else {
                RENEW
            };
            steps.push(OperationStep {
                action: action.to_owned(),
                secret: Some(secret),
                certificate: Some(certificate),
                ..OperationStep::default()
            });
        }
    }
    Ok(steps)
}

fn surfaces(view: &View<'_>, asked: &RotateCertificates) -> Result<Vec<Surface>, Fault> {
    let is_made = |it: &Surface| certificates::mode(&view.spec.tls, *it) == TlsMode::Operator;
    let named: Vec<Surface> = asked
        .surfaces
        .iter()
        .map(|it| rotation::surface(*it))
        .collect();
    let is_issued = |it: &Surface| certificates::mode(&view.spec.tls, *it) == TlsMode::CertManager;
    let issued = Surface::ALL.into_iter().find(is_issued);
    if let Some(other) = named.iter().copied().find(is_issued) {
        return Err(by_cert_manager(view, other));
    }
    if let Some(other) = named.iter().find(|it| !is_made(it)) {
        return Err(Fault::Impossible(format!(
            "spec.tls.{0}.mode of the cluster is not Operator, so that the operator makes no certificates there; put new ones \
             into your own Secret, or leave {0} out",
            other.field()
        )));
    }
    let all: Vec<Surface> = Surface::ALL.into_iter().filter(is_made).collect();
    match (named.is_empty(), all.is_empty()) {
        (true, true) if let Some(surface) = issued => Err(by_cert_manager(view, surface)),
        (true, true) => Err(Fault::Impossible(
            "the operator makes no certificates for this cluster; set mode Operator in spec.tls first".to_owned(),
        )),
        (true, false) => Ok(all),
        // Each once, in the order in which all go.
        (false, _) => Ok(all.into_iter().filter(|it| named.contains(it)).collect()),
    }
}

/// What an issuer signs is renewed where it was asked for.
fn by_cert_manager(view: &View<'_>, surface: Surface) -> Fault {
    let requests = cert_manager::requests(&view.spec, surface).into_iter();
    let names: Vec<String> = requests.map(|it| it.name).collect();
    Fault::Impossible(format!(
        "spec.tls.{0}.mode of the cluster is CertManager, so that cert-manager renews the certificates there by itself; to have it \
         done now, run `cmctl renew {1}`, or leave {0} out",
        surface.field(),
        names.join(" ")
    ))
}

/// What a step replaces: the CA that signs, by its name, or the certificate, by its fingerprint.
fn current(view: &View<'_>, secret: &str, authority: bool) -> Option<String> {
    let found = certificates::keyring(view, secret)?;
    if authority {
        found.roots.first().cloned()
    } else {
        found.fingerprints.get("tls").cloned()
    }
}

/// Takes all steps at once, so that members which start again for them do so once, and marks what is done.
pub(super) fn step(
    view: &View<'_>,
    draft: &mut Draft,
    asked: &RotateCertificates,
    plan: &mut OperationPlan,
) -> Turn {
    let mut turns = Vec::new();
    for step in plan.steps.iter_mut().filter(|it| !it.done) {
        let Some((secret, surface)) = place(view, step) else {
            let why = "the cluster has no such certificates any more";
            return Turn::Failed(why.to_owned());
        };
        let turn = if asked.certificate_authority {
            replace(view, draft, asked, step, surface)
        } else {
            renew(view, draft, step, &secret, surface)
        };
        step.done = turn.is_none();
        turns.extend(turn);
    }
    let works = |it: &Turn| matches!(it, Turn::Work(_));
    let first = turns.iter().position(works).unwrap_or(0);
    if let Some(turn) = turns.into_iter().nth(first) {
        return turn;
    }
    Turn::Done(if asked.certificate_authority {
        "new CAs are in force, and nobody believes in the old ones any more".to_owned()
    } else {
        "new certificates are shown".to_owned()
    })
}

/// The Secret of a step, and its surface.
fn place(view: &View<'_>, step: &OperationStep) -> Option<(String, Surface)> {
    let secret = step.secret.clone()?;
    let of_it = |it: &Surface| certificates::filled(&view.spec, *it).contains(&secret);
    let surface = Surface::ALL.into_iter().find(of_it)?;
    Some((secret, surface))
}

/// Has a CA replaced; none when it is.
fn replace(
    view: &View<'_>,
    draft: &mut Draft,
    asked: &RotateCertificates,
    step: &OperationStep,
    surface: Surface,
) -> Option<Turn> {
    let overlap = asked
        .overlap_seconds
        .unwrap_or(rotation::REQUESTED_OVERLAP_SECONDS);
    if let Some(rotation) = rotation::of(view, surface) {
        // One that goes on by itself has more patience than whoever asks.
        let all = draft.memory.rotations.iter_mut();
        for it in all.filter(|it| it.surface == rotation.surface) {
            it.overlap_seconds = it.overlap_seconds.min(overlap);
        }
        return Some(match rotation::progress(view, rotation) {
            Ok(work) => Turn::Work(work),
            Err(why) => Turn::Rest(why),
        });
    }
    let secret = step.secret.as_deref().unwrap_or_default();
    if current(view, secret, true) != step.certificate {
        return None;
    }
    let begun = rotation::begun(view, surface, RotationStep::Trust, overlap);
    draft.memory.rotations.push(begun);
    Some(Turn::Work(work(REPLACE, None)))
}

/// Has the certificates of a Secret made anew; none when they are, and members show them.
fn renew(
    view: &View<'_>,
    draft: &mut Draft,
    step: &OperationStep,
    secret: &str,
    surface: Surface,
) -> Option<Turn> {
    if current(view, secret, false) == step.certificate {
        let Some(issue) = certificates::renewal(view, secret) else {
            let why = format!("the Secret {secret} has no `ca.key` to sign with");
            return Some(Turn::Work(work(RENEW, Some(("Certificates", why)))));
        };
        draft
            .actions
            .push(Action::IssueCertificates(Box::new(issue)));
        return Some(Turn::Work(work(RENEW, None)));
    }
    let is_shown_by_members = secret == names::members_secret(&view.spec.name, surface);
    let found = certificates::keyring(view, secret).filter(|_| is_shown_by_members)?;
    let why = rotation::unshown(view, surface, found)?;
    Some(Turn::Work(work(RENEW, Some(("Handshake", why)))))
}

fn work(step: &'static str, waits: Option<(&str, String)>) -> Work {
    let gate = |(gate, message): (&str, String)| crds::BlockedBy {
        gate: gate.to_owned(),
        message,
    };
    Work {
        kind: Requested,
        step,
        member: None,
        blocked_by: waits.map(gate).into_iter().collect(),
    }
}
