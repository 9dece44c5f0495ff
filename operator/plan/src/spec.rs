//! `Spec`: the resource read once, with everything worked out that the rest of the planner asks for, or a list of what is
//! wrong with it.
//!
//! The schema refuses most of what cannot work before it gets here. What CEL cannot see is checked here, and so is what an
//! older schema may have let through.
//!
//! This file deliberately looks at the resource only: whether the cluster follows its spec is asked elsewhere.

mod template;

use std::collections::BTreeMap;

use crds::overlay::{MEMBER_CONTAINER, RESERVED, RESERVED_IN_MEMBER};
use crds::{
    AntiAffinity, Auth, AutoGrow, ChangePolicy, Engine, MaintenanceWindow, NetworkPolicyOptions,
    OnNoSpace, OperatorChanges, Options, PeerListener, PeerTls, RaftCluster, RepairPolicy,
    Resources, RunState, SingleMemberEviction, Tls, TlsMode, UpdateStrategy,
};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};

use crate::{
    autogrow, certificates, engine, maintenance,
    names::{self, PeerPort, Scheme, Surface},
    network_policy, overlay, peers, quantity,
    report::Invalid,
    retention::Retention,
    syntax,
};

pub(crate) use template::hash;

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
    /// How many learners for good there are to be beside them.
    pub(crate) learners: usize,
    /// What they run.
    pub(crate) engine: Engine,
    /// The image in force.
    pub(crate) image: String,
    /// The default image to remember: the one remembered, or the one in force where the spec names none. What a spec named
    /// is never remembered, or a bad image would outlive its revert.
    pub(crate) default_image: Option<String>,
    /// Settings.
    pub(crate) options: Options,
    /// Whether members have room for learners for good, beside the one that joins: as long as any are wanted or there. A member that
    /// starts goes through its log again, and must judge as it did.
    pub(crate) takes_learners: bool,
    /// Quota in bytes.
    pub(crate) quota_bytes: u64,
    /// Size of each volume, as the user wrote it.
    pub(crate) asked_size: String,
    /// Size that each volume is to have: the one asked for, or what it has grown to from there.
    pub(crate) size: String,
    /// Whether and how volumes grow by themselves.
    pub(crate) auto_grow: Option<AutoGrow>,
    /// Storage class, if not the default.
    pub(crate) storage_class: Option<String>,
    /// How volumes may be changed.
    pub(crate) change_policy: ChangePolicy,
    /// Resources of the member's container.
    pub(crate) resources: Resources,
    /// Whose certificates are shown and believed; between members, as they listen.
    pub(crate) tls: Tls,
    /// Whose password `root` has, where members ask who somebody is.
    pub(crate) auth: Option<Auth>,
    /// Where members listen for each other.
    pub(crate) peer_listeners: Vec<PeerListener>,
    /// By whose certificates members are to speak to each other; none for plain HTTP.
    pub(crate) asked_peer_tls: Option<PeerTls>,
    /// The partial pod.
    pub(crate) overlay: Value,
    /// Who reaches the members over the network.
    pub(crate) network_policy: Option<NetworkPolicyOptions>,
    /// Whether the only member may be evicted.
    pub(crate) eviction: SingleMemberEviction,
    /// When members that work may be taken down for a change; at any time if there are none.
    pub(crate) windows: Vec<MaintenanceWindow>,
    /// Whether members run at all.
    pub(crate) run_state: RunState,
    /// How members are kept apart.
    pub(crate) apart: AntiAffinity,
    /// What becomes of unused volumes.
    pub(crate) retention: Retention,
    /// When a member is replaced.
    pub(crate) repair: RepairPolicy,
    /// What is done where members have no space left.
    pub(crate) on_no_space: OnNoSpace,
    /// Hash of the user's inputs to the pod: a pod with another hash is outdated.
    pub(crate) template_hash: String,
    /// How changes of the template reach the members.
    pub(crate) update: UpdateStrategy,
}

