//! The pod that makes a new cluster of what a lost cluster's survivor has on its volume.
//!
//! It runs once and to its end, beside the data and not on them: into a folder that its own uid names, under a token that does.
//! So two tries never meet, a try that was cut short is nobody's data, and no two of them make the same cluster. What it made
//! counts when the volume's claim is marked with that uid.
//!
//! It is the member's pod as far as it matters to where it runs, and serves nobody: no probe calls it ready, and its role is
//! that of a member without a vote. It deliberately has none of the user's other containers, which might never end.

use std::collections::BTreeMap;

use crds::RaftMember;
use crds::overlay::MEMBER_CONTAINER;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

use super::pod::{self, Beginning, Data};
use crate::{
    engine,
    names::{self, Role},
    spec::Spec,
};

/// How the pod's own uid stands in its arguments.
const OWN_UID: &str = "$(POD_UID)";

/// The pod; `restored` is the one that restored the survivor before, if one has.
pub(crate) fn pod(spec: &Spec, member: &RaftMember, plan: &str, restored: Option<&str>) -> Pod {
    let name = member.metadata.name.clone().unwrap_or_default();
    let peers = BTreeMap::from([(name.clone(), spec.peer_url(&name))]);
    let data = Data {
        beginning: Beginning::Existing,
        restored,
    };
    let mut made = pod::pod(spec, member, Role::Learner, data, &peers);
    let marks = made.metadata.annotations.get_or_insert_default();
    marks.insert(names::RESTORES.to_owned(), plan.to_owned());
    let wanted = made.spec.get_or_insert_default();
    wanted.restart_policy = Some("Never".to_owned());
    wanted.init_containers = None;
    wanted.containers.retain(|it| it.name == MEMBER_CONTAINER);
    for container in &mut wanted.containers {
        turn(spec, container, arguments(spec, &name, restored, &peers));
    }
    made
}

/// Makes the member's container one that restores.
fn turn(spec: &Spec, container: &mut Container, args: Vec<String>) {
    let restorer = engine::of(spec.engine).restorer;
    container.command = restorer.map(|it| vec![it.to_owned()]);
    container.args = Some(args);
    container.env.get_or_insert_default().push(EnvVar {
        name: "POD_UID".to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: None,
                field_path: "metadata.uid".to_owned(),
            }),
            ..EnvVarSource::default()
        }),
    });
    container.ports = None;
    container.startup_probe = None;
    container.readiness_probe = None;
    container.liveness_probe = None;
    container.lifecycle = None;
}

fn arguments(
    spec: &Spec,
    name: &str,
    restored: Option<&str>,
    peers: &BTreeMap<String, String>,
) -> Vec<String> {
    let source = engine::of(spec.engine).restored_from;
    let mut args = vec![
        "snapshot".to_owned(),
        "restore".to_owned(),
        format!("{}{source}", names::data_dir(restored)),
        "--skip-hash-check=true".to_owned(),
        format!("--data-dir={}", names::data_dir(Some(OWN_UID))),
        format!("--name={name}"),
        pod::initial_cluster_arg(peers),
        format!(
            "--initial-cluster-token={}",
            pod::token(spec, Some(OWN_UID))
        ),
        format!("--initial-advertise-peer-urls={}", spec.peer_url(name)),
    ];
    args.extend(engine::jump(spec));
    args
}
