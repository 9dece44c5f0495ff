//! `RaftCluster`: what a user asks for.
//!
//! Every default but that of `tls` stands in the schema, so that `kubectl get -o yaml` shows what is in force. Every rule names its field
//! and the way out; each has an accepted and a refused example in `tests/rules.yaml`.
//!
//! This file deliberately holds nothing that the operator finds out: see `status.rs`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    auth::Auth,
    maintenance::MaintenanceWindow,
    network_policy::NetworkPolicyOptions,
    overlay::PodOverlay,
    protection::{DeletionProtection, Disruption},
    repair::RepairPolicy,
    run_state::RunState,
    scheduling::Scheduling,
    space::OnNoSpace,
    status::RaftClusterStatus,
    storage::Storage,
    tls::{self, Tls},
    update::UpdateStrategy,
};

/// A replicated consensus cluster that speaks the etcd v3 API.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "quorate.io",
    version = "v1alpha1",
    kind = "RaftCluster",
    namespaced,
    derive = "PartialEq",
    status = "RaftClusterStatus",
    doc = "A replicated consensus cluster that speaks the etcd v3 API.",
    shortname = "raft",
    category = "quorate",
    category = "all",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.ready",
        description = "Healthy, caught-up voters of the current template, of those wanted"
    ),
    printcolumn(
        name = "Quorate",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Quorate")].status"#,
        description = "Does a majority answer"
    ),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.leader.name"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(
        name = "Operation",
        type_ = "string",
        json_path = ".status.operation.type",
        description = "What the operator is doing; empty when all is done"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Learners",
        type_ = "string",
        json_path = ".status.learners",
        description = "Healthy, caught-up learners of the current template, of those wanted for good",
        priority = 1
    ),
    printcolumn(
        name = "Tolerance",
        type_ = "integer",
        json_path = ".status.quorum.tolerance",
        description = "How many more members may fail before the cluster stops",
        priority = 1
    ),
    printcolumn(name = "Term", type_ = "integer", json_path = ".status.leader.term", priority = 1),
    printcolumn(
        name = "Step",
        type_ = "string",
        json_path = ".status.operation.step",
        priority = 1
    ),
    printcolumn(
        name = "Waiting",
        type_ = "string",
        json_path = ".status.operation.blockedBy[0].message",
        description = "What the operator waits for",
        priority = 1
    ),
    printcolumn(name = "Image", type_ = "string", json_path = ".status.image", priority = 1),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name: lower-case letters, digits and dashes only, starting with a letter, because services carry it; choose such a name"),
    validation = Rule::new("size(self.metadata.name) <= 40")
        .message("metadata.name: at most 40 characters, because member names and labels are made from it; choose a shorter name"),
    validation = tls::peer_changes_by_way_of_disabled(),
    validation = tls::client_changes_by_way_of_plaintext(),
    validation = tls::auth_needs_client_tls(),
    validation = tls::auth_ends_before_client_tls(),
    cel
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.engine == oldSelf.engine")
        .message("spec.engine cannot be changed: the engines' data differ on disk; create a second cluster and move the data through the etcd API")
        .field_path(".engine"),
    validation = Rule::new("self.engine != 'Etcd' || has(self.image)")
        .message("spec.image is required with engine Etcd: name the etcd image to run, with a fixed tag; only Quorate has a default")
        .field_path(".engine"),
    validation = Rule::new("!has(self.options.quotaBackendBytes) || has(self.storage.autoGrow) || !isQuantity(string(self.options.quotaBackendBytes)) || !isQuantity(string(self.storage.size)) || !quantity(string(self.options.quotaBackendBytes)).isGreaterThan(quantity(string(self.storage.size)))")
        .message("spec.options.quotaBackendBytes must not exceed spec.storage.size: lower the quota or choose a larger volume")
        .field_path(".options.quotaBackendBytes"),
    validation = Rule::new("!has(self.options.quotaBackendBytes) || !has(self.storage.autoGrow) || !isQuantity(string(self.options.quotaBackendBytes)) || !isQuantity(string(self.storage.autoGrow.maxSize)) || !quantity(string(self.options.quotaBackendBytes)).isGreaterThan(quantity(string(self.storage.autoGrow.maxSize)))")
        .message("spec.options.quotaBackendBytes must not exceed spec.storage.autoGrow.maxSize, the largest that a volume becomes: lower the quota or raise maxSize")
        .field_path(".options.quotaBackendBytes"),
)]
pub struct RaftClusterSpec {
    /// How many voters the cluster has, 1 to 9. Odd numbers are best: an even one tolerates no more failures than the odd
    /// one below it. `kubectl scale` changes it.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 9))]
    pub replicas: i32,
    /// How many members beside them follow without a vote, for good: they have all data, answer serializable reads, and count for no
    /// majority and no budget. The client service does not send clients to them; their pods bear the label `quorate.io/role:
    /// learner`. The first one needs every member restarted once, to have room for more than the one that joins. With engine Etcd,
    /// 3.6 or newer.
    #[serde(default)]
    #[schemars(range(min = 0, max = 4))]
    pub learners: i32,
    /// The program the members run. Immutable.
    #[serde(default)]
    pub engine: Engine,
    /// The image the members run, with a fixed tag or digest. Default for Quorate: `quorate-node:<version>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("!self.endsWith(':latest')")
        .message("spec.image: the tag `latest` names no fixed version, so that a roll-out could neither be seen nor undone; name a version, such as quorate-node:0.1.0"))]
    #[x_kube(validation = Rule::new("self.matches('^[^@[:space:]]+@sha256:[0-9a-f]{64}$') || self.matches('^[^@[:space:]]+:[A-Za-z0-9_][A-Za-z0-9_.-]*$')")
        .message("spec.image: name a fixed tag or a sha256 digest, such as quorate-node:0.1.0"))]
    pub image: Option<String>,
    /// The version of the default image; with `image` set it is only shown. Default: the version of the operator that saw
    /// the cluster first, kept from then on, so that a newer operator alone restarts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]+[.][0-9]+[.][0-9]+(-[0-9A-Za-z.-]+)?$')")
        .message("spec.version: three numbers such as 0.1.0, without a leading v"))]
    pub version: Option<String>,
    /// The volume of each member.
    pub storage: Storage,
    /// Settings of the members, those of etcd's flags of the same meaning.
    #[serde(default)]
    pub options: Options,
    /// Compute resources of each member's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// TLS between members and towards clients. A surface that is not named has TLS by certificates that the operator makes, in every
    /// cluster that is younger than this default; `status.tlsDefault` says so. Mode Disabled is plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Users and roles are in force; absent: whoever reaches a member may do everything. It needs TLS towards clients. When it is
    /// taken away, members serve everybody again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Who reaches the members over the network; absent: everybody, as far as the operator is concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicyOptions>,
    /// A partial pod, merged over the one the operator renders: scheduling, sidecars, environment, labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodOverlay>,
    /// Where members may run beside each other.
    #[serde(default)]
    pub scheduling: Scheduling,
    /// Whether members run at all. With Hibernated no pod runs: followers are stopped, then the leader. Volumes, services,
    /// the budget and the membership are kept, and changes of the spec wait until it is Running again.
    #[serde(default)]
    pub run_state: RunState,
    /// What becomes of the volumes when the cluster is deleted or a member is removed. After changing Delete to Retain, wait
    /// with the deletion of the cluster until `kubectl get pvc -l quorate.io/cluster=NAME -o
    /// jsonpath='{.items[*].metadata.ownerReferences}'` prints nothing: a claim that still has an owner goes with it.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// What is done when members have used up `options.quotaBackendBytes` and take no writes any more: Reclaim compacts to the
    /// revision of that moment, defragments and disarms the alarm; Report leaves it to you.
    #[serde(default)]
    pub on_no_space: OnNoSpace,
    /// With Enabled the API server refuses to delete the cluster until it is Disabled again, to everybody and in whatever way. It
    /// needs the admission policy of Quorate's chart. It does not protect from the deletion of the namespace, with which the
    /// volumes go, nor from that of the definition.
    #[serde(default)]
    pub deletion_protection: DeletionProtection,
    /// What Kubernetes may do to members by eviction.
    #[serde(default)]
    pub disruption: Disruption,
    /// Stops every change by the operator, but that volumes to be retained are let go; status goes on being refreshed.
    #[serde(default)]
    pub paused: bool,
    /// When a member that cannot come back is replaced by a new one.
    #[serde(default)]
    pub repair_policy: RepairPolicy,
    /// When members that work may be restarted or replaced because the spec has changed; at any time if there are none. What is broken is
    /// repaired, and members are added and taken away, at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub maintenance_windows: Vec<MaintenanceWindow>,
    /// How changes of image, version, options, resources and partial pod reach the members.
    #[serde(default)]
    pub update_strategy: UpdateStrategy,
}

