//! Replacing a CA that the operator has made, while everybody goes on: a year before it ends, or when a `RaftOperation` asks.
//!
//! - Three steps: the new CA is believed beside the old one (`Trust`), certificates of the new one are shown (`Show`), the old
//!   one is believed no more (`Forget`). A step ends when a handshake with *every* member has shown that it has taken it.
//! - Nobody sees whether applications have taken over their Secret: they get time, `overlapSeconds`, after each of the first
//!   two steps.
//! - The step is remembered before the Secret is changed for it, and each change of a Secret is one write against the version
//!   that was seen. So what is to be done follows from the step and the Secret alone, wherever the operator has crashed.
//! - A member whose process reads its CAs only when it starts is restarted by `rollout.rs`, behind its gates, the leader last.
//! - A new CA has a name that no CA had before, so that no handshake can take one for another.
//!
//! This file deliberately does not help with a CA that has ended: nobody believes in anybody then, and all pods have to go.

use std::collections::BTreeSet;

use crds::{
    CertificateRotation, OperationPhase, OperationType::RotateCertificates, RaftCluster,
    RaftOperation, RotationStep, TlsMode, TlsSurface,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    action::Action,
    certificates::{self, Authority, mode},
    draft::Draft,
    engine,
    names::{self, Surface},
    observed::{Handshake, Keyring},
    peers,
    report::Work,
    view::View,
};

/// How long before its end a CA is replaced: as long as the certificates under it last, which then never outlive it.
const BEFORE: SignedDuration = certificates::LEAF_LASTS;
/// How long applications have after each step where nobody has said it: as long as a month, for some read their files only
/// when they start.
const OVERLAP_SECONDS: i64 = 30 * 86_400;
/// How long applications have where a `RaftOperation` does not say it.
pub(crate) const REQUESTED_OVERLAP_SECONDS: i64 = 3_600;
/// How long a pod that was made while its Secret changed waits before it is restarted once more: a kubelet that follows Secrets by
/// watches has the new one long before, so that one restart more is all that is ever needed.
const CACHED: SignedDuration = SignedDuration::from_secs(15);

/// The entry with the key of the CA that is to sign next.
const NEXT_KEY: &str = "next-ca.key";

/// The surfaces on which members are asked to shake hands in this round: where a step waits to be taken by them, of a rotation or
/// of a move.
#[must_use]
pub fn watched(
    cluster: &RaftCluster,
    operations: &[RaftOperation],
    now: Timestamp,
) -> BTreeSet<Surface> {
    let status = cluster.status.as_ref();
    let rotations = status
        .and_then(|it| it.certificates.as_ref())
        .map(|it| it.rotations.as_slice())
        .unwrap_or_default();
    let waits = |it: &&CertificateRotation| it.taken_at.is_none() || is_due(it, now);
    let stepping = rotations.iter().filter(waits).map(|it| surface(it.surface));
    let runs = |it: &RaftOperation| {
        it.spec.rotate_certificates.is_some()
            && it.status.as_ref().map(|it| it.phase) == Some(OperationPhase::Running)
    };
    let asked = if operations.iter().any(runs) {
        &Surface::ALL[..]
    } else {
        &[]
    };
    let tls = peers::tls_in_force(cluster);
    let made = |it: &Surface| mode(&tls, *it) == TlsMode::Operator;
    let mut watched: BTreeSet<Surface> = stepping.chain(asked.iter().copied()).collect();
    watched.retain(made);
    if peers::is_moving(cluster) {
        watched.insert(Surface::Peer);
    }
    watched
}

/// The planner's word for a surface.
pub(crate) const fn surface(of: TlsSurface) -> Surface {
    match of {
        TlsSurface::Peer => Surface::Peer,
        TlsSurface::Client => Surface::Client,
    }
}

const fn shown_as(surface: Surface) -> TlsSurface {
    match surface {
        Surface::Peer => TlsSurface::Peer,
        Surface::Client => TlsSurface::Client,
    }
}

