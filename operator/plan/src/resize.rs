//! Growing volumes in place.
//!
//! A claim that has to be larger is asked for it in every round, whatever else is in hand: a member whose volume is full must
//! not wait for a majority that it is needed for. Of those that work, one grows at a time, the leader's last.
//!
//! This file deliberately restarts nothing: where a file system grows only with a new start of the pod, Kubernetes says so in
//! the claim's conditions, the pod counts as outdated (`view/member.rs`), and `rollout.rs` restarts it.

use crds::OperationType::Resize;

use crate::{
    action::Action,
    draft::{Draft, moving, waiting},
    report::Work,
    view::{Member, View},
    volume::{Drift, drift},
};

/// Asks for the wanted size of every volume that may grow now.
pub(crate) fn grow(view: &View<'_>, draft: &mut Draft) {
    let roster = view.roster();
    let due = |it: &&&Member<'_>| drift(view, it) == Drift::Grow;
    let busy = roster
        .iter()
        .any(|it| it.good && matches!(drift(view, it), Drift::Growing(_)));
    let broken = roster.iter().filter(due).filter(|it| !it.good);
    let next = roster
        .iter()
        .filter(due)
        .filter(|it| it.good && !busy)
        .min_by_key(|it| (view.leads(it), it.serial));
    let claims = broken.chain(next).filter_map(|it| it.claim_target());
    draft.actions.extend(claims.map(|claim| Action::GrowClaim {
        claim,
        size: view.spec.size.clone(),
    }));
}

/// The work of waiting until all volumes are as large as wanted; none when they are.
pub(crate) fn resize(view: &View<'_>, _: &mut Draft) -> Option<Work> {
    let of = |member: &Member<'_>| {
        let name = &member.name;
        match drift(view, member) {
            Drift::Growing(told) => Some(waiting(Resize, "WaitForVolume", name, "Volume", told)),
            Drift::Grow => Some(moving(Resize, "GrowVolume", name)),
            Drift::Refused(why) => Some(waiting(Resize, "ChangeVolume", name, "ChangePolicy", why)),
            // Replacements own the round themselves.
            Drift::Replace(_) | Drift::None => None,
        }
    };
    let works: Vec<Work> = view.roster().into_iter().filter_map(of).collect();
    works
        .into_iter()
        .min_by_key(|it| (it.step != "WaitForVolume", it.step != "GrowVolume"))
}
