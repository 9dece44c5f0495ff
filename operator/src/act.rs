//! Act: all writes of a round but its publication. One action, one call; the first that fails ends the round, unless nothing
//! builds on it and the API server has said no to it.
//!
//! A service, a budget, a NetworkPolicy, a label, an owner or a pod that is refused for good, as by an admission policy, a quota or an object
//! of somebody else's, must not keep the other members from being repaired: the round goes on and reports its first
//! failure. Going on was chosen over putting those actions last: the order of a plan stays the same before and after the
//! cluster is born, and a pod that is refused starves neither the owner of a volume nor a change of the membership. The
//! one pod that founds a cluster waits for all before it, for without services it finds no name. Where no answer came at
//! all, the round ends: the next call would hardly fare better.
//!
//! Every call carries the ground its action stands on: a creation fails on a taken name, a change and a deletion name the
//! uid, and a change of the membership is sent only if a linearizable read right before it finds the membership that it
//! was planned on.
//!
//! It deliberately repeats nothing and repairs nothing: a round that failed is followed by one that looks again.

mod membership;

use crds::{RaftMember, RaftOperation};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use plan::observed::PROBE_AGE_MAX;
use plan::{
    Action, Authority, Certificate, Entered, Failure, Issue, Observed, Outcome, Target, names,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::accounts::{self, AccountError};
use crate::certificates::{self, CertificateError};
use crate::context::{Context, WriteError};
use crate::gate::Shut;
use crate::kubernetes::{Kind, chain, object};
use crate::members::{Credentials, MembersError};

/// An action that did not take effect, or whose effect is not known.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The call to the API server.
    #[error(transparent)]
    Write(WriteError),
    /// The call to a member.
    #[error(transparent)]
    Members(MembersError),
    /// The membership is not the one that the action was planned on.
    #[error("the membership has changed since it was planned")]
    GroundLost,
    /// The Secret with the CA is not the one that was seen.
    #[error("the Secret with the CA is gone or another one since it was planned on")]
    SecretChanged,
    /// What was to be issued could not be made.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// The change of an account.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// What was observed is too old to stop a member by.
    #[error("the members were asked too long ago")]
    Outdated,
    /// Somebody has changed the object since it was read.
    #[error("{object} has changed since it was read; it is looked at again")]
    Overtaken {
        /// Which.
        object: String,
    },
    /// The member through which the call should be made has no address any more.
    #[error("{via} has no address")]
    NoWay {
        /// The member's name.
        via: String,
    },
}

impl ActError {
    /// Whether the API server has answered, and its answer was no.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Write(WriteError::Call(error)) if error.code().is_some())
    }

    /// Whether a member will do what it was asked, but not yet.
    fn is_not_yet(&self) -> bool {
        matches!(
            self,
            Self::Members(MembersError::NotYet { .. })
                | Self::Overtaken { .. }
                | Self::Account(AccountError::Changed(_))
        )
    }

    /// How it is counted.
    fn label(&self) -> &'static str {
        if self.is_not_yet() {
            "postponed"
        } else {
            "error"
        }
    }

    /// Whether, and why, this process must not write any more.
    #[must_use]
    pub fn shut(&self) -> Option<Shut> {
        match self {
            Self::Write(WriteError::Shut(why)) => Some(*why),
            _ => None,
        }
    }
}

/// Where the actions of one round take place.
struct Stage<'a> {
    ctx: &'a Context,
    namespace: String,
    observed: &'a Observed,
    /// What is shown to the members, where they ask for it.
    credentials: Option<&'a Credentials>,
}

