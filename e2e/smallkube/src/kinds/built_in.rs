//! The table of built-in kinds, with their schemas out of the Kubernetes types and their columns as `kubectl get` shows them.
//!
//! Only kinds that something here acts on, or that a client writes and reads back, stand in it. It deliberately lists no
//! workload kind (Deployment, StatefulSet, Job): nothing here would run one, and storing it would look as if.

use super::{Cell, Column, Kind, resource_name};
use crate::object::Object;
use crate::schema::Schema;
use k8s_openapi::api::{coordination, core, discovery, events, networking, policy, storage};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value};
use std::sync::{Arc, OnceLock};

struct Row {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    status: bool,
    schema: Option<fn() -> Value>,
    columns: fn() -> Vec<Column>,
}

const fn row(group: &'static str, kind: &'static str, plural: &'static str) -> Row {
    Row {
        group,
        version: "v1",
        kind,
        plural,
        short: &[],
        namespaced: true,
        status: false,
        schema: None,
        columns: plain,
    }
}

impl Row {
    const fn of(mut self, schema: fn() -> Value) -> Self {
        self.schema = Some(schema);
        self
    }
    const fn short(mut self, names: &'static [&'static str]) -> Self {
        self.short = names;
        self
    }
    const fn cluster(mut self) -> Self {
        self.namespaced = false;
        self
    }
    const fn status(mut self) -> Self {
        self.status = true;
        self
    }
    const fn shows(mut self, columns: fn() -> Vec<Column>) -> Self {
        self.columns = columns;
        self
    }
}

fn rows() -> Vec<Row> {
    let mut rows = core_rows();
    rows.extend([
        row("policy", "PodDisruptionBudget", "poddisruptionbudgets")
            .of(of::<policy::v1::PodDisruptionBudget>)
            .short(&["pdb"])
            .status()
            .shows(budgets),
        row("networking.k8s.io", "NetworkPolicy", "networkpolicies")
            .of(of::<networking::v1::NetworkPolicy>)
            .short(&["netpol"])
            .shows(network_policies),
        row("coordination.k8s.io", "Lease", "leases")
            .of(of::<coordination::v1::Lease>)
            .shows(leases),
        row("events.k8s.io", "Event", "events")
            .of(of::<events::v1::Event>)
            .short(&["ev"]),
        row("discovery.k8s.io", "EndpointSlice", "endpointslices")
            .of(of::<discovery::v1::EndpointSlice>)
            .shows(slices),
        row("storage.k8s.io", "StorageClass", "storageclasses")
            .of(of::<storage::v1::StorageClass>)
            .short(&["sc"])
            .cluster()
            .shows(classes),
        row(
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            "customresourcedefinitions",
        )
        .short(&["crd", "crds"])
        .cluster()
        .status(),
    ]);
    rows
}

fn core_rows() -> Vec<Row> {
    vec![
        row("", "Namespace", "namespaces")
            .of(of::<core::v1::Namespace>)
            .short(&["ns"])
            .cluster()
            .status()
            .shows(phases),
        row("", "Node", "nodes")
            .of(of::<core::v1::Node>)
            .short(&["no"])
            .cluster()
            .status()
            .shows(nodes),
        row("", "Pod", "pods")
            .of(of::<core::v1::Pod>)
            .short(&["po"])
            .status()
            .shows(pods),
        row("", "Service", "services")
            .of(of::<core::v1::Service>)
            .short(&["svc"])
            .status()
            .shows(services),
        row("", "Endpoints", "endpoints")
            .of(of::<core::v1::Endpoints>)
            .short(&["ep"]),
        row("", "PersistentVolumeClaim", "persistentvolumeclaims")
            .of(of::<core::v1::PersistentVolumeClaim>)
            .short(&["pvc"])
            .status()
            .shows(claims),
        row("", "PersistentVolume", "persistentvolumes")
            .of(of::<core::v1::PersistentVolume>)
            .short(&["pv"])
            .cluster()
            .status()
            .shows(volumes),
        row("", "ConfigMap", "configmaps")
            .of(of::<core::v1::ConfigMap>)
            .short(&["cm"]),
        row("", "Secret", "secrets").of(of::<core::v1::Secret>),
        row("", "ServiceAccount", "serviceaccounts")
            .of(of::<core::v1::ServiceAccount>)
            .short(&["sa"]),
        row("", "Event", "events")
            .of(of::<core::v1::Event>)
            .short(&["ev"])
            .shows(happenings),
    ]
}

/// Every built-in kind.
pub(super) fn kinds() -> Vec<Kind> {
    rows().into_iter().map(kind).collect()
}

