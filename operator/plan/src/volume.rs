//! A member's volume against what the spec wants of it, and what has to be done about the difference.
//!
//! Invariants:
//! - A claim is compared with the spec, and with what *this operator* asked of it, which stands in the claim's annotation:
//!   a volume that a person made larger by hand, or that a storage system rounded up, is no wish to shrink it.
//! - A claim that was asked for more and has not got it yet may be asked for less again, down to what it has.
//!
//! This file deliberately acts on nothing: see `resize.rs` for what grows in place and `replace.rs` for the rest.

use std::collections::BTreeSet;

use crds::{ChangePolicy, RaftCluster};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimStatus, Pod};

use crate::{
    autogrow, names, quantity,
    spec::Spec,
    view::{ClaimState, Member, View},
};

/// The condition of a claim whose volume has grown and whose file system has not.
const FILE_SYSTEM: &str = "FileSystemResizePending";

/// How a volume differs from what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Drift {
    /// Not at all.
    None,
    /// Its claim has to be asked for the wanted size.
    Grow,
    /// Its claim was asked for the wanted size and has not got it yet; how far it is, in words.
    Growing(String),
    /// A new member on a new volume has to take over, and why.
    Replace(String),
    /// The policy does not let it be changed; why, and the way out.
    Refused(String),
}

/// A bound or unbound volume, as its claim tells of it. Sizes in bytes.
struct Volume<'a> {
    claim: &'a PersistentVolumeClaim,
    class: Option<&'a str>,
    /// What the claim asks for.
    request: Option<u64>,
    /// What this operator last asked for.
    asked: Option<u64>,
    /// What it has; none before it is bound.
    capacity: Option<u64>,
}

/// How the volume of a member differs from what is wanted; of one that has no claim of its own, nothing is wanted, but that a
/// learner which lost it before it ever ran makes way for another. That of a member which a person keeps stopped is his to look at.
pub(crate) fn drift(view: &View<'_>, member: &Member<'_>) -> Drift {
    if member.fenced.is_some() {
        return Drift::None;
    }
    if matches!(member.claim, ClaimState::Absent) && member.is_learner() && member.pod.is_none() {
        let name = &member.name;
        return Drift::Replace(format!(
            "the volume of member {name} went before it ever ran"
        ));
    }
    let (ClaimState::Present(claim), Some(wanted)) =
        (&member.claim, quantity::bytes(&view.spec.size))
    else {
        return Drift::None;
    };
    let volume = Volume::of(claim);
    if let Some(why) = volume.unlike(&view.spec, wanted, &member.name) {
        return by_policy(&view.spec, why);
    }
    match (volume.capacity, volume.request) {
        (Some(capacity), Some(request)) if capacity < wanted && request == wanted => {
            Drift::Growing(volume.progress(&member.name, &view.spec.size))
        }
        (Some(capacity), Some(_)) if capacity < wanted => grow(view, &volume, &member.name),
        _ => Drift::None,
    }
}

/// A volume that has to grow: in place, unless its class is known not to.
fn grow(view: &View<'_>, volume: &Volume<'_>, member: &str) -> Drift {
    if view.spec.change_policy == ChangePolicy::Deny {
        return by_policy(
            &view.spec,
            format!(
                "the volume of member {member} is smaller than {}",
                view.spec.size
            ),
        );
    }
    let class = volume.class.unwrap_or_default();
    match view.observed.classes.get(class) {
        Some(false) => by_policy(
            &view.spec,
            format!(
                "storage class {class} lets no volume grow, and that of member {member} is smaller than {}",
                view.spec.size
            ),
        ),
        Some(true) | None => Drift::Grow,
    }
}

fn by_policy(spec: &Spec, why: String) -> Drift {
    let policy = match spec.change_policy {
        ChangePolicy::ReplaceMember => return Drift::Replace(why),
        ChangePolicy::InPlaceOnly => "InPlaceOnly",
        ChangePolicy::Deny => "Deny",
    };
    Drift::Refused(format!(
        "{why}, and spec.storage.changePolicy is {policy}; set it to ReplaceMember, or set the size and the class back"
    ))
}

