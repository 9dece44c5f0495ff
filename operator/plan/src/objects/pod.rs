//! A member's pod: the engine with etcd's flags, under the restricted pod security standard.
//!
//! The pod listens on its own address and nowhere else. It needs no API server: it has no token, and its probes ask only
//! itself. What is rendered here is not what the template hash is made of, see `spec.rs`.

mod apart;
mod resources;

use std::collections::BTreeMap;

use crds::{CompactionMode, RaftMember, overlay::MEMBER_CONTAINER};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, KeyToPath,
    ObjectFieldSelector, PersistentVolumeClaimVolumeSource, Pod, PodSecurityContext, PodSpec,
    Probe, SeccompProfile, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::member_metadata;
use crate::{
    certificates::{self, Mount},
    engine,
    names::{self, CLIENT_PORT, METRICS_PORT, Role, Scheme, Surface},
    peers,
    spec::{self, Spec},
};

/// User and group the member runs as: nobody in most images, and never root.
const NOBODY: i64 = 65_532;

/// Mode of files with keys: their group is the pod's `fsGroup`.
const GROUP_READS: i32 = 0o440;

/// Seconds a member may take to load its data before the kubelet restarts it: an hour, because a large log on a slow disk
/// is no fault.
const STARTUP_SECONDS: i32 = 3600;

/// How a member begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// It founds a new cluster, alone.
    New,
    /// It belongs to a cluster that exists.
    Existing,
}

/// What a member runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Data<'a> {
    /// How it begins where there is nothing yet.
    pub(crate) beginning: Beginning,
    /// The pod that rebuilt a lost cluster of its volume, if one has.
    pub(crate) restored: Option<&'a str>,
}

impl From<Beginning> for Data<'_> {
    fn from(beginning: Beginning) -> Self {
        Self {
            beginning,
            restored: None,
        }
    }
}

/// A member's pod.
pub(crate) fn pod(
    spec: &Spec,
    member: &RaftMember,
    role: Role,
    data: Data<'_>,
    peers: &BTreeMap<String, String>,
) -> Pod {
    let name = member.metadata.name.clone().unwrap_or_default();
    let mut metadata = member_metadata(spec, name.clone(), &name);
    metadata.owner_references = Some(vec![super::member::owner(member)]);
    metadata
        .labels
        .get_or_insert_default()
        .insert(names::ROLE_LABEL.to_owned(), role.as_str().to_owned());
    metadata
        .annotations
        .get_or_insert_default()
        .insert(names::TEMPLATE_HASH.to_owned(), spec.template_hash.clone());
    metadata
        .annotations
        .get_or_insert_default()
        .insert(names::RENDERING_HASH.to_owned(), rendering(spec));
    let rendered = Pod {
        metadata: metadata.clone(),
        spec: Some(pod_spec(spec, &name, args(spec, &name, data, peers))),
        status: None,
    };
    let pod = spec::overlaid(&rendered, &spec.overlay);
    Pod {
        metadata: own(metadata, pod.metadata),
        ..pod
    }
}

/// A member's name where it does not matter.
const ANYBODY: &str = "member";

/// Hash of a member's pod as this operator makes it, less the overlay, which the template's hash covers, and less what its name
/// and the membership make of it: the same for all members.
pub(crate) fn rendering(spec: &Spec) -> String {
    let args = args(spec, ANYBODY, Beginning::Existing.into(), &BTreeMap::new());
    let rendered = serde_json::to_value(pod_spec(spec, ANYBODY, args)).expect("a pod is JSON");
    spec::hash(&rendered)
}

/// The operator's own labels and annotations over what the overlay made of them.
fn own(ours: ObjectMeta, overlaid: ObjectMeta) -> ObjectMeta {
    let over = |base: Option<BTreeMap<String, String>>, ours: Option<BTreeMap<String, String>>| {
        let mut all = base.unwrap_or_default();
        all.extend(ours.unwrap_or_default());
        Some(all)
    };
    ObjectMeta {
        labels: over(overlaid.labels, ours.labels),
        annotations: over(overlaid.annotations, ours.annotations),
        ..ours
    }
}