/// Carries the actions out, in their order, until one fails on which others may build.
///
/// # Errors
/// [`Shut`], if this process must not write any more: then nothing is to be published either.
pub async fn act(
    ctx: &Context,
    namespace: &str,
    (observed, credentials): (&Observed, Option<&Credentials>),
    actions: &[Action],
) -> Result<Outcome, Shut> {
    let stage = Stage {
        ctx,
        namespace: namespace.to_owned(),
        observed,
        credentials,
    };
    let mut outcome = Outcome::default();
    for action in actions {
        if outcome.failed.is_some() && action.founds() {
            break;
        }
        let result = stage.carry_out(action, &mut outcome.entered).await;
        let label = result.as_ref().map_or_else(ActError::label, |()| "success");
        ctx.metrics.acted(kind(action), label);
        match result {
            Ok(()) => {
                tracing::info!(%action, "done");
                outcome.done.push(action.clone());
            }
            Err(error) => {
                if let Some(why) = error.shut() {
                    return Err(why);
                }
                if error.is_not_yet() {
                    tracing::debug!(%action, error = chain(&error), "postponed");
                    outcome.postponed = Some(chain(&error));
                    break;
                }
                outcome.failed.get_or_insert(Failure {
                    action: action.to_string(),
                    error: chain(&error),
                });
                if !(action.stands_alone() && error.is_refusal()) {
                    break;
                }
            }
        }
    }
    Ok(outcome)
}