/// The rotation of a surface's CA, as the status remembers it.
pub(crate) fn of<'v>(view: &'v View<'_>, of: Surface) -> Option<&'v CertificateRotation> {
    let rotations = view.memory.rotations.iter();
    rotations
        .filter(|it| surface(it.surface) == of)
        .find(|_| mode(&view.spec.tls, of) == TlsMode::Operator)
}

/// The Secret with the CA of a surface, while its CA can sign.
fn keyring<'v>(view: &'v View<'_>, surface: Surface) -> Option<&'v Keyring> {
    let found = certificates::keyring(view, &names::members_secret(&view.spec.name, surface))?;
    let ours = found.cluster_uid.as_deref() == Some(&view.spec.uid);
    (ours && found.has("ca.key")).then_some(found)
}

/// A rotation that begins now; the API server keeps whole seconds.
pub(crate) fn begun(
    view: &View<'_>,
    surface: Surface,
    step: RotationStep,
    overlap_seconds: i64,
) -> CertificateRotation {
    CertificateRotation {
        surface: shown_as(surface),
        step,
        since: whole(view.now),
        taken_at: None,
        overlap_seconds,
    }
}

fn whole(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

fn is_due(rotation: &CertificateRotation, now: Timestamp) -> bool {
    let taken = rotation.taken_at.as_ref();
    taken.is_some_and(|it| now >= it.0 + overlap(rotation))
}

/// Between members there are no applications to wait for.
fn overlap(rotation: &CertificateRotation) -> SignedDuration {
    match rotation.surface {
        TlsSurface::Peer => SignedDuration::ZERO,
        TlsSurface::Client => {
            SignedDuration::from_secs(rotation.overlap_seconds.clamp(0, 31_536_000))
        }
    }
}

/// Takes the next step that can be taken; no work where none is due, or members have not taken the last one yet.
pub(crate) fn rotate(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    let goes_on = |it: &CertificateRotation| of(view, surface(it.surface)).is_some();
    draft.memory.rotations.retain(goes_on);
    let secured = |it: &Surface| mode(&view.spec.tls, *it) == TlsMode::Operator;
    let mut surfaces = Surface::ALL.into_iter().filter(secured);
    surfaces.find_map(|surface| {
        let found = keyring(view, surface)?;
        match of(view, surface) {
            Some(rotation) => go_on(view, draft, rotation, found),
            None => begin(view, draft, surface, found),
        }
    })
}

/// Begins where the CA ends within a year, or goes on where a status was lost in the middle.
fn begin(view: &View<'_>, draft: &mut Draft, surface: Surface, found: &Keyring) -> Option<Work> {
    let left = found.ends.get("ca")?.duration_since(view.now);
    let (step, overlap) = match () {
        () if found.has(NEXT_KEY) => (RotationStep::Trust, REQUESTED_OVERLAP_SECONDS),
        () if found.roots.len() > 1 => (RotationStep::Show, REQUESTED_OVERLAP_SECONDS),
        () if view.born() && left.is_positive() && left <= BEFORE => {
            (RotationStep::Trust, OVERLAP_SECONDS)
        }
        () => return None,
    };
    let rotation = begun(view, surface, step, overlap);
    draft.memory.rotations.push(rotation);
    Some(work("PlanRotation"))
}

fn go_on(
    view: &View<'_>,
    draft: &mut Draft,
    rotation: &CertificateRotation,
    found: &Keyring,
) -> Option<Work> {
    if blocked(view, rotation, found).is_some() {
        return None;
    }
    if let Some(authority) = change(view, rotation, found) {
        let issue = certificates::reissue(view, &found.secret, authority)?;
        draft
            .actions
            .push(Action::IssueCertificates(Box::new(issue)));
        return Some(work(step_name(rotation.step)));
    }
    let mut next = rotation.clone();
    let ended = match (&rotation.taken_at, rotation.step) {
        (_, RotationStep::Forget) => true,
        (None, _) => {
            next.taken_at = Some(whole(view.now));
            false
        }
        (Some(_), _) if !is_due(rotation, view.now) => return None,
        (Some(_), step) => {
            next.step = match step {
                RotationStep::Trust => RotationStep::Show,
                _ => RotationStep::Forget,
            };
            (next.since, next.taken_at) = (whole(view.now), None);
            false
        }
    };
    draft
        .memory
        .rotations
        .retain(|it| it.surface != rotation.surface);
    draft.memory.rotations.extend((!ended).then_some(next));
    Some(work(step_name(rotation.step)))
}

/// What the step in hand still lacks in the Secret.
fn change(view: &View<'_>, rotation: &CertificateRotation, found: &Keyring) -> Option<Authority> {
    let secret = found.target();
    let prepared = found.has(NEXT_KEY);
    match rotation.step {
        RotationStep::Trust if !prepared && found.roots.len() <= 1 => {
            let base = names::authority(&view.spec.uid, surface(rotation.surface));
            let common_name = format!("{base}-{}", view.now.as_second());
            Some(Authority::Beside {
                secret,
                common_name,
            })
        }
        RotationStep::Show if prepared => Some(Authority::Next { secret }),
        RotationStep::Forget if found.roots.len() > 1 => Some(Authority::Alone { secret }),
        _ => None,
    }
}

/// What every member must be seen to do before a rotation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// Nothing.
    Open,
    /// Believe in exactly the CAs of the Secret.
    Believes,
    /// Show the certificate in the Secret.
    Shows,
}

