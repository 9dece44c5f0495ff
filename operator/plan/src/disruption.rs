//! The disruption budget: it follows the membership, and is tight while the operator itself takes a voter away.
//!
//! Kubernetes counts the pods behind a budget some time after one has gone. An eviction that comes meanwhile, from the drain
//! of a node say, would be let through as the first and be the second. A budget that changes is another matter: from the
//! same moment on no eviction is granted until the new one has been counted. So it is changed right before the step, to one that
//! spares nobody, and changed back when the work is done, or waits for so long that everything has been counted.
//!
//! This file deliberately does not know who is taken away and why: it looks at the round's actions.

use jiff::SignedDuration;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::{action::Action, draft::Draft, names::Role, objects, report::Work, status, view::View};

/// How long after the beginning of a piece of work every pod that went for it has been counted. A tight budget that stayed
/// beside work which hangs would keep nodes from being drained.
const COUNTED: SignedDuration = SignedDuration::from_secs(30);

/// Applies the budget before everything else in the draft, if another one is needed. While the membership cannot be read, a
/// budget that exists stays as it is.
pub(crate) fn budget(view: &View<'_>, work: Option<&Work>, draft: &mut Draft) {
    let voters = view.voters().len();
    let loose = objects::budget::budget(&view.spec, voters);
    let tight = objects::budget::tight(&view.spec, voters);
    let mut all = view.observed.budgets.iter();
    let found = all.find(|it| it.metadata.name == loose.metadata.name);
    if found.is_some() && view.born() && view.membership.is_none() {
        return;
    }
    let is = |wanted: &PodDisruptionBudget| found.is_some_and(|it| objects::covers(it, wanted));
    let takes = draft.actions.iter().any(|it| takes_voter(view, it));
    let goes_on = is(&tight) && work.is_some_and(|it| is_young(view, it));
    let wanted = if takes || goes_on { tight } else { loose };
    if !is(&wanted) {
        let apply = Action::ApplyBudget(Box::new(wanted));
        draft.actions.insert(0, apply);
    }
}

/// Whether a voter that counts in the budget counts no more after this action.
fn takes_voter(view: &View<'_>, action: &Action) -> bool {
    let (Action::DeletePod { pod, .. }
    | Action::LabelPod {
        pod,
        role: Role::Learner,
    }) = action
    else {
        return false;
    };
    view.members.values().any(|it| {
        it.pod_target().as_ref() == Some(pod)
            && it.pod_ready()
            && it.labelled() == Some(Role::Voter.as_str())
    })
}

/// Whether what went for this work may not have been counted yet.
fn is_young(view: &View<'_>, work: &Work) -> bool {
    let told = view.status.operation.as_ref();
    let same = told.filter(|it| it.kind == work.kind && it.member == work.member);
    let young = same.is_none_or(|it| view.now.duration_since(it.started_at.0) < COUNTED);
    young && !status::is_held(work)
}