impl Spec {
    /// Reads a resource; `remembered` is the default image that its status remembers.
    pub(crate) fn parse(cluster: &RaftCluster, remembered: Option<&str>) -> (Self, Vec<Invalid>) {
        let spec = &cluster.spec;
        let deferred = spec.update_strategy.operator_changes == OperatorChanges::Deferred;
        let remembered = remembered.filter(|_| deferred);
        let image = image(cluster, remembered);
        let named = spec.image.is_some() || spec.version.is_some() || image.is_empty();
        let default_image = remembered
            .map(ToOwned::to_owned)
            .or_else(|| (!named).then(|| image.clone()));
        let size = autogrow::size(cluster);
        let auto_grow = spec.storage.auto_grow.clone();
        let largest = auto_grow.as_ref().map_or(&size, |it| &it.max_size.0);
        let mut parsed = Self {
            name: cluster.metadata.name.clone().unwrap_or_default(),
            namespace: cluster.metadata.namespace.clone().unwrap_or_default(),
            uid: cluster.metadata.uid.clone().unwrap_or_default(),
            replicas: usize::try_from(spec.replicas).unwrap_or(0),
            engine: spec.engine,
            image,
            default_image,
            learners: usize::try_from(spec.learners).unwrap_or(0),
            takes_learners: takes_learners(cluster),
            options: spec.options.clone(),
            quota_bytes: quota(&spec.options, largest),
            asked_size: spec.storage.size.0.clone(),
            size,
            auto_grow,
            storage_class: spec.storage.storage_class_name.clone(),
            change_policy: spec.storage.change_policy,
            resources: spec.resources.clone().unwrap_or_default(),
            tls: peers::tls_in_force(cluster),
            peer_listeners: peers::listeners(cluster),
            asked_peer_tls: peers::asked(cluster),
            auth: spec.auth.clone(),
            overlay: serde_json::to_value(&spec.pod_template).unwrap_or_default(),
            network_policy: spec.network_policy.clone(),
            eviction: spec.disruption.single_member_eviction,
            windows: spec.maintenance_windows.clone(),
            run_state: spec.run_state,
            apart: spec.scheduling.anti_affinity,
            retention: Retention::of(cluster),
            repair: spec.repair_policy.clone(),
            on_no_space: spec.on_no_space,
            template_hash: String::new(),
            update: spec.update_strategy.clone(),
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

    /// The scheme of a surface's URLs.
    pub(crate) fn scheme(&self, surface: Surface) -> Scheme {
        match certificates::mode(&self.tls, surface) {
            TlsMode::Disabled => Scheme::Http,
            TlsMode::Operator | TlsMode::Secret | TlsMode::CertManager => Scheme::Https,
        }
    }

    /// URL at which a member's peers reach it, for as long as no membership says another one.
    pub(crate) fn peer_url(&self, member: &str) -> String {
        let first = self.peer_listeners.first().map(peers::place);
        let first = first.unwrap_or(PeerPort {
            port: names::PEER_PORT,
            scheme: Scheme::Http,
        });
        self.peer_url_at(first, member)
    }

    /// URL at which a member's peers reach it there.
    pub(crate) fn peer_url_at(&self, at: PeerPort, member: &str) -> String {
        names::peer_url(at, &self.namespace, &self.name, member)
    }

    /// The member that a peer URL leads to, and where it listens.
    pub(crate) fn peer_of_url(&self, url: &str) -> Option<(String, PeerPort)> {
        names::peer_of_url(&self.namespace, &self.name, url)
    }

    /// The same wishes as if members spoke TLS already, where they are to and none does yet.
    pub(crate) fn with_asked_peer_tls(&self) -> Option<Self> {
        let mut coming = self.clone();
        coming.tls.peer = self.asked_peer_tls.clone();
        Some(coming).filter(|it| it.tls.peer.is_some() && self.tls.peer.is_none())
    }

    /// URL that a member tells clients.
    pub(crate) fn client_url(&self, member: &str) -> String {
        // Who lives without TLS must be able to follow it, and who lives with TLS is served there too.
        let plain = certificates::serves_plaintext(&self.tls);
        let scheme = if plain { Scheme::Http } else { Scheme::Https };
        names::client_url(scheme, &self.namespace, &self.name, member)
    }

    /// The size that a volume can come to have.
    fn largest(&self) -> &str {
        let grows = self.auto_grow.as_ref();
        grows.map_or(&self.size, |it| &it.max_size.0)
    }

    /// Whether the members' quota is another one than it would be without `autoGrow`.
    fn quota_grows(&self) -> bool {
        let without = quota(&self.options, &self.asked_size);
        self.auto_grow.is_some() && self.quota_bytes != without
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
        let max = self.auto_grow.as_ref().map(|it| &it.max_size.0);
        if let Some(max) = max.filter(|it| quantity::bytes(it).is_none()) {
            fault(
                "spec.storage.autoGrow.maxSize",
                format!("`{max}` is no quantity; write one such as 200Gi"),
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
        let class = self.storage_class.as_deref();
        faults.extend(class.and_then(syntax::class_fault));
        faults.extend(amount_faults("requests", &self.resources.requests));
        faults.extend(amount_faults("limits", &self.resources.limits));
        faults.extend(resource_faults(&self.resources));
        faults.extend(maintenance::faults(&self.windows));
        faults.extend(network_policy::faults(self.network_policy.as_ref()));
        faults.extend(overlay_faults(&self.overlay));
        faults.extend(syntax::faults(&self.overlay, &self.resources));
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

fn takes_learners(cluster: &RaftCluster) -> bool {
    let there = cluster
        .status
        .as_ref()
        .is_some_and(|it| it.learners.is_some());
    cluster.spec.learners > 0 || there
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
    for (name, what) in PINNED_VOLUMES {
        if items(&spec["volumes"]).iter().any(|it| it["name"] == name) {
            let way_out = format!("cannot be overlaid: {what}; add volumes under other names");
            faults.push(fault(
                &format!("spec.podTemplate.spec.volumes[{name}]"),
                &way_out,
            ));
        }
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

/// Volumes of the pod that the overlay may not set.
const PINNED_VOLUMES: [(&str, &str); 4] = [
    (names::DATA_VOLUME, "it is the member's own claim"),
    (Surface::Peer.volume(), "it holds the member's certificates"),
    (
        Surface::Client.volume(),
        "it holds the member's certificates",
    ),
    (names::DIALER_VOLUME, "it holds the member's certificates"),
];

/// Variables of the member's container that the overlay may not set.
const PINNED_VARIABLES: [(&str, &str); 2] = [
    ("POD_IP", "cannot be overlaid: the member listens on it"),
    (
        "ETCD_FORCE_NEW_CLUSTER",
        "cannot be overlaid: each restart would cut the member off from the others; drop it",
    ),
];

/// Whether a rendered pod with the overlay on it is still a pod.
pub(crate) fn overlaid(pod: &Pod, overlay: &Value) -> Pod {
    let mut value = serde_json::to_value(pod).expect("a pod is JSON");
    overlay::merge(&mut value, overlay);
    serde_json::from_value(value).unwrap_or_else(|_| pod.clone())
}
