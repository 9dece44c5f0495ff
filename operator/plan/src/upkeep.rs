//! What is kept in order in every round, whatever else is in hand: services, owners and sizes of claims, role labels,
//! identities, pods, and the remains of members that are gone.
//!
//! Nothing here takes away a voter that works. A pod that has ended, or is silent, not ready and of an old template, is not
//! one: it is replaced at once, so that a bad spec followed by its revert always heals, and a broken member never blocks its
//! own fix. A voter whose pod is not ready but answers may be as good as ever in a second, after an election say: of those, one
//! goes at a time, when it has had its chance and the last one that went has had its own, so that a blip never becomes an
//! outage.
//!
//! While a lost cluster is rebuilt, its members are `operate/recover.rs`'s alone.
//!
//! This file deliberately makes no volumes and changes no membership: see `bootstrap.rs`, `join.rs`, `leave.rs`. The budget
//! looks at all that a round does: see `disruption.rs`.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};

use crate::{
    action::{Action, Target},
    certificates, corruption,
    draft::Draft,
    footing, hibernate,
    names::Role,
    objects::{
        self,
        pod::{Beginning, Data},
    },
    operate::recover,
    progress, resize, retention,
    view::{ClaimState, Member, View},
};

/// How long ago an ended pod must have been made before it is made again: a node that turns pods away as soon as they come
/// would otherwise be asked many times a second.
const REST: SignedDuration = SignedDuration::from_secs(5);

/// How long a pod that answers may be not ready before it is replaced, and how long another one that is on its way holds that
/// back: counted from when a new one was made, or from when an ending one should have been gone. What is not back by then may
/// never be, as on a node that is dead.
pub(crate) const CHANCE: SignedDuration = SignedDuration::from_secs(30);

/// Why a pod of no use that is not of the template in force is deleted.
const OUTDATED: &str = "it is not ready, and its template is an old one";

/// Why a pod that has ended is deleted.
const ENDED: &str = "it has ended and its kind is never restarted in place";

/// Keeps everything in order; `leaving` is the member on its way out, whose pod counts as a voter's no more.
pub(crate) fn upkeep(view: &View<'_>, leaving: Option<&str>, draft: &mut Draft) {
    services(view, draft);
    if recover::is_under_way(view) {
        return;
    }
    restore_identities(view, draft);
    resize::grow(view, draft);
    for member in view.members.values() {
        own_claim(view, member, draft);
        label(view, member, leaving, draft);
        if !hibernate::wanted(view) {
            end_pod(view, member, draft);
            make_pod(view, member, draft);
        }
        sweep(view, member, draft);
    }
    if !hibernate::wanted(view) {
        end_one_that_answers(view, draft);
    }
}

/// Whether what there is can be kept though the spec cannot be followed: not where that is about certificates, with which every pod
/// is made.
pub(crate) fn may_hold(view: &View<'_>) -> bool {
    let mut faults = view.invalid.iter();
    let of_tls = faults.any(|it| it.field.starts_with("spec.tls"));
    let idle = recover::is_under_way(view) || hibernate::wanted(view);
    !of_tls && !idle && progress::can_fall_back(view)
}

/// Keeps what there is while the spec cannot be followed: pods that have ended or are gone are made again, of the template on which
/// the cluster last converged.
pub(crate) fn hold(view: &View<'_>, draft: &mut Draft) {
    for member in view.members.values() {
        if member.pod_ended() {
            end_pod(view, member, draft);
        }
        make_pod(view, member, draft);
    }
}

fn services(view: &View<'_>, draft: &mut Draft) {
    for wanted in [
        objects::service::client(&view.spec),
        objects::service::peers(&view.spec),
    ] {
        let mut found = view
            .observed
            .services
            .iter()
            .filter(|it| it.metadata.name == wanted.metadata.name);
        if !found.any(|it| objects::covers(it, &wanted)) {
            draft.actions.push(Action::ApplyService(Box::new(wanted)));
        }
    }
}

