//! Whether a rollout may go on: canaries that soak, a deadline, and what becomes of one that has failed.
//!
//! What is kept:
//! - only what the status remembers counts: a soak that was not written down has not begun, a failure that was has happened;
//! - a failure stays until another template is asked for, or all members have come to be healthy on this one after all;
//! - the template that a failed rollout goes back to is one that was asked for and on which the cluster converged, and it is
//!   used only if it still has the hash that it was remembered by;
//! - asking for that very template again is never held up: a revert needs no canary and cannot fail;
//! - while canaries are watched and after a failure, a pod that has to be made anew anyway, on another node say, is made from the
//!   last template that worked: no more members than the canaries ever run what is not known to.
//!
//! A rollout fails when its deadline has passed and a member that has the new template, or whose pod cannot even be made from
//! it, is not healthy. One that waits for anything else has not failed.
//!
//! This file deliberately restarts and replaces nobody: `rollout.rs` and `replace.rs` do, towards whatever template is in force.

use crds::OperationType::Rollout;
use crds::{Canary, OnFailure, RolloutFailure, RolloutStatus, StableTemplate, UpdateType};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    draft::{Draft, waiting},
    maintenance,
    report::{Fallen, Memory, Work},
    spec::Spec,
    upkeep,
    view::{Awaited, Member, View},
};

/// The gate of members that only their user restarts.
pub(crate) const ON_DELETE: &str = "OnDelete";
/// The gate of members that wait for canaries to soak.
pub(crate) const CANARY: &str = "Canary";
/// The gate of members that wait for another template.
pub(crate) const FAILED: &str = "RolloutFailed";

/// The same wishes with the template on which the cluster last converged, if that is another one.
pub(crate) fn last(spec: &Spec, memory: &Memory) -> Option<Spec> {
    let stable = memory.stable_template.as_ref();
    let stable = stable.filter(|it| it.revision != spec.template_hash)?;
    spec.with(stable)
}

/// Whether the rollout of what is asked for has failed and is to be undone.
pub(crate) fn is_to_be_undone(spec: &Spec, memory: &Memory) -> bool {
    let failed = known(spec, &spec.template_hash, memory).is_some_and(|it| it.failure.is_some());
    failed && spec.update.on_failure == Some(OnFailure::Rollback)
}

/// The rollout of the template with this hash, as it is remembered and still of interest.
fn known<'m>(spec: &Spec, asked: &str, memory: &'m Memory) -> Option<&'m RolloutStatus> {
    let update = &spec.update;
    let rollout = memory.rollout.as_ref();
    let rollout = rollout.filter(|it| it.revision == asked && update.kind != UpdateType::OnDelete);
    rollout.filter(|it| it.failure.is_none() || update.on_failure.is_some())
}

fn remembered<'v>(view: &'v View<'_>) -> Option<&'v RolloutStatus> {
    known(&view.spec, &view.asked, &view.memory)
}

/// What a member's pod is made from: the template in force, or the last that worked, where the one in force is not trusted yet or
/// cannot be followed.
pub(crate) fn template<'v>(view: &'v View<'_>, member: &Member<'_>) -> &'v Spec {
    let gives_way = |_: &&Spec| !view.invalid.is_empty() || is_held_back(view, member);
    view.last.as_ref().filter(gives_way).unwrap_or(&view.spec)
}

/// Whether pods can be made of the template on which the cluster last converged, whatever the spec asks for now.
pub(crate) fn can_fall_back(view: &View<'_>) -> bool {
    view.last.is_some() || is_revert(view)
}

/// Whether a pod gives way to one that would be made now, if it is of no use.
pub(crate) fn is_outdated(view: &View<'_>, member: &Member<'_>) -> bool {
    let wanted = &template(view, member).template_hash;
    !member.current && (member.awaits_restart.is_some() || member.revision != Some(wanted))
}

/// Whether a member is kept from the template in force, should its pod have to be made anew: because that has failed, or while
/// it is the canaries' turn. Where the majority is lost though the canaries run, the change may be what brings it back.
fn is_held_back(view: &View<'_>, member: &Member<'_>) -> bool {
    let rollout = remembered(view);
    if view.rolled_back || rollout.is_some_and(|it| it.failure.is_some()) {
        return !view.rolled_back;
    }
    let Some(canary) = canary(view).filter(|_| rollout.is_none_or(|it| !it.canary_soaked)) else {
        return false;
    };
    let goes_first = |it: &&Member<'_>| {
        let comes = it.pod.is_none() && it.fenced.is_none() && it.serial < member.serial;
        it.name != member.name && (it.current || comes)
    };
    let enough = view.roster().into_iter().filter(goes_first).count() >= count(canary);
    let mute = || !updated(view).all(|it| upkeep::speaks(view, it));
    enough && !member.current && (view.membership.is_some() || mute())
}

