//! `Spec`: the resource read once, with everything worked out that the rest of the planner asks for, or a list of what is
//! wrong with it.
//!
//! The schema refuses most of what cannot work before it gets here. What CEL cannot see is checked here, and so is what an
//! older schema may have let through.
//!
//! This file deliberately looks at the resource only: whether the cluster follows its spec is asked elsewhere.

use std::collections::BTreeMap;

use crds::overlay::{MEMBER_CONTAINER, RESERVED, RESERVED_IN_MEMBER};
use crds::{DeletionPolicy, Engine, Options, RaftCluster, Resources};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{engine, names, overlay, quantity, report::Invalid};

/// The version of the operator, and of the image it runs where the spec names none.
pub const OPERATOR_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The members' quota where the spec names none: etcd's own default.
const QUOTA_DEFAULT: u64 = 2 << 30;

/// A cluster's wishes, worked out.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// Name of the resource.
    pub(crate) name: String,
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its uid.
    pub(crate) uid: String,
    /// How many voters are wanted.
    pub(crate) replicas: usize,
    /// What they run.
    pub(crate) engine: Engine,
    /// The image in force.
    pub(crate) image: String,
    /// The default image to remember: the one remembered, or the one in force where the spec names none. What a spec named
    /// is never remembered, or a bad image would outlive its revert.
    pub(crate) default_image: Option<String>,
    /// Settings.
    pub(crate) options: Options,
    /// Quota in bytes.
    pub(crate) quota_bytes: u64,
    /// Size of each volume, as the user wrote it.
    pub(crate) size: String,
    /// Storage class, if not the default.
    pub(crate) storage_class: Option<String>,
    /// Resources of the member's container.
    pub(crate) resources: Resources,
    /// The partial pod.
    pub(crate) overlay: Value,
    /// What becomes of unused volumes.
    pub(crate) deletion_policy: DeletionPolicy,
    /// Hash of the user's inputs to the pod: a pod with another hash is outdated.
    pub(crate) template_hash: String,
}

impl Spec {
    /// Reads a resource; `remembered` is the default image that its status remembers.
    pub(crate) fn parse(cluster: &RaftCluster, remembered: Option<&str>) -> (Self, Vec<Invalid>) {
        let spec = &cluster.spec;
        let image = image(cluster, remembered);
        let named = spec.image.is_some() || spec.version.is_some() || image.is_empty();
        let default_image = remembered
            .map(ToOwned::to_owned)
            .or_else(|| (!named).then(|| image.clone()));
        let size = spec.storage.size.0.clone();
        let mut parsed = Self {
            name: cluster.metadata.name.clone().unwrap_or_default(),
            namespace: cluster.metadata.namespace.clone().unwrap_or_default(),
            uid: cluster.metadata.uid.clone().unwrap_or_default(),
            replicas: usize::try_from(spec.replicas).unwrap_or(0),
            engine: spec.engine,
            image,
            default_image,
            options: spec.options.clone(),
            quota_bytes: quota(&spec.options, &size),
            size,
            storage_class: spec.storage.storage_class_name.clone(),
            resources: spec.resources.clone().unwrap_or_default(),
            overlay: serde_json::to_value(&spec.pod_template).unwrap_or_default(),
            deletion_policy: spec.deletion_policy,
            template_hash: String::new(),
        };
        parsed.template_hash = parsed.hash();
        let invalid = parsed.faults();
        (parsed, invalid)
    }