/// The deletion policy is told to the garbage collector through the owner of the claim.
fn own_claim(view: &View<'_>, member: &Member<'_>, draft: &mut Draft) {
    let ClaimState::Present(claim) = member.claim else {
        return;
    };
    let wanted = owner(view, member, claim);
    let found = claim
        .metadata
        .owner_references
        .as_deref()
        .unwrap_or_default();
    let right = match &wanted {
        Some(owner) => found.iter().any(|it| it.uid == owner.uid),
        None => found.is_empty(),
    };
    if let (false, Some(claim)) = (right, member.claim_target()) {
        draft.actions.push(Action::OwnClaim {
            claim,
            owner: wanted,
        });
    }
}

/// Who has to own a claim. That of a member which has left is kept for a reason that outlives the cluster, or about to go.
fn owner(
    view: &View<'_>,
    member: &Member<'_>,
    claim: &PersistentVolumeClaim,
) -> Option<OwnerReference> {
    let kept = is_remains(view, member) && retention::keeps(view, claim);
    objects::claim::owner(&view.spec).filter(|_| !kept)
}

/// Lets go of volumes that are to be retained, even while the operator keeps its hands off: whoever deletes the cluster now
/// has said that they stay. The other way round waits.
pub(crate) fn release(view: &View<'_>, draft: &mut Draft) {
    for member in view.members.values() {
        if let ClaimState::Present(claim) = member.claim
            && owner(view, member, claim).is_none()
        {
            own_claim(view, member, draft);
        }
    }
}

fn label(view: &View<'_>, member: &Member<'_>, leaving: Option<&str>, draft: &mut Draft) {
    let role = if leaving == Some(&member.name) {
        Role::Learner
    } else {
        member.role(view)
    };
    if let Some(pod) = member
        .pod_target()
        .filter(|_| !member.pod_ending() && member.labelled() != Some(role.as_str()))
    {
        draft.actions.push(Action::LabelPod { pod, role });
    }
}

/// A `RaftMember` that was deleted while its vote is needed comes back.
fn restore_identities(view: &View<'_>, draft: &mut Draft) {
    for member in view.missed() {
        if !member.identity_ending && matches!(member.claim, ClaimState::Present(_)) {
            let identity = objects::member::again(&view.spec, &member.name, member.serial);
            draft.actions.push(Action::CreateMember(Box::new(identity)));
        }
    }
}

/// Deletes a pod that is of no use to anyone and has ended, says nothing or has no vote to lose.
fn end_pod(view: &View<'_>, member: &Member<'_>, draft: &mut Draft) {
    if member.identity.is_none() || member.pod_ending() {
        return;
    }
    let idle = !member.pod_ready() && !member.good && !corruption::explains(view, member);
    let at_once = member.is_learner() || !speaks(view, member);
    let why = match () {
        () if member.pod_ended() && rested(view, member) => ENDED,
        () if member.pod_ended() => return,
        () if idle && at_once && progress::is_outdated(view, member) => OUTDATED,
        () if idle && misled(view, member) => "the membership changed before it could join",
        () => return,
    };
    if let Some(pod) = member.pod_target() {
        draft.actions.push(delete_pod(pod, why));
    }
}

/// Deletes at most one pod that answers, is not ready and of an old template, while nothing else is on its way.
///
/// A voter that follows the leader of a known membership is left to `rollout.rs`: its vote may be what the majority hangs on.
fn end_one_that_answers(view: &View<'_>, draft: &mut Draft) {
    let stops = |it: &Action| matches!(it, Action::DeletePod { .. });
    if draft.actions.iter().any(stops) {
        return;
    }
    let counts = |it: &Member<'_>| it.is_voter() && it.follows(view);
    let idle = |it: &Member<'_>| !it.pod_ending() && !it.pod_ended() && had_its_chance(view, it);
    let candidates = view.members.values().filter(|it| {
        let gives_way = it.identity.is_some() && progress::is_outdated(view, it);
        gives_way && idle(it) && speaks(view, it) && !counts(it)
    });
    let Some(next) = candidates.min_by_key(|it| (view.leads(it), it.serial)) else {
        return;
    };
    let mut others = view.members.values().filter(|it| it.name != next.name);
    if let (false, Some(pod)) = (others.any(|it| on_its_way(view, it)), next.pod_target()) {
        draft.actions.push(delete_pod(pod, OUTDATED));
    }
}