/// Whether what is asked for is what the cluster last converged on.
fn is_revert(view: &View<'_>) -> bool {
    let stable = view.memory.stable_template.as_ref();
    stable.is_some_and(|it| it.revision == view.asked)
}

/// The canaries that the template asked for needs.
fn canary(view: &View<'_>) -> Option<Canary> {
    view.spec.update.canary().filter(|_| !is_revert(view))
}

/// Why no further member is restarted, whatever state the members are in.
pub(crate) fn stopped(view: &View<'_>, next: &Member<'_>) -> Option<Work> {
    let name = &next.name;
    let fallen = fallen(view).filter(|it| !it.rolled_back)?;
    Some(waiting(Rollout, "Pause", name, FAILED, fallen.sentence))
}

/// That the user has to delete this member's pod, where the spec leaves it to them; it may be deleted at this moment.
pub(crate) fn by_hand(view: &View<'_>, next: &Member<'_>) -> Option<Work> {
    (view.spec.update.kind == UpdateType::OnDelete).then(|| {
        let name = &next.name;
        let why = next
            .awaits_restart
            .map_or("with the changed template", Awaited::purpose);
        let message = format!(
            "spec.updateStrategy.type is OnDelete: delete pod {name} to have it made again {why}"
        );
        waiting(Rollout, "WaitForDeletion", name, ON_DELETE, message)
    })
}

/// Whether a new member is to take over from this one because its template is another. While canaries soak, a change that has
/// begun is brought to its end and no other one begins.
pub(crate) fn surges(view: &View<'_>, member: &Member<'_>) -> bool {
    let outdated = member.pod.is_some() && !member.current && member.awaits_restart.is_none();
    let surge = view.spec.update.kind == UpdateType::Surge;
    let begun = view.seats().len() > view.spec.replicas;
    surge
        && outdated
        && !member.permanent
        && view.born()
        && stopped(view, member).is_none()
        && (begun || soaking(view, member).is_none())
}

/// Why the next member waits though those before it are well: they are canaries and must be well for longer.
pub(crate) fn soaking(view: &View<'_>, next: &Member<'_>) -> Option<Work> {
    let canary = canary(view).filter(|_| !view.rolled_back)?;
    let known = remembered(view);
    let enough = updated(view).count() >= count(canary);
    if !enough || known.is_some_and(|it| it.canary_soaked) {
        return None;
    }
    let soak = SignedDuration::from_secs(canary.soak_seconds);
    let message = match known.and_then(|it| it.canary_healthy_since.as_ref()) {
        Some(since) => format!(
            "canaries: {}, healthy since {}, watched until {}",
            names(view),
            since.0,
            since.0 + soak
        ),
        None => format!(
            "canaries: {}, to be healthy for {} s",
            names(view),
            canary.soak_seconds
        ),
    };
    Some(waiting(Rollout, "SoakCanary", &next.name, CANARY, message))
}

fn names(view: &View<'_>) -> String {
    let names: Vec<&str> = updated(view).map(|it| it.name.as_str()).collect();
    names.join(", ")
}

fn count(canary: Canary) -> usize {
    usize::try_from(canary.count).unwrap_or(1)
}

/// Members of the template in force.
fn updated<'v, 'a>(view: &'v View<'a>) -> impl Iterator<Item = &'v Member<'a>> {
    view.roster().into_iter().filter(|it| it.current)
}

/// Writes down how the rollout stands after a round; `done` if nothing is left to do.
pub(crate) fn note(view: &View<'_>, done: bool, draft: &mut Draft) {
    let roster = view.roster();
    let wanted = view.spec.replicas + view.spec.learners;
    let whole = roster.len() == wanted && updated(view).count() == roster.len();
    if done && whole && view.born() && !view.rolled_back {
        draft.memory.stable_template = Some(view.spec.template());
        draft.memory.rollout = None;
        return;
    }
    // What a person keeps stopped is no part of it: it begins anew for those when they start.
    let ends = done && roster.iter().all(|it| it.current || it.fenced.is_some());
    let failed = |it: &RolloutStatus| it.failure.is_some();
    draft.memory.rollout = next(view, whole).filter(|it| !ends || failed(it));
}

/// While the operator keeps its hands off, no time counts; what has failed has failed.
pub(crate) fn interrupt(draft: &mut Draft) {
    let failed = |it: &RolloutStatus| it.failure.is_some();
    draft.memory.rollout = draft.memory.rollout.take().filter(failed);
}

