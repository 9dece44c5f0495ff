//! Authentication: whether members ask who somebody is before they serve him.
//!
//! The operator needs no password for it: it shows the members a certificate of `root`. So authentication comes with TLS towards
//! clients, and the password of `root` in its Secret is for people.
//!
//! This file deliberately holds no user and no role but `root`, without whom nothing can be asked of members.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Users and roles are in force: who is nobody is served nothing.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// The Secret with the password of the user `root`, of type `kubernetes.io/basic-auth`: `username` is `root`, `password` what
    /// people show. A password that is changed there is carried to the members.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')")
        .message("spec.auth.rootSecretName: lower-case letters, digits, dashes and dots, as a Secret is named"))]
    pub root_secret_name: String,
}

/// What the operator remembers of authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthStatus {
    /// Whether the members ask who somebody is, as they said last.
    #[serde(default)]
    pub enabled: bool,
    /// Users that the operator makes, remembered before they are made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<UserAccount>,
    /// Roles that the operator makes, remembered before they are made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Of what all is as it was declared; while that stays the same, members are not asked for their users and roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<String>,
}

/// A user that the operator makes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserAccount {
    /// Its name.
    pub name: String,
    /// The version of the Secret whose password it has; absent until that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_version: Option<String>,
    /// Whether it was made without a password.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_password: bool,
}