fn kind(row: Row) -> Kind {
    let source = row.schema.map_or(Value::Null, |schema| schema());
    let mut columns = vec![name_column()];
    columns.extend((row.columns)());
    Kind {
        group: row.group.to_owned(),
        version: row.version.to_owned(),
        kind: row.kind.to_owned(),
        plural: row.plural.to_owned(),
        singular: row.kind.to_lowercase(),
        short_names: row.short.iter().map(|&s| s.to_owned()).collect(),
        categories: ["pods", "services"]
            .contains(&row.plural)
            .then(|| "all".to_owned())
            .into_iter()
            .collect(),
        namespaced: row.namespaced,
        status: row.status,
        scale: None,
        custom: false,
        schema: (!source.is_null()).then(|| compiled(&source)),
        source: Value::Null,
        rules: None,
        columns,
        resource: resource_name(row.group, row.plural),
    }
}

fn of<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    generator.into_root_schema_for::<T>().to_value()
}

fn compiled(source: &Value) -> Schema {
    let none = Map::new();
    let definitions = source.entries("/$defs").unwrap_or(&none);
    Schema::compile_with(source, definitions)
        .expect("the schemas of the Kubernetes types are compiled in and tested")
}

/// The schema of `metadata`, shared by every custom kind.
pub(super) fn object_meta() -> Arc<Schema> {
    static META: OnceLock<Arc<Schema>> = OnceLock::new();
    META.get_or_init(|| Arc::new(compiled(&of::<ObjectMeta>())))
        .clone()
}

/// The first column of every kind.
pub(super) fn name_column() -> Column {
    Column {
        format: "name".to_owned(),
        description: NAME.to_owned(),
        ..column("Name", ".metadata.name")
    }
}

/// What Kubernetes says of a name, wherever one is explained.
const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources \
may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation \
idempotence and configuration definition. Cannot be updated. More info: \
https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";

/// The last column of most kinds.
pub(super) fn age_column() -> Column {
    Column {
        form: "date".to_owned(),
        ..column("Age", ".metadata.creationTimestamp")
    }
}

fn column(name: &str, path: &str) -> Column {
    Column {
        name: name.to_owned(),
        form: "string".to_owned(),
        format: String::new(),
        description: String::new(),
        priority: 0,
        cell: Cell::Path(path.to_owned()),
    }
}

fn shown(name: &str, cell: fn(&Value) -> String) -> Column {
    Column {
        cell: Cell::Shown(cell),
        ..column(name, "")
    }
}

fn wide(column: Column) -> Column {
    Column {
        priority: 1,
        ..column
    }
}

fn plain() -> Vec<Column> {
    vec![age_column()]
}

fn phases() -> Vec<Column> {
    vec![column("Status", ".status.phase"), age_column()]
}

fn nodes() -> Vec<Column> {
    let status = |node: &Value| {
        let ready = node
            .items("/status/conditions")
            .iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True");
        let ready = if ready { "Ready" } else { "NotReady" };
        if node["spec"]["unschedulable"] == true {
            format!("{ready},SchedulingDisabled")
        } else {
            ready.to_owned()
        }
    };
    vec![
        shown("Status", status),
        age_column(),
        column("Version", ".status.nodeInfo.kubeletVersion"),
    ]
}

fn pods() -> Vec<Column> {
    let ready = |pod: &Value| {
        let statuses = pod.items("/status/containerStatuses");
        let ready = statuses.iter().filter(|c| c["ready"] == true).count();
        format!("{ready}/{}", pod.items("/spec/containers").len())
    };
    let restarts = |pod: &Value| {
        let statuses = pod.items("/status/containerStatuses");
        let sum: i64 = statuses
            .iter()
            .filter_map(|c| c["restartCount"].as_i64())
            .sum();
        sum.to_string()
    };
    vec![
        shown("Ready", ready),
        shown("Status", pod_status),
        shown("Restarts", restarts),
        age_column(),
        wide(column("IP", ".status.podIP")),
        wide(column("Node", ".spec.nodeName")),
    ]
}

/// The one word for a pod: its waiting or ending reason where there is one, else its phase.
fn pod_status(pod: &Value) -> String {
    if pod.ends() {
        return "Terminating".to_owned();
    }
    let mut word = match pod.text("/status/reason") {
        "" => pod.text("/status/phase"),
        reason => reason,
    };
    for status in pod.items("/status/containerStatuses") {
        for place in ["/state/waiting/reason", "/state/terminated/reason"] {
            if !status.text(place).is_empty() {
                word = status.text(place);
            }
        }
    }
    word.to_owned()
}

fn services() -> Vec<Column> {
    let ports = |service: &Value| {
        let ports: Vec<String> = service
            .items("/spec/ports")
            .iter()
            .map(|p| format!("{}/{}", p["port"], p.text("/protocol")))
            .collect();
        ports.join(",")
    };
    vec![
        column("Type", ".spec.type"),
        column("Cluster-IP", ".spec.clusterIP"),
        shown("External-IP", |_| "<none>".to_owned()),
        shown("Port(s)", ports),
        age_column(),
    ]
}

