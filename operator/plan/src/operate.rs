//! What a `RaftOperation` asks for, done as everything else is: one step at a time, when nothing more urgent is in hand.
//!
//! Invariants:
//! - At most one operation runs on a cluster, the oldest first; those that keep a member stopped stand in no queue.
//! - Its plan stands in its status before anything of it is done; a step that is done is known by what is seen (a pod of
//!   another uid, another leader), or may be done twice (compacting, defragmenting).
//! - It is never done to a later cluster of the same name: the uid of the first one is remembered with the plan.
//!
//! Recovering from quorum loss has a file of its own, `operate/recover.rs`, and waits for nothing else; so have members that are kept
//! stopped, `operate/fence.rs`.
//!
//! This file deliberately knows no single kind of operation: see `operate/plan.rs` for what each will do, `operate/step.rs`
//! for how.

mod certificates;
pub(crate) mod fence;
mod plan;
pub(crate) mod recover;
mod step;
mod tell;

use crds::{
    MemberPhase, OperationPhase, OperationPlan, RaftCluster, RaftOperation, RaftOperationSpec,
};

use crate::{
    draft::Draft,
    hibernate, leave,
    report::{HandsOff, Work},
    view::{Member, View},
};
use step::Turn;
pub(crate) use step::{defragment_one, gains_nothing};

/// How an operation stands after this round.
struct Standing {
    phase: OperationPhase,
    message: String,
    plan: Option<OperationPlan>,
}

impl Standing {
    fn failed(message: String, plan: Option<OperationPlan>) -> Self {
        Self {
            phase: OperationPhase::Failed,
            message,
            plan,
        }
    }
}

/// Whether it matters at once that an operation is gone: where one keeps a member stopped, or a lost cluster is rebuilt by one.
#[must_use]
pub fn operations_in_question(cluster: &RaftCluster) -> bool {
    cluster.status.as_ref().is_some_and(|it| {
        let mut members = it.members.iter();
        it.recovering.is_some() || members.any(|it| it.phase == MemberPhase::Fenced)
    })
}

/// Takes the operation in hand one step further; no work when there is none, or its end has come.
pub(crate) fn operate(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    take(view, draft, current(view)?)
}

fn take(view: &View<'_>, draft: &mut Draft, operation: &RaftOperation) -> Option<Work> {
    let status = operation.status.clone().unwrap_or_default();
    let earlier = status.cluster_uid.is_some_and(|it| it != view.spec.uid);
    let running = status.phase == OperationPhase::Running;
    let (standing, work) = match status.plan.filter(|_| running) {
        plan if earlier => {
            let why = "it was meant for an earlier cluster of this name".to_owned();
            (Standing::failed(why, plan), None)
        }
        Some(plan) => go_on(view, draft, operation, plan),
        None => (begin(view, operation), None),
    };
    tell::tell(view, draft, operation, standing);
    work
}

/// The operations that ask for something and have not ended, the oldest first.
fn open<'a>(view: &View<'a>, asks: impl Fn(&RaftOperationSpec) -> bool) -> Vec<&'a RaftOperation> {
    let ended =
        |it: &RaftOperation| phase(it).is_final() || it.metadata.deletion_timestamp.is_some();
    let operations = view.observed.operations.iter();
    let mut open: Vec<_> = operations
        .filter(|it| asks(&it.spec) && !ended(it))
        .collect();
    open.sort_by_key(|it| {
        let meta = &it.metadata;
        (meta.creation_timestamp.clone(), meta.name.clone())
    });
    open
}

/// The oldest operation that has not ended. Recoveries from quorum loss stand in no queue: what is before them could never end.
/// Nor do fences: what is behind them would wait for a person.
fn current<'a>(view: &View<'a>) -> Option<&'a RaftOperation> {
    let queued = |it: &RaftOperationSpec| it.recover_quorum.is_none() && it.fence.is_none();
    let open = open(view, queued).into_iter();
    open.min_by_key(|it| phase(it) != OperationPhase::Running)
}

fn phase(operation: &RaftOperation) -> OperationPhase {
    operation
        .status
        .as_ref()
        .map(|it| it.phase)
        .unwrap_or_default()
}

/// Plans an operation, to be begun once the plan is remembered.
fn begin(view: &View<'_>, operation: &RaftOperation) -> Standing {
    let plan = match plan::plan(view, &operation.spec) {
        Ok(plan) => plan,
        Err(plan::Fault::Impossible(why)) => return Standing::failed(why, None),
        Err(plan::Fault::NotYet(message)) => {
            return Standing {
                phase: OperationPhase::Pending,
                message,
                plan: None,
            };
        }
    };
    if operation.spec.dry_run {
        return rehearse(view, operation, plan);
    }
    Standing {
        phase: OperationPhase::Running,
        message: format!("{} planned", tell::steps(plan.steps.len())),
        plan: Some(plan),
    }
}

