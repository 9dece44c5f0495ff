//! Publish: what the round found and did, for people and for the next round. The status, events, and figures.
//!
//! The status is replaced as a whole, against the very version of the resource that the round was planned on: what it
//! remembers can then never be overwritten by one that knew less. Nothing is written where nothing changed, or where the next round, at
//! once, writes more.
//!
//! It deliberately lets an event be lost: an event tells a person what just changed, and the status tells all that is.

use std::collections::BTreeSet;

use crds::{Quorum, RaftCluster, RaftClusterStatus, Reason, Recovery};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use kube::api::{ObjectMeta, PostParams};
use kube::{Resource, ResourceExt};
use plan::{Action, names};
use sha2::{Digest, Sha256};

use crate::act;
use crate::context::{Context, WriteError};
use crate::gate::Shut;
use crate::kubernetes::{CallError, MANAGER, chain, object};
use crate::metrics::{ClusterFigures, RecoveryFigures};

/// Events that say the same within this time are one.
const EVENT_WINDOW_SECONDS: i64 = 600;
/// The longest note that the events API takes, less a little.
const NOTE_MAX: usize = 1_000;

/// What became of the publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The status stood already as it should, or does with the next round.
    Unchanged,
    /// It was written.
    Written,
    /// The resource has changed since the round began: the next one, soon, begins with the change.
    Overtaken,
}

/// Something for people to read, about a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct News {
    /// Whether it is bad news.
    pub warning: bool,
    /// A CamelCase word: the condition's reason, the gate's name or the action's kind.
    pub reason: String,
    /// What the operator was at, as a CamelCase word.
    pub action: String,
    /// The sentence.
    pub note: String,
}

/// Publishes one round that has done this. If it `passes`, another follows at once, which writes what this one need not have.
///
/// # Errors
/// [`WriteError`], if the status could not be written; what was carried out stands nevertheless.
pub async fn publish(
    ctx: &Context,
    cluster: &RaftCluster,
    status: RaftClusterStatus,
    (done, passes): (&[Action], bool),
) -> Result<Published, WriteError> {
    let old = cluster.status.clone().unwrap_or_default();
    show(ctx, cluster, &status);
    let published = if passes && plan::is_passing(&old, &status) {
        Published::Unchanged
    } else {
        replace_status(ctx, cluster, &status).await?
    };
    if published != Published::Overtaken {
        for news in news(&old, &status, done) {
            tell(ctx, cluster, news).await.map_err(WriteError::Shut)?;
        }
    }
    Ok(published)
}

async fn replace_status(
    ctx: &Context,
    cluster: &RaftCluster,
    status: &RaftClusterStatus,
) -> Result<Published, WriteError> {
    if cluster.status.as_ref() == Some(status) {
        return Ok(Published::Unchanged);
    }
    let namespace = cluster.namespace().unwrap_or_default();
    let wanted = RaftCluster {
        status: Some(status.clone()),
        ..cluster.clone()
    };
    match ctx.replace_status(&namespace, &wanted).await {
        Ok(()) => Ok(Published::Written),
        Err(WriteError::Call(error)) if error.is_conflict() || error.is_absent() => {
            Ok(Published::Overtaken)
        }
        Err(error) => Err(error),
    }
}

fn show(ctx: &Context, cluster: &RaftCluster, status: &RaftClusterStatus) {
    let ready = |condition: &Condition| condition.type_ == "Ready" && condition.status == "True";
    let asleep = |condition: &Condition| condition.reason == Reason::Hibernated.as_str();
    let spare = |quorum: Quorum| i64::from(quorum.healthy - quorum.required);
    let figures = ClusterFigures {
        ready: status.conditions.iter().any(ready),
        members: i64::try_from(status.members.len()).unwrap_or(i64::MAX),
        tolerance: (!status.conditions.iter().any(asleep)).then(|| status.quorum.map_or(-1, spare)),
        paused: cluster.spec.paused,
        first_expiry: status
            .certificates
            .as_ref()
            .and_then(|it| Some(it.first_expiry.as_ref()?.0.as_second())),
        recovery: status.recovery.as_ref().map(recovery_figures),
    };
    ctx.metrics.cluster_stands(
        &cluster.namespace().unwrap_or_default(),
        &cluster.name_any(),
        figures,
    );
}

fn recovery_figures(recovery: &Recovery) -> RecoveryFigures {
    let failed_at = recovery.last_failure.0.as_second();
    let after = |time: &Time| time.0.as_second() - failed_at;
    RecoveryFigures {
        at_risk: i64::from(recovery.voters_at_risk),
        failed_at,
        detected_after: after(&recovery.detected),
        restored_after: recovery.restored.as_ref().map(after),
    }
}

/// What a person would want to be told between two statuses. Pure. Numbers that move are no news.
#[must_use]
pub fn news(old: &RaftClusterStatus, new: &RaftClusterStatus, done: &[Action]) -> Vec<News> {
    let operation = new
        .operation
        .as_ref()
        .map_or("Reconcile", |operation| operation.kind.as_str());
    let acts = done.iter().filter(|it| is_told(it)).map(|action| News {
        warning: false,
        reason: act::kind(action).to_owned(),
        action: operation.to_owned(),
        note: action.to_string(),
    });
    let turns = turned(old, new).into_iter().map(|condition| News {
        warning: is_bad(condition),
        reason: condition.reason.clone(),
        action: operation.to_owned(),
        note: format!(
            "{} is {}: {}",
            condition.type_, condition.status, condition.message
        ),
    });
    let waited_for: BTreeSet<&str> = gates(old).map(|(gate, _)| gate).collect();
    let waits = gates(new)
        .filter(|(gate, _)| !waited_for.contains(gate))
        .map(|(gate, message)| News {
            warning: false,
            reason: gate.to_owned(),
            action: operation.to_owned(),
            note: message.to_owned(),
        });
    let notices = new
        .notices
        .iter()
        .filter(|notice| !old.notices.contains(notice))
        .map(|notice| News {
            warning: true,
            reason: "Notice".to_owned(),
            action: operation.to_owned(),
            note: notice.clone(),
        });
    acts.chain(turns).chain(waits).chain(notices).collect()
}