/// The gate before the Secret is changed for the step in hand, or, where it has been, before the step ends.
fn gate(view: &View<'_>, rotation: &CertificateRotation, found: &Keyring) -> Gate {
    let in_place = change(view, rotation, found).is_none();
    match (rotation.step, in_place) {
        (RotationStep::Trust, false) => Gate::Open,
        (RotationStep::Trust | RotationStep::Forget, true) | (RotationStep::Show, false) => {
            Gate::Believes
        }
        (RotationStep::Show, true) | (RotationStep::Forget, false) => Gate::Shows,
    }
}

/// Why the rotation does not go on, if it must not yet.
fn blocked(view: &View<'_>, rotation: &CertificateRotation, found: &Keyring) -> Option<String> {
    let surface = surface(rotation.surface);
    match gate(view, rotation, found) {
        Gate::Open => None,
        Gate::Shows => unshown(view, surface, found),
        Gate::Believes => every_member(view, surface, |it| {
            (!believes(it, found)).then(|| {
                let trusts: Vec<&str> = it.trusts.iter().map(String::as_str).collect();
                format!(
                    "believes in {}, not in {}, the CAs in the Secret {}, yet",
                    trusts.join(" and "),
                    found.roots.join(" and "),
                    found.secret
                )
            })
        }),
    }
}

/// Why members do not all show the certificate that is in the Secret, if they do not.
pub(crate) fn unshown(view: &View<'_>, surface: Surface, found: &Keyring) -> Option<String> {
    let wanted = found.fingerprints.get("tls");
    every_member(view, surface, |it| {
        (wanted != Some(&it.shows)).then(|| {
            format!(
                "does not show the certificate in the Secret {} yet",
                found.secret
            )
        })
    })
}

/// Whether a member believes in exactly the CAs of a Secret.
fn believes(it: &Handshake, found: &Keyring) -> bool {
    it.trusts
        .iter()
        .eq(found.roots.iter().collect::<BTreeSet<_>>())
}

fn every_member(
    view: &View<'_>,
    surface: Surface,
    lacks: impl Fn(&Handshake) -> Option<String>,
) -> Option<String> {
    let roster = view.roster();
    let running = view
        .members
        .values()
        .filter(|it| it.pod.is_some() && !it.pod_ended());
    let mut all = roster.into_iter().chain(running);
    all.find_map(|member| {
        let name = &member.name;
        let why = match view.observed.handshakes.get(&(name.clone(), surface)) {
            None if member.settled() => "was not asked to shake hands yet".to_owned(),
            None => return Some(member.trouble(view)),
            Some(Err(why)) => format!("does not shake hands: {why}"),
            Some(Ok(handshake)) => lacks(handshake)?,
        };
        Some(format!("member {name} {why}"))
    })
}