    /// A reference that makes the cluster the owner of an object.
    pub(crate) fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: format!("{}/{}", crds::GROUP, crds::VERSION),
            kind: "RaftCluster".to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }

    /// Over what the user asked for, and only where it differs from the default: a newer operator that renders the pod
    /// another way, or knows one more option, restarts nothing.
    fn hash(&self) -> String {
        let mut options = json!(self.options);
        let defaults = json!(Options::default());
        if let Some(map) = options.as_object_mut() {
            map.retain(|key, value| defaults.get(key) != Some(value));
        }
        let inputs = json!({
            "image": self.image,
            "options": options,
            "resources": self.resources,
            "overlay": self.overlay,
        });
        let digest = Sha256::digest(canonical(&inputs).to_string().as_bytes());
        digest
            .iter()
            .take(5)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn faults(&self) -> Vec<Invalid> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, message: String| {
            faults.push(Invalid {
                field: field.to_owned(),
                message,
            });
        };
        if self.replicas == 0 || self.replicas > 9 {
            fault(
                "spec.replicas",
                format!("{} is not between 1 and 9", self.replicas),
            );
        }
        if self.image.is_empty() {
            fault(
                "spec.image",
                "name the image to run, with a fixed tag: this engine has no default".to_owned(),
            );
        }
        if quantity::bytes(&self.size).is_none() {
            fault(
                "spec.storage.size",
                format!("`{}` is no quantity; write one such as 4Gi", self.size),
            );
        }
        if let Some(quota) = self
            .options
            .quota_backend_bytes
            .as_ref()
            .filter(|it| quantity::bytes(&it.0).is_none())
        {
            fault(
                "spec.options.quotaBackendBytes",
                format!("`{}` is no quantity; write one such as 2Gi", quota.0),
            );
        }
        faults.extend(amount_faults("requests", &self.resources.requests));
        faults.extend(amount_faults("limits", &self.resources.limits));
        faults.extend(resource_faults(&self.resources));
        faults.extend(overlay_faults(&self.overlay));
        faults
    }
}

/// The image in force: what the spec says, else what it follows from the version, else what the status remembers.
fn image(cluster: &RaftCluster, remembered: Option<&str>) -> String {
    let spec = &cluster.spec;
    let default = engine::of(spec.engine).default_image;
    match (&spec.image, default, &spec.version, remembered) {
        (Some(image), ..) => image.clone(),
        (None, None, ..) => String::new(),
        (None, Some(name), Some(version), _) => format!("{name}:{version}"),
        (None, Some(_), None, Some(remembered)) => remembered.to_owned(),
        (None, Some(name), None, None) => format!("{name}:{OPERATOR_VERSION}"),
    }
}

/// The quota: as asked for, else etcd's default, but no more than half of the volume.
fn quota(options: &Options, size: &str) -> u64 {
    let asked = options
        .quota_backend_bytes
        .as_ref()
        .and_then(|it| quantity::bytes(&it.0));
    let half = quantity::bytes(size).map_or(QUOTA_DEFAULT, |size| size / 2);
    asked.unwrap_or(QUOTA_DEFAULT.min(half))
}

fn amount_faults(list: &str, amounts: &BTreeMap<String, Quantity>) -> Vec<Invalid> {
    amounts
        .iter()
        .filter(|(_, amount)| quantity::thousandths(&amount.0).is_none())
        .map(|(resource, amount)| Invalid {
            field: format!("spec.resources.{list}.{resource}"),
            message: format!(
                "`{}` is no quantity; write one such as 500m or 1Gi",
                amount.0
            ),
        })
        .collect()
}

/// Requests above their limits, which the API server would refuse pod by pod.
fn resource_faults(resources: &Resources) -> Vec<Invalid> {
    let mut faults = Vec::new();
    for (name, limit) in &resources.limits {
        let Some(request) = resources.requests.get(name) else {
            continue;
        };
        if quantity::thousandths(&request.0) > quantity::thousandths(&limit.0) {
            faults.push(Invalid {
                field: format!("spec.resources.requests.{name}"),
                message: format!(
                    "{} is more than the limit {}; lower it or raise spec.resources.limits.{name}",
                    request.0, limit.0
                ),
            });
        }
    }
    faults
}

fn overlay_faults(overlay: &Value) -> Vec<Invalid> {
    let mut faults = reserved(overlay);
    faults.extend(pinned(overlay));
    let Some(spec) = overlay.get("spec").filter(|it| !it.is_null()) else {
        return faults;
    };
    match typed(spec) {
        Ok(typed) => faults.extend(
            overlay::unknown(spec, &typed, "spec.podTemplate.spec")
                .into_iter()
                .map(|field| Invalid {
                    field,
                    message: "is no field of a pod; correct its spelling or drop it".to_owned(),
                }),
        ),
        Err(error) => faults.push(Invalid {
            field: "spec.podTemplate.spec".to_owned(),
            message: format!("is no partial pod: {error}"),
        }),
    }
    faults
}

