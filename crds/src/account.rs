//! `RaftUser` and `RaftRole`: who may do what with the keys of a cluster that asks who somebody is.
//!
//! They are carried to the cluster that they name, in the same namespace. Users and roles that people have made there by hand, and
//! that no resource declares, are left alone.
//!
//! This file deliberately knows no password: a user names the Secret that has it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A role in a cluster: what whoever has it may do with which keys.
#[allow(
    clippy::duplicated_attributes,
    reason = "columns may be of the same type"
)]
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "quorate.io",
    version = "v1alpha1",
    kind = "RaftRole",
    namespaced,
    derive = "PartialEq",
    derive = "Default",
    status = "AccountStatus",
    doc = "A role in a RaftCluster: what whoever has it may do with which keys.",
    category = "quorate",
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".spec.clusterName",
        description = "The RaftCluster it is carried to"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    validation = Rule::new("(has(self.spec.roleName) ? self.spec.roleName : self.metadata.name) != 'root'")
        .message("spec.roleName: the role root may do everything and is the operator's; choose another name"),
    cel
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.clusterName == oldSelf.clusterName")
        .message("spec.clusterName of a RaftRole cannot be changed: delete it, and create another that names the other cluster"),
)]
pub struct RaftRoleSpec {
    /// Name of the `RaftCluster` in the same namespace.
    #[schemars(length(min = 1, max = 40))]
    pub cluster_name: String,
    /// What the role is called in the cluster; absent: as the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub role_name: Option<String>,
    /// What may be done, and with which keys; without any, nothing may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub permissions: Vec<Permission>,
}

/// What may be done with some keys: one, those with a prefix, or those in a range.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.key), has(self.prefix), has(self.range)].filter(it, it).size() == 1")
        .message("spec.permissions: name exactly one of key, prefix and range in each; an empty prefix is that of all keys")
)]
pub struct Permission {
    /// What may be done.
    #[serde(rename = "type")]
    pub kind: PermissionType,
    /// With this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub key: Option<String>,
    /// With the keys that begin so; with all, if it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub prefix: Option<String>,
    /// With the keys in this range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<KeyRange>,
}

/// What may be done with keys.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum PermissionType {
    /// Read and watch.
    #[default]
    Read,
    /// Put and delete.
    Write,
    /// Both.
    ReadWrite,
}

/// Keys from one to another, in the order of their bytes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.from < self.to")
        .message("spec.permissions.range: `to` must come after `from`, and is not part of the range; swap them, or name one key")
)]
pub struct KeyRange {
    /// The first key.
    #[schemars(length(min = 1, max = 1024))]
    pub from: String,
    /// The first key that is no more part of it.
    #[schemars(length(min = 1, max = 1024))]
    pub to: String,
}

/// A user of a cluster, with a password or known by a certificate, and the roles of that user.
#[allow(
    clippy::duplicated_attributes,
    reason = "columns may be of the same type"
)]
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "quorate.io",
    version = "v1alpha1",
    kind = "RaftUser",
    namespaced,
    derive = "PartialEq",
    derive = "Default",
    status = "AccountStatus",
    doc = "A user of a RaftCluster, with a password or known by a certificate, and the roles of that user.",
    category = "quorate",
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".spec.clusterName",
        description = "The RaftCluster it is carried to"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    validation = Rule::new("(has(self.spec.userName) ? self.spec.userName : self.metadata.name) != 'root'")
        .message("spec.userName: the user root is the operator's, and spec.auth.rootSecretName of the cluster names its password; choose another name"),
    cel
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.clusterName == oldSelf.clusterName")
        .message("spec.clusterName of a RaftUser cannot be changed: delete it, and create another that names the other cluster"),
    validation = Rule::new("has(self.passwordSecretRef) != self.noPassword")
        .message("spec.passwordSecretRef: name the Secret with the user's password, or set noPassword for a user that is known by its certificate alone; one of them, and not both"),
)]
pub struct RaftUserSpec {
    /// Name of the `RaftCluster` in the same namespace.
    #[schemars(length(min = 1, max = 40))]
    pub cluster_name: String,
    /// What the user is called in the cluster; absent: as the resource. A client that shows a certificate and no token is the user
    /// that its common name says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub user_name: Option<String>,
    /// Where the user's password stands. One that is changed there is carried to the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<PasswordSecret>,
    /// Whether the user is known by its certificate alone.
    #[serde(default)]
    pub no_password: bool,
    /// Names of its roles in the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub roles: Vec<String>,
}

/// Where a password stands.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordSecret {
    /// Name of the Secret in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')")
        .message("spec.passwordSecretRef.name: lower-case letters, digits, dashes and dots, as a Secret is named"))]
    pub name: String,
    /// Its entry.
    #[serde(default = "password")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn password() -> String {
    "password".to_owned()
}

/// How a user or a role stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountStatus {
    /// Generation of the spec that the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: whether the cluster has it as it is declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// Conditions as a list that server-side apply merges by type.
fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let schema = json!({
        "type": "array",
        "description": "Ready: whether the cluster has it as it is declared.",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": generator.subschema_for::<Condition>(),
    });
    Schema::try_from(schema).expect("an object is a schema")
}
