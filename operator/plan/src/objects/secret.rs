//! A Secret with certificates, without what is in it: the executor makes keys, and they stand nowhere else.
//!
//! It goes with the cluster, through its owner.

use k8s_openapi::api::core::v1::Secret;

use super::metadata;
use crate::spec::Spec;

/// The Secret of this name, empty.
pub(crate) fn secret(spec: &Spec, name: String) -> Secret {
    Secret {
        metadata: metadata(spec, name),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}