/// Whether a member's pod is not ready, and has not been for [`CHANCE`], or for nobody knows how long.
fn had_its_chance(view: &View<'_>, member: &Member<'_>) -> bool {
    let status = member.pod.and_then(|it| it.status.as_ref());
    let mut conditions = status.iter().flat_map(|it| it.conditions.iter().flatten());
    let ready = conditions.find(|it| it.type_ == "Ready");
    let since = ready.and_then(|it| it.last_transition_time.as_ref());
    let unready = !member.pod_ready() && !corruption::explains(view, member);
    unready && since.is_none_or(|it| view.now.duration_since(it.0) >= CHANCE)
}

/// Whether the process in a member's pod answers, whatever it says.
pub(crate) fn speaks(view: &View<'_>, member: &Member<'_>) -> bool {
    let probe = view.observed.probes.get(&member.name);
    probe.is_some_and(|it| it.answer.is_ok())
}

/// Whether a member's pod is ending, about to be made, or new and not yet as it should be. For a pod that cannot end or come
/// back this is true for no longer than [`CHANCE`]; for one that the API server does not let be made, for as long as it does
/// not, for then another one that is deleted would not come back either.
fn on_its_way(view: &View<'_>, member: &Member<'_>) -> bool {
    let Some(pod) = member.pod else {
        return missing_pod(view, member).is_some();
    };
    let meta = &pod.metadata;
    let recent = |time: &Time| view.now.duration_since(time.0) < CHANCE;
    if let Some(due) = &meta.deletion_timestamp {
        return recent(due);
    }
    let young = meta.creation_timestamp.as_ref().is_some_and(recent);
    !progress::is_outdated(view, member) && young && !member.settled() && !member.pod_ended()
}

/// Whether a member's pod should have been gone for [`CHANCE`] and is not, as on a node that is dead.
pub(crate) fn is_overdue(view: &View<'_>, member: &Member<'_>) -> bool {
    let due = member
        .pod
        .and_then(|it| it.metadata.deletion_timestamp.as_ref());
    due.is_some_and(|it| view.now.duration_since(it.0) >= CHANCE)
}

/// Whether a member's pod was told to end and cannot: there is nobody on its node to end it, or it should have ended long ago.
pub(crate) fn cannot_end(view: &View<'_>, member: &Member<'_>) -> bool {
    is_overdue(view, member) || (member.pod_ending() && footing::is_on_dead_node(view, member))
}

/// Whether nothing of a member is left that could be cleared away: its pod cannot end, and whatever else there is, is in use by
/// it. It is nobody's work then, and waits for its node.
pub(crate) fn is_stranded(view: &View<'_>, member: &Member<'_>) -> bool {
    is_remains(view, member) && cannot_end(view, member) && member.identity.is_none()
}

/// Whether a pod that has ended was made long enough ago.
pub(crate) fn rested(view: &View<'_>, member: &Member<'_>) -> bool {
    let made = member
        .pod
        .and_then(|it| it.metadata.creation_timestamp.as_ref());
    made.is_none_or(|made| view.now.duration_since(made.0) >= REST)
}