fn claims() -> Vec<Column> {
    vec![
        column("Status", ".status.phase"),
        column("Volume", ".spec.volumeName"),
        column("Capacity", ".status.capacity.storage"),
        shown("Access Modes", access_modes),
        column("StorageClass", ".spec.storageClassName"),
        age_column(),
    ]
}

fn volumes() -> Vec<Column> {
    let claim = |volume: &Value| match volume.text("/spec/claimRef/name") {
        "" => String::new(),
        name => format!("{}/{name}", volume.text("/spec/claimRef/namespace")),
    };
    vec![
        column("Capacity", ".spec.capacity.storage"),
        shown("Access Modes", access_modes),
        column("Reclaim Policy", ".spec.persistentVolumeReclaimPolicy"),
        column("Status", ".status.phase"),
        shown("Claim", claim),
        column("StorageClass", ".spec.storageClassName"),
        age_column(),
    ]
}

fn access_modes(object: &Value) -> String {
    let short = object.items("/spec/accessModes").iter().map(|mode| {
        match mode.as_str().unwrap_or_default() {
            "ReadWriteOnce" => "RWO",
            "ReadOnlyMany" => "ROX",
            "ReadWriteMany" => "RWX",
            "ReadWriteOncePod" => "RWOP",
            other => other,
        }
    });
    short.collect::<Vec<_>>().join(",")
}

fn budgets() -> Vec<Column> {
    vec![
        column("Min Available", ".spec.minAvailable"),
        column("Max Unavailable", ".spec.maxUnavailable"),
        column("Allowed Disruptions", ".status.disruptionsAllowed"),
        age_column(),
    ]
}

fn network_policies() -> Vec<Column> {
    let selected = |policy: &Value| selector_text(&policy["spec"]["podSelector"]);
    vec![shown("Pod-Selector", selected), age_column()]
}

/// A structured selector as `kubectl` writes one, by key.
fn selector_text(selector: &Value) -> String {
    let labels = selector.entries("/matchLabels").into_iter().flatten();
    let mut all: Vec<(&str, String)> = labels
        .map(|(key, value)| {
            let value = value.as_str().unwrap_or_default();
            (key.as_str(), format!("{key}={value}"))
        })
        .collect();
    let expressions = selector.items("/matchExpressions");
    all.extend(
        expressions
            .iter()
            .map(|it| (it.text("/key"), requirement_text(it))),
    );
    if all.is_empty() {
        return "<none>".to_owned();
    }
    all.sort_by_key(|it| it.0);
    let texts: Vec<String> = all.into_iter().map(|it| it.1).collect();
    texts.join(",")
}

fn requirement_text(requirement: &Value) -> String {
    let (key, values) = (requirement.text("/key"), requirement.items("/values"));
    let mut values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
    values.sort_unstable();
    let values = values.join(",");
    match requirement.text("/operator") {
        "In" => format!("{key} in ({values})"),
        "NotIn" => format!("{key} notin ({values})"),
        "DoesNotExist" => format!("!{key}"),
        _ => key.to_owned(),
    }
}

fn leases() -> Vec<Column> {
    vec![column("Holder", ".spec.holderIdentity"), age_column()]
}

fn slices() -> Vec<Column> {
    let addresses = |slice: &Value| {
        let all: Vec<&str> = slice
            .items("/endpoints")
            .iter()
            .map(|e| e.text("/addresses/0"))
            .collect();
        all.join(",")
    };
    vec![
        column("AddressType", ".addressType"),
        column("Ports", ".ports[*].port"),
        shown("Endpoints", addresses),
        age_column(),
    ]
}

fn classes() -> Vec<Column> {
    vec![
        column("Provisioner", ".provisioner"),
        column("ReclaimPolicy", ".reclaimPolicy"),
        column("VolumeBindingMode", ".volumeBindingMode"),
        age_column(),
    ]
}

fn happenings() -> Vec<Column> {
    let about = |event: &Value| {
        format!(
            "{}/{}",
            event.text("/involvedObject/kind").to_lowercase(),
            event.text("/involvedObject/name")
        )
    };
    vec![
        Column {
            form: "date".to_owned(),
            ..column("Last Seen", ".lastTimestamp")
        },
        column("Type", ".type"),
        column("Reason", ".reason"),
        shown("Object", about),
        column("Message", ".message"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pods_status_is_its_containers_reason() {
        let pod = json!({"status": {"phase": "Running", "containerStatuses": [
            {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}});
        assert_eq!(pod_status(&pod), "CrashLoopBackOff");
    }

    #[test]
    fn every_built_in_schema_compiles() {
        let with_schema = kinds().into_iter().filter(|k| k.schema.is_some()).count();
        assert_eq!(with_schema, rows().len() - 1);
    }
}