/// The rollout one round later.
fn next(view: &View<'_>, whole: bool) -> Option<RolloutStatus> {
    let known = remembered(view);
    if known.is_some_and(|it| it.failure.is_some()) {
        return known.cloned();
    }
    let update = &view.spec.update;
    let watched = canary(view).is_some() || update.on_failure.is_some();
    let over = whole && known.is_none();
    if update.kind == UpdateType::OnDelete || is_revert(view) || !watched || over || !view.born() {
        return None;
    }
    let now = now(view);
    let mut rollout = known.cloned().unwrap_or_else(|| begin(view, now));
    let healthy = healthy(view);
    if healthy > rollout.updated {
        rollout.updated = healthy;
        rollout.progressed_at = Time(now);
    }
    soak(view, &mut rollout, now);
    rollout.failure = failure(view, &rollout, now);
    Some(rollout)
}

fn begin(view: &View<'_>, now: Timestamp) -> RolloutStatus {
    RolloutStatus {
        revision: view.asked.clone(),
        updated: healthy(view),
        progressed_at: Time(now),
        canary_healthy_since: None,
        canary_soaked: false,
        failure: None,
    }
}

/// Now, in the whole seconds that the API server keeps.
fn now(view: &View<'_>) -> Timestamp {
    Timestamp::from_second(view.now.as_second()).unwrap_or(view.now)
}

fn healthy(view: &View<'_>) -> i32 {
    let settled = updated(view).filter(|it| it.settled()).count();
    i32::try_from(settled).unwrap_or(i32::MAX)
}

/// Lets the canaries soak. One that only did not answer the operator in this round neither passes nor begins anew.
fn soak(view: &View<'_>, rollout: &mut RolloutStatus, now: Timestamp) {
    let Some(canary) = canary(view).filter(|_| !rollout.canary_soaked) else {
        return;
    };
    let enough = updated(view).count() >= count(canary);
    let since = rollout.canary_healthy_since.as_ref().map(|it| it.0);
    let over = |since: Timestamp| now.duration_since(since).as_secs() >= canary.soak_seconds;
    match since {
        _ if !enough || !updated(view).all(Member::pod_ready) => {
            rollout.canary_healthy_since = None
        }
        _ if !updated(view).all(Member::settled) => {}
        None => rollout.canary_healthy_since = Some(Time(now)),
        Some(since) if over(since) => {
            rollout.canary_healthy_since = None;
            rollout.canary_soaked = true;
            rollout.progressed_at = Time(now);
        }
        Some(_) => {}
    }
}

/// Why the rollout has failed, if it has.
fn failure(view: &View<'_>, rollout: &RolloutStatus, now: Timestamp) -> Option<RolloutFailure> {
    let update = &view.spec.update;
    // Before its window opened, no time went by for it.
    let opened = maintenance::last_opened(view).unwrap_or(Timestamp::MIN);
    let since = rollout.progressed_at.0.max(opened);
    let spent = now.duration_since(since).as_secs();
    let late = spent > update.progress_deadline_seconds && rollout.canary_healthy_since.is_none();
    update.on_failure.filter(|_| late)?;
    // A learner that answers may have much to copy.
    let copies = |it: &Member<'_>| it.is_learner() && it.answer.is_some();
    let suspect = |it: &&Member<'_>| {
        let tried = it.current || it.pod.is_none();
        !it.settled() && !copies(it) && tried && it.fenced.is_none()
    };
    let member = view.roster().into_iter().find(suspect)?;
    Some(RolloutFailure {
        at: Time(now),
        message: member.trouble(view),
    })
}

/// The rollout that has failed, in words.
pub(crate) fn fallen(view: &View<'_>) -> Option<Fallen> {
    let rollout = remembered(view)?;
    let failure = rollout.failure.as_ref()?;
    let stable = view.memory.stable_template.as_ref();
    let went = match (view.rolled_back, stable) {
        (true, Some(stable)) => format!("the members go back to {}", described(stable)),
        (_, Some(stable)) => format!(
            "no further member restarts; the last that worked was {}",
            described(stable)
        ),
        (_, None) => "no further member restarts; there is none to go back to".to_owned(),
    };
    Some(Fallen {
        rolled_back: view.rolled_back,
        sentence: format!(
            "template {} has failed: {}; {went}. Change spec.image, version, options, resources or podTemplate to go on; \
             an annotation in spec.podTemplate.metadata is enough to try the same again",
            rollout.revision, failure.message
        ),
    })
}

fn described(stable: &StableTemplate) -> String {
    let image = stable.template.get("image").and_then(|it| it.as_str());
    format!(
        "template {} with image {}",
        stable.revision,
        image.unwrap_or_default()
    )
}