/// The value of `--initial-cluster`: names and peer URLs of the whole membership.
pub(crate) fn initial_cluster(peers: &BTreeMap<String, String>) -> String {
    peers
        .iter()
        .map(|(name, url)| format!("{name}={url}"))
        .collect::<Vec<_>>()
        .join(",")
}

/// The argument in which a pod carries it.
pub(crate) fn initial_cluster_arg(peers: &BTreeMap<String, String>) -> String {
    format!("--initial-cluster={}", initial_cluster(peers))
}

fn args(spec: &Spec, name: &str, data: Data<'_>, peers: &BTreeMap<String, String>) -> Vec<String> {
    let options = &spec.options;
    let advertised = peers.get(name).cloned();
    let state = match data.beginning {
        Beginning::New => "new",
        Beginning::Existing => "existing",
    };
    let mut args = vec![
        format!("--name={name}"),
        format!("--data-dir={}", names::data_dir(data.restored)),
        format!("--listen-client-urls={}", client_urls(spec)),
        format!("--advertise-client-urls={}", spec.client_url(name)),
        format!("--listen-peer-urls={}", peer_urls(spec)),
        format!(
            "--initial-advertise-peer-urls={}",
            advertised.unwrap_or_else(|| spec.peer_url(name))
        ),
        format!("--listen-metrics-urls=http://$(POD_IP):{METRICS_PORT}"),
        initial_cluster_arg(peers),
        format!("--initial-cluster-state={state}"),
        format!("--initial-cluster-token={}", token(spec, data.restored)),
        format!("--heartbeat-interval={}", options.heartbeat_milliseconds),
        format!(
            "--election-timeout={}",
            options.election_timeout_milliseconds
        ),
        format!("--snapshot-count={}", options.snapshot_count),
        format!("--quota-backend-bytes={}", spec.quota_bytes),
    ];
    args.extend(
        Surface::ALL
            .iter()
            .flat_map(|it| certificates::flags(spec, *it)),
    );
    args.extend(compaction(spec));
    args.extend(spec.takes_learners.then(engine::room_for_learners));
    args
}

/// The cluster's token; a cluster that was rebuilt has one of its own.
pub(super) fn token(spec: &Spec, restored: Option<&str>) -> String {
    let token = names::token(&spec.namespace, &spec.name, &spec.uid);
    restored.map_or_else(|| token.clone(), |pod| format!("{token}-{pod}"))
}

/// Each on a port of its own, while members move from one to the other.
fn peer_urls(spec: &Spec) -> String {
    let listened = spec.peer_listeners.iter().map(peers::place);
    let urls = listened.map(|it| format!("{}://$(POD_IP):{}", it.scheme.as_str(), it.port));
    urls.collect::<Vec<_>>().join(",")
}

/// Both on one port, while clients move from one to the other.
fn client_urls(spec: &Spec) -> String {
    let plain = certificates::serves_plaintext(&spec.tls).then_some(Scheme::Http);
    let secured = Some(spec.scheme(Surface::Client)).filter(|it| *it == Scheme::Https);
    let urls = plain.into_iter().chain(secured);
    urls.map(|it| format!("{}://$(POD_IP):{CLIENT_PORT}", it.as_str()))
        .collect::<Vec<_>>()
        .join(",")
}

fn compaction(spec: &Spec) -> Vec<String> {
    let compaction = &spec.options.auto_compaction;
    let (mode, retention) = match compaction.mode {
        CompactionMode::Off => return Vec::new(),
        CompactionMode::Periodic => (
            "periodic",
            format!("{}s", compaction.retention_seconds.unwrap_or(3600)),
        ),
        CompactionMode::Revision => (
            "revision",
            compaction.retention_revisions.unwrap_or(10_000).to_string(),
        ),
    };
    vec![
        format!("--auto-compaction-mode={mode}"),
        format!("--auto-compaction-retention={retention}"),
    ]
}