/// The member that an operation in hand replaces.
fn replaced<'v, 'a>(view: &'v View<'a>) -> Option<(&'a RaftOperation, &'v Member<'a>)> {
    let operation = current(view).filter(|it| phase(it) == OperationPhase::Running)?;
    let status = operation.status.as_ref()?;
    let ours = status.cluster_uid.as_ref() == Some(&view.spec.uid) && status.plan.is_some();
    let asked = operation.spec.replace_member.as_ref().filter(|_| ours)?;
    let member = view.members.get(&asked.member)?;
    member.identity.is_some().then_some((operation, member))
}

/// Why a member that works is to be replaced, if an operation asks for it: its replacement comes first.
pub(crate) fn replaces(view: &View<'_>, member: &Member<'_>) -> Option<String> {
    let (operation, asked) = replaced(view)?;
    let name = operation.metadata.name.as_deref().unwrap_or_default();
    let it = asked.name == member.name && member.good;
    it.then(|| format!("RaftOperation {name} asks for it"))
}

/// A member that is to be replaced and does not work: it goes first, for while it is there, nobody may come.
pub(crate) fn given_up<'v, 'a>(view: &'v View<'a>) -> Option<&'v Member<'a>> {
    let (_, member) = replaced(view)?;
    let goes = !member.good && member.listed.is_some() && leave::blocked(view, member).is_none();
    goes.then_some(member)
}

/// What would happen next, tried on a draft that is thrown away.
fn rehearse(view: &View<'_>, operation: &RaftOperation, mut plan: OperationPlan) -> Standing {
    let mut trial = plan.clone();
    let mut draft = Draft::new(view);
    let turn = step::step(view, &mut draft, &operation.spec, &mut trial);
    let steps = tell::steps(plan.steps.len());
    let message = match turn {
        Turn::Done(why) if draft.actions.is_empty() => format!("nothing would be done: {why}"),
        Turn::Failed(why) => format!("it would fail: {why}"),
        Turn::Work(work) if !work.blocked_by.is_empty() => {
            let why = work.blocked_by[0].message.clone();
            plan.blocked_by = work.blocked_by;
            format!("{steps} would be taken, the first of them not yet: {why}")
        }
        Turn::Done(_) | Turn::Work(_) | Turn::Rest(_) => {
            format!("{steps} would be taken, and nothing stands against the first")
        }
    };
    Standing {
        phase: OperationPhase::Planned,
        message,
        plan: Some(plan),
    }
}

fn go_on(
    view: &View<'_>,
    draft: &mut Draft,
    operation: &RaftOperation,
    mut plan: OperationPlan,
) -> (Standing, Option<Work>) {
    let turn = step::step(view, draft, &operation.spec, &mut plan);
    let (phase, message, work) = match turn {
        Turn::Done(message) => (OperationPhase::Succeeded, message, None),
        Turn::Failed(message) => (OperationPhase::Failed, message, None),
        Turn::Work(work) => (OperationPhase::Running, tell::sentence(&work), Some(work)),
        Turn::Rest(message) => (OperationPhase::Running, message, None),
    };
    let standing = Standing {
        phase,
        message,
        plan: Some(plan),
    };
    (standing, work)
}

/// Tells the operations that were not this round's why they wait, and clears away those whose time is over.
pub(crate) fn queue(
    view: &View<'_>,
    draft: &mut Draft,
    hands_off: Option<HandsOff>,
    work: Option<&Work>,
) {
    tell::sweep(view, draft);
    let first = current(view).and_then(|it| it.metadata.name.as_deref());
    for operation in &view.observed.operations {
        let stands = fence::holds(operation, &view.spec.uid);
        if phase(operation).is_final() || stands || tell::is_told(draft, operation) {
            continue;
        }
        let held = hands_off.is_some() || hibernate::wanted(view) || !view.invalid.is_empty();
        if operation.spec.recover_quorum.is_some() && !held {
            continue;
        }
        let name = operation.metadata.name.as_deref();
        let queued = operation.spec.fence.is_none();
        let first = first.filter(|it| queued && Some(*it) != name);
        let message = match (hands_off, work, first) {
            (Some(HandsOff::Deletion), _, _) => "the cluster is being deleted".to_owned(),
            (Some(HandsOff::Paused), _, _) => {
                "spec.paused of the cluster is set; unset it to let the operator work".to_owned()
            }
            (None, _, Some(first)) => format!("operation {first} comes first"),
            (None, None, None) if hibernate::wanted(view) => {
                "the cluster hibernates; set spec.runState to Running first".to_owned()
            }
            (None, None, None) if view.invalid.is_empty() => continue,
            (None, None, None) => {
                "nothing is changed until the cluster's spec is corrected".to_owned()
            }
            (None, Some(work), None) if phase(operation) == OperationPhase::Running => {
                tell::sentence(work)
            }
            (None, Some(work), None) => format!("the cluster is in {} first", work.kind.as_str()),
        };
        let status = operation.status.clone().unwrap_or_default();
        let standing = Standing {
            phase: status.phase,
            message,
            plan: status.plan,
        };
        tell::tell(view, draft, operation, standing);
    }
}
