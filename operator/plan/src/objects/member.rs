//! The `RaftMember` of one serial.

use crds::{Joining, RaftMember, RaftMemberSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::member_metadata;
use crate::spec::Spec;

/// A member's identity, owned by its cluster.
pub(crate) fn member(spec: &Spec, joining: &Joining) -> RaftMember {
    let Joining {
        name,
        serial,
        learner,
    } = joining;
    RaftMember {
        metadata: ObjectMeta {
            owner_references: Some(vec![spec.owner()]),
            ..member_metadata(spec, name.clone(), name)
        },
        spec: RaftMemberSpec {
            cluster_name: spec.name.clone(),
            cluster_uid: spec.uid.clone(),
            serial: *serial,
            learner: *learner,
        },
    }
}

/// The identity of a voter, made again because somebody has deleted it.
pub(crate) fn again(spec: &Spec, name: &str, serial: i64) -> RaftMember {
    let known = Joining {
        name: name.to_owned(),
        serial,
        learner: false,
    };
    member(spec, &known)
}

/// A reference that makes a member the owner of its pod.
pub(crate) fn owner(member: &RaftMember) -> OwnerReference {
    OwnerReference {
        api_version: format!("{}/{}", crds::GROUP, crds::VERSION),
        kind: "RaftMember".to_owned(),
        name: member.metadata.name.clone().unwrap_or_default(),
        uid: member.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}
