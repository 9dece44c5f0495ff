//! Authentication, users and roles as the operator reaches them: what is read of Secrets and asked of a member, and what is changed.
//!
//! A password is read where it stands right before it is sent, and goes nowhere else.

use std::collections::BTreeMap;

use crds::{RaftCluster, RaftRole, RaftUser};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use plan::accounts::{self, USERNAME, Verdict};
use plan::{AccountChange, Accounts, Declarations, Password, PasswordSource, Probe, Target, names};
use serde::Serialize;

use crate::certificates::text;
use crate::context::{Context, WriteError};
use crate::kubernetes::{CallError, Kind};
use crate::members::{Credentials, Endpoint, MembersError};
use crate::observe::endpoint;

/// Users and roles that name the same cluster.
type Naming = (Vec<RaftUser>, Vec<RaftRole>);

/// Users and roles that name a cluster.
///
/// # Errors
/// [`CallError`], if they could not be read.
pub(crate) async fn naming(
    ctx: &Context,
    cluster: &RaftCluster,
    namespace: &str,
) -> Result<Naming, CallError> {
    let in_question = accounts::are_in_question(cluster);
    all(ctx, namespace, &cluster.name_any(), in_question).await
}

async fn all(
    ctx: &Context,
    namespace: &str,
    cluster: &str,
    in_question: bool,
) -> Result<Naming, CallError> {
    let (mut users, mut roles) = tokio::try_join!(
        ctx.list_rare::<RaftUser>(namespace, in_question),
        ctx.list_rare::<RaftRole>(namespace, in_question),
    )?;
    users.retain(|it| it.spec.cluster_name == cluster);
    roles.retain(|it| it.spec.cluster_name == cluster);
    Ok((users, roles))
}

/// What declares the accounts of a cluster, beside the users and roles that name it.
///
/// # Errors
/// [`CallError`], if something could not be read. A Secret that is not there is left out.
pub(crate) async fn declarations(
    ctx: &Context,
    cluster: &RaftCluster,
    (users, roles): Naming,
) -> Result<Declarations, CallError> {
    let namespace = cluster.namespace().unwrap_or_default();
    let mut passwords = Vec::new();
    for (name, key) in accounts::passwords(cluster, &users) {
        let found = ctx.kubernetes.find::<Secret>(&namespace, &name).await?;
        passwords.extend(found.map(|it| password(&it, key)));
    }
    Ok(Declarations {
        users,
        roles,
        passwords,
    })
}

/// Tells users and roles that name a cluster which is not there.
///
/// # Errors
/// [`WriteError`], if one could not be told.
pub(crate) async fn tell_without_cluster(
    ctx: &Context,
    namespace: &str,
    cluster: &str,
) -> Result<(), WriteError> {
    let found = all(ctx, namespace, cluster, true).await;
    let (users, roles) = found.map_err(WriteError::Call)?;
    let (verdict, now) = (Verdict::no_cluster(cluster), ctx.clock.now());
    for user in users {
        if let Some(status) = verdict.news(&user.metadata, user.status.as_ref(), now) {
            let told = RaftUser {
                status: Some(status),
                ..user
            };
            tell(ctx, namespace, &told).await?;
        }
    }
    for role in roles {
        if let Some(status) = verdict.news(&role.metadata, role.status.as_ref(), now) {
            let told = RaftRole {
                status: Some(status),
                ..role
            };
            tell(ctx, namespace, &told).await?;
        }
    }
    Ok(())
}

/// Replaces the status of an object. One that has changed, or gone, is looked at again.
async fn tell<K: Kind + Serialize>(
    ctx: &Context,
    namespace: &str,
    told: &K,
) -> Result<(), WriteError> {
    match ctx.replace_status(namespace, told).await {
        Err(WriteError::Call(error)) if error.is_conflict() || error.is_absent() => Ok(()),
        result => result,
    }
}

fn password(secret: &Secret, key: String) -> Password {
    let entry = |it: &BTreeMap<String, ByteString>| Some(it.get(&key)?.0.len());
    Password {
        secret: target(secret),
        version: secret.resource_version().unwrap_or_default(),
        username: text(secret, USERNAME),
        length: secret.data.as_ref().and_then(entry).unwrap_or(0),
        key,
    }
}

fn target(secret: &Secret) -> Target {
    Target {
        name: secret.name_any(),
        uid: secret.uid().unwrap_or_default(),
    }
}

/// What a member says of accounts that a majority stands behind, or why it refuses to; nothing if it is not to be asked, or nobody can
/// say now.
pub(crate) async fn ask(
    ctx: &Context,
    cluster: &RaftCluster,
    declared: &Declarations,
    (pods, probes): (&[&Pod], &BTreeMap<String, Probe>),
    credentials: Option<&Credentials>,
) -> Option<Result<Accounts, String>> {
    let asked = accounts::asked(cluster, declared)?;
    let agrees = |probe: &&Probe| {
        let answer = probe.answer.as_ref();
        answer.is_ok_and(|it| it.membership.is_some())
    };
    let of = |pod: &&&Pod| {
        let member = pod.labels().get(names::MEMBER_LABEL);
        member.is_some_and(|it| probes.get(it).filter(agrees).is_some())
    };
    let at = endpoint(pods.iter().find(of)?, credentials)?;
    match ctx.members.accounts(&at, &asked).await {
        Ok(found) => Some(Ok(found)),
        Err(error @ MembersError::Refused { .. }) => Some(Err(error.to_string())),
        Err(_) => None,
    }
}

/// Why an account was not changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The member did not do it.
    #[error(transparent)]
    Members(#[from] MembersError),
    /// The Secret could not be read.
    #[error(transparent)]
    Secret(#[from] CallError),
    /// The Secret is not the one that was seen.
    #[error("the Secret {0} has changed since it was read")]
    Changed(String),
}

/// Has a member change an account.
///
/// # Errors
/// [`AccountError`]; the change may have taken effect if the member did not answer.
pub(crate) async fn change(
    ctx: &Context,
    namespace: &str,
    at: &Endpoint,
    change: &AccountChange,
) -> Result<(), AccountError> {
    let password = match change.password() {
        Some(source) => Some(read(ctx, namespace, source).await?),
        None => None,
    };
    let sent = ctx.members.change_account(at, change, password.as_deref());
    Ok(sent.await?)
}

/// The password, if it is still the one that was seen.
async fn read(
    ctx: &Context,
    namespace: &str,
    source: &PasswordSource,
) -> Result<String, AccountError> {
    let name = &source.secret.name;
    let found = ctx.kubernetes.find::<Secret>(namespace, name).await?;
    let same = |it: &Secret| {
        target(it) == source.secret && it.resource_version().as_ref() == Some(&source.version)
    };
    let found = found.filter(same).and_then(|it| text(&it, &source.key));
    found.ok_or_else(|| AccountError::Changed(name.clone()))
}
