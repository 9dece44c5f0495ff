//! A `VolumeSnapshot` of a member's volume, and the classes by which such are made.
//!
//! Only the fields that matter here are read and written. It is nobody's, so that it outlives whatever it was made for: who deletes it
//! is a person.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::{ClusterResourceScope, Metadata, NamespaceResourceScope, Resource};
use serde::{Deserialize, Serialize};

use super::member_metadata;
use crate::{names, spec::Spec};

/// `VolumeSnapshot` of `snapshot.storage.k8s.io/v1`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshot {
    api_version: String,
    kind: String,
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Of what, and how.
    pub spec: VolumeSnapshotSpec,
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<VolumeSnapshotStatus>,
}

impl Resource for VolumeSnapshot {
    const API_VERSION: &'static str = "snapshot.storage.k8s.io/v1";
    const GROUP: &'static str = "snapshot.storage.k8s.io";
    const KIND: &'static str = "VolumeSnapshot";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "volumesnapshots";
    type Scope = NamespaceResourceScope;
}

impl Metadata for VolumeSnapshot {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl VolumeSnapshot {
    /// Whether what the volume held is kept, whatever is written to it from now on; the storage may copy for long after that.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        let status = self.status.as_ref();
        status.is_some_and(|it| it.creation_time.is_some() || it.ready_to_use == Some(true))
    }

    /// What the storage said last went wrong.
    pub(crate) fn trouble(&self) -> Option<&str> {
        let error = self.status.as_ref()?.error.as_ref()?;
        Some(error.message.as_deref().unwrap_or("no message"))
    }
}

/// Of what it is, and how it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotSpec {
    /// The volume.
    pub source: VolumeSnapshotSource,
    /// By which class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_class_name: Option<String>,
}

/// Of which volume it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotSource {
    /// By its claim; none where it was taken by somebody else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim_name: Option<String>,
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotStatus {
    /// As of when it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_time: Option<Time>,
    /// Whether a volume can be made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_to_use: Option<bool>,
    /// What went wrong; it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<VolumeSnapshotError>,
}

/// What went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeSnapshotError {
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// `VolumeSnapshotClass` of `snapshot.storage.k8s.io/v1`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotClass {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Whose volumes it is for: what a storage class calls its provisioner.
    pub driver: String,
}

impl Resource for VolumeSnapshotClass {
    const API_VERSION: &'static str = "snapshot.storage.k8s.io/v1";
    const GROUP: &'static str = "snapshot.storage.k8s.io";
    const KIND: &'static str = "VolumeSnapshotClass";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "volumesnapshotclasses";
    type Scope = ClusterResourceScope;
}

impl Metadata for VolumeSnapshotClass {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The `VolumeSnapshot` of a member's volume for a recovery by this plan.
pub(crate) fn snapshot(spec: &Spec, member: &str, class: &str, plan: &str) -> VolumeSnapshot {
    let claim = names::claim(member);
    VolumeSnapshot {
        api_version: VolumeSnapshot::API_VERSION.to_owned(),
        kind: VolumeSnapshot::KIND.to_owned(),
        metadata: member_metadata(spec, names::snapshot(&claim, plan), member),
        spec: VolumeSnapshotSpec {
            source: VolumeSnapshotSource {
                persistent_volume_claim_name: Some(claim),
            },
            volume_snapshot_class_name: Some(class.to_owned()),
        },
        status: None,
    }
}
