//! A member's pod: the engine with etcd's flags, under the restricted pod security standard.
//!
//! The pod listens on its own address and nowhere else. It needs no API server: it has no token, and its probes ask only
//! itself. What is rendered here is not what the template hash is made of, see `spec.rs`.

use std::collections::BTreeMap;

use crds::{CompactionMode, RaftMember, overlay::MEMBER_CONTAINER};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    ObjectFieldSelector, PersistentVolumeClaimVolumeSource, Pod, PodAffinityTerm, PodAntiAffinity,
    PodSecurityContext, PodSpec, Probe, ResourceRequirements, SeccompProfile, SecurityContext,
    Volume, VolumeMount, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::member_metadata;
use crate::{
    engine,
    names::{self, CLIENT_PORT, METRICS_PORT, PEER_PORT, Role},
    spec::{self, Spec},
};

/// User and group the member runs as: nobody in most images, and never root.
const NOBODY: i64 = 65_532;

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

/// A member's pod.
pub(crate) fn pod(
    spec: &Spec,
    member: &RaftMember,
    role: Role,
    beginning: Beginning,
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
    let rendered = Pod {
        metadata: metadata.clone(),
        spec: Some(pod_spec(spec, &name, args(spec, &name, beginning, peers))),
        status: None,
    };
    let pod = spec::overlaid(&rendered, &spec.overlay);
    Pod {
        metadata: own(metadata, pod.metadata),
        ..pod
    }
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

fn args(
    spec: &Spec,
    name: &str,
    beginning: Beginning,
    peers: &BTreeMap<String, String>,
) -> Vec<String> {
    let (cluster, namespace, options) = (&spec.name, &spec.namespace, &spec.options);
    let state = match beginning {
        Beginning::New => "new",
        Beginning::Existing => "existing",
    };
    let mut args = vec![
        format!("--name={name}"),
        format!("--data-dir={}", names::DATA_DIR),
        format!("--listen-client-urls=http://$(POD_IP):{CLIENT_PORT}"),
        format!(
            "--advertise-client-urls={}",
            names::client_url(namespace, cluster, name)
        ),
        format!("--listen-peer-urls=http://$(POD_IP):{PEER_PORT}"),
        format!(
            "--initial-advertise-peer-urls={}",
            names::peer_url(namespace, cluster, name)
        ),
        format!("--listen-metrics-urls=http://$(POD_IP):{METRICS_PORT}"),
        initial_cluster_arg(peers),
        format!("--initial-cluster-state={state}"),
        format!(
            "--initial-cluster-token={}",
            names::token(namespace, cluster, &spec.uid)
        ),
        format!("--heartbeat-interval={}", options.heartbeat_milliseconds),
        format!(
            "--election-timeout={}",
            options.election_timeout_milliseconds
        ),
        format!("--snapshot-count={}", options.snapshot_count),
        format!("--quota-backend-bytes={}", spec.quota_bytes),
    ];
    args.extend(compaction(spec));
    args
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
        affinity: Some(apart(spec)),
        containers: vec![container(spec, args)],
        volumes: Some(vec![Volume {
            name: names::DATA_VOLUME.to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: names::claim(name),
                read_only: None,
            }),
            ..Volume::default()
        }]),
        ..PodSpec::default()
    }
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
        ports: Some(vec![
            port("client", CLIENT_PORT),
            port("peer", PEER_PORT),
            port("metrics", METRICS_PORT),
        ]),
        resources: Some(ResourceRequirements {
            requests: Some(spec.resources.requests.clone()).filter(|it| !it.is_empty()),
            limits: Some(spec.resources.limits.clone()).filter(|it| !it.is_empty()),
            claims: None,
        }),
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
        volume_mounts: Some(vec![VolumeMount {
            name: names::DATA_VOLUME.to_owned(),
            mount_path: names::MOUNT_PATH.to_owned(),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
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

/// Members on different nodes if there are enough: a preference, so that a small cluster still starts.
fn apart(spec: &Spec) -> Affinity {
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![
                WeightedPodAffinityTerm {
                    weight: 100,
                    pod_affinity_term: PodAffinityTerm {
                        topology_key: "kubernetes.io/hostname".to_owned(),
                        label_selector: Some(LabelSelector {
                            match_labels: Some(BTreeMap::from([(
                                names::CLUSTER_LABEL.to_owned(),
                                spec.name.clone(),
                            )])),
                            match_expressions: None,
                        }),
                        ..PodAffinityTerm::default()
                    },
                },
            ]),
            required_during_scheduling_ignored_during_execution: None,
        }),
        ..Affinity::default()
    }
}