/// The partial pod spec as the typed one reads and writes it. `containers` is the one field a pod spec must have.
fn typed(spec: &Value) -> Result<Value, serde_json::Error> {
    let mut whole = json!({"containers": []});
    overlay::merge(&mut whole, spec);
    let pod: PodSpec = serde_json::from_value(whole)?;
    serde_json::to_value(pod)
}

/// Reserved keys, in case the schema that stands in the cluster is an older one.
fn reserved(overlay: &Value) -> Vec<Invalid> {
    let spec = &overlay["spec"];
    let member = spec["containers"]
        .as_array()
        .and_then(|all| all.iter().find(|it| it["name"] == MEMBER_CONTAINER));
    let found = |keys: &'static [(&str, &str)], path: &str, it: &Value| -> Vec<Invalid> {
        keys.iter()
            .filter(|(key, _)| it.get(key).is_some())
            .map(|(key, way_out)| Invalid {
                field: format!("{path}.{key}"),
                message: format!("cannot be overlaid: {way_out}"),
            })
            .collect()
    };
    let mut faults = found(&RESERVED, "spec.podTemplate.spec", spec);
    if let Some(member) = member {
        faults.extend(found(
            &RESERVED_IN_MEMBER,
            "spec.podTemplate.spec.containers[member]",
            member,
        ));
    }
    faults
}

/// Items of lists, reached by name, that the member's safety rests on.
fn pinned(overlay: &Value) -> Vec<Invalid> {
    let spec = &overlay["spec"];
    let items = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let fault = |field: &str, message: &str| Invalid {
        field: field.to_owned(),
        message: message.to_owned(),
    };
    let mut faults = Vec::new();
    if items(&spec["volumes"])
        .iter()
        .any(|it| it["name"] == names::DATA_VOLUME)
    {
        let field = "spec.podTemplate.spec.volumes[data]";
        faults.push(fault(
            field,
            "cannot be overlaid: it is the member's own claim; add volumes under other names",
        ));
    }
    for member in items(&spec["containers"])
        .iter()
        .filter(|it| it["name"] == MEMBER_CONTAINER)
    {
        let field = |list: &str, item: &str| {
            format!("spec.podTemplate.spec.containers[member].{list}[{item}]")
        };
        if items(&member["volumeMounts"])
            .iter()
            .any(|it| it["mountPath"] == names::MOUNT_PATH)
        {
            let field = field("volumeMounts", names::MOUNT_PATH);
            faults.push(fault(
                &field,
                "cannot be overlaid: the data lie there; mount at another path",
            ));
        }
        for (name, way_out) in PINNED_VARIABLES {
            if items(&member["env"]).iter().any(|it| it["name"] == name) {
                faults.push(fault(&field("env", name), way_out));
            }
        }
    }
    faults
}

/// Variables of the member's container that the overlay may not set.
const PINNED_VARIABLES: [(&str, &str); 2] = [
    ("POD_IP", "cannot be overlaid: the member listens on it"),
    (
        "ETCD_FORCE_NEW_CLUSTER",
        "cannot be overlaid: each restart would cut the member off from the others; drop it",
    ),
];

/// The same value with keys in order, whatever order the map type keeps.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            Value::Object(
                sorted
                    .into_iter()
                    .map(|(k, v)| (k.clone(), canonical(v)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

/// Whether a rendered pod with the overlay on it is still a pod.
pub(crate) fn overlaid(pod: &Pod, overlay: &Value) -> Pod {
    let mut value = serde_json::to_value(pod).expect("a pod is JSON");
    overlay::merge(&mut value, overlay);
    serde_json::from_value(value).unwrap_or_else(|_| pod.clone())
}