/// Whether the pod of a member that has never started was told a membership that is no longer the one there is.
fn misled(view: &View<'_>, member: &Member<'_>) -> bool {
    let unstarted = member
        .listed
        .as_ref()
        .is_some_and(|it| it.is_learner && it.name.is_empty());
    let wanted = objects::pod::initial_cluster_arg(&view.peers());
    let told = |pod: &Pod| {
        let containers = pod.spec.iter().flat_map(|it| &it.containers);
        let mut args = containers.flat_map(|it| it.args.iter().flatten());
        args.any(|it| *it == wanted)
    };
    unstarted && member.answer.is_none() && member.pod.is_some_and(|pod| !told(pod))
}

/// Makes the pod of a member that should have one.
fn make_pod(view: &View<'_>, member: &Member<'_>, draft: &mut Draft) {
    let pod = missing_pod(view, member).map(|it| Action::CreatePod(Box::new(it)));
    draft.actions.extend(pod);
}

/// The pod of a member that should have one and has none. Only ever on the very volume that the status remembers: a member whose
/// volume is gone must not come back empty under its old id, for it has forgotten what it voted for.
fn missing_pod(view: &View<'_>, member: &Member<'_>) -> Option<Pod> {
    let (Some(identity), None, ClaimState::Present(claim)) =
        (member.identity, member.pod, &member.claim)
    else {
        return None;
    };
    if member.known_claim.is_none() || member.known_claim != claim.metadata.uid {
        return None;
    }
    if member.fenced.is_some() || !certificates::complete(view, &view.spec) {
        return None;
    }
    let beginning = beginning(view, member)?;
    let mut peers = view.peers();
    peers.insert(member.name.clone(), view.peer_url(&member.name));
    let role = member.role(view);
    let spec = progress::template(view, member);
    let data = Data {
        beginning,
        restored: member.restored(),
    };
    Some(objects::pod::pod(spec, identity, role, data, &peers))
}

/// How a member would begin, if it may start now.
fn beginning(view: &View<'_>, member: &Member<'_>) -> Option<Beginning> {
    if view.born() {
        let may = member.known_id.is_some() && member.belongs(view.membership.is_some());
        return may.then_some(Beginning::Existing);
    }
    let alone = view.roster().len() == 1 && view.membership.is_none();
    alone.then_some(Beginning::New)
}

/// Clears away what is left of a member that is in the membership no more: pod, then identity, then, if the policy says so,
/// volume.
fn sweep(view: &View<'_>, member: &Member<'_>, draft: &mut Draft) {
    if !is_remains(view, member) {
        return;
    }
    let settled = || !member.identity_ending && crate::draft::no_quorum(view).is_none();
    let action = match (member.pod_target(), member.identity_target()) {
        (Some(_), Some(identity)) if cannot_end(view, member) => {
            Action::DeleteMember { member: identity }
        }
        (Some(_), _) if member.pod_ending() => return,
        (Some(pod), _) => delete_pod(pod, "its member is no longer in the membership"),
        (None, Some(member)) => Action::DeleteMember { member },
        (None, None) if !settled() => return,
        (None, None) => match retention::last(view, member) {
            Some(action) => action,
            None => return,
        },
    };
    draft.actions.retain(|it| !concerns(it, &action));
    draft.actions.push(action);
}

/// Whether a member is gone from the membership for good and something of it is left.
pub(crate) fn is_remains(view: &View<'_>, member: &Member<'_>) -> bool {
    let known = view.membership.is_some();
    let joining = view
        .memory
        .joining
        .as_ref()
        .is_some_and(|it| it.name == member.name);
    let gone = member.removed(known) || (member.identity.is_none() && !joining);
    view.born() && known && member.listed.is_none() && gone
}

fn delete_pod(pod: Target, why: &str) -> Action {
    Action::DeletePod {
        pod,
        why: why.to_owned(),
    }
}

/// Whether an action was meant for the same pod that is now to be deleted.
fn concerns(earlier: &Action, deletion: &Action) -> bool {
    let Action::DeletePod { pod, .. } = deletion else {
        return false;
    };
    match earlier {
        Action::DeletePod { pod: other, .. } | Action::LabelPod { pod: other, .. } => other == pod,
        _ => false,
    }
}
