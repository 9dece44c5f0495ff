//! What an operation will do, before any of it is done.
//!
//! It deliberately asks only whether the thing is possible at all; whether it may be done now is asked before each step.

use crds::{OperationPlan, OperationStep, RaftOperationSpec};

use super::certificates;
use crate::view::{Member, View};

/// Why there is no plan.
pub(super) enum Fault {
    /// There never will be one.
    Impossible(String),
    /// What it would rest on is not known yet.
    NotYet(String),
}

/// Plans what is asked for.
pub(super) fn plan(view: &View<'_>, asked: &RaftOperationSpec) -> Result<OperationPlan, Fault> {
    let steps = match asked {
        RaftOperationSpec {
            transfer_leader: Some(it),
            ..
        } => vec![about("HandOver", member(view, &it.to)?)],
        RaftOperationSpec {
            restart: Some(it), ..
        } => restarts(view, &it.members)?,
        RaftOperationSpec {
            replace_member: Some(it),
            ..
        } => vec![about("ReplaceMember", member(view, &it.member)?)],
        RaftOperationSpec {
            defragment: Some(_),
            ..
        } => {
            let roster = view.roster();
            roster
                .into_iter()
                .map(|it| about("Defragment", it))
                .collect()
        }
        RaftOperationSpec {
            compact: Some(it), ..
        } => vec![compaction(view, it.revision)?],
        RaftOperationSpec {
            rotate_certificates: Some(it),
            ..
        } => certificates::plan(view, it)?,
        RaftOperationSpec {
            fence: Some(it), ..
        } => vec![fence(view, &it.member)?],
        _ => {
            let why = "it names nothing that this operator can do; delete it";
            return Err(Fault::Impossible(why.to_owned()));
        }
    };
    if steps.is_empty() {
        return Err(Fault::NotYet("the cluster has no members yet".to_owned()));
    }
    Ok(OperationPlan {
        steps,
        ..OperationPlan::default()
    })
}

fn about(action: &str, member: &Member<'_>) -> OperationStep {
    OperationStep {
        action: action.to_owned(),
        member: Some(member.name.clone()),
        ..OperationStep::default()
    }
}

/// Each with the pod that is to go: it has restarted when it has another one.
fn restarts(view: &View<'_>, names: &[String]) -> Result<Vec<OperationStep>, Fault> {
    let all = || view.roster().into_iter().map(Ok).collect();
    let named = || names.iter().map(|it| member(view, it)).collect();
    let members: Result<Vec<&Member<'_>>, Fault> = if names.is_empty() { all() } else { named() };
    let step = |it: &Member<'_>| OperationStep {
        pod_uid: it.pod_target().map(|pod| pod.uid),
        ..about("RestartMember", it)
    };
    Ok(members?.into_iter().map(step).collect())
}

fn member<'v, 'a>(view: &'v View<'a>, name: &str) -> Result<&'v Member<'a>, Fault> {
    let roster = view.roster();
    let names: Vec<&str> = roster.iter().map(|it| it.name.as_str()).collect();
    let found = roster.iter().copied().find(|it| it.name == name);
    found.ok_or_else(|| {
        Fault::Impossible(format!(
            "the cluster has no member {name}; its members are {}",
            names.join(", ")
        ))
    })
}

/// A voter of one or two cannot be missed for as long as a person likes.
fn fence(view: &View<'_>, name: &str) -> Result<OperationStep, Fault> {
    let member = member(view, name)?;
    let few = view.spec.replicas <= 2 && !member.permanent;
    if few {
        return Err(Fault::Impossible(format!(
            "without member {name} the cluster would not serve: its spec.replicas is {}; set it to 3 or more first",
            view.spec.replicas
        )));
    }
    Ok(about("FenceMember", member))
}

fn compaction(view: &View<'_>, asked: Option<i64>) -> Result<OperationStep, Fault> {
    let answers = view.members.values().filter_map(|it| it.answer);
    let Some(head) = answers.map(|it| it.revision).max() else {
        return Err(Fault::NotYet(
            "no member says at which revision it is".to_owned(),
        ));
    };
    let revision = asked.unwrap_or(head);
    if revision > head {
        return Err(Fault::Impossible(format!(
            "revision {revision} has not come yet: the cluster is at {head}"
        )));
    }
    Ok(OperationStep {
        action: "Compact".to_owned(),
        revision: Some(revision),
        ..OperationStep::default()
    })
}