impl<'a> Volume<'a> {
    fn of(claim: &'a PersistentVolumeClaim) -> Self {
        let spec = claim.spec.as_ref();
        let requests = spec.and_then(|it| it.resources.as_ref()?.requests.as_ref());
        let asked = claim.metadata.annotations.as_ref();
        let held = claim.status.as_ref().and_then(|it| it.capacity.as_ref());
        Self {
            claim,
            class: spec.and_then(|it| it.storage_class_name.as_deref()),
            request: requests.and_then(|it| quantity::bytes(&it.get("storage")?.0)),
            asked: asked.and_then(|it| quantity::bytes(it.get(names::SIZE)?)),
            capacity: held.and_then(|it| quantity::bytes(&it.get("storage")?.0)),
        }
    }

    /// Whether there is a volume behind the claim.
    fn is_bound(&self) -> bool {
        let phase = self
            .claim
            .status
            .as_ref()
            .and_then(|it| it.phase.as_deref());
        self.capacity.is_some() || phase == Some("Bound")
    }

    /// What no change of this volume can mend, in words.
    fn unlike(&self, spec: &Spec, wanted: u64, member: &str) -> Option<String> {
        self.unlike_class(spec, member)
            .or_else(|| self.unlike_size(spec, wanted, member))
    }

    fn unlike_class(&self, spec: &Spec, member: &str) -> Option<String> {
        let asked = self.claim.metadata.annotations.as_ref();
        let asked = asked.and_then(|it| it.get(names::CLASS));
        match (spec.storage_class.as_deref(), self.class, asked) {
            (Some(wanted), Some(found), _) if wanted != found => Some(format!(
                "the volume of member {member} is of storage class {found}, wanted is {wanted}"
            )),
            // There is no wish, and so no quarrel with what was bound; a class that gives nothing is another matter.
            (None, _, Some(asked)) if !self.is_bound() => Some(format!(
                "the volume of member {member} was asked for in storage class {asked}, wanted is the default one"
            )),
            _ => None,
        }
    }

    fn unlike_size(&self, spec: &Spec, wanted: u64, member: &str) -> Option<String> {
        let asked = self.asked?;
        let unlike = match self.capacity {
            Some(capacity) => asked > wanted && capacity > wanted,
            None => asked != wanted && !self.is_bound(),
        };
        unlike.then(|| {
            format!(
                "the volume of member {member} was asked for with another size than {}, which cannot be had in place",
                spec.size
            )
        })
    }

    /// How far a growth is, as Kubernetes tells it.
    fn progress(&self, member: &str, size: &str) -> String {
        let told = self.claim.status.as_ref().and_then(told);
        let told = told.unwrap_or_else(|| "nothing is told yet".to_owned());
        format!("the volume of member {member} grows to {size}: {told}")
    }
}

/// How long a kubelet may take to make the file system as large as its volume. Where it can while the pod runs, that is a
/// matter of seconds; what has not happened by then waits for a new start.
const ONLINE: SignedDuration = SignedDuration::from_mins(2);

/// Whether the file system of a claim's volume grows only when a new pod starts on it.
pub(crate) fn awaits_restart(claim: &PersistentVolumeClaim, pod: &Pod, now: Timestamp) -> bool {
    let conditions = claim
        .status
        .iter()
        .flat_map(|it| it.conditions.iter().flatten());
    let mut pending = conditions.filter(|it| it.type_ == FILE_SYSTEM && it.status == "True");
    let since = pending.find_map(|it| Some(it.last_transition_time.as_ref()?.0));
    let made = pod.metadata.creation_timestamp.as_ref().map(|it| it.0);
    since
        .zip(made)
        .is_some_and(|(since, made)| made < since && now.duration_since(since) >= ONLINE)
}

/// The storage classes to ask about, to tell how volumes become what the spec wants.
#[must_use]
pub fn classes_in_question(
    cluster: &RaftCluster,
    claims: &[PersistentVolumeClaim],
) -> BTreeSet<String> {
    let wanted = quantity::bytes(&autogrow::size(cluster));
    let volumes = claims.iter().map(Volume::of);
    let small = volumes.filter(|it| it.capacity.is_some() && it.capacity < wanted);
    small
        .filter_map(|it| it.class.map(ToOwned::to_owned))
        .collect()
}

/// What the conditions of a claim say of its growth.
fn told(status: &PersistentVolumeClaimStatus) -> Option<String> {
    let conditions = status.conditions.iter().flatten();
    let mut texts: Vec<String> = conditions
        .filter(|it| it.status == "True")
        .map(
            |it| match it.message.as_deref().filter(|it| !it.is_empty()) {
                Some(message) => format!("{}: {message}", it.type_),
                None => it.type_.clone(),
            },
        )
        .collect();
    texts.sort();
    (!texts.is_empty()).then(|| texts.join("; "))
}