/// Whether a member's process believes in other CAs than its Secret has, and will until it starts again. A pod that was made
/// after the Secret had changed has what it has from a cache, and is given time first.
pub(crate) fn awaits_restart(view: &View<'_>, member: &str, pod: &Pod) -> bool {
    if engine::of(view.spec.engine).reads_authorities_anew {
        return false;
    }
    let made = pod.metadata.creation_timestamp.as_ref();
    let ripe = |rotation: &CertificateRotation| {
        let older = made.is_none_or(|it| it.0 < rotation.since.0);
        older || made.is_some_and(|it| view.now.duration_since(it.0) >= CACHED)
    };
    let stale = |surface| {
        let (rotation, found) = (of(view, surface)?, keyring(view, surface)?);
        let waits = gate(view, rotation, found) == Gate::Believes && ripe(rotation);
        let handshake = view.observed.handshakes.get(&(member.to_owned(), surface));
        let handshake = handshake?.as_ref().ok()?;
        Some(waits && !believes(handshake, found))
    };
    Surface::ALL
        .into_iter()
        .any(|it| stale(it).unwrap_or(false))
}

/// What a step waits for, when nothing else is in hand. That applications are given time is no work: see [`notices`].
pub(crate) fn wait(view: &View<'_>) -> Option<Work> {
    view.memory.rotations.iter().find_map(|rotation| {
        let of_it = surface(rotation.surface);
        let found = keyring(view, of_it).filter(|_| of(view, of_it).is_some())?;
        let waits = rotation.taken_at.is_none() || is_due(rotation, view.now);
        let why = blocked(view, rotation, found).filter(|_| waits)?;
        Some(waiting(rotation.step, why))
    })
}

/// The work of waiting for members to take a step.
fn waiting(step: RotationStep, why: String) -> Work {
    Work {
        blocked_by: vec![crds::BlockedBy {
            gate: "Handshake".to_owned(),
            message: why,
        }],
        ..work(step_name(step))
    }
}

/// How a rotation goes on, for whoever has asked for it: the work it waits for, or until when it gives applications time.
pub(crate) fn progress(view: &View<'_>, rotation: &CertificateRotation) -> Result<Work, String> {
    let found = keyring(view, surface(rotation.surface));
    if let Some(taken) = rotation
        .taken_at
        .as_ref()
        .filter(|_| !is_due(rotation, view.now))
    {
        return Err(pause(rotation, taken));
    }
    let why = found.and_then(|it| blocked(view, rotation, it));
    Ok(match why {
        Some(why) => waiting(rotation.step, why),
        None => work(step_name(rotation.step)),
    })
}

fn pause(rotation: &CertificateRotation, taken: &Time) -> String {
    let (until, surface) = (
        taken.0 + overlap(rotation),
        surface(rotation.surface).field(),
    );
    match rotation.step {
        RotationStep::Trust => format!(
            "the {surface} CA is being replaced: until {until}, applications have time to read ca.crt of their Secret anew; then \
             members show certificates of the new CA"
        ),
        _ => format!(
            "the {surface} CA is being replaced: until {until}, applications have time to take over the certificate in their \
             Secret; then the old CA is believed no more"
        ),
    }
}

/// For which rotations applications are given time.
pub(crate) fn notices(view: &View<'_>) -> Vec<String> {
    let pausing = |it: &CertificateRotation| {
        of(view, surface(it.surface))?;
        let taken = it.taken_at.as_ref().filter(|_| !is_due(it, view.now))?;
        Some(pause(it, taken))
    };
    view.memory.rotations.iter().filter_map(pausing).collect()
}

/// When the time is over that applications are given, if they are given any.
pub(crate) fn due_in(view: &View<'_>) -> Option<SignedDuration> {
    let rotations = view.memory.rotations.iter();
    let due = rotations.filter_map(|it| Some(it.taken_at.as_ref()?.0 + overlap(it)));
    due.map(|it| it.duration_since(view.now)).min()
}

fn work(step: &'static str) -> Work {
    Work {
        kind: RotateCertificates,
        step,
        member: None,
        blocked_by: Vec::new(),
    }
}

const fn step_name(step: RotationStep) -> &'static str {
    match step {
        RotationStep::Trust => "TrustNewAuthority",
        RotationStep::Show => "ShowNewCertificates",
        RotationStep::Forget => "ForgetOldAuthority",
    }
}
