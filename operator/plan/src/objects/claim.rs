//! A member's volume claim.
//!
//! Under `Retain` nobody owns it, so that no garbage collector takes it; under `Delete` the cluster does. Either way it says
//! in annotations whose it is, by uid, so that a later cluster of the same name never takes it for its own.

use std::collections::BTreeMap;

use crds::DeletionPolicy;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::member_metadata;
use crate::{names, spec::Spec};

/// The claim of a member.
pub(crate) fn claim(spec: &Spec, member: &str, serial: i64) -> PersistentVolumeClaim {
    let mut metadata = member_metadata(spec, names::claim(member), member);
    metadata.owner_references = owner(spec).map(|owner| vec![owner]);
    metadata.annotations.get_or_insert_default().extend([
        (names::SERIAL.to_owned(), serial.to_string()),
        (names::SIZE.to_owned(), spec.size.clone()),
    ]);
    let class = spec.storage_class.clone();
    let class = class.map(|it| (names::CLASS.to_owned(), it));
    metadata.annotations.get_or_insert_default().extend(class);
    PersistentVolumeClaim {
        metadata,
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: spec.storage_class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([(
                    "storage".to_owned(),
                    Quantity(spec.size.clone()),
                )])),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// The pod that rebuilt a lost cluster of the volume, if one has.
pub(crate) fn restored(claim: &PersistentVolumeClaim) -> Option<&str> {
    let marks = claim.metadata.annotations.as_ref()?;
    marks.get(names::RESTORED).map(String::as_str)
}

/// Who owns the claims of members under the policy in force.
pub(crate) fn owner(spec: &Spec) -> Option<OwnerReference> {
    (spec.retention.deleted == DeletionPolicy::Delete).then(|| spec.owner())
}
