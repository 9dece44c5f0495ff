//! The two services: one for clients, one that gives members their names.
//!
//! Clients are sent to ready voters only: a learner refuses most of what they ask, and a member on its way out is taken
//! from the endpoints before it is removed. Names are published for members that are not ready, or they could never meet.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::{
    names::{self, CLIENT_PORT, METRICS_PORT, Role},
    peers,
    spec::Spec,
};

/// The service that clients use.
pub(crate) fn client(spec: &Spec) -> Service {
    let mut selector = names::labels(&spec.name);
    selector.retain(|key, _| key == names::CLUSTER_LABEL);
    selector.insert(
        names::ROLE_LABEL.to_owned(),
        Role::Voter.as_str().to_owned(),
    );
    Service {
        metadata: metadata(spec, names::client_service(&spec.name)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(selector),
            ports: Some(vec![port("client", CLIENT_PORT)]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The headless service behind the members' names.
pub(crate) fn peers(spec: &Spec) -> Service {
    let mut selector = names::labels(&spec.name);
    selector.retain(|key, _| key == names::CLUSTER_LABEL);
    Service {
        metadata: metadata(spec, names::peer_service(&spec.name)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(selector),
            ports: Some(ports(spec)),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn ports(spec: &Spec) -> Vec<ServicePort> {
    let peers = spec.peer_listeners.iter().map(peers::place);
    let mut ports = vec![port("client", CLIENT_PORT)];
    ports.extend(peers.map(|it| port(it.name(), it.port)));
    ports.push(port("metrics", METRICS_PORT));
    ports
}

fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(number)),
        ..ServicePort::default()
    }
}