/// The program the members run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Engine {
    /// `quorate-node`.
    #[default]
    Quorate,
    /// Stock etcd, driven through the same flags and API.
    Etcd,
}

/// What becomes of volumes that no member uses any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They are kept. A later cluster of the same name lists them and never uses them.
    #[default]
    Retain,
    /// They are deleted with the cluster, and one by one as members are removed.
    Delete,
}

/// Settings of the members, those of etcd's flags of the same meaning.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.electionTimeoutMilliseconds >= 5 * self.heartbeatMilliseconds")
        .message("spec.options.electionTimeoutMilliseconds must be at least five times spec.options.heartbeatMilliseconds, or a single late heartbeat would depose the leader; raise the one or lower the other")
        .field_path(".electionTimeoutMilliseconds")
)]
pub struct Options {
    /// Size at which the members stop taking writes (etcd's quota-backend-bytes). Absent: 2Gi, or half of the volume if
    /// that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "optional_quantity")]
    #[x_kube(validation = Rule::new("isQuantity(string(self)) && !quantity(string(self)).isLessThan(quantity('16Mi'))")
        .message("spec.options.quotaBackendBytes: a quantity of at least 16Mi, such as 2Gi"))]
    pub quota_backend_bytes: Option<Quantity>,
    /// Throwing away old revisions by itself.
    #[serde(default)]
    pub auto_compaction: AutoCompaction,
    /// How often the leader tells its followers that it lives, in milliseconds.
    #[serde(default = "heartbeat")]
    #[schemars(range(min = 10, max = 10_000))]
    pub heartbeat_milliseconds: i64,
    /// How long a follower waits for a sign of the leader before it stands for election, in milliseconds.
    #[serde(default = "election_timeout")]
    #[schemars(range(min = 50, max = 50_000))]
    pub election_timeout_milliseconds: i64,
    /// How many entries are applied between two snapshots.
    #[serde(default = "snapshot_count")]
    #[schemars(range(min = 100, max = 10_000_000))]
    pub snapshot_count: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            quota_backend_bytes: None,
            auto_compaction: AutoCompaction::default(),
            heartbeat_milliseconds: heartbeat(),
            election_timeout_milliseconds: election_timeout(),
            snapshot_count: snapshot_count(),
        }
    }
}