impl Stage<'_> {
    /// Carries one action out; whom the membership took in is among those who `entered`.
    async fn carry_out(&self, action: &Action, entered: &mut Entered) -> Result<(), ActError> {
        match action {
            Action::ApplyService(service) => self.apply(service.as_ref()).await,
            Action::ApplyBudget(budget) => self.apply(budget.as_ref()).await,
            Action::ApplyNetworkPolicy(policy) => self.apply(policy.as_ref()).await,
            Action::DeleteNetworkPolicy { policy } => self.delete::<NetworkPolicy>(policy).await,
            Action::ApplyCertificate(certificate) => self.apply(certificate.as_ref()).await,
            Action::DeleteCertificate { certificate: it } => self.delete::<Certificate>(it).await,
            Action::IssueCertificates(issue) => self.issue(issue).await,
            Action::CreateSnapshot(snapshot) => self.create(snapshot.as_ref()).await,
            Action::CreateMember(member) => self.create(member.as_ref()).await,
            Action::CreateClaim(claim) => self.create(claim.as_ref()).await,
            Action::CreatePod(pod) => self.create(pod.as_ref()).await,
            Action::LabelPod { pod, role } => {
                let labels = json!({ "labels": { names::ROLE_LABEL: role.as_str() } });
                self.patch::<Pod>(pod, labels).await
            }
            Action::OwnClaim { claim, owner } => self.own(claim, owner.as_ref()).await,
            Action::MarkClaim { claim, key, value } => self.mark(claim, key, value).await,
            Action::GrowClaim { claim, size } => self.grow(claim, size).await,
            Action::DeletePod { pod, .. } => {
                self.still_fresh()?;
                self.delete::<Pod>(pod).await
            }
            Action::DeleteMember { member } => self.delete::<RaftMember>(member).await,
            Action::DeleteClaim { claim } => self.delete::<PersistentVolumeClaim>(claim).await,
            Action::AddLearner {
                name,
                peer_url,
                ground,
            } => {
                entered.insert(name.clone(), self.add_learner(peer_url, ground).await?);
                Ok(())
            }
            Action::Promote { id, ground, .. } => {
                let via = self.stand_on(ground).await?;
                self.sent(self.ctx.members.promote(&via, *id).await)
            }
            Action::RemoveMember { id, ground, .. } => {
                let via = self.stand_on(ground).await?;
                self.sent(self.ctx.members.remove(&via, *id).await)
            }
            Action::UpdatePeerUrl {
                id,
                peer_url,
                ground,
                ..
            } => self.update_peer_url(*id, peer_url, ground).await,
            Action::MoveLeader { to_id, ground, .. } => {
                let via = self.stand_on(ground).await?;
                self.sent(self.ctx.members.move_leader(&via, *to_id).await)
            }
            Action::Defragment { name, ground } => {
                self.stand_on(ground).await?;
                let at = self.way_to(name)?;
                self.sent(self.ctx.members.defragment(&at).await)
            }
            Action::Compact { revision, ground } => self.compact(*revision, ground).await,
            Action::Disarm { alarm, id, ground } => self.disarm(*alarm, *id, ground).await,
            Action::ChangeAccount { change, ground } => {
                let via = self.stand_on(ground).await?;
                Ok(accounts::change(self.ctx, &self.namespace, &via, change).await?)
            }
            Action::TellUser(user) => self.tell(user.as_ref()).await,
            Action::TellRole(role) => self.tell(role.as_ref()).await,
            Action::TellOperation(operation) => self.tell(operation.as_ref()).await,
            Action::DeleteOperation { operation } => self.delete::<RaftOperation>(operation).await,
        }
    }

    async fn own(&self, claim: &Target, owner: Option<&OwnerReference>) -> Result<(), ActError> {
        let owners = json!({ "ownerReferences": owner.map(|owner| [owner]) });
        self.patch::<PersistentVolumeClaim>(claim, owners).await
    }

    async fn mark(&self, claim: &Target, key: &str, value: &str) -> Result<(), ActError> {
        let annotations = json!({ "annotations": { key: value } });
        self.patch::<PersistentVolumeClaim>(claim, annotations)
            .await
    }

    /// Another size of a claim, which its annotation says too.
    async fn grow(&self, claim: &Target, size: &str) -> Result<(), ActError> {
        let growth = json!({
            "metadata": { "annotations": { names::SIZE: size } },
            "spec": { "resources": { "requests": { "storage": size } } },
        });
        self.merge::<PersistentVolumeClaim>(claim, growth).await
    }

    fn api<K: Kind>(&self) -> Api<K> {
        self.ctx.kubernetes.namespaced(&self.namespace)
    }

    /// Server-side apply of the whole object, as its one owner.
    async fn apply<K: Kind + Serialize>(&self, wanted: &K) -> Result<(), ActError> {
        let (api, name) = (self.api::<K>(), wanted.name_any());
        let parameters = PatchParams::apply(names::FIELD_MANAGER).force();
        let patch = Patch::Apply(wanted);
        self.write(
            "patch",
            object::<K>(&name),
            api.patch(&name, &parameters, &patch),
        )
        .await
    }

    async fn create<K: Kind + Serialize>(&self, wanted: &K) -> Result<(), ActError> {
        let (api, name) = (self.api::<K>(), wanted.name_any());
        let parameters = PostParams {
            field_manager: Some(names::FIELD_MANAGER.into()),
            dry_run: false,
        };
        self.write(
            "create",
            object::<K>(&name),
            api.create(&parameters, wanted),
        )
        .await
    }

    /// Keys and certificates into a Secret. A CA that is kept is read again, live, and must be the one that was seen.
    async fn issue(&self, issue: &Issue) -> Result<(), ActError> {
        let kept = match &issue.authority {
            Authority::New { .. } => None,
            Authority::Kept { secret }
            | Authority::Beside { secret, .. }
            | Authority::Next { secret }
            | Authority::Alone { secret } => Some(self.seen_secret(secret).await?),
        };
        let entries = certificates::make(issue, kept.as_ref(), self.ctx.clock.now())?;
        let Some(target) = &issue.replaces else {
            let mut secret = issue.secret.as_ref().clone();
            secret.data = Some(entries);
            return self.create(&secret).await;
        };
        let api = self.api::<Secret>();
        let parameters = PatchParams {
            field_manager: Some(names::FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let metadata = json!({ "uid": target.uid, "resourceVersion": issue.version });
        let mut patch = json!({ "metadata": metadata, "data": entries });
        for entry in certificates::gone(&issue.authority) {
            patch["data"][*entry] = Value::Null;
        }
        let patch = Patch::Merge(patch);
        let call = api.patch(&target.name, &parameters, &patch);
        let object = object::<Secret>(&target.name);
        overtaken(self.write("patch", object.clone(), call).await, object)
    }

    async fn seen_secret(&self, target: &Target) -> Result<Secret, ActError> {
        let found = self
            .ctx
            .kubernetes
            .find::<Secret>(&self.namespace, &target.name)
            .await;
        let found = found.map_err(|error| ActError::Write(WriteError::Call(error)))?;
        let same = |it: &Secret| it.metadata.uid.as_ref() == Some(&target.uid);
        found.filter(same).ok_or(ActError::SecretChanged)
    }

    /// A merge patch of the metadata that fails on any other object of that name.
    async fn patch<K: Kind>(&self, target: &Target, metadata: Value) -> Result<(), ActError> {
        self.merge::<K>(target, json!({ "metadata": metadata }))
            .await
    }

    /// A merge patch that fails on any other object of that name.
    async fn merge<K: Kind>(&self, target: &Target, mut change: Value) -> Result<(), ActError> {
        change["metadata"]["uid"] = target.uid.clone().into();
        let (api, name) = (self.api::<K>(), &target.name);
        let parameters = PatchParams {
            field_manager: Some(names::FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(change);
        self.write(
            "patch",
            object::<K>(name),
            api.patch_metadata(name, &parameters, &patch),
        )
        .await
    }

    /// A deletion of this very object; of one that is gone already there is nothing to do.
    async fn delete<K: Kind>(&self, target: &Target) -> Result<(), ActError> {
        let (api, name) = (self.api::<K>(), &target.name);
        let preconditions = Preconditions {
            uid: Some(target.uid.clone()),
            resource_version: None,
        };
        let parameters = DeleteParams::background().preconditions(preconditions);
        match self
            .write("delete", object::<K>(name), api.delete(name, &parameters))
            .await
        {
            Err(ActError::Write(WriteError::Call(error))) if error.is_absent() => Ok(()),
            result => result,
        }
    }

    /// Replaces an object's status, at the very version that was read.
    async fn tell<K: Kind + Serialize>(&self, told: &K) -> Result<(), ActError> {
        let sent = self.ctx.replace_status(&self.namespace, told).await;
        overtaken(sent.map_err(ActError::Write), object::<K>(&told.name_any()))
    }

    async fn write<T>(
        &self,
        verb: &'static str,
        object: String,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<(), ActError> {
        let written = self.ctx.write(verb, object, call).await;
        written.map(drop).map_err(ActError::Write)
    }

    /// Slow calls may have come before: others may be down by now that answered then.
    fn still_fresh(&self) -> Result<(), ActError> {
        let age = self.ctx.clock.now().duration_since(self.observed.taken_at);
        if age > PROBE_AGE_MAX {
            return Err(ActError::Outdated);
        }
        Ok(())
    }
}

/// A write that found another version than the one it was planned on has only come too late.
fn overtaken(result: Result<(), ActError>, object: String) -> Result<(), ActError> {
    match result {
        Err(ActError::Write(WriteError::Call(error)))
            if error.is_conflict() || error.is_absent() =>
        {
            Err(ActError::Overtaken { object })
        }
        result => result,
    }
}

/// The action's kind, as metrics and events name it.
pub(crate) fn kind(action: &Action) -> &'static str {
    match action {
        Action::ApplyService(_) => "ApplyService",
        Action::ApplyBudget(_) => "ApplyBudget",
        Action::ApplyNetworkPolicy(_) => "ApplyNetworkPolicy",
        Action::DeleteNetworkPolicy { .. } => "DeleteNetworkPolicy",
        Action::ApplyCertificate(_) => "ApplyCertificate",
        Action::DeleteCertificate { .. } => "DeleteCertificate",
        Action::IssueCertificates(_) => "IssueCertificates",
        Action::CreateSnapshot(_) => "CreateSnapshot",
        Action::CreateMember(_) => "CreateMember",
        Action::CreateClaim(_) => "CreateClaim",
        Action::CreatePod(_) => "CreatePod",
        Action::LabelPod { .. } => "LabelPod",
        Action::OwnClaim { .. } => "OwnClaim",
        Action::GrowClaim { .. } => "GrowClaim",
        Action::MarkClaim { .. } => "MarkClaim",
        Action::DeletePod { .. } => "DeletePod",
        Action::DeleteMember { .. } => "DeleteMember",
        Action::DeleteClaim { .. } => "DeleteClaim",
        Action::AddLearner { .. } => "AddLearner",
        Action::Promote { .. } => "Promote",
        Action::RemoveMember { .. } => "RemoveMember",
        Action::UpdatePeerUrl { .. } => "UpdatePeerUrl",
        Action::MoveLeader { .. } => "MoveLeader",
        Action::Defragment { .. } => "Defragment",
        Action::Compact { .. } => "Compact",
        Action::ChangeAccount { .. } => "ChangeAccount",
        Action::Disarm { .. } => "Disarm",
        Action::TellUser(_) => "TellUser",
        Action::TellRole(_) => "TellRole",
        Action::TellOperation(_) => "TellOperation",
        Action::DeleteOperation { .. } => "DeleteOperation",
    }
}

#[cfg(test)]
mod tests;
