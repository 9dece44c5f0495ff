//! How users and roles stand, on the resources that declare them.
//!
//! It deliberately says nothing of what is on its way: the generation that a status speaks of shows that.

use crds::{AccountStatus, RaftRole, RaftUser};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};

use crate::{action::Action, view::View};

/// Whether a user or a role is as it is declared, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    ready: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn lacking(reason: &'static str, message: String) -> Self {
        Self {
            ready: false,
            reason,
            message,
        }
    }

    pub(super) fn in_force() -> Self {
        Self {
            ready: true,
            reason: "InForce",
            message: "the cluster has it as it is declared".to_owned(),
        }
    }

    pub(super) fn name_taken(name: &str, older: &str) -> Self {
        let message = format!("{older}, which is older, declares {name}; delete one of the two");
        Self::lacking("NameTaken", message)
    }

    pub(super) fn no_password(why: &str) -> Self {
        Self::lacking("PasswordMissing", why.to_owned())
    }

    pub(super) fn no_role(role: &str) -> Self {
        Self::lacking(
            "RoleMissing",
            format!("the cluster has no role {role}; declare it by a RaftRole, or drop it"),
        )
    }

    /// The cluster asks nobody who he is.
    pub(super) fn no_authentication(cluster: &str) -> Self {
        Self::lacking(
            "AuthNotEnabled",
            format!(
                "the RaftCluster {cluster} does not ask who somebody is; set its spec.auth, and see its status for what that waits for"
            ),
        )
    }

    /// There is no such cluster.
    #[must_use]
    pub fn no_cluster(cluster: &str) -> Self {
        let message = format!("there is no RaftCluster {cluster} in this namespace; create it");
        Self::lacking("ClusterMissing", message)
    }

    /// The status of an object that stands so; none if it says so already.
    #[must_use]
    pub fn news(
        &self,
        meta: &ObjectMeta,
        old: Option<&AccountStatus>,
        now: Timestamp,
    ) -> Option<AccountStatus> {
        let status = if self.ready { "True" } else { "False" };
        let before = old.and_then(|it| it.conditions.iter().find(|it| it.type_ == "Ready"));
        let since = before.filter(|it| it.status == status);
        // The API server keeps whole seconds.
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let told = AccountStatus {
            observed_generation: meta.generation,
            conditions: vec![Condition {
                type_: "Ready".to_owned(),
                status: status.to_owned(),
                reason: self.reason.to_owned(),
                message: self.message.clone(),
                observed_generation: meta.generation,
                last_transition_time: since.map_or(Time(now), |it| it.last_transition_time.clone()),
            }],
        };
        (old != Some(&told)).then_some(told)
    }
}

/// Tells users how they stand.
pub(super) fn users(view: &View<'_>, stands: impl Fn(&str) -> Option<Verdict>) -> Vec<Action> {
    let told = |user: &RaftUser| {
        let verdict = stands(user.metadata.name.as_deref()?)?;
        let status = verdict.news(&user.metadata, user.status.as_ref(), view.now)?;
        Some(Action::TellUser(Box::new(RaftUser {
            status: Some(status),
            ..user.clone()
        })))
    };
    view.observed
        .declarations
        .users
        .iter()
        .filter_map(told)
        .collect()
}

/// Tells roles how they stand.
pub(super) fn roles(view: &View<'_>, stands: impl Fn(&str) -> Option<Verdict>) -> Vec<Action> {
    let told = |role: &RaftRole| {
        let verdict = stands(role.metadata.name.as_deref()?)?;
        let status = verdict.news(&role.metadata, role.status.as_ref(), view.now)?;
        Some(Action::TellRole(Box::new(RaftRole {
            status: Some(status),
            ..role.clone()
        })))
    };
    view.observed
        .declarations
        .roles
        .iter()
        .filter_map(told)
        .collect()
}