/// Throwing away old revisions by itself.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.mode != 'Periodic' || has(self.retentionSeconds)")
        .message("spec.options.autoCompaction.retentionSeconds is required with mode Periodic: say how long history is kept, such as 3600"),
    validation = Rule::new("self.mode != 'Revision' || has(self.retentionRevisions)")
        .message("spec.options.autoCompaction.retentionRevisions is required with mode Revision: say how many revisions are kept, such as 10000"),
    validation = Rule::new("self.mode == 'Periodic' || !has(self.retentionSeconds)")
        .message("spec.options.autoCompaction.retentionSeconds goes with mode Periodic only: set that mode or drop the field"),
    validation = Rule::new("self.mode == 'Revision' || !has(self.retentionRevisions)")
        .message("spec.options.autoCompaction.retentionRevisions goes with mode Revision only: set that mode or drop the field")
)]
pub struct AutoCompaction {
    /// Off, by age or by count.
    #[serde(default)]
    pub mode: CompactionMode,
    /// With mode Periodic: how long history is kept, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 31_536_000))]
    pub retention_seconds: Option<i64>,
    /// With mode Revision: how many revisions are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub retention_revisions: Option<i64>,
}

/// By what old revisions are thrown away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CompactionMode {
    /// Never by itself; clients compact.
    #[default]
    Off,
    /// Those older than `retentionSeconds`.
    Periodic,
    /// All but the last `retentionRevisions`.
    Revision,
}

/// Compute resources of each member's container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// What the scheduler sets aside, such as `{cpu: 500m, memory: 1Gi}`. Of what is neither requested nor limited, 100m of cpu and
    /// 100Mi of memory.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub requests: BTreeMap<String, Quantity>,
    /// What the member may not exceed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub limits: BTreeMap<String, Quantity>,
}

const fn three() -> i32 {
    3
}

const fn heartbeat() -> i64 {
    100
}

const fn election_timeout() -> i64 {
    1000
}

const fn snapshot_count() -> i64 {
    10_000
}

/// A Kubernetes quantity, with a short description in place of the page that the general type carries.
pub(crate) fn quantity(_: &mut SchemaGenerator) -> Schema {
    let schema = json!({
        "x-kubernetes-int-or-string": true,
    });
    Schema::try_from(schema).expect("an object is a schema")
}

fn optional_quantity(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = quantity(generator);
    schema.insert("nullable".into(), json!(true));
    schema
}

fn quantities(generator: &mut SchemaGenerator) -> Schema {
    let schema = json!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": quantity(generator),
    });
    Schema::try_from(schema).expect("an object is a schema")
}