/// Whether people are told of an action. Not of what only follows another one, or keeps the books: it would bury the rest.
const fn is_told(action: &Action) -> bool {
    !matches!(
        action,
        Action::CreateMember(_)
            | Action::ApplyService(_)
            | Action::ApplyBudget(_)
            | Action::LabelPod { .. }
            | Action::OwnClaim { .. }
            | Action::MarkClaim { .. }
            | Action::TellUser(_)
            | Action::TellRole(_)
            | Action::TellOperation(_)
    )
}

/// Gates by name and message.
fn gates(status: &RaftClusterStatus) -> impl Iterator<Item = (&str, &str)> {
    let blocked = status
        .operation
        .iter()
        .flat_map(|operation| &operation.blocked_by);
    blocked.map(|gate| (gate.gate.as_str(), gate.message.as_str()))
}

/// The conditions that have turned. `Progressing` only where no other one has for the same reason: it would say the same again.
fn turned<'a>(old: &RaftClusterStatus, new: &'a RaftClusterStatus) -> Vec<&'a Condition> {
    const ECHO: &str = "Progressing";
    let all = new.conditions.iter();
    let mut turned: Vec<_> = all.filter(|it| has_turned(old, it)).collect();
    let others = turned.iter().filter(|it| it.type_ != ECHO);
    let reasons: BTreeSet<&str> = others.map(|it| &*it.reason).collect();
    turned.retain(|it| it.type_ != ECHO || !reasons.contains(&*it.reason));
    turned
}

/// A condition that is new is news only if it is bad or brings the first `Ready`.
fn has_turned(old: &RaftClusterStatus, new: &Condition) -> bool {
    match old
        .conditions
        .iter()
        .find(|condition| condition.type_ == new.type_)
    {
        Some(old) => (&old.status, &old.reason) != (&new.status, &new.reason),
        None => is_bad(new) && new.type_ == "Degraded",
    }
}

fn is_bad(condition: &Condition) -> bool {
    let asked_for = [Reason::Hibernate, Reason::Hibernated, Reason::Wake];
    if asked_for.iter().any(|it| it.as_str() == condition.reason) {
        return false;
    }
    match condition.type_.as_str() {
        "Degraded" => condition.status == "True",
        "Available" | "Quorate" => condition.status == "False",
        _ => false,
    }
}

/// Tells the cluster's people what this operator is not permitted to read. The status says nothing of it, for whoever cannot
/// see does not know how the cluster stands; and a log is not where they would look first.
///
/// # Errors
/// [`Shut`], if this process must not write any more.
pub async fn tell_if_forbidden(
    ctx: &Context,
    cluster: &RaftCluster,
    error: &CallError,
) -> Result<(), Shut> {
    if error.code() != Some(403) {
        return Ok(());
    }
    let news = News {
        warning: true,
        reason: "Forbidden".to_owned(),
        action: "Observe".to_owned(),
        note: chain(error),
    };
    tell(ctx, cluster, news).await
}

/// Tells the news once per window: the event's name says what it says, so that a second of the same name is refused.
async fn tell(ctx: &Context, cluster: &RaftCluster, news: News) -> Result<(), Shut> {
    let namespace = cluster.namespace().unwrap_or_default();
    let api = ctx.kubernetes.namespaced::<Event>(&namespace);
    let event = event(ctx, cluster, news);
    let name = event.name_any();
    match ctx
        .write(
            "create",
            object::<Event>(&name),
            api.create(&PostParams::default(), &event),
        )
        .await
    {
        Err(WriteError::Shut(why)) => Err(why),
        Err(WriteError::Call(error)) if !error.is_already_there() => {
            tracing::warn!(error = chain(&error), "an event was lost");
            Ok(())
        }
        Ok(_) | Err(WriteError::Call(_)) => Ok(()),
    }
}

fn event(ctx: &Context, cluster: &RaftCluster, news: News) -> Event {
    let now = ctx.clock.now();
    let window = now.as_second() / EVENT_WINDOW_SECONDS;
    let uid = cluster.uid().unwrap_or_default();
    let said = format!("{uid}/{window}/{}/{}", news.reason, news.note);
    let digest = Sha256::digest(said.as_bytes());
    let suffix: String = digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let note: String = news.note.chars().take(NOTE_MAX).collect();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{suffix}", cluster.name_any())),
            namespace: cluster.namespace(),
            labels: Some([(names::CLUSTER_LABEL.to_owned(), cluster.name_any())].into()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        reporting_controller: Some(format!("{}/{MANAGER}", crds::GROUP)),
        reporting_instance: Some(ctx.instance.to_string()),
        action: Some(news.action),
        reason: Some(news.reason),
        note: Some(note),
        type_: Some(if news.warning { "Warning" } else { "Normal" }.to_owned()),
        regarding: Some(reference(cluster, uid)),
        ..Event::default()
    }
}

fn reference(cluster: &RaftCluster, uid: String) -> ObjectReference {
    ObjectReference {
        api_version: Some(RaftCluster::api_version(&()).into_owned()),
        kind: Some(RaftCluster::kind(&()).into_owned()),
        name: Some(cluster.name_any()),
        namespace: cluster.namespace(),
        uid: Some(uid),
        resource_version: cluster.resource_version(),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests;