fn pod_spec(spec: &Spec, name: &str, args: Vec<String>) -> PodSpec {
    PodSpec {
        hostname: Some(name.to_owned()),
        subdomain: Some(names::peer_service(&spec.name)),
        restart_policy: Some("Always".to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(grace_seconds(spec)),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(NOBODY),
            run_as_group: Some(NOBODY),
            fs_group: Some(NOBODY),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        affinity: apart::affinity(spec),
        topology_spread_constraints: apart::spread(spec),
        containers: vec![container(spec, args)],
        volumes: Some(volumes(spec, name)),
        ..PodSpec::default()
    }
}

fn volumes(spec: &Spec, member: &str) -> Vec<Volume> {
    let data = Volume {
        name: names::DATA_VOLUME.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: names::claim(member),
            read_only: None,
        }),
        ..Volume::default()
    };
    let secrets = secrets(spec).map(|it| Volume {
        name: it.volume.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(it.secret),
            items: Some(items(&it.entries)),
            default_mode: Some(GROUP_READS),
            optional: None,
        }),
        ..Volume::default()
    });
    [data].into_iter().chain(secrets).collect()
}

/// What is mounted of the Secrets of TLS.
fn secrets(spec: &Spec) -> impl Iterator<Item = Mount> {
    let surfaces = Surface::ALL.into_iter();
    surfaces.flat_map(|it| certificates::mounts(spec, it))
}

fn items(entries: &[&str]) -> Vec<KeyToPath> {
    let item = |entry: &&str| KeyToPath {
        key: (*entry).to_owned(),
        path: (*entry).to_owned(),
        mode: None,
    };
    entries.iter().map(item).collect()
}

fn mounts(spec: &Spec) -> Vec<VolumeMount> {
    let data = VolumeMount {
        name: names::DATA_VOLUME.to_owned(),
        mount_path: names::MOUNT_PATH.to_owned(),
        ..VolumeMount::default()
    };
    let certificates = secrets(spec).map(|it| VolumeMount {
        name: it.volume.to_owned(),
        mount_path: it.folder.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    });
    [data].into_iter().chain(certificates).collect()
}

/// Two elections and the hand-over that precedes them, with room for a slow disk to take the last write.
fn grace_seconds(spec: &Spec) -> i64 {
    20 + 3 * spec.options.election_timeout_milliseconds / 1000
}

fn container(spec: &Spec, args: Vec<String>) -> Container {
    let engine = engine::of(spec.engine);
    Container {
        name: MEMBER_CONTAINER.to_owned(),
        image: Some(spec.image.clone()),
        command: engine.command.map(|it| vec![it.to_owned()]),
        args: Some(args),
        env: Some(vec![EnvVar {
            name: "POD_IP".to_owned(),
            value: None,
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    api_version: None,
                    field_path: "status.podIP".to_owned(),
                }),
                ..EnvVarSource::default()
            }),
        }]),
        ports: Some(ports(spec)),
        resources: Some(resources::requirements(spec)),
        startup_probe: Some(probe(engine.alive, 1, STARTUP_SECONDS)),
        readiness_probe: Some(probe(engine.ready, 1, 3)),
        liveness_probe: Some(probe(engine.alive, 10, 6)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: None,
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(mounts(spec)),
        ..Container::default()
    }
}

fn ports(spec: &Spec) -> Vec<ContainerPort> {
    let peers = spec.peer_listeners.iter().map(peers::place);
    let peers = peers.map(|it| port(it.name(), it.port));
    let mut ports = vec![port("client", CLIENT_PORT)];
    ports.extend(peers);
    ports.push(port("metrics", METRICS_PORT));
    ports
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(METRICS_PORT),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5.min(period_seconds)),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}
