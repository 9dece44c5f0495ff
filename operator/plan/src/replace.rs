//! Which member a new one has to take over from, and why.
//!
//! The replacement joins like any other member (`join.rs` counts it as wanted), and once all are voters the replaced one leaves
//! (`leave.rs`). So a cluster has one member more for the time of it, and never one fewer.
//!
//! This file deliberately does nothing itself, and holds no reason of its own: each stands where its facts are known.

use crate::{
    maintenance, operate, progress,
    view::{Member, View},
    volume::{Drift, drift},
};

/// The member that is to be replaced next, and why, if one is: one that is not in yet before all others, for it only has to
/// go; then a broken one, the leader last; learners for good after all of them.
pub(crate) fn to_replace<'v, 'a>(view: &'v View<'a>) -> Option<(&'v Member<'a>, String)> {
    view.roster()
        .into_iter()
        .filter_map(|it| Some((it, reason(view, it)?)))
        .min_by_key(|(it, _)| {
            (
                it.permanent,
                !is_on_its_way_in(view, it),
                it.good,
                view.leads(it),
                it.serial,
            )
        })
}

/// Why a member is to be replaced, if it is.
pub(crate) fn reason(view: &View<'_>, member: &Member<'_>) -> Option<String> {
    let held = maintenance::holds(view, member);
    match drift(view, member) {
        Drift::Replace(why) if !held => Some(why),
        _ if !held && progress::surges(view, member) => Some("its template has changed".to_owned()),
        _ => operate::replaces(view, member),
    }
}

/// How many members there are to be, with the replacement for one that is to go.
pub(crate) fn wanted(view: &View<'_>) -> usize {
    let replaced = to_replace(view).is_some_and(|(it, _)| !is_on_its_way_in(view, it));
    view.spec.replicas + usize::from(replaced)
}

/// Whether a member is known to have no vote yet.
pub(crate) fn is_on_its_way_in(view: &View<'_>, member: &Member<'_>) -> bool {
    view.membership.is_some() && !member.is_voter()
}
