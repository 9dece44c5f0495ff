//! What becomes of the volumes of members that have left, by why they left.
//!
//! Why a member leaves is written on its claim before it does, because afterwards nobody could tell; since when its volume is
//! kept is written when nothing else of it is left. Neither is written where the policy makes no difference.
//!
//! Invariants:
//! - A volume is deleted by the uid that was seen, when its member is out of the membership, no pod of it is there, and a
//!   majority works without it; one that was to be kept for a time, only while every voter works.
//! - What nobody can tell the reason of is kept, unless it would be deleted for either.
//!
//! This file deliberately knows nothing of the deletion of a cluster: there the garbage collector follows the owners of claims
//! (`objects/claim.rs`), with or without an operator.

use crds::{DeletionPolicy, OperationType, RaftCluster};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use crate::{
    action::Action,
    names,
    view::{ClaimState, Member, View},
};

/// What becomes of volumes that no member uses any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    /// With the cluster.
    pub(crate) deleted: DeletionPolicy,
    /// Of members that are not wanted any more.
    scaled: DeletionPolicy,
    /// Of members that others have taken over from.
    replaced: DeletionPolicy,
    /// How long volumes of the one kind are kept, if not for good.
    scaled_ttl: Option<SignedDuration>,
    /// And of the other.
    replaced_ttl: Option<SignedDuration>,
}

impl Retention {
    /// What the spec says, for each reason.
    pub(crate) fn of(cluster: &RaftCluster) -> Self {
        let named = cluster.spec.storage.retention_policy.clone();
        let named = named.unwrap_or_default();
        let or_all = |it: Option<DeletionPolicy>| it.unwrap_or(cluster.spec.deletion_policy);
        Self {
            deleted: or_all(named.when_deleted),
            scaled: or_all(named.when_scaled),
            replaced: or_all(named.when_replaced),
            scaled_ttl: named.scaled_ttl_seconds.map(SignedDuration::from_secs),
            replaced_ttl: named.replaced_ttl_seconds.map(SignedDuration::from_secs),
        }
    }

    /// Whether it matters why a member left.
    fn tells_apart(&self) -> bool {
        self.scaled != self.replaced || self.scaled_ttl != self.replaced_ttl
    }

    /// How long a claim is kept, if not for good. Of one that nobody can tell the reason of, as long as for either.
    fn ttl(&self, claim: &PersistentVolumeClaim) -> Option<SignedDuration> {
        match annotation(claim, names::LEFT) {
            Some(SCALED) => self.scaled_ttl,
            Some(REPLACED) => self.replaced_ttl,
            _ => self.scaled_ttl.filter(|_| !self.tells_apart()),
        }
    }

    /// What it says of a claim.
    fn policy(&self, claim: &PersistentVolumeClaim) -> DeletionPolicy {
        match annotation(claim, names::LEFT) {
            Some(SCALED) => self.scaled,
            Some(REPLACED) => self.replaced,
            _ if self.scaled == self.replaced => self.scaled,
            _ => DeletionPolicy::Retain,
        }
    }
}

/// The reasons, as claims bear them.
const SCALED: &str = "Scaled";
const REPLACED: &str = "Replaced";

/// The reason that has to be written on a member's claim before it leaves, if it is not there already.
pub(crate) fn mark(view: &View<'_>, member: &Member<'_>, kind: OperationType) -> Option<Action> {
    let ClaimState::Present(claim) = member.claim else {
        return None;
    };
    let why = if kind == OperationType::ScaleDown {
        SCALED
    } else {
        REPLACED
    };
    // A mark from a leave that was called off is set right even where it makes no difference now: the policy may change.
    let marked = annotation(claim, names::LEFT);
    let matters = view.spec.retention.tells_apart() || marked.is_some();
    let needed = matters && marked != Some(why);
    let claim = member.claim_target().filter(|_| needed)?;
    Some(Action::MarkClaim {
        claim,
        key: names::LEFT,
        value: why.to_owned(),
    })
}

/// What there is to do now with the volume of a member of which nothing else is left.
pub(crate) fn last(view: &View<'_>, member: &Member<'_>) -> Option<Action> {
    let ClaimState::Present(seen) = member.claim else {
        return None;
    };
    let claim = member.claim_target()?;
    if !keeps(view, seen) {
        return Some(Action::DeleteClaim { claim });
    }
    let ttl = view.spec.retention.ttl(seen)?;
    let since = annotation(seen, names::KEPT_SINCE).and_then(|it| it.parse::<Timestamp>().ok());
    match since {
        // Whole seconds, as the API server writes times.
        None => Some(Action::MarkClaim {
            claim,
            key: names::KEPT_SINCE,
            value: Timestamp::from_second(view.now.as_second())
                .unwrap_or(view.now)
                .to_string(),
        }),
        Some(since) if view.now.duration_since(since) >= ttl && all_work(view) => {
            Some(Action::DeleteClaim { claim })
        }
        Some(_) => None,
    }
}

/// Whether the volume of a member that has left is to be kept.
pub(crate) fn keeps(view: &View<'_>, claim: &PersistentVolumeClaim) -> bool {
    view.spec.retention.policy(claim) == DeletionPolicy::Retain
}

/// Whether there are as many voters as wanted, all of them healthy and caught up.
fn all_work(view: &View<'_>) -> bool {
    let voters = view.voters().len();
    voters >= view.spec.replicas && view.good() == voters
}

fn annotation<'a>(claim: &'a PersistentVolumeClaim, key: &str) -> Option<&'a str> {
    let all = claim.metadata.annotations.as_ref()?;
    all.get(key).map(String::as_str)
}
